//! How long is a hub's answer used?
//! Given a route's terms and what the hub's head says, hands back a [`Life`] or the reason for none.
//! Never makes an answer live longer than the hub lets it live: every hop counts the same age against the same times.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::cache_control::directives;
use crate::route::Terms;

use super::freshness::Life;
use super::lifetime::Exchange;
use super::reason::Detail;
use super::storability::judge_document;

/// Where a hub tells the gateways behind it for how long its answers may be shown stale (RFC 9213 §2: a field for caches of
/// one kind). In `Cache-Control` the windows of RFC 5861 would be taken by every cache that a caller has.
pub const WINDOWS: HeaderName = HeaderName::from_static("reseller-gateway-cache-control");

/// Judges an answer of a hub: as a partner's, with three differences. `private` is
/// for us, whose token it was given to. A 404 lives no longer than there. And the windows are the lesser ones of both.
///
/// # Errors
/// [`Detail`] with the first reason.
pub fn judge(terms: &Terms, status: StatusCode, head: &HeaderMap, exchange: Exchange) -> Result<Life, Detail> {
    let told = windows(head);
    let within = |ours: Duration, theirs: Option<Duration>| theirs.map_or(ours, |theirs| theirs.min(ours));
    let terms = Terms {
        stale_while_revalidate: within(terms.stale_while_revalidate, told.while_revalidate),
        stale_if_error: within(terms.stale_if_error, told.if_error),
        overrides: false,
        ..*terms
    };
    let life = judge_document(&terms, true, status, head, exchange)?;
    if status == StatusCode::OK {
        return Ok(life);
    }
    // What policy says of a 404 counts from now; the hub has counted before.
    let theirs = judge_document(&terms, true, StatusCode::OK, head, exchange)?;
    Ok(Life { lifetime: life.lifetime.min(theirs.lifetime), initial_age: theirs.initial_age, ..life })
}

#[derive(Debug, Default)]
struct HubWindows {
    while_revalidate: Option<Duration>,
    if_error: Option<Duration>,
}

fn windows(head: &HeaderMap) -> HubWindows {
    let mut told = HubWindows::default();
    for directive in head.get_all(WINDOWS).iter().flat_map(|line| directives(line.as_bytes())) {
        let time = || Some(Duration::from_secs(directive.seconds().unwrap_or(0)));
        match directive.name {
            b"stale-while-revalidate" => told.while_revalidate = time(),
            b"stale-if-error" => told.if_error = time(),
            _ => {}
        }
    }
    told
}

/// The windows of an entry, as they are told.
pub fn windows_field(life: &Life) -> Option<HeaderValue> {
    let (while_revalidate, if_error) = (life.stale.while_revalidate.as_secs(), life.stale.if_error.as_secs());
    HeaderValue::try_from(format!("stale-while-revalidate={while_revalidate}, stale-if-error={if_error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::super::freshness::{Stage, Windows};
    use super::*;
    use crate::clock::{Now, Tick};

    const MINUTE: Duration = Duration::from_secs(60);
    const TERMS: Terms = Terms {
        ttl: MINUTE,
        stale_while_revalidate: Duration::from_secs(300),
        stale_if_error: Duration::from_secs(3_600),
        negative_ttl: Duration::from_secs(10),
        overrides: true,
    };

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn judged(status: u16, lines: &[(&'static str, &'static str)]) -> Result<Life, Detail> {
        let head = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        judge(
            &TERMS,
            StatusCode::from_u16(status).unwrap(),
            &head.collect(),
            Exchange { asked: at(100), received: Now { tick: at(100), unix_ms: 0 } },
        )
    }

    #[test]
    fn age_goes_on_and_the_whole_lifetime_is_not_given_again() {
        let life = judged(200, &[("cache-control", "private, max-age=60"), ("age", "45")]).unwrap();
        assert_eq!((life.age(at(100)).as_secs(), life.lifetime), (45, MINUTE));
        assert_eq!((life.stage(at(114)), life.stage(at(116))), (Stage::Fresh, Stage::Stale));
        let stale = judged(200, &[("cache-control", "private, max-age=60"), ("age", "90")]).unwrap();
        assert_eq!(stale.stage(at(100)), Stage::Stale);
    }

    #[test]
    fn the_windows_are_the_lesser_ones_and_ours_where_none_are_told() {
        let windows = |field: &'static str| {
            let lines = [("cache-control", "private, max-age=60"), ("reseller-gateway-cache-control", field)];
            let life = judged(200, &lines).unwrap();
            (life.stale.while_revalidate.as_secs(), life.stale.if_error.as_secs())
        };
        assert_eq!(windows(""), (300, 3_600));
        assert_eq!(windows("stale-while-revalidate=20, stale-if-error=86400"), (20, 3_600));
        assert_eq!(windows("stale-while-revalidate=0, stale-if-error=0"), (0, 0));
        assert_eq!(windows("stale-if-error=soon, other=1"), (300, 0), "what is no number is the safe side");
    }

    #[test]
    fn what_the_hub_may_not_keep_is_not_kept_here() {
        assert_eq!(judged(200, &[("cache-control", "no-store")]), Err(Detail::NoStore));
        let asked_first = judged(200, &[("cache-control", "private, no-cache")]).unwrap();
        assert!(asked_first.ask_first);
        assert_eq!(judged(403, &[("cache-control", "private, max-age=60")]), Err(Detail::Status));
    }

    #[test]
    fn a_404_lives_no_longer_than_at_the_hub() {
        let life = judged(404, &[("cache-control", "private, max-age=8"), ("age", "5")]).unwrap();
        assert_eq!((life.stage(at(102)), life.stage(at(104))), (Stage::Fresh, Stage::Over));
        let longer = judged(404, &[("cache-control", "private, max-age=600")]).unwrap();
        assert_eq!((longer.stage(at(109)), longer.stage(at(111))), (Stage::Fresh, Stage::Over));
        assert_eq!(judged(404, &[("cache-control", "no-store")]), Err(Detail::NoStore));
    }

    #[test]
    fn windows_are_told_as_they_are_read() {
        let life = Life {
            since: at(0),
            lifetime: MINUTE,
            stale: Windows::of_route(Duration::from_secs(20), Duration::from_secs(40)),
            ..Life::default()
        };
        let head = HeaderMap::from_iter([(WINDOWS, windows_field(&life).unwrap())]);
        let read = windows(&head);
        assert_eq!(
            (read.while_revalidate, read.if_error),
            (Some(Duration::from_secs(20)), Some(Duration::from_secs(40)))
        );
    }
}
