//! What is stored, for how long, and under which name?
//! Given heads as the partner may send them, holds the rooms to the table of product.md §4.
//! Never waits: every moment is handed in.

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderName, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::freshness::Windows;
use super::lifetime::Exchange;
use super::reason::Detail;
use super::storability::judge_document;
use super::tag::Tag;
use super::*;
use crate::access::{Grant, Rules};
use crate::account_api::{Endpoint, PREFIX};
use crate::route::{Mode, Resource, Route, Routes, Target, Terms};
use crate::token::bounds::Bounds;
use crate::token::ring::Ring;
use crate::token::scope::ScopeNames;
use crate::token::{Caller, Policy, TokenSpec, Tokens};

const TTL: u64 = 60;
const SWR: u64 = 300;
const SIE: u64 = 86_400;
const NEGATIVE: u64 = 10;
const CAME: Tick = Tick::from_nanos(1_000_000_000_000);

/// Where in its life what is stored under this key is.
fn stage(store: &Store, key: &Key, now: Now) -> Option<Stage> {
    match store.look(key, now) {
        Lookup::Stored(entry) => Some(entry.life().stage(now.tick)),
        _ => None,
    }
}

fn terms(overrides: bool) -> Terms {
    Terms {
        ttl: Duration::from_secs(TTL),
        stale_while_revalidate: Duration::from_secs(SWR),
        stale_if_error: Duration::from_secs(SIE),
        negative_ttl: Duration::from_secs(NEGATIVE),
        overrides,
    }
}

fn head(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in lines {
        head.append(name, HeaderValue::from_str(value).unwrap());
    }
    head
}

fn judge(terms: &Terms, status: StatusCode, head: &HeaderMap, asked: Tick, came: Tick) -> Result<Life, Detail> {
    judge_document(terms, false, status, head, Exchange { asked, received: Now { tick: came, unix_ms: SUN_MS } })
}

fn judged(overrides: bool, status: u16, head: &HeaderMap) -> Result<Life, Detail> {
    judge(&terms(overrides), StatusCode::from_u16(status).unwrap(), head, CAME, CAME)
}

/// Lifetime, stale-while-revalidate, stale-if-error in seconds, and whether the partner is asked each time.
type Row = (u64, u64, u64, bool);

fn row(judged: Result<Life, Detail>) -> Result<Row, Detail> {
    judged.map(|life| {
        assert_eq!(life.since, CAME);
        let windows = (life.stale.while_revalidate.as_secs(), life.stale.if_error.as_secs());
        (life.lifetime.as_secs(), windows.0, windows.1, life.ask_first)
    })
}

const ROUTES: Result<Row, Detail> = Ok((TTL, SWR, SIE, false));
const NEGATIVES: Result<Row, Detail> = Ok((NEGATIVE, 0, 0, false));
const SUN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// The same in milliseconds since 1970.
const SUN_MS: u64 = 784_111_777_000;
const MINUTE_LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

