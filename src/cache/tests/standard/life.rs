//! What is stored, and for how long is it fresh (RFC 9111 §3, §4.2, §5.2.2; RFC 9213)?
//! Given heads, holds storing and moments to their tables.
//! Never waits.

use super::*;
use crate::cache::freshness::Windows;
use crate::http::cache_control::{CacheControl, MOST_SECONDS, RequestCacheControl};

const CC: &str = "cache-control";
const CDN: &str = "cdn-cache-control";

fn lifetime(answer: Lines<'_>) -> Result<u64, Detail> {
    judged(200, answer).map(|storable| storable.life.lifetime.as_secs())
}

#[test]
fn an_answer_is_stored_where_every_clause_of_section_3_allows_it() {
    let fresh = "max-age=60";
    let rows: &[(u16, Lines<'_>, Result<(), Detail>)] = &[
        (200, &[(CC, fresh)], Ok(())),
        (200, &[("expires", MINUTE_LATER)], Ok(())),
        (200, &[("last-modified", DAY_BEFORE)], Ok(())),
        (200, &[("etag", "\"a\"")], Ok(())),
        (200, &[], Err(Detail::NoLifetime)),
        (200, &[(CC, "no-cache")], Err(Detail::NoLifetime)),
        (200, &[(CC, "no-cache"), ("etag", "\"a\"")], Ok(())),
        (200, &[(CC, "max-age=60, no-store")], Err(Detail::NoStore)),
        (200, &[(CC, "max-age=60, NO-Store=x")], Err(Detail::NoStore)),
        (200, &[(CC, "max-age=60, private")], Err(Detail::Private)),
        (200, &[(CC, "max-age=60, private=\"x-a\"")], Ok(())),
        (200, &[(CC, "max-age=60, private=\"\"")], Err(Detail::Private)),
        (200, &[(CC, "max-age=60, private=\"x a\"")], Err(Detail::Private)),
        (200, &[(CC, "max-age=60, must-understand, no-store")], Ok(())),
        (599, &[(CC, "max-age=60, must-understand, no-store")], Err(Detail::Status)),
        (599, &[(CC, "max-age=60, must-understand")], Err(Detail::Status)),
        (599, &[(CC, fresh)], Ok(())),
        (599, &[("last-modified", DAY_BEFORE)], Err(Detail::Status)),
        (599, &[("last-modified", DAY_BEFORE), (CC, "public")], Ok(())),
        (206, &[(CC, fresh)], Err(Detail::Partial)),
        (304, &[(CC, fresh)], Err(Detail::Status)),
        (500, &[(CC, fresh)], Ok(())),
        (403, &[("last-modified", DAY_BEFORE)], Err(Detail::Status)),
        (200, &[(CC, fresh), ("vary", "accept")], Ok(())),
        (200, &[(CC, fresh), ("vary", "accept, *")], Err(Detail::Vary)),
        (200, &[(CC, fresh), ("vary", ""), ("vary", " * ")], Err(Detail::Vary)),
        (200, &[(CC, fresh), ("vary", "a b")], Err(Detail::Vary)),
    ];
    for (status, answer, expected) in rows {
        assert_eq!(judged(*status, answer).map(drop), *expected, "{status} {answer:?}");
    }
}

#[test]
fn only_statuses_with_a_default_are_given_a_lifetime_by_guess() {
    for status in 200..=599 {
        let guessed = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status);
        assert_eq!(judged(status, &[("last-modified", DAY_BEFORE), ("date", NOON)]).is_ok(), guessed, "{status}");
    }
}

#[test]
fn an_authorization_keeps_an_answer_out_unless_it_is_opened() {
    let rows = [
        ("max-age=60", Err(Detail::Authorization)),
        ("max-age=60, proxy-revalidate", Err(Detail::Authorization)),
        ("max-age=60, public", Ok(())),
        ("max-age=60, must-revalidate", Ok(())),
        ("s-maxage=60", Ok(())),
    ];
    for (said, expected) in rows {
        assert_eq!(to(&[("authorization", "Basic x")], 200, &[(CC, said)]).map(drop), expected, "{said}");
    }
    assert_eq!(to(&[(CC, "no-store")], 200, &[(CC, "max-age=60")]).map(drop), Err(Detail::RequestNoStore));
}

