//! How old is it, and for how long is it fresh?
//! Given a head and when it was asked for and came, hands back its [`Life`] (RFC 9111 §4.2).
//! Never reads a clock; ages are counted on the monotonic one, dates are compared on the wall's.

use std::time::{Duration, SystemTime};

use http::header::{DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use crate::clock::{Now, Tick};

use crate::cache::freshness::{Life, Windows};
use crate::http::cache_control::{self, CacheControl};
use crate::http::date;

/// RFC 9111 §4.2.2 leaves it open; longer guesses are nobody's word.
const LONGEST_GUESS: Duration = Duration::from_secs(86_400);

/// How long past its lifetime an answer is given while the partner cannot be reached, where the partner did not say
/// (§4.2.4 allows it and sets no bound).
const UNREACHED: Duration = Duration::from_secs(86_400);

/// When an answer was asked for, and when its head came.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// When the request went out.
    pub asked: Tick,
    /// When the head was here.
    pub received: Now,
}

/// The life of an answer whose directives are `said`, by what it says alone.
pub fn life(said: &CacheControl, lifetime: Duration, head: &HeaderMap, exchange: Exchange) -> Life {
    let seconds = |told: Option<u64>| told.map(Duration::from_secs);
    let forbidden = said.must_revalidate || said.proxy_revalidate || said.no_cache || said.s_maxage.is_some();
    let stale = match forbidden {
        true => Windows::default(),
        false => Windows {
            while_revalidate: seconds(said.stale_while_revalidate).unwrap_or_default(),
            if_error: seconds(said.stale_if_error).unwrap_or_default(),
            if_unreached: seconds(said.stale_if_error).unwrap_or(UNREACHED),
            if_asked: Duration::MAX,
        },
    };
    Life {
        since: exchange.received.tick,
        initial_age: initial_age(head, exchange),
        lifetime,
        ask_first: said.no_cache,
        early: Duration::ZERO,
        stale,
    }
}

/// §4.2.1, in its order: for shared caches, for all, the date, a guess.
pub fn lifetime(said: &CacheControl, status: StatusCode, head: &HeaderMap, exchange: Exchange) -> Option<Duration> {
    let may_guess = said.public || is_guessed_by_default(status);
    explicit(said, head, exchange).or_else(|| may_guess.then(|| guess(head, exchange)).flatten())
}

/// The same without a guess.
pub fn explicit(said: &CacheControl, head: &HeaderMap, exchange: Exchange) -> Option<Duration> {
    let directed = said.s_maxage.or(said.max_age).map(Duration::from_secs);
    directed.or_else(|| expires(head, exchange).filter(|_| !said.targeted))
}

/// §5.3: `Expires` less `Date`, or less the arrival where there is no date; an invalid one is in the past.
fn expires(head: &HeaderMap, exchange: Exchange) -> Option<Duration> {
    head.get(EXPIRES)?;
    let from = date::of(head, &DATE).unwrap_or_else(|| exchange.received.wall());
    Some(date::of(head, &EXPIRES).and_then(|until| until.duration_since(from).ok()).unwrap_or_default())
}

/// §4.2.2: a tenth of the time since the last change.
fn guess(head: &HeaderMap, exchange: Exchange) -> Option<Duration> {
    let from = date::of(head, &DATE).unwrap_or_else(|| exchange.received.wall());
    let unchanged = from.duration_since(date::of(head, &LAST_MODIFIED)?).ok()?;
    Some((unchanged / 10).min(LONGEST_GUESS))
}

/// RFC 9110 §15.1: the statuses whose answers may be given a lifetime by guess. 206 is one too, but parts are not stored.
pub fn is_guessed_by_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// §4.2.3: what the clocks say, or what the caches on the way say and the answer took, whichever is more.
fn initial_age(head: &HeaderMap, exchange: Exchange) -> Duration {
    let whole = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let apparent = date::of(head, &DATE).map_or(0, |date| whole(exchange.received.wall()).saturating_sub(whole(date)));
    let corrected = Duration::from_secs(cache_control::age(head)) + exchange.received.tick.since(exchange.asked);
    corrected.max(Duration::from_secs(apparent))
}
