//! In which shape is it given, and what do 304, HEAD and changes do to it (RFC 9111 §4.3, §4.4; RFC 9110 §13, §14)?
//! Given replies and heads, holds conditions, validation and invalidation to their tables.
//! Never waits.

use super::super::conditions::{Shape, shape};
use super::super::invalidation::{also_changed, changes};
use super::super::validation::{HeadUpdate, after_head, ask_about, ask_which, freshened, is_for_the_partner, meant};
use super::*;
use crate::cache::Stored;
use crate::http::range::Wanted;

const CC: (&str, &str) = ("cache-control", "max-age=60");

/// The status, or which part it is.
fn told(method: &Method, asked: Lines<'_>, reply: &Reply) -> String {
    match shape(method, &head(asked), reply) {
        Shape::NotModified => "304".into(),
        Shape::Of(Wanted::Whole) => "200".into(),
        Shape::Of(Wanted::Beyond) => "416".into(),
        Shape::Of(Wanted::Part(slice)) => slice.content_range().to_str().unwrap().into(),
    }
}

#[test]
fn preconditions_are_judged_on_what_is_held() {
    let tagged = stored(&[CC, ("etag", "\"a\""), ("last-modified", DAY_BEFORE), ("date", NOON)], "0123456789");
    let weak = stored(&[CC, ("etag", "W/\"a\"")], "0123456789");
    let latin = stored(&[CC, ("etag", "\"\u{fc}\"")], "0123456789");
    let dated = stored(&[CC, ("date", NOON)], "0123456789");
    let inm = "if-none-match";
    let rows: &[(&Reply, Lines<'_>, &str)] = &[
        (&tagged, &[], "200"),
        (&tagged, &[(inm, "\"a\"")], "304"),
        (&tagged, &[(inm, "W/\"a\"")], "304"),
        (&tagged, &[(inm, "\"b\", \"a,b\", \"a\"")], "304"),
        (&tagged, &[(inm, "\"b\""), (inm, "\"a\"")], "304"),
        (&tagged, &[(inm, "*")], "304"),
        (&tagged, &[(inm, "\"a,\"")], "200"),
        (&tagged, &[(inm, "a")], "200"),
        (&tagged, &[(inm, "")], "200"),
        (&weak, &[(inm, "\"a\"")], "304"),
        (&latin, &[(inm, "\"\u{fc}\"")], "304"),
        (&dated, &[(inm, "\"a\"")], "200"),
        (&tagged, &[("if-modified-since", DAY_BEFORE)], "304"),
        (&tagged, &[("if-modified-since", "Saturday, 05-Nov-94 08:49:37 GMT")], "304"),
        (&tagged, &[("if-modified-since", NOON)], "304"),
        (&tagged, &[("if-modified-since", "Fri, 04 Nov 1994 08:49:37 GMT")], "200"),
        (&tagged, &[("if-modified-since", "yesterday")], "200"),
        (&tagged, &[(inm, "\"b\""), ("if-modified-since", NOON)], "200"),
        (&dated, &[("if-modified-since", NOON)], "304"),
        (&dated, &[("if-modified-since", DAY_BEFORE)], "200"),
        (&tagged, &[("if-modified-since", NOON), ("if-modified-since", NOON)], "200"),
        (&tagged, &[(inm, "\"a\""), ("range", "bytes=0-1")], "304"),
    ];
    for (reply, asked, expected) in rows {
        assert_eq!(told(&Method::GET, asked, reply), *expected, "{asked:?}");
    }
    let missing =
        Reply::new(StatusCode::NOT_FOUND, &tagged.head(), Bytes::new(), tagged.life(), tagged.selection().clone());
    assert_eq!(told(&Method::GET, &[(inm, "\"a\"")], &missing), "200");
    assert!(
        is_for_the_partner(&head(&[("if-match", "*")])) && is_for_the_partner(&head(&[("if-unmodified-since", "x")]))
    );
}

#[test]
fn a_part_is_cut_from_the_whole() {
    let reply = stored(&[CC, ("etag", "\"a\""), ("last-modified", DAY_BEFORE), ("date", NOON)], "0123456789");
    let weak = stored(&[CC, ("etag", "W/\"a\""), ("last-modified", NOON), ("date", NOON)], "0123456789");
    let empty = stored(&[CC], "");
    let range = |text| ("range", text);
    let rows: &[(&Reply, Lines<'_>, &str)] = &[
        (&reply, &[range("bytes=0-1")], "bytes 0-1/10"),
        (&reply, &[range("Bytes=3-3")], "bytes 3-3/10"),
        (&reply, &[range("bytes=7-")], "bytes 7-9/10"),
        (&reply, &[range("bytes=-3")], "bytes 7-9/10"),
        (&reply, &[range("bytes=-99")], "bytes 0-9/10"),
        (&reply, &[range("bytes=5-99999999999999999999999")], "bytes 5-9/10"),
        (&reply, &[range("bytes=10-")], "416"),
        (&reply, &[range("bytes=-0")], "416"),
        (&empty, &[range("bytes=0-")], "416"),
        // Of nothing the last bytes are all of it, and empty elements of a list do not count (RFC 9110 §14.1.2, §5.6.1.2).
        (&empty, &[range("bytes=-1")], "200"),
        (&reply, &[range("bytes=,0-1")], "bytes 0-1/10"),
        // Neither field is a list.
        (&reply, &[range("bytes=0-1"), range("bytes=0-1")], "200"),
        (&reply, &[range("bytes=0-1"), ("if-range", "\"a\""), ("if-range", "\"a\"")], "200"),
        (&reply, &[range("bytes=0-1"), ("if-range", "Saturday, 05-Nov-94 08:49:37 GMT")], "bytes 0-1/10"),
        (&reply, &[range("bytes=2-1")], "200"),
        (&reply, &[range("bytes=0-1,3-4")], "200"),
        (&reply, &[range("lines=0-1")], "200"),
        (&reply, &[range("bytes=a-b")], "200"),
        (&reply, &[range("bytes=-")], "200"),
        (&reply, &[range("bytes=0-1"), ("if-range", "\"a\"")], "bytes 0-1/10"),
        (&reply, &[range("bytes=0-1"), ("if-range", "\"b\"")], "200"),
        (&reply, &[range("bytes=0-1"), ("if-range", "W/\"a\"")], "200"),
        (&weak, &[range("bytes=0-1"), ("if-range", "W/\"a\"")], "200"),
        (&reply, &[range("bytes=0-1"), ("if-range", DAY_BEFORE)], "bytes 0-1/10"),
        (&reply, &[range("bytes=0-1"), ("if-range", NOON)], "200"),
        // Two answers of one second share their date: it tells nothing.
        (&weak, &[range("bytes=0-1"), ("if-range", NOON)], "200"),
    ];
    for (reply, asked, expected) in rows {
        assert_eq!(told(&Method::GET, asked, reply), *expected, "{asked:?}");
    }
    assert_eq!(told(&Method::HEAD, &[range("bytes=0-1")], &reply), "200");
}

#[test]
fn a_question_names_both_validators_and_none_of_the_callers() {
    let reply = stored(&[CC, ("etag", "W/\"a\""), ("last-modified", DAY_BEFORE)], "x");
    let callers: Lines<'_> =
        &[("if-none-match", "\"c\""), ("range", "bytes=0-1"), ("if-range", "\"c\""), ("accept", "x")];
    let mut sent = head(callers);
    assert!(ask_about(&mut sent, &reply));
    assert_eq!(sent, head(&[("accept", "x"), ("if-none-match", "W/\"a\""), ("if-modified-since", DAY_BEFORE)]));
    let mut sent = head(callers);
    assert!(!ask_about(&mut sent, &stored(&[CC], "x")));
    assert_eq!(sent, head(&[("accept", "x")]));
    let mut sent = head(&[("accept", "x")]);
    ask_which(&mut sent, &[HeaderValue::from_static("\"a\""), HeaderValue::from_static("W/\"b\"")]);
    assert_eq!(sent, head(&[("accept", "x"), ("if-none-match", "\"a\", W/\"b\"")]));
}

#[test]
fn a_304_means_the_variant_it_names_and_of_one_always_that_one() {
    let two = [shared(stored(&[CC, ("etag", "\"a\"")], "a")), shared(stored(&[CC, ("etag", "W/\"b\"")], "b"))];
    let means = |told: Lines<'_>| meant(&two, &head(told)).map(|reply| reply.body());
    assert_eq!(means(&[("etag", "\"b\"")]), Some(Bytes::from_static(b"b")));
    assert_eq!(means(&[("etag", "\"a\"")]), Some(Bytes::from_static(b"a")));
    assert_eq!((means(&[("etag", "\"c\"")]), means(&[])), (None, None));
    assert!(meant(&two[..1], &head(&[("etag", "\"a-gzip\"")])).is_some());
}

#[test]
fn a_304_updates_the_head_but_not_what_belongs_to_the_body() {
    let held = [
        ("cache-control", "max-age=1"),
        ("etag", "\"a\""),
        ("content-type", "text/plain"),
        ("content-encoding", "x"),
        ("content-range", "y"),
        ("content-md5", "z"),
        ("x-old", "1"),
        ("x-old", "2"),
        ("set-cookie", "a=b"),
        ("age", "500"),
        ("date", DAY_BEFORE),
    ];
    let told = [
        ("cache-control", "max-age=60"),
        ("etag", "\"other\""),
        ("content-type", "text/html"),
        ("content-encoding", "other"),
        ("content-range", "other"),
        ("content-md5", "other"),
        ("content-length", "99"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("x-old", "3"),
        ("x-new", "4"),
    ];
    let later = Exchange { asked: tick(100), received: now(100) };
    let (fresh, why) = freshened(&stored(&held, "x"), &head(&told), &HeaderMap::new(), later);
    let expected = [
        ("etag", "\"a\""),
        ("content-encoding", "x"),
        ("content-range", "y"),
        ("content-md5", "z"),
        ("set-cookie", "a=b"),
        ("cache-control", "max-age=60"),
        ("content-type", "text/html"),
        ("x-old", "3"),
        ("x-new", "4"),
        ("date", "Sun, 06 Nov 1994 08:51:17 GMT"),
    ];
    assert_eq!((fresh.head(), why), (head(&expected), None));
    assert_eq!((left(&fresh.life(), tick(100)), fresh.body()), (Ok(seconds(60)), Bytes::from_static(b"x")));
}

#[test]
fn a_304_that_forbids_storing_takes_back_what_was_stored() {
    let told = head(&[("cache-control", "no-store")]);
    let (reply, why) = freshened(&stored(&[CC, ("etag", "\"a\"")], "x"), &told, &HeaderMap::new(), at_once());
    assert_eq!((why, left(&reply.life(), tick(0))), (Some(Detail::NoStore), Err(seconds(0))));
}

#[test]
fn a_head_updates_the_get_it_agrees_with_and_ends_the_one_it_does_not() {
    let reply = stored(&[CC, ("etag", "\"a\""), ("x-old", "1")], "12345");
    let after = |status: u16, told: Lines<'_>| {
        let told = after_head(&reply, StatusCode::from_u16(status).unwrap(), &head(told), &HeaderMap::new(), at_once());
        told.map(|told| match told {
            HeadUpdate::Updated(new) => {
                (true, new.value(&HeaderName::from_static("x-old")).unwrap(), left(&new.life(), tick(0)))
            }
            HeadUpdate::Outdated(new) => {
                (false, new.value(&HeaderName::from_static("x-old")).unwrap(), left(&new.life(), tick(0)))
            }
        })
    };
    let (old, new) = (HeaderValue::from_static("1"), HeaderValue::from_static("2"));
    let fresh = Ok(seconds(90));
    let longer = ("cache-control", "max-age=90");
    assert_eq!(after(200, &[longer, ("x-old", "2"), ("content-length", "5")]), Some((true, new, fresh)));
    assert_eq!(after(200, &[longer, ("etag", "\"a\"")]), Some((true, old.clone(), fresh)));
    let ended = Some((false, old, Err(seconds(0))));
    assert_eq!(after(200, &[longer, ("content-length", "6")]), ended);
    assert_eq!(after(200, &[longer, ("etag", "\"b\"")]), ended);
    assert_eq!(after(200, &[longer, ("last-modified", NOON)]), ended);
    assert_eq!((after(404, &[longer]), after(304, &[longer])), (None, None));
}

#[test]
fn only_a_success_of_an_unsafe_method_changes_something() {
    let method = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
    let status = |code| StatusCode::from_u16(code).unwrap();
    for name in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "WHATEVER"] {
        for (code, expected) in [(200, true), (204, true), (303, true), (400, false), (404, false), (500, false)] {
            assert_eq!(changes(&method(name), status(code)), expected, "{name} {code}");
        }
    }
    for name in ["GET", "HEAD", "OPTIONS"] {
        assert!(!changes(&method(name), status(200)), "{name}");
    }
}

#[test]
fn what_an_answer_names_of_the_same_origin_is_changed_too() {
    let origin = "http://partner.example:9534";
    let rows: &[(&str, Option<&str>)] = &[
        ("/there?x=1", Some("/there?x=1")),
        ("there", Some("/a/b/there")),
        ("./there#part", Some("/a/b/there")),
        ("?y=2", Some("/a/b/c?y=2")),
        ("", Some("/a/b/c?x=1")),
        ("http://partner.example:9534/there", Some("/there")),
        ("HTTP://Partner.Example:9534/there", Some("/there")),
        ("http://partner.example:9534", Some("/")),
        ("http://partner.example:95341/there", None),
        ("http://partner.example:9534@evil.example/", None),
        ("http://other.example/there", None),
        ("//partner.example:9534/there", None),
        ("urn:x", None),
    ];
    for (place, expected) in rows {
        let found = also_changed(origin, "/a/b/c?x=1", &head(&[("location", place)]));
        assert_eq!(found.first().map(String::as_str), *expected, "{place}");
    }
    let both = head(&[("location", "/one"), ("content-location", "/two")]);
    assert_eq!(also_changed(origin, "/", &both), ["/one", "/two"]);
}
