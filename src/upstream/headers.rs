//! Which headers cross?
//! Given a head, takes out what belongs to one connection, to a caller's identity, or to the partner's own household.
//! Never adds anything.

use http::HeaderMap;
use http::header::{self, HeaderName};
use smallvec::SmallVec;

use crate::account_api::KEY_HEADER;
use crate::budget::signal::is_a_limit;

use super::hub;

/// RFC 9110 §7.6.1, and the older ones that some still send.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What says who a caller is, where it came from, or how its request is traced among us.
pub(super) fn is_of_the_caller(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | KEY_HEADER
            | "cookie"
            | "host"
            | "expect"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-real-ip"
            | "x-request-id"
            | "traceparent"
            | "tracestate"
            | "baggage"
    )
}

/// What the partner says to us and not to our callers; one that echoes what it was sent would hand our key out.
fn is_of_the_partner(name: &str) -> bool {
    matches!(
        name,
        "set-cookie"
            | "server"
            | "www-authenticate"
            | "alt-svc"
            | "strict-transport-security"
            | "retry-after"
            | "access-control-allow-origin"
            | "access-control-allow-credentials"
            | "access-control-allow-headers"
            | "access-control-allow-methods"
            | "access-control-expose-headers"
            | "access-control-max-age"
            | KEY_HEADER
    ) || is_a_limit(name)
}

/// Of an answer that is passed on.
pub fn strip_for_caller(headers: &mut HeaderMap) {
    strip(headers, is_of_the_partner);
    hub::strip_our_words(headers);
}

/// Of any head: what belongs to one connection.
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    strip(headers, |_| false);
}

/// Takes out what belongs to the connection, which may name more of it (RFC 9110 §7.6.1), and what `stays` with us.
pub(super) fn strip(headers: &mut HeaderMap, stays: impl Fn(&str) -> bool) {
    let named =
        headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let named = named.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let ours = headers.keys().filter(|name| is_hop_by_hop(name.as_str()) || stays(name.as_str())).cloned();
    let out: SmallVec<[HeaderName; 8]> = named.chain(ours).collect();
    out.iter().for_each(|name| drop(headers.remove(name)));
}
