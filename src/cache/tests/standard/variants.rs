//! Which variants are held beside each other (RFC 9111 §4.1)?
//! Given requests and answers, holds selection and store to their claims.
//! Never waits.

use proptest::prelude::*;

use super::super::vary::Selection;
use super::*;
use crate::cache::Lookup;
use crate::cache::{Key, Settings, Store};

fn store(max_variants: usize) -> Store {
    Store::new(Settings { max_bytes: 1 << 20, max_object: 1 << 16, max_variants })
}

fn key(name: &str) -> Key {
    Key(name.as_bytes().into())
}

fn variant(sent: Lines<'_>, body: &'static str) -> Arc<Reply> {
    shared(stored_for(sent, &[("cache-control", "max-age=60"), ("vary", "Foo"), ("etag", "\"a\"")], body))
}

fn held(store: &Store, sent: Lines<'_>) -> Option<Bytes> {
    match store.select(&key("k"), &head(sent), now(0)) {
        Lookup::Stored(reply) => Some(reply.body()),
        _ => None,
    }
}

#[test]
fn requests_agree_by_meaning_and_not_by_letters() {
    let foo = |value| ("foo", value);
    let lang = |value| ("accept-language", value);
    let same: &[(&str, Lines<'_>, Lines<'_>)] = &[
        ("foo", &[foo("1, 2")], &[foo("1"), foo("2")]),
        ("foo", &[foo("1,2")], &[foo(" 1, 2 ")]),
        ("foo", &[], &[("bar", "1")]),
        ("Foo, BAR", &[foo("1")], &[foo("1")]),
        ("accept-language", &[lang("en, de")], &[lang("de, en")]),
        ("accept-language", &[lang("en, de")], &[lang("eN ,  De;q=1.0")]),
        ("accept-language", &[lang("en;q=0.50")], &[lang("en ; Q=0.5")]),
        (
            "accept-encoding",
            &[("accept-encoding", "gzip, br")],
            &[("accept-encoding", "BR"), ("accept-encoding", "gzip")],
        ),
    ];
    for (vary, one, other) in same {
        let selection = Selection::of(&head(&[("vary", vary)]), &head(one)).unwrap();
        assert!(selection.fits(&head(other)), "{vary}: {one:?} {other:?}");
    }
    let different: &[(&str, Lines<'_>, Lines<'_>)] = &[
        ("foo", &[foo("1")], &[foo("2")]),
        ("foo", &[foo("1")], &[]),
        ("foo", &[], &[foo("")]),
        ("foo", &[foo("a")], &[foo("A")]),
        ("foo", &[foo("1, 2")], &[foo("2, 1")]),
        ("foo", &[foo("\"1, 2\"")], &[foo("\"1,2\"")]),
        ("foo, bar", &[foo("1"), ("bar", "2")], &[foo("2"), ("bar", "1")]),
        ("accept-language", &[lang("en, de;q=0.5")], &[lang("en, de")]),
        ("accept", &[("accept", "text/html;charset=A")], &[("accept", "text/html;charset=a")]),
    ];
    for (vary, one, other) in different {
        let selection = Selection::of(&head(&[("vary", vary)]), &head(one)).unwrap();
        assert!(!selection.fits(&head(other)), "{vary}: {one:?} {other:?}");
    }
}

#[test]
fn an_answer_in_the_language_a_request_likes_best_is_the_answer_to_it() {
    let fits = |content: &str, accepts: &str| {
        let told = head(&[("vary", "accept-language"), ("content-language", content)]);
        let selection = Selection::of(&told, &head(&[("accept-language", "en, de")])).unwrap();
        selection.fits(&head(&[("accept-language", accepts)]))
    };
    let rows = [
        ("de", "fr;q=0.5, de;q=1.0", true),
        ("de", "fr;q=0.5, DE", true),
        ("De", "de", true),
        ("de", "fr;q=0.5, de;q=0.4", false),
        ("de", "fr, de", false),
        ("de", "de-AT", false),
        ("de", "*", false),
        ("*", "*", false),
        ("de", "de;q=0", false),
        ("de, en", "de", false),
        ("", "de", false),
    ];
    for (content, accepts, expected) in rows {
        assert_eq!(fits(content, accepts), expected, "{content} for {accepts}");
    }
}