#[test]
fn every_cell_of_the_table_of_answers_holds() {
    let cc = |value| head(&[(CACHE_CONTROL, value)]);
    let vary = |value| head(&[(VARY, value)]);
    let targeted = |cdn, plain| head(&[(HeaderName::from_static("cdn-cache-control"), cdn), (CACHE_CONTROL, plain)]);
    let none = HeaderMap::new();
    let expires = head(&[(EXPIRES, MINUTE_LATER), (DATE, SUN)]);
    let asks = Ok((0, SWR, SIE, true));
    let rows = [
        ("nothing", 200, none.clone(), ROUTES, ROUTES),
        ("nothing known", 200, cc("public, immutable, x=1"), ROUTES, ROUTES),
        ("s-maxage", 200, cc("s-maxage=7"), Ok((7, SWR, SIE, false)), ROUTES),
        ("max-age", 200, cc("max-age=7"), Ok((7, SWR, SIE, false)), ROUTES),
        ("Expires", 200, expires, Ok((60, SWR, SIE, false)), ROUTES),
        ("no-cache", 200, cc("no-cache"), asks, ROUTES),
        ("no-cache and max-age", 200, cc("no-cache, max-age=7"), asks, ROUTES),
        ("no-cache of a field", 200, cc("no-cache=\"x-a\""), ROUTES, ROUTES),
        (
            "no-cache of fields and max-age",
            200,
            cc("max-age=7, no-cache=\"x-a, Set-Cookie\""),
            Ok((7, SWR, SIE, false)),
            ROUTES,
        ),
        ("no-cache of a field, unquoted", 200, cc("no-cache=Set-Cookie"), ROUTES, ROUTES),
        ("no-cache of a field that is kept", 200, cc("no-cache=\"x-a, ETag\""), asks, ROUTES),
        ("no-cache of no field", 200, cc("no-cache=\"\""), asks, ROUTES),
        ("no-cache of what is no field", 200, cc("no-cache=\"a b\""), asks, ROUTES),
        ("no-cache with and without a field", 200, cc("no-cache=\"x-a\", no-cache"), asks, ROUTES),
        ("max-age=0", 200, cc("max-age=0"), asks, ROUTES),
        ("must-revalidate", 200, cc("max-age=7, must-revalidate"), Ok((7, 0, 0, false)), ROUTES),
        ("proxy-revalidate", 200, cc("max-age=7, proxy-revalidate"), Ok((7, 0, 0, false)), ROUTES),
        ("must-revalidate alone", 200, cc("must-revalidate"), Ok((TTL, 0, 0, false)), ROUTES),
        ("no-cache, must-revalidate", 200, cc("no-cache, must-revalidate"), Ok((0, SWR, 0, true)), ROUTES),
        ("no-store", 200, cc("no-store"), Err(Detail::NoStore), ROUTES),
        ("no-store and max-age", 200, cc("max-age=7, no-store"), Err(Detail::NoStore), ROUTES),
        ("private", 200, cc("private, max-age=7"), Err(Detail::Private), ROUTES),
        ("private of a field", 200, cc("private=\"set-cookie\""), ROUTES, ROUTES),
        ("private of a field that is kept", 200, cc("private=\"Last-Modified\""), Err(Detail::Private), ROUTES),
        ("CDN-Cache-Control", 200, targeted("max-age=7", "no-store"), Ok((7, SWR, SIE, false)), ROUTES),
        ("CDN-Cache-Control forbids", 200, targeted("no-store", "max-age=7"), Err(Detail::NoStore), ROUTES),
        ("CDN-Cache-Control unread", 200, targeted("max-age=x;", "max-age=7"), Ok((7, SWR, SIE, false)), ROUTES),
        ("404", 404, none.clone(), NEGATIVES, NEGATIVES),
        ("404 with max-age", 404, cc("max-age=7000"), NEGATIVES, NEGATIVES),
        ("410", 410, none.clone(), NEGATIVES, NEGATIVES),
        // What we send is the same each time, whatever the partner chooses by.
        ("Vary, sent alike", 200, vary("Accept, Accept-Encoding"), ROUTES, ROUTES),
        ("Vary, never sent", 200, vary("Cookie, Origin"), ROUTES, ROUTES),
        ("Vary, the key", 200, vary("X-Reseller-Api-Key"), ROUTES, ROUTES),
        ("Vary *", 200, vary("*"), Err(Detail::Vary), ROUTES),
        ("Vary * among others", 200, vary("Accept, *"), Err(Detail::Vary), ROUTES),
        ("500", 500, cc("max-age=7"), Err(Detail::Status), Err(Detail::Status)),
        ("503", 503, none.clone(), Err(Detail::Status), Err(Detail::Status)),
        ("429", 429, cc("max-age=7"), Err(Detail::Status), Err(Detail::Status)),
        ("401", 401, none.clone(), Err(Detail::Status), Err(Detail::Status)),
        ("403", 403, none.clone(), Err(Detail::Status), Err(Detail::Status)),
        ("206", 206, none.clone(), Err(Detail::Status), Err(Detail::Status)),
        ("301", 301, none, Err(Detail::Status), Err(Detail::Status)),
    ];
    for (name, status, head, without, with) in rows {
        assert_eq!(row(judged(false, status, &head)), without, "{name}, without override");
        assert_eq!(row(judged(true, status, &head)), with, "{name}, with override");
    }
}

#[test]
fn without_a_negative_ttl_nothing_negative_is_stored() {
    let terms = Terms { negative_ttl: Duration::ZERO, ..terms(true) };
    assert_eq!(judge(&terms, StatusCode::NOT_FOUND, &HeaderMap::new(), CAME, CAME), Err(Detail::Status));
}

