//! Which headers cross?
//! Given a head, takes out what belongs to one connection, to a caller's identity, or to the partner's own household.
//! Never adds anything.

use http::HeaderMap;
use http::header::{self, HeaderName};

use crate::account_api::KEY_HEADER;

/// A request body beyond the limit, as it shows up inside the client's error.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("request body too large")]
pub struct RequestTooLarge;

/// RFC 9110 §7.6.1, and the older ones that some still send.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What says who a caller is, or where it came from.
const OF_THE_CALLER: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::FORWARDED,
    header::EXPECT,
    HeaderName::from_static(KEY_HEADER),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-request-id"),
];

/// What the partner says to us and not to our callers.
const OF_THE_PARTNER: [HeaderName; 13] = [
    header::SET_COOKIE,
    header::SERVER,
    header::WWW_AUTHENTICATE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::RETRY_AFTER,
    // A partner that echoes what it was sent would hand our key out.
    HeaderName::from_static(KEY_HEADER),
];

/// Of a request that is passed on.
pub fn strip_for_partner(headers: &mut HeaderMap) {
    strip_connection(headers);
    OF_THE_CALLER.iter().for_each(|name| drop(headers.remove(name)));
    for trace in ["traceparent", "tracestate", "baggage"] {
        headers.remove(trace);
    }
}

/// Of an answer that is passed on.
pub fn strip_for_caller(headers: &mut HeaderMap) {
    strip_connection(headers);
    OF_THE_PARTNER.iter().for_each(|name| drop(headers.remove(name)));
    let limits: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            ["ratelimit", "x-ratelimit", "x-rate-limit"].iter().any(|start| name.as_str().starts_with(start))
        })
        .cloned()
        .collect();
    limits.iter().for_each(|name| drop(headers.remove(name)));
}

/// Of any head: what belongs to one connection (RFC 9110 §7.6.1).
pub(super) fn strip_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().chain(&HOP_BY_HOP).for_each(|name| drop(headers.remove(name)));
}
