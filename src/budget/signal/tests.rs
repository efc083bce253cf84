//! Is every spelling of a limit that partners use read as what it means?
//! Given heads as they were seen in the wild, holds against them how long nothing is asked.
//! Never looks at what a pause does: that is the breaker's.

use http::{HeaderName, HeaderValue};

use super::*;

const NOON_MS: u64 = 1_800_000_000_000;
/// 2027-01-15T08:00:00Z.
const NOW: Now = Now { tick: Tick::from_nanos(5_000_000_000), unix_ms: NOON_MS };
const HOUR: Duration = Duration::from_secs(3_600);

type Lines<'a> = &'a [(&'a str, &'a str)];

fn said(status: u16, lines: Lines<'_>) -> Signal {
    let mut head = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        head.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    heard(StatusCode::from_u16(status).unwrap(), &head, NOW, HOUR)
}

/// For how many milliseconds nothing is asked, if a time was named.
fn millis(status: u16, lines: Lines<'_>) -> Option<u128> {
    let pause = said(status, lines).pause.filter(|pause| pause.named)?;
    Some(pause.until.since(NOW.tick).as_millis())
}

/// 3 s and 20 s after `NOW`, as partners write them. Resets in milliseconds were read as seconds, a `Retry-After` in Unix
/// time as 55 years: both closed the partner for a day. Words and fractions were not read at all.
#[test]
fn a_time_is_read_by_its_form_and_its_size() {
    let rows: [(&str, Option<u128>); 58] = [
        ("30", Some(30_000)),
        (" 30 ", Some(30_000)),
        ("0", Some(0)),
        ("1.5", Some(1_500)),
        ("20.0", Some(20_000)),
        ("0.25", Some(250)),
        ("2e1", Some(20_000)),
        ("\"30\"", Some(30_000)),
        ("20, 30", Some(30_000)),
        ("999999999", Some(3_600_000)),
        ("1800000003", Some(3_000)),
        ("1800000003.25", Some(3_250)),
        ("1.800000003e+09", Some(3_000)),
        ("1800000003000", Some(3_000)),
        ("1800000003250", Some(3_250)),
        ("1800000003000000", Some(3_000)),
        ("1800000003000000000", Some(3_000)),
        ("@1800000003", Some(3_000)),
        ("1000000000", Some(0)),
        ("1700000000000", Some(0)),
        ("99999999999", Some(3_600_000)),
        ("18446744073709551616", Some(3_600_000)),
        ("99999999999999999999999999999999", Some(3_600_000)),
        ("1e300", Some(3_600_000)),
        ("20s", Some(20_000)),
        ("0m20s", Some(20_000)),
        ("1m30.5s", Some(90_500)),
        ("500ms", Some(500)),
        ("1h", Some(3_600_000)),
        ("1h0m0s", Some(3_600_000)),
        ("250000us", Some(250)),
        ("250000µs", Some(250)),
        ("3000000000ns", Some(3_000)),
        ("1d", Some(3_600_000)),
        ("20 seconds", Some(20_000)),
        ("00:00:20", Some(20_000)),
        ("PT20S", Some(20_000)),
        ("PT1M30.5S", Some(90_500)),
        ("2027-01-15T08:00:03Z", Some(3_000)),
        ("2027-01-15T08:00:03.250Z", Some(3_250)),
        ("2027-01-15t08:00:03z", Some(3_000)),
        ("2027-01-15T10:00:03+02:00", Some(3_000)),
        ("2027-01-15 08:00:03+00:00", Some(3_000)),
        ("2027-01-15T07:59:00Z", Some(0)),
        ("Fri, 15 Jan 2027 08:00:03 GMT", Some(3_000)),
        ("Friday, 15-Jan-27 08:00:03 GMT", Some(3_000)),
        ("Fri Jan 15 08:00:03 2027", Some(3_000)),
        ("Fri, 15 Jan 2027 10:00:03 +0200", Some(3_000)),
        ("Fri, 15 Jan 2027 07:59:00 GMT", Some(0)),
        ("Wed, 15 Jan 2087 08:00:00 GMT", Some(3_600_000)),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("-20s", None),
        ("20 s ago", None),
        ("30 apples", None),
        ("0x20", None),
        ("2027-01-15T08:00:03", None),
    ];
    for (text, expected) in rows {
        assert_eq!(millis(429, &[("retry-after", text)]), expected, "Retry-After: {text}");
        assert_eq!(millis(503, &[("retry-after", text)]), expected, "Retry-After: {text} of a 503");
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", text)];
        assert_eq!(millis(429, &spent), expected, "X-RateLimit-Reset: {text}");
        assert_eq!(millis(200, &spent), expected.filter(|it| *it > 0), "X-RateLimit-Reset: {text} of a 200");
    }
}

