//! May it be stored, and for how long is it used?
//! Given a route's terms and what the partner's head says, hands back a [`Life`] or the reason for none.
//! Never reads a clock: moments are handed in. The order is that of RFC 9111: §3 storing, §4.2 freshness, §5.2.2 directives.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::clock::Tick;
use crate::http::{cache_control, date};
use crate::route::Terms;

use super::freshness::{Life, Windows};
use super::reason::Detail;

/// The headers of an answer that are kept. Nothing else of the partner's head crosses.
pub(super) static KEPT: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_LANGUAGE, DATE, LAST_MODIFIED, ETAG];

/// What the partner said about storing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Said {
    no_store: bool,
    private: bool,
    no_cache: bool,
    must_revalidate: bool,
    lifetime: Option<Duration>,
}

/// Judges an answer asked for at `asked` and come at `came`.
///
/// # Errors
/// [`Detail`] with the first reason.
pub fn judge(terms: &Terms, status: StatusCode, head: &HeaderMap, asked: Tick, came: Tick) -> Result<Life, Detail> {
    judge_as(terms, status, head, asked, came, false)
}

/// The same where we are the one that `private` is for.
pub(super) fn judge_privately(
    terms: &Terms,
    status: StatusCode,
    head: &HeaderMap,
    asked: Tick,
    came: Tick,
) -> Result<Life, Detail> {
    judge_as(terms, status, head, asked, came, true)
}

fn judge_as(
    terms: &Terms,
    status: StatusCode,
    head: &HeaderMap,
    asked: Tick,
    came: Tick,
    for_us: bool,
) -> Result<Life, Detail> {
    let said = read(head);
    let negative = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    if status != StatusCode::OK && !negative {
        return Err(Detail::Status);
    }
    // A negative answer has its own short life, and nobody gains from its staleness.
    if negative {
        return match terms.negative_ttl {
            Duration::ZERO => Err(Detail::Status),
            lifetime => Ok(Life { since: came, lifetime, ..Life::default() }),
        };
    }
    let stale = Windows::of_route(terms.stale_while_revalidate, terms.stale_if_error);
    let windows = Life { since: came, lifetime: terms.ttl, stale, ..Life::default() };
    if terms.overrides {
        return Ok(windows);
    }
    if said.no_store {
        return Err(Detail::NoStore);
    }
    if said.private && !for_us {
        return Err(Detail::Private);
    }
    if varies(head) {
        return Err(Detail::Vary);
    }
    let told = said.lifetime;
    if said.no_cache || told == Some(Duration::ZERO) {
        // One that is asked for each time is never given because a request takes stale ones.
        let stale = match said.must_revalidate {
            true => Windows { while_revalidate: stale.while_revalidate, ..Windows::default() },
            false => Windows { if_asked: Duration::ZERO, ..stale },
        };
        return Ok(Life { lifetime: Duration::ZERO, ask_first: true, stale, ..windows });
    }
    // Without a lifetime of the partner's its Age has nothing to be held against: the route's ttl counts from the arrival.
    let (lifetime, initial_age) = match told {
        Some(lifetime) => (lifetime, Duration::from_secs(cache_control::age(head)) + came.since(asked)),
        None => (terms.ttl, Duration::ZERO),
    };
    let life = Life { lifetime, initial_age, ..windows };
    Ok(match said.must_revalidate {
        true => Life { stale: Windows::default(), ..life },
        false => life,
    })
}

/// Whether the answer was chosen by something other than what every one of our requests says alike.
/// `Accept`, `Accept-Encoding`, `User-Agent` and the key are the same in all of them, so varying on those is no variance.
fn varies(head: &HeaderMap) -> bool {
    head.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*'))
}

fn read(head: &HeaderMap) -> Said {
    let told = cache_control::Said::of_field(head, &CACHE_CONTROL);
    // Of fields that nothing is kept of, such as `Set-Cookie`, there is nothing to withhold (RFC 9111 §5.2.2.4, §5.2.2.7).
    let any_kept = |names: &[HeaderName]| names.iter().any(|name| KEPT.contains(name));
    Said {
        no_store: told.no_store,
        private: told.private || any_kept(&told.private_fields),
        no_cache: told.no_cache || any_kept(&told.no_cache_fields),
        must_revalidate: told.must_revalidate || told.proxy_revalidate,
        lifetime: told.s_maxage.or(told.max_age).map(Duration::from_secs).or_else(|| expires(head)),
    }
}

/// RFC 9111 §5.3: `Expires` less `Date`; an invalid one is in the past.
fn expires(head: &HeaderMap) -> Option<Duration> {
    head.get(EXPIRES)?;
    let lifetime = date::of(head, &EXPIRES).zip(date::of(head, &DATE)).map(|(until, from)| until.duration_since(from));
    Some(lifetime.and_then(Result::ok).unwrap_or(Duration::ZERO))
}
