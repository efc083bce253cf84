//! The plan of a request: what it gets, of what is stored and by its directives (RFC 9111 §4, §5.2.1; RFC 5861).
//! Given a lookup, the directives and `now`, hands back the [`Plan`], the same for routes of both modes: it is executed for a
//! request, printed by `explain`, and taken by the fast path where it is to serve.
//! Never asks, stores or waits. On documents of the API only the scope `cache:refresh` forces a call, any other wish is clamped.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::cache::freshness::{Fallback, Life, Stage};
use crate::cache::reason::{Detail, Why};
use crate::cache::{Lookup, Stored};
use crate::clock::Tick;
use crate::http::cache_control::{MOST_SECONDS, RequestCacheControl};
use crate::http::request_flags::{Kinds, RequestFlags};

/// What is done for a request.
#[derive(Debug, Clone)]
pub(crate) enum Plan<T> {
    /// What is stored is served; with a word on why that is right, unless it is simply fresh.
    Serve(Arc<T>, Option<Detail>),
    /// The same, and a new one is fetched behind.
    ServeAndRefresh(Arc<T>, Option<Detail>),
    /// The upstream is asked about it first.
    Revalidate {
        /// What is stored.
        stored: Arc<T>,
        /// Why it is not served as it is.
        why: Why,
        /// Whether it is served where that fails.
        fallback: Fallback,
    },
    /// The upstream is asked.
    Fetch {
        /// Why nothing is served.
        why: Why,
        /// Whether all who ask meanwhile wait for one call; else each asks alone (hit-for-pass).
        coalesce: bool,
        /// What is stored for requests that differ where it matters.
        others: Vec<Arc<T>>,
    },
    /// Nothing, since the upstream may not be asked (`only-if-cached`).
    Refuse,
}

impl<T> Plan<T> {
    /// The same, where nothing may stand in for an answer that fails.
    pub(super) fn without_fallback(self) -> Self {
        match self {
            Self::Serve(stored, Some(Detail::StaleIfError)) | Self::Revalidate { stored, .. } => {
                Self::Revalidate { stored, why: Why::Stale, fallback: Fallback::NONE }
            }
            plan => plan,
        }
    }
}

/// The directives of a request; without `Cache-Control` it has none on routes of the API, whatever `Pragma` says.
pub(super) fn wishes_of(headers: &HeaderMap, asks: RequestFlags) -> RequestCacheControl {
    if asks.has(Kinds::DIRECTIVES) { RequestCacheControl::of(headers) } else { RequestCacheControl::default() }
}

/// The plan for a request with these directives; `forces` is the right to make the upstream be asked.
pub(crate) fn plan<T: Stored>(found: Lookup<T>, wishes: &RequestCacheControl, forces: bool, now: Tick) -> Plan<T> {
    let fetch = |why, coalesce, others| match wishes.only_if_cached {
        true => Plan::Refuse,
        false => Plan::Fetch { why, coalesce, others },
    };
    match found {
        Lookup::Stored(stored) => plan_for(stored, wishes, forces, now),
        Lookup::OtherVariants(others) => fetch(Why::VaryMiss, true, others),
        Lookup::Uncacheable => fetch(Why::UriMiss, false, Vec::new()),
        Lookup::Absent => fetch(Why::UriMiss, true, Vec::new()),
    }
}

fn plan_for<T: Stored>(stored: Arc<T>, wishes: &RequestCacheControl, forces: bool, now: Tick) -> Plan<T> {
    let (life, fresher) = (stored.life(), wants_fresher(&stored.life(), wishes, now));
    let forced = fresher && forces;
    match life.stage(now) {
        _ if forced && wishes.only_if_cached => Plan::Refuse,
        Stage::Fresh if fresher && !forced => Plan::Serve(stored, Some(Detail::Clamped)),
        Stage::Due | Stage::Stale if fresher && !forced => Plan::ServeAndRefresh(stored, Some(Detail::Clamped)),
        Stage::Fresh if !forced => Plan::Serve(stored, None),
        Stage::Due if !forced => Plan::ServeAndRefresh(stored, None),
        Stage::Stale if !forced => Plan::ServeAndRefresh(stored, Some(Detail::StaleWhileRevalidate)),
        // Within the windows that the route and the upstream allow, the caller's patience spares a call.
        _ if !fresher && takes_stale(&life, wishes, now) => Plan::Serve(stored, Some(Detail::MaxStale)),
        _ if wishes.only_if_cached => Plan::Refuse,
        stage => {
            // §5.2.1.1, §5.2.1.3: who names the freshness it wants takes nothing stale in its place.
            let fallback = if forced { Fallback::NONE } else { life.fallback(now) };
            // The upstream failed over it just now.
            if fallback.error && stored.failed_lately(now) {
                return Plan::Serve(stored, Some(Detail::StaleIfError));
            }
            // RFC 9211 §2.2: good enough for others, it is not used for what the request says.
            let is_good = matches!(stage, Stage::Fresh | Stage::Due | Stage::Stale);
            let why = if is_good { Why::Request } else { Why::Stale };
            Plan::Revalidate { stored, why, fallback }
        }
    }
}

/// §5.2.1.4, §5.2.1.1, §5.2.1.3: whether what would be given to anybody else is too old for this request.
fn wants_fresher(life: &Life, wishes: &RequestCacheControl, now: Tick) -> bool {
    let age = life.age(now);
    let impatient = wishes.max_stale.is_none() && age >= life.lifetime;
    wishes.no_cache
        || wishes.max_age.is_some_and(|most| impatient || age > Duration::from_secs(most))
        || wishes.min_fresh.is_some_and(|least| life.lifetime.saturating_sub(age) < Duration::from_secs(least))
}

/// §5.2.1.2.
fn takes_stale(life: &Life, wishes: &RequestCacheControl, now: Tick) -> bool {
    let stale = life.staleness(now);
    let within = |most: u64| most == MOST_SECONDS || stale <= Duration::from_secs(most);
    stale < life.stale.if_asked && wishes.max_stale.is_some_and(within)
}

#[cfg(test)]
mod tests;