/// A partner whose clock was two minutes slow was asked again at once, and one that was fast was left alone too long.
#[test]
fn a_date_is_held_against_the_answers_own_date() {
    let slow = ("date", "Fri, 15 Jan 2027 07:58:00 GMT");
    let fast = ("date", "Friday, 15-Jan-27 08:02:00 GMT");
    let rows: [(Lines<'_>, u128); 9] = [
        (&[slow, ("retry-after", "Fri, 15 Jan 2027 07:58:30 GMT")], 30_000),
        (&[fast, ("retry-after", "Fri, 15 Jan 2027 08:02:30 GMT")], 30_000),
        (&[slow, ("retry-after", "2027-01-15T07:58:30.500Z")], 30_500),
        (&[slow, ("retry-after", "1799999910")], 30_000),
        (&[slow, ("retry-after", "1799999910000")], 30_000),
        (&[fast, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000150")], 30_000),
        (&[fast, ("retry-after", "30")], 30_000),
        (&[fast, ("retry-after", "30s")], 30_000),
        (&[("date", "yesterday"), ("retry-after", "Fri, 15 Jan 2027 08:00:30 GMT")], 30_000),
    ];
    for (lines, expected) in rows {
        assert_eq!(millis(429, lines), Some(expected), "{lines:?}");
    }
    let now = Now { unix_ms: NOON_MS + 400, ..NOW };
    let head =
        HeaderMap::from_iter([(http::header::RETRY_AFTER, HeaderValue::from_static("Fri, 15 Jan 2027 08:00:01 GMT"))]);
    let until = heard(StatusCode::SERVICE_UNAVAILABLE, &head, now, HOUR).pause.unwrap().until;
    assert_eq!(until.since(now.tick), Duration::from_millis(600), "our own clock counts to the millisecond");
}

#[test]
fn a_spent_limit_closes_until_its_reset_in_every_spelling() {
    let rows: [(Lines<'_>, Option<u128>); 40] = [
        (&[("ratelimit", "\"default\";r=0;t=30")], Some(30)),
        (&[("ratelimit", "default;r=0;t=30")], Some(30)),
        (&[("ratelimit", "\"a\";r=5;t=60, \"b\";r=0;t=9")], Some(9)),
        (&[("ratelimit", "\"a\";r=0;t=60"), ("ratelimit", "\"b\";r=0;t=90")], Some(90)),
        (&[("ratelimit", "\"default\";r=50;t=30")], None),
        (&[("ratelimit", "\"default\";r=0")], None),
        (&[("ratelimit", "limit=100, remaining=0, reset=12")], Some(12)),
        (&[("ratelimit", "Limit=100; Remaining=0; Reset=12")], Some(12)),
        (&[("ratelimit", "limit=100, remaining=3, reset=12")], None),
        (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "8")], Some(8)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "8")], Some(8)),
        (&[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "8")], Some(8)),
        (&[("rate-limit-remaining", "0"), ("rate-limit-reset", "8")], Some(8)),
        (&[("x-ratelimit-remaining", "0.0"), ("x-ratelimit-reset", "8")], Some(8)),
        (&[("x-ratelimit-remaining", "0;w=60"), ("x-ratelimit-reset", "8;w=60")], Some(8)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "8")], Some(8)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-ms", "8000")], Some(8)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-at", "2027-01-15T08:00:08Z")], Some(8)),
        (&[("ratelimit-remaining", "0"), ("ratelimit-resettime", "Fri, 15 Jan 2027 08:00:08 GMT")], Some(8)),
        (&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "0m20s")], Some(20)),
        (&[("x-ratelimit-requests-remaining", "0"), ("x-ratelimit-requests-reset", "20")], Some(20)),
        (
            &[
                ("x-ratelimit-remaining-requests", "59"),
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            Some(360),
        ),
        (
            &[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "1s"),
                ("x-ratelimit-remaining-tokens", "149984"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            Some(1),
        ),
        (
            &[
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:08Z"),
            ],
            Some(8),
        ),
        (&[("x-ratelimit-remaining-minute", "0"), ("ratelimit-remaining", "0"), ("ratelimit-reset", "8")], Some(8)),
        (&[("x-ratelimit-remaining-minute", "0"), ("ratelimit-reset", "8")], Some(8)),
        (
            &[
                ("x-ratelimit-remaining", "5"),
                ("x-ratelimit-reset", "500"),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", "8"),
            ],
            Some(8),
        ),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-requests", "8")], None),
        (&[("x-ratelimit-remaining", "0")], None),
        (&[("x-ratelimit-reset", "8")], None),
        (&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "8")], None),
        (&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "8")], None),
        (&[("x-ratelimit-remaining", "none"), ("x-ratelimit-reset", "8")], None),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "0")], None),
        (&[("x-ratelimit-limit", "0"), ("x-ratelimit-reset", "8")], None),
        (&[("x-separate-limit-remaining", "0"), ("x-separate-limit-reset", "8")], None),
        (&[("ratelimit-policy", "\"default\";r=0;t=30")], None),
        (&[("retry-after", "30")], None),
        (&[("x-ratelimit-retry-after", "30")], None),
        (&[], None),
    ];
    for (lines, expected) in rows {
        assert_eq!(millis(200, lines), expected.map(|seconds| seconds * 1_000), "{lines:?}");
    }
    let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "50")];
    for (status, expected) in [(201, Some(50_000)), (304, Some(50_000)), (404, Some(50_000)), (429, Some(50_000))] {
        assert_eq!(millis(status, &spent), expected, "{status}");
    }
    assert_eq!((millis(503, &spent), millis(500, &spent), millis(502, &spent)), (Some(50_000), None, None));
}

