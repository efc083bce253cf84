//! May it be stored?
//! Given the request as it went out and the answer's head, hands back what to store it as, or the reason not to (RFC 9111 §3).
//! Never looks at a body: what is incomplete never comes here.

use http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, DATE, EXPIRES, HeaderName};
use http::{HeaderMap, Method, StatusCode};

use crate::http::cache_control::{Said, Wishes};
use crate::http::{date, hop_by_hop};

use super::lifetime::{self, Exchange};
use super::reason::Detail;
use super::vary::Selection;
use crate::cache::freshness::Life;

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
    let said = Said::of(head);
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
    if Wishes::of(sent).no_store {
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
    let explicit = said.s_maxage.is_some() || said.max_age.is_some() || (!said.targeted && head.contains_key(EXPIRES));
    let validator = head.contains_key(http::header::ETAG) || head.contains_key(http::header::LAST_MODIFIED);
    let life = lifetime::life(&said, status, head, exchange);
    if !explicit && !lifetime::is_guessed_by_default(status) && !said.public {
        return Err(Detail::Status);
    }
    // Without lifetime and validator there is nothing that a stored copy could ever be used for.
    if lifetime::lifetime(&said, status, head, exchange).is_none() && !(validator && is_reusable(method)) {
        return Err(Detail::NoLifetime);
    }
    Ok(Storable { life, selection, withheld: said.withheld() })
}

fn is_reusable(method: &Method) -> bool {
    method == Method::GET
}

/// RFC 9110 §9.3.3: the answer to a POST is one to a later GET where it names the target as its content's and says how long.
pub fn answers_a_get(target: &str, status: StatusCode, head: &HeaderMap, said: &Said) -> bool {
    let named = head.get(CONTENT_LOCATION).is_some_and(|place| place.as_bytes() == target.as_bytes());
    let explicit = said.s_maxage.or(said.max_age).is_some() || (!said.targeted && head.contains_key(EXPIRES));
    status == StatusCode::OK && named && explicit
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
        stored.extend(date::value(exchange.came.wall()).map(|now| (DATE, now)));
    }
    stored
}
