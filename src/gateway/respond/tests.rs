//! Do answers say what HTTP wants them to say?
//! Given requests' headers, holds negotiation, preconditions and refusals to RFC 9110.
//! Never opens a socket, and hands every age in.

use http::header::{CONTENT_LANGUAGE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE};

use proptest::prelude::*;

use super::*;
use crate::access::Denied;
use crate::budget::breaker::Reason;
use crate::cache::freshness::Life;
use crate::clock::{Now, Tick};
use crate::http::rate_limit_fields::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::quota::Limit;

const SUN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn head(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in lines {
        head.append(name, value.parse().unwrap());
    }
    head
}

fn signature() -> Signature {
    Signature::new("gw").unwrap()
}

fn refused(refusal: &Refusal, method: &Method) -> Response<Body> {
    signature().refusal(refusal, method, &RequestId::made(1), &mut "")
}

#[test]
fn a_time_to_come_back_is_rounded_up_and_at_least_a_second() {
    let rows = [
        (Duration::ZERO, "1"),
        (Duration::from_nanos(1), "1"),
        (Duration::from_millis(999), "1"),
        (Duration::from_secs(1), "1"),
        (Duration::from_nanos(1_000_000_001), "2"),
        (Duration::from_millis(1_001), "2"),
        (Duration::from_secs(86_400), "86400"),
    ];
    for (retry, expected) in rows {
        for refusal in [Refusal::Busy { retry }, Refusal::Closed { retry, reason: Reason::PausedByPartner }] {
            let response = refused(&refusal, &Method::GET);
            assert_eq!(response.headers()[RETRY_AFTER], expected, "{refusal:?}");
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        let limited = Limit::ALL.map(|limit| Refusal::Limited { limit, retry });
        for refusal in limited.into_iter().chain([Refusal::BadTokens { retry }]) {
            let response = refused(&refusal, &Method::GET);
            assert_eq!(response.headers()[RETRY_AFTER], expected, "{refusal:?}");
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        }
    }
    assert!(!refused(&Refusal::Deadline, &Method::GET).headers().contains_key(RETRY_AFTER));
}

#[test]
fn a_refusal_says_what_would_help() {
    let denied = Refusal::Denied(Denied::Scope("clients:read".to_owned()));
    let rows = [
        (Refusal::Method, 405, ALLOW, "GET, HEAD"),
        (Refusal::Unidentified(Unidentified::Missing), 401, WWW_AUTHENTICATE, "Bearer realm=\"reseller-gateway\""),
        (
            Refusal::Unidentified(Unidentified::Bad("signature")),
            401,
            WWW_AUTHENTICATE,
            "Bearer realm=\"reseller-gateway\", error=\"invalid_token\"",
        ),
        (Refusal::Ambiguous, 400, WWW_AUTHENTICATE, "Bearer realm=\"reseller-gateway\", error=\"invalid_request\""),
        (
            denied,
            403,
            WWW_AUTHENTICATE,
            "Bearer realm=\"reseller-gateway\", error=\"insufficient_scope\", scope=\"clients:read\"",
        ),
    ];
    for (refusal, status, name, expected) in rows {
        let response = refused(&refusal, &Method::GET);
        assert_eq!(
            (response.status().as_u16(), &response.headers()[name]),
            (status, &HeaderValue::from_str(expected).unwrap())
        );
        let problem: serde_json::Value = serde_json::from_slice(&response.into_body().into_bytes()).unwrap();
        assert_eq!(problem["status"], status);
    }
}

#[test]
fn a_refusal_of_head_has_the_length_and_no_body() {
    let whole = refused(&Refusal::NoSuchRoute, &Method::GET).into_body().into_bytes();
    let response = refused(&Refusal::NoSuchRoute, &Method::HEAD);
    assert_eq!(response.headers()[CONTENT_LENGTH], whole.len().to_string());
    assert!(response.into_body().into_bytes().is_empty());
}

fn shown(
    view: Option<&'static [u8]>,
    method: &Method,
    asked: &[(HeaderName, &str)],
) -> Result<Response<Body>, Refusal> {
    sent(view.is_none(), view, Coding::Identity, method, asked)
}

fn sent(
    full: bool,
    bytes: Option<&'static [u8]>,
    coding: Coding,
    method: &Method,
    asked: &[(HeaderName, &str)],
) -> Result<Response<Body>, Refusal> {
    of(StatusCode::OK, full, bytes, coding, method, asked)
}

fn of(
    status: StatusCode,
    full: bool,
    bytes: Option<&'static [u8]>,
    coding: Coding,
    method: &Method,
    asked: &[(HeaderName, &str)],
) -> Result<Response<Body>, Refusal> {
    let partner = head(&[
        (CONTENT_TYPE, "application/json"),
        (LAST_MODIFIED, SUN),
        (DATE, AFTER),
        (CONTENT_LANGUAGE, "en"),
        (ETAG, "\"v1\""),
    ]);
    let life = Life { lifetime: Duration::from_secs(60), ..Life::default() };
    let entry = Arc::new(Entry::new(status, &partner, b"{\"a\":1}", Ok(life)));
    let view = bytes.map(|bytes| (Bytes::from_static(bytes), Tag::of(bytes)));
    let document = Document {
        entry,
        full,
        view,
        coding,
        age: Duration::from_secs(7),
        delivery: Delivery::HIT,
        flags: RequestFlags::of(&head(asked)),
    };
    signature().document(document, method, &head(asked), &RequestId::made(1))
}

#[test]
fn a_document_carries_its_age_lifetime_and_our_tag() {
    let response = shown(None, &Method::GET, &[]).unwrap();
    let headers = response.headers();
    assert_eq!(headers[AGE], "7");
    assert_eq!(headers[CACHE_CONTROL], "private, max-age=60");
    assert_eq!(headers[ETAG].as_bytes(), Tag::of(b"{\"a\":1}").text());
    assert_eq!(headers[CACHE_STATUS], "gw; hit; ttl=53");
    assert_eq!(headers[LAST_MODIFIED], SUN);
    assert_eq!(response.into_body().into_bytes(), "{\"a\":1}");
}

#[test]
fn a_narrowed_view_carries_nothing_of_the_whole() {
    let response = shown(Some(b"{}"), &Method::GET, &[(IF_MODIFIED_SINCE, AFTER)]).unwrap();
    assert_eq!(response.status(), StatusCode::OK, "the partner's date is not its own");
    assert_eq!(response.headers()[ETAG].as_bytes(), Tag::of(b"{}").text());
    assert!(!response.headers().contains_key(LAST_MODIFIED) && !response.headers().contains_key(CONTENT_LANGUAGE));
    assert_eq!(response.into_body().into_bytes(), "{}");
}

#[test]
fn a_304_and_a_head_have_no_body_and_a_failed_precondition_is_a_refusal() {
    let unchanged = shown(None, &Method::GET, &[(IF_NONE_MATCH, "*")]).unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert!(unchanged.headers().contains_key(ETAG) && !unchanged.headers().contains_key(CONTENT_TYPE));
    assert!(unchanged.into_body().into_bytes().is_empty());
    let head = shown(None, &Method::HEAD, &[]).unwrap();
    assert_eq!(head.headers()[CONTENT_LENGTH], "7");
    assert!(head.into_body().into_bytes().is_empty());
    assert_eq!(shown(None, &Method::GET, &[(IF_MATCH, "\"a\"")]).unwrap_err(), Refusal::Precondition);
}

#[test]
fn a_coded_document_says_so_and_keeps_the_partners_headers() {
    let response = sent(true, Some(b"pressed"), Coding::Gzip, &Method::GET, &[]).unwrap();
    let headers = response.headers();
    assert_eq!(headers[CONTENT_ENCODING], "gzip");
    assert_eq!(headers[CONTENT_TYPE], "application/json");
    assert_eq!(headers[LAST_MODIFIED], SUN);
    assert_eq!(headers[ETAG].as_bytes(), Tag::of(b"pressed").text());
    assert_eq!(headers[VARY], VARY_OURS);
    assert_eq!(response.into_body().into_bytes(), "pressed");
    let of_head = sent(true, Some(b"pressed!"), Coding::Gzip, &Method::HEAD, &[]).unwrap();
    assert_eq!(
        (&of_head.headers()[CONTENT_ENCODING], &of_head.headers()[CONTENT_LENGTH]),
        (&"gzip".parse().unwrap(), &"8".parse().unwrap())
    );
    assert!(!shown(None, &Method::GET, &[]).unwrap().headers().contains_key(CONTENT_ENCODING));
}

#[test]
fn a_slice_is_one_of_the_bytes_that_would_be_sent() {
    let rows: [(Option<&'static [u8]>, Coding, &str, &str); 3] = [
        (None, Coding::Identity, "bytes 1-3/7", "\"a\""),
        (Some(b"{\"of a view\":1}"), Coding::Identity, "bytes 1-3/15", "\"of"),
        (Some(b"pressed"), Coding::Gzip, "bytes 1-3/7", "res"),
    ];
    for (bytes, coding, range, body) in rows {
        let response = sent(coding == Coding::Gzip, bytes, coding, &Method::GET, &[(RANGE, "bytes=1-3")]).unwrap();
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.headers()[CONTENT_RANGE], range);
        assert!(response.headers().contains_key(ETAG) && response.headers().contains_key(AGE));
        assert_eq!(response.headers().contains_key(CONTENT_ENCODING), coding == Coding::Gzip);
        assert_eq!(response.into_body().into_bytes(), body);
    }
}

#[test]
fn a_range_comes_after_the_preconditions() {
    let own = String::from_utf8(Tag::of(b"{\"a\":1}").text().to_vec()).unwrap();
    let range = (RANGE, "bytes=1-3");
    let status = |asked: &[(HeaderName, &str)]| shown(None, &Method::GET, asked).map(|response| response.status());
    assert_eq!(status(&[range.clone(), (IF_NONE_MATCH, &own)]), Ok(StatusCode::NOT_MODIFIED));
    assert_eq!(status(&[range.clone(), (IF_MATCH, "\"a\"")]), Err(Refusal::Precondition));
    assert_eq!(status(&[range.clone(), (IF_MATCH, &own)]), Ok(StatusCode::PARTIAL_CONTENT));
    assert_eq!(status(&[range.clone(), (IF_RANGE, &own)]), Ok(StatusCode::PARTIAL_CONTENT));
    assert_eq!(status(&[range.clone(), (IF_RANGE, "\"a\"")]), Ok(StatusCode::OK));
    assert_eq!(status(&[range.clone(), (IF_RANGE, SUN)]), Ok(StatusCode::PARTIAL_CONTENT));
    assert_eq!(status(&[(RANGE, "bytes=7-")]), Err(Refusal::Beyond { length: 7 }));
    let narrowed = shown(Some(b"{\"b\":1}"), &Method::GET, &[range.clone(), (IF_RANGE, SUN)]).unwrap();
    assert_eq!(narrowed.status(), StatusCode::OK, "the partner's date says nothing of a view");
    let of_head = shown(None, &Method::HEAD, &[range]).unwrap();
    assert_eq!((of_head.status(), &of_head.headers()[CONTENT_LENGTH]), (StatusCode::OK, &"7".parse().unwrap()));
}

#[test]
fn only_a_document_that_is_there_has_preconditions_and_parts() {
    for asked in [(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "*"), (IF_MODIFIED_SINCE, AFTER), (RANGE, "bytes=7-")] {
        let missing = of(StatusCode::NOT_FOUND, true, None, Coding::Identity, &Method::GET, &[asked]).unwrap();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }
}

#[test]
fn a_range_beyond_the_end_is_told_where_the_end_is() {
    let response = refused(&Refusal::Beyond { length: 7 }, &Method::GET);
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(response.headers()[CONTENT_RANGE], "bytes */7");
    assert_eq!(response.headers()[CONTENT_TYPE], crate::http::problem::MEDIA_TYPE);
}

/// What hyper makes of a response: its own length, and a date where there is none.
fn by_hyper(response: Response<Body>, now: Now) -> (Vec<String>, Bytes) {
    let (head, body) = response.into_parts();
    let bytes = body.into_bytes();
    let mut lines: Vec<String> = vec![format!("content-length: {}", bytes.len())];
    lines.extend(head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
    if !head.headers.contains_key(DATE) {
        lines.push(format!("date: {}", httpdate::fmt_http_date(now.wall())));
    }
    lines.sort_unstable();
    (lines, bytes)
}

proptest! {
    /// Whatever is stored and whoever sees it: what is written at once is what goes the long way.
    #[test]
    fn a_hit_on_the_wire_says_what_its_response_says(
        dated in any::<bool>(),
        typed in prop::option::of("[a-z]{1,9}/[a-z+.-]{1,20}"),
        language in prop::option::of("[a-z]{2}"),
        modified in any::<bool>(),
        body in prop::collection::vec(any::<u8>(), 0..4000),
        view in prop::option::of(prop::collection::vec(any::<u8>(), 0..4000)),
        is_gzip in any::<bool>(),
        narrowed in any::<bool>(),
        limited in any::<bool>(),
        (lifetime, age) in (0..u64::from(u32::MAX), 0..u64::from(u32::MAX)),
        number in any::<u64>(),
    ) {
        let mut partner = HeaderMap::new();
        partner.extend(typed.map(|typed| (CONTENT_TYPE, typed.parse::<HeaderValue>().unwrap())));
        partner.extend(language.map(|language| (CONTENT_LANGUAGE, language.parse::<HeaderValue>().unwrap())));
        partner.extend(dated.then(|| (DATE, HeaderValue::from_static(AFTER))));
        partner.extend(modified.then(|| (LAST_MODIFIED, HeaderValue::from_static(SUN))));
        let life = Life {
            lifetime: Duration::from_secs(lifetime),
            ..Life::default()
        };
        let now = Now { tick: Tick::from_nanos(5), unix_ms: number / 1_000_000_000 };
        let entry = Arc::new(Entry::new(StatusCode::OK, &partner, &body, Ok(life)));
        // What is coded or narrowed is never the entry's own bytes.
        let view = view.or((narrowed || is_gzip).then(Vec::new)).map(|bytes| (Bytes::from(bytes.clone()), Tag::of(&bytes)));
        let document = || Document {
            entry: Arc::clone(&entry),
            full: !narrowed,
            view: view.clone(),
            coding: if is_gzip { Coding::Gzip } else { Coding::Identity },
            age: Duration::from_secs(age),
            delivery: Delivery::HIT,
            flags: RequestFlags::NOTHING,
        };
        let limits = limited.then(|| crate::quota::LimitHeaders {
            policy: HeaderValue::from_static("\"requests\";q=3;w=180"),
            standing: HeaderValue::from_static("\"requests\";r=2;t=60"),
        });
        let id = RequestId::made(number);
        let mut response = signature().document(document(), &Method::GET, &HeaderMap::new(), &id).unwrap();
        if let Some(told) = &limits {
            response.headers_mut().insert(RATE_LIMIT_POLICY, told.policy.clone());
            response.headers_mut().insert(RATE_LIMIT, told.standing.clone());
        }
        let (expected, bytes) = by_hyper(response, now);
        let mut wire = crate::listen::Wire::new();
        let (rest, length) = signature().write(document(), &id, now, limits, &mut wire);
        let end = wire.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(wire[..end].to_vec()).unwrap();
        let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        prop_assert_eq!(lines.remove(0), "HTTP/1.1 200 OK");
        lines.sort_unstable();
        prop_assert_eq!(lines, expected);
        prop_assert_eq!([&wire[end + 4..], &rest].concat(), &bytes[..]);
        prop_assert_eq!(length, bytes.len());
    }
}