#[test]
fn directives_are_read_as_strictly_as_is_safe() {
    let most = 1 << 31;
    let rows: [(&[&str], Result<u64, Detail>); 27] = [
        (&["max-age=30, max-age=20"], Ok(30)),
        (&["max-age=20", "max-age=30"], Ok(20)),
        (&["s-maxage=30, max-age=7, s-maxage=20"], Ok(30)),
        (&["max-age=7, s-maxage=30"], Ok(30)),
        (&["s-maxage=30, max-age=0"], Ok(30)),
        (&["max-age=\"20\""], Ok(20)),
        (&["MAX-AGE=20"], Ok(20)),
        (&["Max-Age = 20"], Ok(0)),
        (&[" , ,max-age=20,,"], Ok(20)),
        (&["\tmax-age=20\t"], Ok(20)),
        (&["max-age=99999999999999999999999999"], Ok(most)),
        (&["max-age=4294967296"], Ok(most)),
        (&["max-age=2147483648"], Ok(most)),
        (&["max-age=020"], Ok(20)),
        (&["max-age=-1"], Ok(0)),
        (&["max-age=+1"], Ok(0)),
        (&["max-age=1.5"], Ok(0)),
        (&["max-age=1s"], Ok(0)),
        (&["max-age="], Ok(0)),
        (&["max-age"], Ok(0)),
        (&["max-age=\"20"], Ok(0)),
        (&["max-age=20, max-age=x"], Ok(20)),
        (&["x-max-age=20, max-agex=20"], Ok(TTL)),
        (&["ext=\"no-store, private\", max-age=20"], Ok(20)),
        (&["NO-STORE"], Err(Detail::NoStore)),
        (&["no-store=1"], Err(Detail::NoStore)),
        (&["max-age=20", "private"], Err(Detail::Private)),
    ];
    for (lines, expected) in rows {
        let lines: Vec<_> = lines.iter().map(|&line| (CACHE_CONTROL, line)).collect();
        assert_eq!(judged(false, 200, &head(&lines)).map(|life| life.lifetime.as_secs()), expected, "{lines:?}");
    }
}

#[test]
fn expires_counts_from_date_or_the_arrival_and_is_past_where_it_cannot_be_read() {
    let rows: [(&[(HeaderName, &str)], u64); 8] = [
        (&[(EXPIRES, MINUTE_LATER), (DATE, SUN)], 60),
        (&[(EXPIRES, SUN), (DATE, SUN)], 0),
        (&[(EXPIRES, SUN), (DATE, MINUTE_LATER)], 0),
        (&[(EXPIRES, "0"), (DATE, SUN)], 0),
        (&[(EXPIRES, "tomorrow"), (DATE, SUN)], 0),
        (&[(EXPIRES, MINUTE_LATER), (DATE, "today")], 60),
        (&[(EXPIRES, MINUTE_LATER)], 60),
        (&[(EXPIRES, "0"), (DATE, SUN), (CACHE_CONTROL, "max-age=7")], 7),
    ];
    for (lines, seconds) in rows {
        let life = judged(false, 200, &head(lines)).unwrap();
        assert_eq!(life.lifetime, Duration::from_secs(seconds), "{lines:?}");
        assert_eq!(life.ask_first, seconds == 0, "{lines:?}");
    }
}

#[test]
fn an_answer_is_as_old_as_it_says_and_took() {
    let took = Duration::from_millis(1500);
    let age = |lines: &[(HeaderName, &str)]| {
        let life = judge(&terms(false), StatusCode::OK, &head(lines), CAME, CAME.plus(took)).unwrap();
        life.age(CAME.plus(took))
    };
    let told = (CACHE_CONTROL, "max-age=60");
    let rows =
        [("10", 10), ("0", 0), ("", 0), ("-5", 0), ("old", 0), ("1.5", 0), ("10, 20", 10), ("99999999999", 1 << 31)];
    for (text, seconds) in rows {
        assert_eq!(age(&[told.clone(), (AGE, text)]), took + Duration::from_secs(seconds), "{text:?}");
    }
    assert_eq!(age(&[told]), took);
    assert_eq!(age(&[(AGE, "10")]), Duration::ZERO, "the route's own ttl counts from the arrival");
}

