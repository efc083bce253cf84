//! What is a caller told of its limits?
//! Given limits and what is spent, hands back the values of `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
//! Never tells one caller of another, and never promises a request sooner than it would be granted.

use std::fmt::Write;
use std::time::Duration;

use http::HeaderValue;

use super::spent::Spent;
use super::{Limit, Limits};
use crate::clock::Tick;
use crate::gcra::{Arrivals, Quota, Rate};

const SECOND: u128 = 1_000_000_000;

/// The two fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `RateLimit-Policy`: the same on every answer.
    pub policy: HeaderValue,
    /// `RateLimit`: how the caller stands now.
    pub standing: HeaderValue,
}

/// `RateLimit-Policy` (draft §3).
pub(super) fn policy(limits: &Limits) -> HeaderValue {
    let mut text = String::new();
    item(&mut text, Limit::Requests, allowance(limits.requests));
    item(&mut text, Limit::Concurrent, limits.concurrent.map(|most| format!(";q={most};qu=\"concurrent-requests\"")));
    item(&mut text, Limit::Upstream, allowance(limits.upstream));
    value(&text)
}

/// `RateLimit` (draft §4).
pub(super) fn standing(limits: &Limits, spent: &Spent, now: Tick) -> HeaderValue {
    let mut text = String::with_capacity(96);
    item(&mut text, Limit::Requests, left(limits.requests, spent.requests, now));
    let free = limits.concurrent.map(|most| most.saturating_sub(spent.under_way));
    item(&mut text, Limit::Concurrent, free.map(|free| format!(";r={free}")));
    item(&mut text, Limit::Upstream, left(limits.upstream, spent.upstream, now));
    value(&text)
}

fn item(text: &mut String, limit: Limit, parameters: Option<String>) {
    if let Some(parameters) = parameters {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}\"{}\"{parameters}", limit.word());
    }
}

/// The quota over a window of whole seconds: as long as a whole burst takes to come back, so that `q / w` is the mean rate.
fn allowance(quota: Quota) -> Option<String> {
    let Rate::Every(interval) = quota.rate else { return None };
    let (interval, burst) = (interval.as_nanos().max(1), u128::from(quota.burst.max(1)));
    // An interval is rounded to nanoseconds: one for each event is no reason for a second more.
    let window = (interval * burst).saturating_sub(burst).div_ceil(SECOND).max(1);
    // A thousandth of an event is what the same rounding may cost here.
    let events = (window * SECOND * 1000 + interval) / (interval * 1000);
    Some(format!(";q={events};w={window}"))
}

/// What is left, and the seconds until there is more.
fn left(quota: Quota, arrivals: Arrivals, now: Tick) -> Option<String> {
    if quota.rate == Rate::Unlimited {
        return None;
    }
    let more = arrivals.more_at(quota, now).since(now);
    Some(format!(";r={};t={}", arrivals.left(quota, now), seconds(more)))
}

/// Rounded up: who comes back when told to is not sent away again.
fn seconds(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(SECOND)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}
