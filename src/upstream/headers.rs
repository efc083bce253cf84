//! Which headers cross?
//! Given a head, takes out what belongs to one connection, to a caller's identity, or to the partner's own household.
//! Never adds anything.

use std::borrow::Cow;

use http::HeaderMap;

use crate::account_api::KEY_HEADER;
use crate::budget::signal::is_a_limit;
use crate::http::hop_by_hop::{self, is_hop_by_hop};

use super::hub;

/// A name as servers read it that make variables of headers (RFC 3875 §4.1.18 and its kin): whatever is no letter and no
/// digit is the same to them.
pub fn folded(name: &str) -> Cow<'_, str> {
    let odd = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'-';
    match name.bytes().any(odd) {
        true => Cow::Owned(name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '-' }).collect()),
        false => Cow::Borrowed(name),
    }
}

/// Whether it is, in another spelling, a header that says where a message ends or what belongs to its connection.
pub(super) fn is_another_name(name: &str, folded: &str) -> bool {
    name != folded && (is_hop_by_hop(folded.trim_matches('-')) || folded.trim_matches('-') == "content-length")
}

/// Names under which proxies and applications know who sent a request, by how they begin.
const IDENTITIES: [&str; 11] = [
    "x-auth-",
    "x-authenticated-",
    "x-client-cert",
    "x-client-dn",
    "x-client-verify",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-amzn-oidc-",
    "x-ssl-client-",
    "ssl-client-",
];

/// What says who a caller is, where it came from, or how its request is traced among us; of a name that is [`folded`].
pub(super) fn is_of_the_caller(name: &str) -> bool {
    let name = name.trim_matches('-');
    is_a_name_of_the_caller(name) || is_like_our_key(name) || IDENTITIES.iter().any(|start| name.starts_with(start))
}

/// Whether it may pass for the header that the partner's key is in, as `Api-Key`, `X-ApiKey` and `X-Reseller-Api-Key-2` do.
pub fn is_like_our_key(name: &str) -> bool {
    name.contains("key") && name.split('-').collect::<String>().contains("apikey")
}

fn is_a_name_of_the_caller(name: &str) -> bool {
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
            | "x-remote-user"
            | "x-remote-addr"
            | "x-remote-ip"
            | "remote-user"
            | "remote-addr"
            | "x-user"
            | "x-webauth-user"
            | "x-proxy-user"
            | "x-access-token"
            | "access-token"
            | "auth-token"
            | "x-authorization"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "true-client-ip"
            | "client-ip"
            | "cf-connecting-ip"
            | "fastly-client-ip"
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
    hop_by_hop::strip_and(headers, is_of_the_partner);
    hub::strip_our_details(headers);
}