#[test]
fn the_stages_of_a_life_end_exactly_where_they_say() {
    let life = judged(false, 200, &head(&[(CACHE_CONTROL, "max-age=60")])).unwrap();
    let at = |seconds: u64| CAME.plus(Duration::from_secs(seconds));
    let before = |seconds: u64| Tick::from_nanos(at(seconds).as_nanos() - 1);
    let rows = [
        (CAME, Stage::Fresh),
        (before(60), Stage::Fresh),
        (at(60), Stage::Stale),
        (before(60 + SWR), Stage::Stale),
        (at(60 + SWR), Stage::OnError),
        (before(60 + SIE), Stage::OnError),
        (at(60 + SIE), Stage::Over),
        (Tick::from_nanos(u64::MAX), Stage::Over),
    ];
    for (now, stage) in rows {
        assert_eq!(life.stage(now), stage, "{now:?}");
    }
    let asks = judged(false, 200, &head(&[(CACHE_CONTROL, "no-cache")])).unwrap();
    assert_eq!(asks.stage(CAME), Stage::OnError);
    assert_eq!(asks.stage(at(SIE)), Stage::Over);
    let strict = judged(false, 200, &head(&[(CACHE_CONTROL, "max-age=60, must-revalidate")])).unwrap();
    assert_eq!((strict.stage(before(60)), strict.stage(at(60))), (Stage::Fresh, Stage::Over));
    let both = judged(false, 200, &head(&[(CACHE_CONTROL, "no-cache, must-revalidate")])).unwrap();
    assert_eq!(both.stage(CAME), Stage::Over);
}

proptest! {
    #[test]
    fn no_head_breaks_the_judge(control in "[ -~]{0,60}", age in "[ -~]{0,30}", expires in "[ -~]{0,40}", nanos: u64) {
        let head = head(&[(CACHE_CONTROL, &control), (AGE, &age), (EXPIRES, &expires), (DATE, SUN)]);
        if let Ok(life) = judged(false, 200, &head) {
            prop_assert!(life.lifetime.as_secs() <= 1 << 31);
            life.stage(Tick::from_nanos(nanos));
        }
    }
}

fn document(body: &[u8], control: &str) -> Arc<Entry> {
    let head = head(&[(CACHE_CONTROL, control)]);
    Arc::new(Entry::new(StatusCode::OK, &head, body, judged(false, 200, &head)))
}

#[test]
fn body_and_headers_come_out_as_they_went_in() {
    let head = head(&[
        (http::header::CONTENT_TYPE, "application/json"),
        (DATE, SUN),
        (http::header::ETAG, "\"v1\""),
        (http::header::SET_COOKIE, "session=1"),
        (http::header::LAST_MODIFIED, MINUTE_LATER),
    ]);
    for body in [&b""[..], b"{}", b"\x00\xff", &[7; 100_000]] {
        let entry = Entry::new(StatusCode::OK, &head, body, judged(false, 200, &head));
        assert_eq!(entry.body(), body);
        assert_eq!(entry.content_type().unwrap(), "application/json");
        let kept: Vec<_> = entry.extra_headers().collect();
        assert_eq!(
            kept,
            [(http::header::LAST_MODIFIED, HeaderValue::from_static(MINUTE_LATER))],
            "neither cookie nor language"
        );
        assert_eq!(entry.date().unwrap(), SUN);
        assert_eq!(entry.validators().0.unwrap(), "\"v1\"");
        assert_eq!(entry.validators().1.unwrap(), MINUTE_LATER);
        assert_eq!(entry.not_stored(), None);
    }
    let unstored = Entry::new(StatusCode::OK, &head, b"{}", Err(Detail::Private));
    assert_eq!((unstored.not_stored(), unstored.body()), (Some(Detail::Private), Bytes::from_static(b"{}")));
}

#[test]
fn a_304_keeps_the_body_and_brings_new_values() {
    let before = head(&[(http::header::CONTENT_TYPE, "application/json"), (DATE, SUN), (http::header::ETAG, "\"v1\"")]);
    let entry = Entry::new(StatusCode::OK, &before, b"{\"a\":1}", judged(false, 200, &before));
    let life = Life { since: CAME.plus(Duration::from_secs(9)), ..entry.life() };
    let after = entry.freshened(&head(&[(DATE, MINUTE_LATER), (http::header::CONTENT_LANGUAGE, "en")]), life);
    assert_eq!(after.body(), entry.body());
    assert_eq!(after.tag(), entry.tag());
    assert_eq!(after.life(), life);
    assert_eq!(after.content_type().unwrap(), "application/json");
    assert_eq!(after.validators().0.unwrap(), "\"v1\"", "what the 304 does not say stays");
    let kept: Vec<_> = after.extra_headers().collect();
    assert_eq!(kept, [(http::header::CONTENT_LANGUAGE, HeaderValue::from_static("en"))]);
    assert_eq!(after.date().unwrap(), MINUTE_LATER);
    // The bytes are the same, so a type that a server puts on its 304s, as on its pages, changes none.
    let page = entry.freshened(&head(&[(http::header::CONTENT_TYPE, "text/html")]), life);
    assert_eq!(page.content_type().unwrap(), "application/json");
}