#[test]
fn variants_stand_beside_each_other_and_the_newest_speaks_for_its_requests() {
    let store = store(8);
    assert!(store.keep_reply(&key("k"), &head(&[("foo", "1")]), &variant(&[("foo", "1")], "one"), tick(0)));
    assert!(store.keep_reply(&key("k"), &head(&[("foo", "2")]), &variant(&[("foo", "2")], "two"), tick(0)));
    assert_eq!(held(&store, &[("foo", "1")]), Some(Bytes::from_static(b"one")));
    assert_eq!(held(&store, &[("foo", "2"), ("bar", "x")]), Some(Bytes::from_static(b"two")));
    assert!(
        matches!(store.select(&key("k"), &head(&[("foo", "3")]), now(0)), Lookup::OtherVariants(others) if others.len() == 2)
    );
    assert!(matches!(store.select(&key("l"), &head(&[]), now(0)), Lookup::Absent));
    // One that varies by nothing fits all requests, until a newer answer to one of them varies.
    let plain = shared(stored(&[("cache-control", "max-age=60")], "plain"));
    assert!(store.keep_reply(&key("k"), &head(&[("foo", "1")]), &plain, tick(0)));
    assert_eq!(held(&store, &[("foo", "1")]), Some(Bytes::from_static(b"plain")));
    assert!(store.keep_reply(&key("k"), &head(&[("foo", "3")]), &variant(&[("foo", "3")], "three"), tick(0)));
    assert_eq!(held(&store, &[("foo", "1")]), None);
    assert_eq!(held(&store, &[("foo", "2")]), Some(Bytes::from_static(b"two")));
}

#[test]
fn beyond_the_cap_the_oldest_variant_gives_way() {
    let store = store(3);
    let values = ["1", "2", "3", "4"];
    for value in values {
        let sent = [("foo", value)];
        assert!(store.keep_reply(&key("k"), &head(&sent), &variant(&sent, "x"), tick(0)));
    }
    let kept: Vec<bool> = values.iter().map(|value| held(&store, &[("foo", value)]).is_some()).collect();
    assert_eq!(kept, [false, true, true, true]);
}

#[test]
fn all_variants_are_weighed() {
    let store = store(64);
    for nth in 0..40 {
        let value = nth.to_string();
        let body = Bytes::from(vec![b'x'; 10_000]);
        let sent = head(&[("foo", &value)]);
        let told = head(&[("cache-control", "max-age=60"), ("vary", "foo")]);
        let storable = storability::judge(&Method::GET, &sent, StatusCode::OK, &told, at_once()).unwrap();
        let reply = shared(Reply::new(StatusCode::OK, &told, body, storable.life, storable.selection));
        assert!(store.keep_reply(&key("k"), &sent, &reply, tick(0)));
    }
    let (entries, bytes, _) = store.figures();
    assert_eq!(entries, 1);
    assert!((400_000..460_000).contains(&bytes), "{bytes}");
    for nth in 0..200 {
        let name = format!("other-{nth}");
        let reply = shared(Reply::new(
            StatusCode::OK,
            &HeaderMap::new(),
            Bytes::from(vec![b'x'; 10_000]),
            judged(200, &[("cache-control", "max-age=60")]).unwrap().life,
            Selection::default(),
        ));
        store.keep_reply(&key(&name), &HeaderMap::new(), &reply, tick(0));
    }
    assert!(store.figures().1 <= 1 << 20, "{:?}", store.figures());
}

#[test]
fn what_was_asked_for_before_a_change_is_not_let_in_after_it() {
    let store = store(8);
    let reply = variant(&[], "old");
    assert!(store.keep_reply(&key("k"), &head(&[]), &reply, tick(0)));
    store.invalidate(&key("k"), tick(5));
    assert_eq!(held(&store, &[]), None);
    assert!(!store.keep_reply(&key("k"), &head(&[]), &reply, tick(5)), "asked for at the moment of the change");
    assert!(!store.keep_reply(&key("k"), &head(&[]), &reply, tick(4)));
    assert!(store.keep_reply(&key("k"), &head(&[]), &variant(&[], "new"), tick(6)));
    assert!(!store.keep_reply(&key("k"), &head(&[]), &reply, tick(4)), "nor after a newer one was");
    assert!(!store.replace_reply(&key("k"), &reply, &reply, tick(7)), "nor in the place of what is not held");
    assert_eq!(held(&store, &[]), Some(Bytes::from_static(b"new")));
}

