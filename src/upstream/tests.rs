//! Which headers cross?
//! Given heads as they may come, holds the room to product.md §3.
//! Never opens a socket.

use super::*;

fn head(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in lines {
        head.append(*name, value.parse().unwrap());
    }
    head
}

fn left(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn nothing_of_a_connection_or_a_callers_identity_reaches_the_partner() {
    let mut headers = head(&[
        ("accept", "*/*"),
        ("content-type", "text/plain"),
        ("x-wanted", "1"),
        ("connection", "close, X-Named"),
        ("connection", "x-also ,, \"odd\", keep-alive"),
        ("x-named", "1"),
        ("x-also", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("http2-settings", "AAMAAABkAAQBAAAAAAIAAAAA"),
        ("proxy-authorization", "Basic YTpi"),
        ("authorization", "Bearer token"),
        ("authorization", "Basic YTpi"),
        ("x-reseller-api-key", "token"),
        ("x-reseller-api-key", "another"),
        ("cookie", "a=b"),
        ("host", "gateway.example"),
        ("forwarded", "for=10.0.0.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "gateway.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "10.0.0.1"),
        ("x-request-id", "1"),
        ("traceparent", "00-1-1-00"),
        ("tracestate", "a=b"),
        ("baggage", "a=b"),
        ("expect", "100-continue"),
    ]);
    through::make_ready(&mut headers, false);
    assert_eq!(left(&headers), ["accept", "content-type", "x-wanted"]);
}

#[test]
fn nothing_of_the_partners_household_reaches_a_caller() {
    let mut headers = head(&[
        ("content-type", "application/json"),
        ("etag", "\"v1\""),
        ("x-wanted", "1"),
        ("connection", "X-Named, close"),
        ("x-named", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("transfer-encoding", "chunked"),
        ("set-cookie", "session=1"),
        ("set-cookie", "other=2"),
        ("server", "nginx"),
        ("www-authenticate", "Bearer"),
        ("alt-svc", "h3=\":443\""),
        ("strict-transport-security", "max-age=1"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-headers", "*"),
        ("access-control-allow-methods", "*"),
        ("access-control-expose-headers", "*"),
        ("access-control-max-age", "1"),
        ("retry-after", "1"),
        ("ratelimit", "\"default\";r=1;t=1"),
        ("ratelimit-policy", "\"default\";q=1"),
        ("ratelimit-remaining", "1"),
        ("x-ratelimit-limit", "1"),
        ("x-rate-limit-reset", "1"),
        ("x-reseller-api-key", "the partner echoes our key"),
    ]);
    headers::strip_for_caller(&mut headers);
    assert_eq!(left(&headers), ["content-type", "etag", "x-wanted"]);
}