#[test]
fn a_tag_is_the_digest_of_the_bytes() {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"{}");
    let expected = format!("\"{}\"", BASE64URL_NOPAD.encode(&hash.as_ref()[..16]));
    assert_eq!(Tag::of(b"{}").text(), expected.as_bytes());
    assert_ne!(Tag::of(b"{}"), Tag::of(b"{} "));
    assert_eq!(document(b"{}", "").tag(), &Tag::of(b"{}"));
}

#[test]
fn an_entry_rests_until_its_moment() {
    let entry = document(b"{}", "");
    assert!(!entry.is_resting(CAME));
    entry.rest_until(CAME);
    assert!(entry.is_resting(Tick::from_nanos(CAME.as_nanos() - 1)));
    assert!(!entry.is_resting(CAME));
}

fn store(max_bytes: u64, max_object: usize) -> Store {
    Store::new(Settings { max_bytes, max_object, max_variants: 8 })
}

fn now(after: u64) -> Now {
    Now { tick: CAME.plus(Duration::from_secs(after)), unix_ms: 0 }
}

#[test]
fn what_is_held_ages_through_its_stages() {
    let (store, key) = (store(1 << 20, 1 << 16), key_of("/clients/c1/"));
    assert!(matches!(store.look(&key, now(0)), Lookup::Absent));
    let asked = now(0).tick;
    store.keep(key.clone(), document(b"{}", "max-age=60"), asked).unwrap();
    assert_eq!(stage(&store, &key, now(59)), Some(Stage::Fresh));
    assert_eq!(stage(&store, &key, now(60)), Some(Stage::Stale));
    assert_eq!(stage(&store, &key, now(60 + SWR)), Some(Stage::OnError));
    assert_eq!(stage(&store, &key, now(60 + SIE)), Some(Stage::Over));
    assert!(matches!(store.look(&key_of("/clients/c2/"), now(0)), Lookup::Absent));

    store.remember_uncacheable(key.clone(), now(0), asked);
    assert!(matches!(store.look(&key, now(9)), Lookup::Uncacheable));
    assert!(matches!(store.look(&key, now(10)), Lookup::Absent));
}

fn shown(bytes: &'static [u8]) -> Rendered {
    Rendered { bytes: Bytes::from_static(bytes), tag: Tag::of(bytes) }
}

fn kept(store: &Store, key: &Key, entry: &Arc<Entry>, right: Right, coding: Coding, bytes: &'static [u8]) -> bool {
    store.keep_face(key.clone(), entry, right, coding, &shown(bytes));
    entry.face(right, coding).is_some_and(|face| face.bytes == bytes)
}

#[test]
fn of_two_forms_made_at_once_the_first_stays_and_each_right_and_coding_has_its_own() {
    let (store, key, entry) = (store(1 << 20, 1 << 16), key_of("/clients/c1/"), document(b"{}", ""));
    let right = Right::numbered(1);
    assert!(entry.face(right, Coding::Identity).is_none());
    assert!(kept(&store, &key, &entry, right, Coding::Identity, b"first"));
    assert!(!kept(&store, &key, &entry, right, Coding::Identity, b"second"));
    assert!(kept(&store, &key, &entry, right, Coding::Gzip, b"zipped"));
    assert!(kept(&store, &key, &entry, Right::FULL, Coding::Gzip, b"all zipped"));
    assert!(kept(&store, &key, &entry, Right::numbered(2), Coding::Identity, b"other"));
    assert!(entry.face(right, Coding::Identity).is_some_and(|face| face.bytes == "first"));
}

#[test]
fn sixteen_rights_are_kept_of_an_entry_and_the_seventeenth_is_not() {
    let (store, key, entry) = (store(1 << 20, 1 << 16), key_of("/clients/c1/"), document(b"{}", ""));
    for number in 0..16 {
        assert!(kept(&store, &key, &entry, Right::numbered(number), Coding::Identity, b"[]"), "{number}");
    }
    assert!(!kept(&store, &key, &entry, Right::numbered(16), Coding::Identity, b"[]"));
    assert!(kept(&store, &key, &entry, Right::numbered(3), Coding::Gzip, b"zipped"));
    assert!(kept(&store, &key, &entry, Right::FULL, Coding::Gzip, b"zipped"));
}