#[test]
fn directives_are_read_in_every_form_they_come_in() {
    let most = Ok(MOST_SECONDS);
    let rows: &[(Lines<'_>, Result<u64, Detail>)] = &[
        (&[(CC, "MaX-aGe=60")], Ok(60)),
        (&[(CC, "max-age=\"60\"")], Ok(60)),
        (&[(CC, "max-age=0060")], Ok(60)),
        (&[(CC, "max-age=2147483647")], Ok(MOST_SECONDS - 1)),
        (&[(CC, "max-age=2147483648")], most),
        (&[(CC, "max-age=99999999999999999999999")], most),
        (&[(CC, ", ,max-age=60,,")], Ok(60)),
        (&[(CC, "foobar, max-age=60")], Ok(60)),
        (&[(CC, "max-age=60, max-age=1")], Ok(60)),
        (&[(CC, "max-age=1"), (CC, "max-age=60")], Ok(1)),
        (&[(CC, "max-age=1, s-maxage=60")], Ok(60)),
        (&[(CC, "s-maxage=1"), (CC, "max-age=60")], Ok(1)),
        (&[(CC, "ext=\"max-age=3600\", max-age=1")], Ok(1)),
        (&[(CC, "ext=\"a\\\", max-age=3600, b=\", max-age=1")], Ok(1)),
        (&[(CC, "max-age='60'"), ("etag", "\"a\"")], Ok(0)),
        (&[(CC, "max-age=-60")], Ok(0)),
        (&[(CC, "max-age=60.5")], Ok(0)),
        (&[(CC, "max-age=60a")], Ok(0)),
        (&[(CC, "max-age =60")], Ok(0)),
        (&[(CC, "max-age= 60")], Ok(0)),
        (&[(CC, "max-age=x, max-age=60")], Ok(0)),
        (&[(CC, "max-age")], Ok(0)),
        (&[(CC, "max-age=0"), ("expires", MINUTE_LATER), ("date", NOON)], Ok(0)),
        (&[(CC, "max-age=60"), ("expires", "0")], Ok(60)),
        (&[("expires", MINUTE_LATER), ("date", NOON)], Ok(60)),
        (&[("expires", MINUTE_LATER), ("date", "today")], Ok(60)),
        (&[("expires", MINUTE_LATER)], Ok(60)),
        (&[("expires", NOON), ("date", MINUTE_LATER)], Ok(0)),
        (&[("expires", "0"), ("date", NOON)], Ok(0)),
        (&[("expires", "0"), ("last-modified", DAY_BEFORE)], Ok(0)),
        (&[("last-modified", DAY_BEFORE), ("date", NOON)], Ok(8640)),
        (&[("last-modified", "Thu, 06 Nov 1980 08:49:37 GMT"), ("date", NOON)], Ok(86_400)),
        (&[("last-modified", MINUTE_LATER), ("date", NOON)], Ok(0)),
    ];
    for (answer, expected) in rows {
        assert_eq!(lifetime(answer), *expected, "{answer:?}");
    }
}

#[test]
fn a_targeted_field_stands_above_the_others_if_it_can_be_read() {
    let rows: &[(Lines<'_>, Result<u64, Detail>)] = &[
        (&[(CDN, "max-age=60"), (CC, "max-age=1")], Ok(60)),
        (&[(CDN, "max-age=1"), (CC, "max-age=60")], Ok(1)),
        (&[(CDN, "max-age=60"), (CC, "no-store")], Ok(60)),
        (&[(CDN, "max-age=60, no-store"), (CC, "max-age=60")], Err(Detail::NoStore)),
        (&[(CDN, "private"), (CC, "max-age=60"), ("expires", MINUTE_LATER)], Err(Detail::Private)),
        (&[(CDN, "max-age=99999999999")], Ok(MOST_SECONDS)),
        (&[(CDN, "max-age=-5"), (CC, "max-age=60")], Ok(0)),
        (&[(CDN, "foobar, max-age=60;x=1")], Ok(60)),
        (&[(CDN, "foobar"), (CDN, "max-age=60")], Ok(60)),
        (&[(CDN, "max-age=0"), ("expires", MINUTE_LATER)], Ok(0)),
        (&[(CDN, "foo"), ("expires", MINUTE_LATER), ("etag", "\"a\"")], Ok(0)),
        (&[(CDN, "no-store=?0, max-age=60")], Ok(60)),
        // None of these is a dictionary with a lifetime in it: they are as if they were not there.
        (&[(CDN, "max-age=\"60\""), (CC, "no-store")], Err(Detail::NoStore)),
        (&[(CDN, "max-age=60, &&&&&"), (CC, "no-store")], Err(Detail::NoStore)),
        (&[(CDN, "max-age =60"), (CC, "max-age=1")], Ok(1)),
        (&[(CDN, "MaX-aGe=60"), (CC, "max-age=1")], Ok(1)),
        (&[(CDN, ""), (CC, "max-age=1")], Ok(1)),
    ];
    for (answer, expected) in rows {
        assert_eq!(lifetime(answer), *expected, "{answer:?}");
    }
    assert!(judged(200, &[(CDN, "no-cache"), (CC, "max-age=60"), ("etag", "\"a\"")]).unwrap().life.ask_first);
}

#[test]
fn an_answer_is_as_old_as_its_date_its_age_or_its_way_say_whichever_is_more() {
    let asked = Exchange { asked: tick(0), received: now(2) };
    let age = |answer: Lines<'_>| {
        let mut answer = head(answer);
        answer.append("cache-control", HeaderValue::from_static("max-age=3600"));
        let storable = storability::judge(&Method::GET, &HeaderMap::new(), StatusCode::OK, &answer, asked).unwrap();
        storable.life.age(tick(5)).as_secs()
    };
    let rows: &[(Lines<'_>, u64)] = &[
        (&[], 5),
        (&[("date", NOON)], 5),
        (&[("date", DAY_BEFORE)], 86_405),
        (&[("date", MINUTE_LATER)], 5),
        (&[("age", "30")], 35),
        (&[("age", "30"), ("date", DAY_BEFORE)], 86_405),
        (&[("age", "0, 30")], 5),
        (&[("age", "30, 0")], 35),
        (&[("age", "30"), ("age", "0")], 35),
        (&[("age", "abc")], 5),
        (&[("age", "-30")], 5),
        (&[("age", "30.0")], 5),
        (&[("age", "30;x=1")], 5),
        (&[("age", "99999999999999999999")], MOST_SECONDS + 5),
    ];
    for (answer, expected) in rows {
        assert_eq!(age(answer), *expected, "{answer:?}");
    }
}

#[test]
fn what_is_forbidden_beyond_the_lifetime_is_forbidden_whatever_else_allows_it() {
    let beyond = |said: &str| judged(200, &[(CC, said), ("etag", "\"a\"")]).unwrap().life.stale;
    for forbids in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=1"] {
        let said = format!("max-age=1, stale-while-revalidate=60, stale-if-error=60, {forbids}");
        assert_eq!(beyond(&said), Windows::default(), "{forbids}");
    }
    let allowed = |while_revalidate, if_error, if_unreached| Windows {
        while_revalidate: seconds(while_revalidate),
        if_error: seconds(if_error),
        if_unreached: seconds(if_unreached),
        if_asked: Duration::MAX,
    };
    assert_eq!(beyond("max-age=1"), allowed(0, 0, 86_400));
    assert_eq!(beyond("max-age=1, stale-while-revalidate=7, stale-if-error=9"), allowed(7, 9, 9));
    assert_eq!(beyond("max-age=1, stale-while-revalidate=x"), allowed(0, 0, 86_400));
}

#[test]
fn fields_of_a_connection_and_fields_that_are_withheld_are_not_stored() {
    let answer: Lines<'_> = &[
        (CC, "max-age=60, no-cache=\"x-a, X-B\""),
        ("connection", "x-hop, close"),
        ("x-hop", "1"),
        ("x-a", "1"),
        ("x-b", "2"),
        ("x-c", "3"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        ("proxy-connection", "close"),
        ("te", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "x"),
        ("content-length", "5"),
        ("age", "5"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
    ];
    let kept = stored(answer, "x").head();
    let expected = head(&[
        (CC, "max-age=60, no-cache=\"x-a, X-B\""),
        ("x-c", "3"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("date", NOON),
    ]);
    assert_eq!(kept, expected);
    assert!(!CacheControl::of(&head(answer)).no_cache);
}

#[test]
fn wishes_are_read_and_what_cannot_be_read_was_not_wished() {
    let wishes = |lines: Lines<'_>| RequestCacheControl::of(&head(lines));
    let none = RequestCacheControl::default();
    assert_eq!(wishes(&[(CC, "nothing-to-see-here"), ("pragma", "no-cache")]), none);
    assert_eq!(wishes(&[("pragma", "foo")]), none);
    assert_eq!(wishes(&[("pragma", "No-Cache")]), RequestCacheControl { no_cache: true, ..none });
    assert_eq!(
        wishes(&[(CC, "No-Cache, only-if-cached")]),
        RequestCacheControl { no_cache: true, only_if_cached: true, ..none }
    );
    assert_eq!(wishes(&[(CC, "x-only-if-cached, max-age=x, min-fresh=-1")]), none);
    assert_eq!(wishes(&[(CC, "max-stale")]), RequestCacheControl { max_stale: Some(MOST_SECONDS), ..none });
    let all = RequestCacheControl { max_age: Some(1), max_stale: Some(2), min_fresh: Some(3), no_store: true, ..none };
    assert_eq!(wishes(&[(CC, "max-age=1, max-stale=2"), (CC, "min-fresh=\"3\", no-store")]), all);
}
