//! Storability: may an answer be stored, and as what (RFC 9111 §3)?
//! Given the answer's head, and a route's terms or the request as it went out, hands back its [`Life`] or the reason not to.
//! Never looks at a body, and never reads a clock: what is incomplete never comes here, and moments are handed in.

use std::time::Duration;

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, DATE, ETAG,
    HeaderName, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, Method, StatusCode};

use crate::http::cache_control::{self, CacheControl, RequestCacheControl};
use crate::http::{date, hop_by_hop};
use crate::route::Terms;

use super::freshness::{Life, Windows};
use super::lifetime::{self, Exchange};
use super::reason::Detail;
use super::vary::Selection;

/// The headers of a document that are stored. Nothing else of the partner's head crosses.
pub(super) static STORED_HEADERS: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_LANGUAGE, DATE, LAST_MODIFIED, ETAG];

/// Judges an answer to a request for a document, by the terms of its route. `is_for_us` says that `private` means us, as in
/// the answers of a hub.
///
/// # Errors
/// The first reason not to.
pub fn judge_document(
    terms: &Terms,
    is_for_us: bool,
    status: StatusCode,
    head: &HeaderMap,
    exchange: Exchange,
) -> Result<Life, Detail> {
    let since = exchange.received.tick;
    match status {
        StatusCode::OK => {}
        // A negative answer has its own short life, and nobody gains from its staleness.
        StatusCode::NOT_FOUND | StatusCode::GONE if !terms.negative_ttl.is_zero() => {
            return Ok(Life { since, lifetime: terms.negative_ttl, ..Life::default() });
        }
        _ => return Err(Detail::Status),
    }
    let stale = Windows::of_route(terms.stale_while_revalidate, terms.stale_if_error);
    let life = Life { since, lifetime: terms.ttl, stale, ..Life::default() };
    if terms.overrides {
        return Ok(life);
    }
    let said = CacheControl::of(head);
    // Of fields that nothing is kept of, such as `Set-Cookie`, there is nothing to withhold (§5.2.2.4, §5.2.2.7).
    let any_kept = |names: &[HeaderName]| names.iter().any(|name| STORED_HEADERS.contains(name));
    if said.no_store {
        return Err(Detail::NoStore);
    }
    if (said.private || any_kept(&said.private_fields)) && !is_for_us {
        return Err(Detail::Private);
    }
    // All our requests are alike, whatever header the partner chooses by.
    if head.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*')) {
        return Err(Detail::Vary);
    }
    let must_revalidate = said.must_revalidate || said.proxy_revalidate;
    let lifetime = lifetime::explicit(&said, head, exchange);
    if said.no_cache || any_kept(&said.no_cache_fields) || lifetime == Some(Duration::ZERO) {
        // One that is asked for each time is never given because a request takes stale ones.
        let stale = match must_revalidate {
            true => Windows { while_revalidate: stale.while_revalidate, ..Windows::default() },
            false => Windows { if_asked: Duration::ZERO, ..stale },
        };
        return Ok(Life { lifetime: Duration::ZERO, ask_first: true, stale, ..life });
    }
    let stale = if must_revalidate { Windows::default() } else { stale };
    Ok(match lifetime {
        Some(lifetime) => {
            let initial_age = Duration::from_secs(cache_control::age(head)) + since.since(exchange.asked);
            Life { lifetime, initial_age, stale, ..life }
        }
        // Without a lifetime of the partner's its Age has nothing to be held against: the route's ttl counts from the arrival.
        None => Life { stale, ..life },
    })
}

/// How an answer is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storable {
    /// Its life.
    pub life: Life,
    /// What it was chosen by.
    pub selection: Selection,
    /// Fields to leave out.
    pub withheld: Vec<HeaderName>,
}

/// Judges the answer `head` to a request whose head went out as `sent` (RFC 9111 §3, clause by clause).
///
/// # Errors
/// The first reason not to.
pub fn judge(
    method: &Method,
    sent: &HeaderMap,
    status: StatusCode,
    head: &HeaderMap,
    exchange: Exchange,
) -> Result<Storable, Detail> {
    let said = CacheControl::of(head);
    if status == StatusCode::PARTIAL_CONTENT {
        return Err(Detail::Partial);
    }
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err(Detail::Status);
    }
    let understood = is_understood(status);
    if said.must_understand && !understood {
        return Err(Detail::Status);
    }
    // §5.2.2.3: who understands the status may store in spite of a `no-store` that is for those who do not.
    if said.no_store && !said.must_understand {
        return Err(Detail::NoStore);
    }
    if RequestCacheControl::of(sent).no_store {
        return Err(Detail::RequestNoStore);
    }
    if said.private {
        return Err(Detail::Private);
    }
    // §3.5.
    let opened = said.must_revalidate || said.public || said.s_maxage.is_some();
    if sent.contains_key(AUTHORIZATION) && !opened {
        return Err(Detail::Authorization);
    }
    let selection = Selection::of(head, sent).map_err(|_| Detail::Vary)?;
    let is_explicit = lifetime::explicit(&said, head, exchange).is_some();
    if !is_explicit && !lifetime::is_guessed_by_default(status) && !said.public {
        return Err(Detail::Status);
    }
    // Without lifetime and validator there is nothing that a stored copy could ever be used for.
    let has_validator = head.contains_key(ETAG) || head.contains_key(LAST_MODIFIED);
    let lifetime = lifetime::lifetime(&said, status, head, exchange);
    if lifetime.is_none() && !(has_validator && method == Method::GET) {
        return Err(Detail::NoLifetime);
    }
    let life = lifetime::life(&said, lifetime.unwrap_or_default(), head, exchange);
    Ok(Storable { life, selection, withheld: said.withheld() })
}

/// RFC 9110 §9.3.3: the answer to a POST is one to a later GET where it names the target as its content's and says how long.
pub fn answers_a_get(target: &str, status: StatusCode, head: &HeaderMap, exchange: Exchange) -> bool {
    let named = head.get(CONTENT_LOCATION).is_some_and(|place| place.as_bytes() == target.as_bytes());
    status == StatusCode::OK && named && lifetime::explicit(&CacheControl::of(head), head, exchange).is_some()
}

/// The statuses of RFC 9110 §15 whose caching is understood here; what a cache would have to do for others is not known.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=410 | 412..=417 | 421 | 422 | 426 | 500..=505
    )
}

/// A head as it is stored: without what is a connection's own, or withheld, and with the date it lacked
/// (RFC 9110 §6.6.1).
pub fn stored_head(head: &HeaderMap, withheld: &[HeaderName], exchange: Exchange) -> HeaderMap {
    let mut stored = head.clone();
    hop_by_hop::strip(&mut stored);
    // Both are said anew with each answer: the length is the body's to say, the age the moment's.
    stored.remove(CONTENT_LENGTH);
    stored.remove(AGE);
    withheld.iter().filter(|name| **name != CACHE_CONTROL).for_each(|name| drop(stored.remove(name)));
    if !stored.contains_key(DATE) {
        stored.extend(date::value(exchange.received.wall()).map(|now| (DATE, now)));
    }
    stored
}