#[test]
fn many_threads_that_make_forms_at_once_lose_none_and_keep_no_more_than_there_is_room_for() {
    let (store, key, entry) = (store(1 << 20, 1 << 16), key_of("/clients/c1/"), document(b"{}", ""));
    store.keep(key.clone(), Arc::clone(&entry), now(0).tick).unwrap();
    std::thread::scope(|scope| {
        for first in 0..8 {
            let (store, key, entry) = (&store, &key, &entry);
            scope.spawn(move || {
                for nth in 0..8 {
                    let right = Right::numbered((first + nth) % 8);
                    assert!(kept(store, key, entry, right, Coding::Identity, b"view"));
                    assert!(kept(store, key, entry, right, Coding::Gzip, b"view"));
                }
                (8..40).for_each(|number| {
                    let _ = kept(store, key, entry, Right::numbered(number), Coding::Identity, b"view");
                });
            });
        }
    });
    let held = (0..40).filter(|&number| entry.face(Right::numbered(number), Coding::Identity).is_some()).count();
    assert_eq!(held, 16);
    assert_eq!((0..8).filter(|&number| entry.face(Right::numbered(number), Coding::Gzip).is_some()).count(), 8);
}

#[test]
fn an_entry_with_the_counts_of_its_holders_fills_a_size_that_the_allocator_has() {
    assert_eq!(size_of::<Entry>() + 2 * size_of::<usize>(), 160);
}

#[test]
fn forms_are_weighed_when_they_are_made_and_never_bring_an_entry_back() {
    static LONG: [u8; 5000] = [b'x'; 5000];
    let (store, key, old) = (store(1 << 20, 1 << 16), key_of("/clients/c1/"), document(b"{}", ""));
    store.keep(key.clone(), Arc::clone(&old), now(0).tick).unwrap();
    let (_, before, _) = store.figures();
    store.keep_face(key.clone(), &old, Right::numbered(1), Coding::Identity, &shown(&LONG));
    let (entries, after, evicted) = store.figures();
    assert!(entries == 1 && evicted == 0 && (before + 5000..before + 5200).contains(&after), "{before} {after}");

    let new = document(b"{\"new\":1}", "");
    store.keep(key.clone(), Arc::clone(&new), now(0).tick).unwrap();
    store.keep_face(key.clone(), &old, Right::numbered(2), Coding::Identity, &shown(&LONG));
    assert!(matches!(store.look(&key, now(0)), Lookup::Stored(held) if Arc::ptr_eq(&held, &new)));
    assert_eq!(store.figures().0, 1);
    store.slots.invalidate(&key);
    store.keep_face(key.clone(), &new, Right::numbered(2), Coding::Identity, &shown(&LONG));
    assert!(matches!(store.look(&key, now(0)), Lookup::Absent));
    assert_eq!(store.figures().1, 0);
}

#[test]
fn a_body_beyond_the_bound_is_left_out_and_replaces_nothing() {
    let (store, key) = (store(1 << 20, 100), key_of("/clients/"));
    let asked = now(0).tick;
    assert_eq!(store.keep(key.clone(), document(&[b' '; 100], ""), asked), Ok(()));
    assert_eq!(store.keep(key.clone(), document(&[b' '; 101], ""), asked), Err(Detail::TooLarge));
    assert!(matches!(store.look(&key, now(0)), Lookup::Stored(entry) if entry.body().len() == 100));
}

#[test]
fn memory_stays_within_its_bound_whatever_comes() {
    const BOUND: u64 = 8 << 20;
    let store = store(BOUND, 1 << 20);
    let asker = asker();
    let key = |nth: u32| asker.key(&format!("/clients/c{nth}/"), &HeaderMap::new());
    for nth in 0..10_000 {
        store.keep(key(nth), document(&[b'x'; 10 << 10], ""), now(0).tick).unwrap();
    }
    store.slots.run_pending_tasks();
    let (entries, bytes, evicted) = store.figures();
    assert!(bytes <= BOUND, "{bytes}");
    assert!(entries * (10 << 10) <= BOUND && entries > 100, "{entries}");
    assert_eq!(entries + evicted, 10_000);
    assert_eq!(stage(&store, &key(9_999), now(0)), Some(Stage::Fresh), "the last one paid for is there");
    assert!(matches!(store.look(&key(0), now(0)), Lookup::Absent));
}

/// A caller, a table and the rules, to make grants as the gateway does.
struct Asker {
    caller: Arc<Caller>,
    routes: Routes,
    rules: Rules,
}

