//! When may what is held be used (RFC 9111 §4, §5.2.1; RFC 5861)?
//! Given lives and wishes, holds the judgement to its table.
//! Never waits.

use super::super::reuse::{Fallback, Use, judge};
use super::super::words::{Detail, Why};
use super::*;
use crate::http::cache_control::Wishes;

const NONE: Fallback = Fallback::NONE;
const UNREACHED: Fallback = Fallback { unreached: true, error: false };
const BOTH: Fallback = Fallback { unreached: true, error: true };

fn validate(why: Why, fallback: Fallback) -> Use {
    Use::Validate { why, fallback }
}

#[test]
fn every_use_has_its_row() {
    let (stale, request) = (Why::Stale, Why::Request);
    // What the answer said, how many seconds later it is asked for with what wishes, and what is done.
    let rows = [
        ("max-age=60", 59, "", Use::Fresh),
        ("max-age=60", 60, "", validate(stale, UNREACHED)),
        ("max-age=60", 60 + 86_400, "", validate(stale, NONE)),
        ("max-age=60", 10, "no-cache", validate(request, NONE)),
        ("max-age=60", 10, "no-store", Use::Fresh),
        ("max-age=60", 10, "max-age=10", Use::Fresh),
        ("max-age=60", 11, "max-age=10", validate(request, NONE)),
        ("max-age=60", 0, "max-age=0", Use::Fresh),
        ("max-age=60", 10, "min-fresh=50", Use::Fresh),
        ("max-age=60", 10, "min-fresh=51", validate(request, NONE)),
        ("max-age=60", 70, "max-stale=10", Use::Stale(Detail::MaxStale)),
        ("max-age=60", 71, "max-stale=10", validate(stale, UNREACHED)),
        ("max-age=60", 99_999, "max-stale", Use::Stale(Detail::MaxStale)),
        ("max-age=60", 70, "max-stale=10, max-age=65", validate(stale, NONE)),
        ("max-age=60", 70, "max-stale=10, max-age=70", Use::Stale(Detail::MaxStale)),
        ("max-age=60", 70, "max-stale=10, min-fresh=1", validate(stale, NONE)),
        ("max-age=60", 70, "max-age=100", validate(stale, NONE)),
        ("max-age=60, stale-while-revalidate=10", 69, "", Use::Refresh),
        ("max-age=60, stale-while-revalidate=10", 70, "", validate(stale, UNREACHED)),
        ("max-age=60, stale-while-revalidate=10", 65, "max-age=100", validate(stale, NONE)),
        ("max-age=60, stale-while-revalidate=10", 65, "max-stale=10", Use::Stale(Detail::MaxStale)),
        ("max-age=60, stale-if-error=10", 69, "", validate(stale, BOTH)),
        ("max-age=60, stale-if-error=10", 70, "", validate(stale, NONE)),
        ("max-age=60, must-revalidate", 59, "", Use::Fresh),
        ("max-age=60, must-revalidate", 60, "max-stale", validate(stale, NONE)),
        ("max-age=60, proxy-revalidate, stale-if-error=10", 60, "", validate(stale, NONE)),
        ("s-maxage=60, stale-while-revalidate=10", 60, "", validate(stale, NONE)),
        ("max-age=60, no-cache", 0, "", validate(stale, NONE)),
        ("max-age=60, no-cache", 0, "max-stale", validate(stale, NONE)),
        ("max-age=0", 0, "", validate(stale, UNREACHED)),
    ];
    for (said, later, wished, expected) in rows {
        let life = judged(200, &[("cache-control", said), ("etag", "\"a\""), ("date", NOON)]).unwrap().life;
        let wishes = Wishes::of(&head(&[("cache-control", wished)]));
        assert_eq!(judge(&life, &wishes, tick(later)), expected, "{said} after {later} s with {wished:?}");
    }
}

#[test]
fn one_at_a_time_refreshes_behind() {
    let reply = stored(&[("cache-control", "max-age=1")], "x");
    assert!(reply.claim_refresh(tick(2), tick(12)));
    assert!(!reply.claim_refresh(tick(2), tick(12)));
    assert!(!reply.claim_refresh(tick(11), tick(21)));
    assert!(reply.claim_refresh(tick(12), tick(22)));
    reply.rest_until(tick(13));
    assert!(reply.claim_refresh(tick(13), tick(23)));
}