#[test]
fn what_may_not_be_stored_is_remembered_only_where_nothing_is_held() {
    let store = store(8);
    store.remember_unstored(&key("k"), now(0));
    assert!(matches!(store.select(&key("k"), &head(&[]), now(9)), Lookup::Uncacheable));
    assert!(matches!(store.select(&key("k"), &head(&[]), now(10)), Lookup::Absent));
    assert!(store.keep_reply(&key("k"), &head(&[]), &variant(&[], "x"), tick(1)));
    store.remember_unstored(&key("k"), now(1));
    assert!(held(&store, &[]).is_some());
    // Nor does it let in what a change keeps out.
    store.invalidate(&key("k"), tick(5));
    store.remember_unstored(&key("k"), now(6));
    assert!(matches!(store.select(&key("k"), &head(&[]), now(7)), Lookup::Uncacheable));
    assert!(!store.keep_reply(&key("k"), &head(&[]), &variant(&[], "old"), tick(5)));
    assert!(store.keep_reply(&key("k"), &head(&[]), &variant(&[], "new"), tick(8)));
    assert_eq!(held(&store, &[]), Some(Bytes::from_static(b"new")));
}

#[test]
fn requests_are_one_flight_only_if_all_that_goes_out_is_the_same() {
    let named = |method: Method, sent: Lines<'_>| key("k").sent_with(&method, &head(sent));
    let one = named(Method::GET, &[("a", "1"), ("b", "2")]);
    assert_eq!(one, named(Method::GET, &[("b", "2"), ("a", "1")]));
    let others: [(Method, Lines<'_>); 5] = [
        (Method::HEAD, &[("a", "1"), ("b", "2")]),
        (Method::GET, &[("a", "1")]),
        (Method::GET, &[("a", "1"), ("b", "2"), ("b", "2")]),
        (Method::GET, &[("a", "12"), ("b", "")]),
        (Method::GET, &[("a", "1"), ("b", "3")]),
    ];
    for (method, sent) in others {
        assert_ne!(one, named(method, sent), "{sent:?}");
    }
}

proptest! {
    #[test]
    fn a_stored_head_comes_back_as_it_was(
        lines in prop::collection::vec(("[a-z][a-z0-9-]{0,12}", "[ -~]{0,24}"), 0..12),
    ) {
        let mut told = HeaderMap::new();
        for (name, value) in &lines {
            told.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value.trim()).unwrap());
        }
        let life = judged(200, &[("cache-control", "max-age=60")]).unwrap().life;
        let reply = Reply::new(StatusCode::OK, &told, Bytes::from_static(b"x"), life, Selection::default());
        prop_assert_eq!(reply.head(), told);
    }

    #[test]
    fn a_request_always_gets_the_answer_that_was_stored_for_it(
        values in prop::collection::vec(prop::option::of("[a-c]{0,2}(, ?[a-c])?"), 1..6),
    ) {
        let store = store(64);
        let mut newest: Vec<(HeaderMap, Arc<Reply>)> = Vec::new();
        for value in &values {
            let sent = value.as_ref().map_or_else(HeaderMap::new, |value| head(&[("foo", value)]));
            let told = head(&[("cache-control", "max-age=60"), ("vary", "foo")]);
            let storable = storability::judge(&Method::GET, &sent, StatusCode::OK, &told, at_once()).unwrap();
            let reply = shared(Reply::new(StatusCode::OK, &told, Bytes::new(), storable.life, storable.selection));
            prop_assert!(store.keep_reply(&key("k"), &sent, &reply, tick(0)));
            newest.retain(|(_, old)| !old.selection().fits(&sent));
            newest.push((sent, reply));
        }
        for (sent, reply) in &newest {
            let found = store.select(&key("k"), sent, now(0));
            prop_assert!(matches!(found, Lookup::Stored(found) if Arc::ptr_eq(&found, reply)));
        }
    }
}