fn asker() -> Asker {
    // Another test of this process may have been first; either way one is installed.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let names = Arc::new(ScopeNames::new(["all:read"]).unwrap());
    let built_in = Endpoint::ALL.iter().map(|one| route(one.name(), true, &names));
    let built_in = built_in.chain([route("other", false, &names)]).collect();
    let extra = (0..300).map(|nth| (format!("/extra{nth}/{{*rest}}"), route("extra", true, &names)));
    let scopes = vec!["all:read".to_owned(), "pii:read".to_owned()];
    let settings = crate::token::Settings {
        issuer: "http://127.0.0.1".to_owned(),
        audience: "account-api".to_owned(),
        accept_api_key_header: true,
        callers: vec![Policy {
            name: "billing".to_owned(),
            scopes,
            bounds: Bounds::default(),
            priority: Default::default(),
        }],
    };
    let tokens = Tokens::new(settings, Arc::new(Ring::in_memory().unwrap()), Arc::clone(&names));
    let wish = TokenSpec {
        caller: "billing".to_owned(),
        scopes: Vec::new(),
        bounds: Bounds::default(),
        ttl: Duration::from_secs(60),
    };
    let token = tokens.issue(&wish, now(0)).unwrap().token;
    let headers = head(&[(http::header::AUTHORIZATION, &format!("Bearer {token}"))]);
    let caller = tokens.identify(&headers, now(0)).unwrap();
    Asker { caller, routes: Routes::new(built_in, extra.collect()).unwrap(), rules: Rules::new(&names) }
}

fn route(name: &str, stored: bool, names: &ScopeNames) -> Route {
    Route {
        name: name.to_owned(),
        scope: names.set_of(["all:read"]),
        scope_name: "all:read".to_owned(),
        mode: if stored { Mode::Api } else { Mode::Standard { forward_authorization: false } },
        stored,
        terms: terms(false),
        query: vec!["provider_id".to_owned(), "page".to_owned()],
        ignore_query: Vec::new(),
        forward_headers: vec![HeaderName::from_static("x-a"), HeaderName::from_static("x-b")],
        documents_only: true,
        open_to_narrowed: false,
        edition: 0,
    }
}

impl Asker {
    fn grant(&self, method: &Method, target: &str) -> (Grant, &Route) {
        let uri = target.parse().unwrap();
        let wanted = self.routes.find(method, &Target::parse(&uri).unwrap()).unwrap();
        let route = self.routes.at(wanted.route()).unwrap();
        (self.rules.decide(Arc::clone(&self.caller), wanted, route).unwrap().granted().unwrap(), route)
    }

    fn key(&self, path: &str, headers: &HeaderMap) -> Key {
        let (grant, route) = self.grant(&Method::GET, &format!("{PREFIX}{path}"));
        Key::of(&grant, route, headers).unwrap()
    }

    fn resource(&self, path: &str) -> Resource {
        self.grant(&Method::GET, &format!("{PREFIX}{path}")).0.wanted().resource().clone()
    }
}

pub(super) fn key_of(path: &str) -> Key {
    asker().key(path, &HeaderMap::new())
}

#[test]
fn what_is_keyed_is_what_is_sent() {
    let asker = asker();
    let rows = [
        ("/clients", "/clients/"),
        ("/clients?page=2&provider_id=p1", "/clients/?provider_id=p1&page=2"),
        ("/%63lients/c1", "/clients/c1/"),
        ("/clients/c1/providers/p1/resources", "/clients/c1/providers/p1/resources/"),
        ("/clients/0B7C1A52-9A44-4C53-8F62-2B1C0A8E77D1/", "/clients/0b7c1a52-9a44-4c53-8f62-2b1c0a8e77d1/"),
    ];
    for (came, sent) in rows {
        let (grant, route) = asker.grant(&Method::GET, &format!("{PREFIX}{came}"));
        assert_eq!(key::target_of(grant.wanted().resource(), route), format!("{PREFIX}{sent}"));
        assert_eq!(asker.key(came, &HeaderMap::new()), asker.key(sent, &HeaderMap::new()));
    }
}

#[test]
fn head_shares_what_get_stored_and_other_is_not_stored() {
    let asker = asker();
    let none = HeaderMap::new();
    let (grant, route) = asker.grant(&Method::HEAD, &format!("{PREFIX}/clients/"));
    assert_eq!(Key::of(&grant, route, &none), Some(asker.key("/clients/", &none)));
    let (grant, route) = asker.grant(&Method::GET, &format!("{PREFIX}/else"));
    assert_eq!(Key::of(&grant, route, &none), None);
}

