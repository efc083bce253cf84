//! When does the partner want to be left alone, and which headers cross?
//! Given heads as they may come, holds the room to product.md §3 and §6.
//! Never opens a socket, and hands every moment in.

use super::*;

const NOON_MS: u64 = 784_111_777_000;
const NOON: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn pause(status: u16, told: Option<&[u8]>) -> Option<Duration> {
    let now = Now { tick: Tick::from_nanos(7), unix_ms: NOON_MS };
    let mut head = HeaderMap::new();
    if let Some(told) = told {
        head.insert(RETRY_AFTER, HeaderValue::from_bytes(told).unwrap());
    }
    pause_until(StatusCode::from_u16(status).unwrap(), &head, now).map(|until| until.since(now.tick))
}

#[test]
fn the_partners_word_on_waiting_is_read_in_both_forms() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    const DAY: u64 = 86_400;
    type Told = Option<&'static [u8]>;
    let rows: [(u16, Told, Option<Duration>); 23] = [
        (429, Some(b"30"), seconds(30)),
        (503, Some(b"30"), seconds(30)),
        (503, Some(b" 30 "), seconds(30)),
        (429, Some(b"0"), seconds(0)),
        (503, Some(b"Sun, 06 Nov 1994 08:50:37 GMT"), seconds(60)),
        (503, Some(b"Sunday, 06-Nov-94 08:50:37 GMT"), seconds(60)),
        (429, Some(NOON.as_bytes()), seconds(0)),
        (429, Some(b"Sun, 06 Nov 1994 08:00:00 GMT"), seconds(0)),
        (503, Some(b"Mon, 06 Nov 2034 08:49:37 GMT"), seconds(DAY)),
        (503, Some(b"86400"), seconds(DAY)),
        (503, Some(b"86401"), seconds(DAY)),
        (503, Some(b"18446744073709551615"), seconds(DAY)),
        (503, Some(b"18446744073709551616"), seconds(DAY)),
        (429, Some(b"99999999999999999999999999999999"), seconds(DAY)),
        (429, None, seconds(1)),
        (429, Some(b"soon"), seconds(1)),
        (429, Some(b""), seconds(1)),
        (429, Some(b"-5"), seconds(1)),
        (429, Some(b"1.5"), seconds(1)),
        (429, Some(b"\xff"), seconds(1)),
        (503, None, None),
        (503, Some(b"soon"), None),
        (200, Some(b"30"), None),
    ];
    for (status, told, expected) in rows {
        assert_eq!(pause(status, told), expected, "{status} {:?}", told.map(String::from_utf8_lossy));
    }
    for status in [301, 401, 403, 404, 500, 502, 504] {
        assert_eq!(pause(status, Some(b"30")), None, "{status}");
    }
}

#[test]
fn a_pause_counts_from_the_wall_clock_to_the_millisecond() {
    let now = Now { tick: Tick::from_nanos(0), unix_ms: NOON_MS + 400 };
    let head = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:38 GMT"))]);
    let until = pause_until(StatusCode::SERVICE_UNAVAILABLE, &head, now);
    assert_eq!(until, Some(Tick::from_nanos(600_000_000)));
}

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
    headers::strip_for_partner(&mut headers);
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
