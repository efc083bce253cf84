//! Is the plan of a request the one that RFC 9111 and RFC 5861 have?
//! Given lives and directives, holds it to its tables, for callers that may force a call and for those that may not.
//! Never waits.

use std::sync::atomic::{AtomicU32, AtomicU64};

use http::header::{CACHE_CONTROL, DATE, ETAG};
use http::{HeaderValue, Method, StatusCode};

use super::*;
use crate::cache::Entry;
use crate::cache::freshness::Windows;
use crate::cache::lifetime::Exchange;
use crate::cache::storability;
use crate::clock::Now;

const UNREACHED: Fallback = Fallback { unreached: true, error: false };
const BOTH: Fallback = Fallback { unreached: true, error: true };

/// An answer with this life alone.
#[derive(Debug)]
struct Answer(Life);

impl Stored for Answer {
    fn life(&self) -> Life {
        self.0
    }

    fn status(&self) -> StatusCode {
        StatusCode::OK
    }

    fn hit_counter(&self) -> &AtomicU32 {
        unreachable!("a plan counts nothing")
    }

    fn rest(&self) -> &AtomicU64 {
        static NONE: AtomicU64 = AtomicU64::new(0);
        &NONE
    }
}

/// What a plan comes to.
#[derive(Debug, PartialEq, Eq)]
enum Is {
    Served(Option<Detail>),
    Refreshed(Option<Detail>),
    Asked(Why, Fallback),
    Fetched,
    Refused,
}

fn is<T>(plan: Plan<T>) -> Is {
    match plan {
        Plan::Serve(_, served) => Is::Served(served),
        Plan::ServeAndRefresh(_, served) => Is::Refreshed(served),
        Plan::Revalidate { why, fallback, .. } => Is::Asked(why, fallback),
        Plan::Fetch { .. } => Is::Fetched,
        Plan::Refuse => Is::Refused,
    }
}

fn tick(seconds: u64) -> Tick {
    Tick::from_nanos((1000 + seconds) * 1_000_000_000)
}

fn wishes(words: &str) -> RequestCacheControl {
    RequestCacheControl::of(&HeaderMap::from_iter([(CACHE_CONTROL, words.parse().unwrap())]))
}

#[test]
fn what_the_answer_and_the_request_say_decides() {
    const FRESH: Is = Is::Served(None);
    const BEHIND: Is = Is::Refreshed(Some(Detail::StaleWhileRevalidate));
    const MAX_STALE: Is = Is::Served(Some(Detail::MaxStale));
    const NONE: Is = Is::Asked(Why::Stale, Fallback::NONE);
    const FORCED: Is = Is::Asked(Why::Request, Fallback::NONE);
    // What the answer said, how many seconds later it is asked for in what words, and what is done.
    let rows = [
        ("max-age=60", 59, "", FRESH),
        ("max-age=60", 60, "", Is::Asked(Why::Stale, UNREACHED)),
        ("max-age=60", 60 + 86_400, "", NONE),
        ("max-age=60", 10, "no-cache", FORCED),
        ("max-age=60", 10, "no-store", FRESH),
        ("max-age=60", 10, "max-age=10", FRESH),
        ("max-age=60", 11, "max-age=10", FORCED),
        ("max-age=60", 0, "max-age=0", FRESH),
        ("max-age=60", 10, "min-fresh=50", FRESH),
        ("max-age=60", 10, "min-fresh=51", FORCED),
        ("max-age=60", 10, "only-if-cached", FRESH),
        ("max-age=60", 10, "only-if-cached, no-cache", Is::Refused),
        ("max-age=60", 60, "only-if-cached", Is::Refused),
        ("max-age=60", 70, "only-if-cached, max-stale=10", MAX_STALE),
        ("max-age=60", 70, "max-stale=10", MAX_STALE),
        ("max-age=60", 71, "max-stale=10", Is::Asked(Why::Stale, UNREACHED)),
        ("max-age=60", 99_999, "max-stale", MAX_STALE),
        ("max-age=60", 70, "max-stale=10, max-age=65", NONE),
        ("max-age=60", 70, "max-stale=10, max-age=70", MAX_STALE),
        ("max-age=60", 70, "max-stale=10, min-fresh=1", NONE),
        ("max-age=60", 70, "max-age=100", NONE),
        ("max-age=60, stale-while-revalidate=10", 69, "", BEHIND),
        ("max-age=60, stale-while-revalidate=10", 70, "", Is::Asked(Why::Stale, UNREACHED)),
        ("max-age=60, stale-while-revalidate=10", 65, "max-age=100", FORCED),
        ("max-age=60, stale-while-revalidate=10", 65, "max-stale=10", BEHIND),
        ("max-age=60, stale-if-error=10", 69, "", Is::Asked(Why::Stale, BOTH)),
        ("max-age=60, stale-if-error=10", 70, "", NONE),
        ("max-age=60, must-revalidate", 59, "", FRESH),
        ("max-age=60, must-revalidate", 60, "max-stale", NONE),
        ("max-age=60, proxy-revalidate, stale-if-error=10", 60, "", NONE),
        ("s-maxage=60, stale-while-revalidate=10", 60, "", NONE),
        ("max-age=60, no-cache", 0, "", NONE),
        ("max-age=60, no-cache", 0, "max-stale", NONE),
        ("max-age=0", 0, "", Is::Asked(Why::Stale, UNREACHED)),
    ];
    for (said, later, wished, expected) in rows {
        let mut head = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(said))]);
        head.insert(ETAG, HeaderValue::from_static("\"a\""));
        head.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        let exchange = Exchange { asked: tick(0), received: Now { tick: tick(0), unix_ms: 784_111_777_000 } };
        let stored = storability::judge(&Method::GET, &HeaderMap::new(), StatusCode::OK, &head, exchange).unwrap();
        let found = Lookup::Stored(Arc::new(Answer(stored.life)));
        let found = is(plan(found, &wishes(wished), true, tick(later)));
        assert_eq!(found, expected, "{said} after {later} s with {wished:?}");
    }
}