#[test]
fn headers_that_are_forwarded_are_part_of_the_key_and_no_others() {
    let asker = asker();
    let name = HeaderName::from_static;
    let key = |lines: &[(HeaderName, &str)]| asker.key("/clients/", &head(lines));
    let plain = key(&[]);
    assert_eq!(plain, key(&[(http::header::AUTHORIZATION, "Bearer x"), (http::header::COOKIE, "a=b")]));
    let distinct = [
        plain,
        key(&[(name("x-a"), "1")]),
        key(&[(name("x-a"), "2")]),
        key(&[(name("x-b"), "1")]),
        key(&[(name("x-a"), "")]),
        key(&[(name("x-a"), "1"), (name("x-b"), "1")]),
        key(&[(name("x-a"), "1"), (name("x-a"), "1")]),
        key(&[(name("x-a"), "1, 1")]),
    ];
    for (nth, one) in distinct.iter().enumerate() {
        assert_eq!(distinct.iter().position(|other| other == one), Some(nth));
    }
}

/// A key held one byte of the route's position: routes 256 places apart would have shared it where their targets agree.
#[test]
fn a_key_holds_the_whole_position_of_its_route() {
    let asker = asker();
    let start = |nth: usize| {
        let (grant, route) = asker.grant(&Method::GET, &format!("/extra{nth}/x"));
        Key::of(&grant, route, &HeaderMap::new()).unwrap().0[..2].to_vec()
    };
    assert_ne!(start(0), start(256));
}

fn path() -> impl Strategy<Value = String> {
    let id = || prop::sample::select(vec!["a", "b", "ab", "aa", "A", "a-b", "1", "provider_id"]);
    let shape = prop::sample::select(Endpoint::ALL.to_vec());
    let value = || prop::option::of(id());
    (shape, id(), id(), value(), value(), any::<bool>()).prop_map(|(shape, client, inner, provider, page, turned)| {
        let path = shape.template().replace("{client_id}", client);
        let path = path.replace("{provider_id}", inner).replace("{project_id}", inner);
        let provider = provider.map(|value| format!("provider_id={value}"));
        let mut query: Vec<String> = provider.into_iter().chain(page.map(|value| format!("page={value}"))).collect();
        if turned {
            query.reverse();
        }
        format!("{path}?{}", query.join("&"))
    })
}

#[test]
fn equal_resources_have_equal_keys_and_no_others_do() {
    let (asker, none) = (asker(), HeaderMap::new());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4096));
    let law = runner.run(&(path(), path()), |(one, other)| {
        let same = asker.resource(&one) == asker.resource(&other);
        prop_assert_eq!(asker.key(&one, &none) == asker.key(&other, &none), same, "{} {}", one, other);
        Ok(())
    });
    law.unwrap();
}

#[test]
fn the_full_rights_forms_of_an_unchanged_body_outlive_its_refresh() {
    let (store, key, old) = (store(1 << 20, 1 << 16), key_of("/clients/c1/"), document(b"{}", ""));
    store.keep(key.clone(), Arc::clone(&old), now(0).tick).unwrap();
    store.keep_face(key.clone(), &old, Right::FULL, Coding::Gzip, &shown(b"zipped"));
    let (_, before, _) = store.figures();
    store.keep_face(key.clone(), &old, Right::numbered(1), Coding::Gzip, &shown(b"narrow"));
    let confirmed = old.freshened(&HeaderMap::new(), old.life());
    assert!(confirmed.face(Right::FULL, Coding::Gzip).is_some());
    assert!(
        confirmed.face(Right::numbered(1), Coding::Gzip).is_none(),
        "it would tell that nothing hidden has changed"
    );
    store.keep(key, Arc::new(confirmed), now(0).tick).unwrap();
    assert_eq!(store.figures().1, before, "they are weighed with the new entry");
    let again =
        |body: &'static [u8]| Entry::new(StatusCode::OK, &HeaderMap::new(), body, Ok(old.life())).with_forms_of(&old);
    assert!(again(b"{}").face(Right::FULL, Coding::Gzip).is_some());
    assert!(again(b"{\"new\":1}").face(Right::FULL, Coding::Gzip).is_none());
}

#[test]
fn that_bytes_may_not_be_transformed_is_remembered_until_the_partner_says_otherwise() {
    let says = |line: &'static str| HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(line))]);
    let entry = |line| Entry::new(StatusCode::OK, &says(line), b"{}", Ok(document(b"{}", "").life()));
    assert!(entry("max-age=60, No-Transform").forbids_transform());
    assert!(!entry("max-age=60, x=\"a, no-transform\"").forbids_transform());
    let held = entry("no-transform");
    assert!(held.freshened(&HeaderMap::new(), held.life()).forbids_transform());
    assert!(!held.freshened(&says("max-age=60"), held.life()).forbids_transform());
    assert!(entry("").freshened(&says("no-transform"), held.life()).forbids_transform());
}

mod purging;

mod spread;

mod standard;