#[test]
fn a_429_says_by_itself_that_a_limit_is_spent() {
    let rows: [(Lines<'_>, Option<u128>); 12] = [
        (&[("x-ratelimit-reset", "8")], Some(8_000)),
        (&[("x-ratelimit-reset-after", "20")], Some(20_000)),
        (&[("x-ratelimit-limit", "9"), ("x-rate-limit-reset", "8")], Some(8_000)),
        (&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "8")], None),
        (&[("x-ratelimit-retry-after", "20")], Some(20_000)),
        (&[("x-rate-limit-retry-after-seconds", "20")], Some(20_000)),
        (&[("x-retry-after", "20")], Some(20_000)),
        (&[("retry-after-ms", "1500")], Some(1_500)),
        (&[("x-ms-retry-after-ms", "20000")], Some(20_000)),
        (&[("retry-after", "2"), ("retry-after-ms", "1500")], Some(2_000)),
        (&[("retry-after", "soon"), ("retry-after-ms", "1500")], Some(1_500)),
        (&[("retry-after", "5"), ("retry-after", "9")], Some(9_000)),
    ];
    for (lines, expected) in rows {
        assert_eq!(millis(429, lines), expected, "{lines:?}");
    }
    let both = [("retry-after", "5"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "50")];
    assert_eq!(millis(429, &both), Some(5_000), "the plainer word stands");
}

#[test]
fn retry_after_counts_where_it_asks_for_rest() {
    for status in [200, 202, 301, 401, 404, 413, 500, 502, 504] {
        assert_eq!(said(status, &[("retry-after", "30")]), Signal::default(), "{status}");
    }
    for status in [200, 403, 503, 500] {
        assert_eq!(said(status, &[]), Signal::default(), "{status}");
    }
}

/// A 403 of a limit was taken for an answer about a resource, and the next one was asked for at once.
#[test]
fn a_403_that_names_a_time_is_marked() {
    let rows: [(Lines<'_>, Option<u128>); 5] = [
        (&[("retry-after", "30")], Some(30_000)),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")], Some(30_000)),
        (&[("x-ratelimit-remaining", "0")], None),
        (&[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "30")], None),
        (&[("retry-after", "soon")], None),
    ];
    for (lines, expected) in rows {
        assert_eq!(millis(403, lines), expected, "{lines:?}");
        assert!(said(403, lines).pause.is_none_or(|pause| pause.forbidden));
        assert!(said(429, lines).pause.is_some_and(|pause| !pause.forbidden));
    }
}

#[test]
fn the_header_that_names_the_time_is_shown_and_what_cuts_it_is_said() {
    let paused = |lines: Lines<'_>| said(429, lines).pause.unwrap();
    let excerpt = |lines: Lines<'_>| paused(lines).excerpt.map(|excerpt| excerpt.to_string());
    assert_eq!(excerpt(&[("retry-after", "30")]).as_deref(), Some("retry-after: 30"));
    assert_eq!(excerpt(&[("x-rate-limit-reset", "8s")]).as_deref(), Some("x-rate-limit-reset: 8s"));
    assert_eq!(excerpt(&[("ratelimit", "\"b\";r=0;t=9")]).as_deref(), Some("ratelimit: \\\"b\\\";r=0;t=9"));
    let rows = [("3600", false, 3_600), ("3601", true, 3_600), ("1h", false, 3_600), ("9h", true, 3_600)];
    for (text, capped, seconds) in rows {
        let pause = paused(&[("retry-after", text)]);
        assert_eq!((pause.capped, pause.until.since(NOW.tick).as_secs()), (capped, seconds), "{text}");
    }
    let unnamed = paused(&[]);
    assert_eq!((unnamed.named, unnamed.excerpt, unnamed.until.since(NOW.tick)), (false, None, UNNAMED));
}

#[test]
fn what_cannot_be_read_is_handed_back() {
    let unread = |status, lines: Lines<'_>| said(status, lines).unread.map(|excerpt| excerpt.to_string());
    let rows: [(u16, Lines<'_>, Option<&str>); 8] = [
        (429, &[("retry-after", "soon")], Some("retry-after: soon")),
        (503, &[("retry-after", "soon")], Some("retry-after: soon")),
        (403, &[("retry-after", "\u{e9}")], Some(r"retry-after: \xc3\xa9")),
        (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "later")], Some("x-ratelimit-reset: later")),
        (429, &[("retry-after", "30"), ("x-ratelimit-reset", "later")], None),
        (200, &[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "later")], None),
        (200, &[("retry-after", "soon")], None),
        (404, &[("retry-after", "soon")], None),
    ];
    for (status, lines, expected) in rows {
        assert_eq!(unread(status, lines).as_deref(), expected, "{status} {lines:?}");
    }
}