#[test]
fn a_wish_without_the_right_to_force_it_costs_no_call_while_anything_may_be_served() {
    const FORCED: Is = Is::Asked(Why::Request, Fallback::NONE);
    let minute = Duration::from_secs(60);
    let stale = Windows::of_route(minute, 3 * minute);
    let life = Life { since: tick(0), lifetime: minute, early: Duration::from_secs(5), stale, ..Life::default() };
    let clamped = Is::Served(Some(Detail::Clamped));
    let behind = || Is::Refreshed(Some(Detail::Clamped));
    let rows = [
        (10, "no-cache", clamped, FORCED),
        (57, "max-age=1", behind(), FORCED),
        (70, "max-age=1", behind(), FORCED),
        (130, "no-cache", Is::Asked(Why::Stale, BOTH), Is::Asked(Why::Stale, Fallback::NONE)),
        (130, "max-age=1", Is::Asked(Why::Stale, BOTH), Is::Asked(Why::Stale, Fallback::NONE)),
        (57, "", Is::Refreshed(None), Is::Refreshed(None)),
    ];
    for (later, words, without, with) in rows {
        let found = || Lookup::Stored(Arc::new(Answer(life)));
        assert_eq!(is(plan(found(), &wishes(words), false, tick(later))), without, "{words} after {later} s");
        assert_eq!(is(plan(found(), &wishes(words), true, tick(later))), with, "{words} after {later} s, forced");
    }
}

#[test]
fn what_is_over_is_given_to_whoever_takes_it_and_the_upstream_is_asked_for_all_others() {
    const MAX_STALE: Is = Is::Served(Some(Detail::MaxStale));
    let minute = Duration::from_secs(60);
    let stale = Windows::of_route(minute, Duration::from_secs(86_400));
    let life = Life { initial_age: Duration::from_secs(5000), lifetime: minute, stale, ..Life::default() };
    let asked = || Is::Asked(Why::Stale, BOTH);
    let rows = [
        ("max-stale", MAX_STALE),
        ("max-stale=6000", MAX_STALE),
        ("max-stale=1000", asked()),
        ("max-stale=6000, max-age=100", asked()),
        ("max-stale=6000, min-fresh=1", asked()),
        ("max-stale, no-cache", asked()),
        ("only-if-cached, max-stale", MAX_STALE),
        ("only-if-cached", Is::Refused),
    ];
    for (words, expected) in rows {
        let entry = || Arc::new(Entry::new(StatusCode::OK, &HeaderMap::new(), b"{}", Ok(life)));
        assert_eq!(is(plan(Lookup::Stored(entry()), &wishes(words), false, Tick::default())), expected, "{words}");
    }
    let resting = Arc::new(Entry::new(StatusCode::OK, &HeaderMap::new(), b"{}", Ok(life)));
    resting.rest_until(tick(1));
    let found = is(plan(Lookup::Stored(resting), &RequestCacheControl::default(), false, Tick::default()));
    assert_eq!(found, Is::Served(Some(Detail::StaleIfError)), "it failed just now");
    let refreshed = Arc::new(Entry::new(StatusCode::OK, &HeaderMap::new(), b"{}", Ok(life)));
    assert!(refreshed.claim_refresh(Tick::default(), tick(1)) && !refreshed.claim_refresh(Tick::default(), tick(1)));
    let found = is(plan(Lookup::Stored(refreshed), &RequestCacheControl::default(), false, Tick::default()));
    assert_eq!(found, asked(), "a refresh under way is no failure");
}
