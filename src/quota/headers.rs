//! What is a caller told of its limits?
//! Given limits and what is spent, hands back the values of `RateLimit-Policy` and `RateLimit`, which [`crate::http::rate_limit_fields`] writes.
//! Never tells one caller of another, and never promises a request sooner than it would be granted.

use http::HeaderValue;

use super::spent::Spent;
use super::{Limit, Limits};
use crate::clock::Tick;
use crate::gcra::{Arrivals, Quota, Rate};
use crate::http::rate_limit_fields::Items;

const SECOND: u128 = 1_000_000_000;

/// The two fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitHeaders {
    /// `RateLimit-Policy`: the same on every answer.
    pub policy: HeaderValue,
    /// `RateLimit`: how the caller stands now.
    pub standing: HeaderValue,
}

/// `RateLimit-Policy`.
pub(super) fn policy(limits: &Limits) -> HeaderValue {
    let mut items = Items::new();
    allowance(&mut items, Limit::Requests, limits.requests);
    if let Some(most) = limits.concurrent {
        items.concurrent_quota(Limit::Concurrent.as_str(), most);
    }
    allowance(&mut items, Limit::Upstream, limits.upstream);
    items.value()
}

/// `RateLimit`.
pub(super) fn standing(limits: &Limits, spent: &Spent, now: Tick) -> HeaderValue {
    let mut items = Items::new();
    left(&mut items, Limit::Requests, limits.requests, spent.requests, now);
    if let Some(most) = limits.concurrent {
        items.concurrent_left(Limit::Concurrent.as_str(), most.saturating_sub(spent.under_way));
    }
    left(&mut items, Limit::Upstream, limits.upstream, spent.upstream, now);
    items.value()
}

/// The quota over a window of whole seconds: as long as a whole burst takes to come back, so that `q / w` is the mean rate.
fn allowance(items: &mut Items, limit: Limit, quota: Quota) {
    let Rate::Every(interval) = quota.rate else { return };
    let (interval, burst) = (interval.as_nanos().max(1), u128::from(quota.burst.max(1)));
    // An interval is rounded to nanoseconds: one for each event is no reason for a second more.
    let window = (interval * burst).saturating_sub(burst).div_ceil(SECOND).max(1);
    // A thousandth of an event is what the same rounding may cost here.
    let events = (window * SECOND * 1000 + interval) / (interval * 1000);
    items.quota(limit.as_str(), events, window);
}

/// What is left, and the time until there is more.
fn left(items: &mut Items, limit: Limit, quota: Quota, arrivals: Arrivals, now: Tick) {
    if quota.rate != Rate::Unlimited {
        items.left(limit.as_str(), arrivals.left(quota, now), arrivals.more_at(quota, now).since(now));
    }
}
