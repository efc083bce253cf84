//! How does the partner behave?
//! Given a call's route and number, hands back the fault that applies to it; given a rate, the quota.
//! Never answers anything, and never draws by chance: the same seed and calls meet the same faults.

mod order;

mod written;

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

use self::written::{headers, rate};
use super::draws::Draws;
use super::spoiled_head::SpoiledHead;
use crate::gcra::{Quota, Rate};

/// What the partner does beyond answering well. As JSON, the names here are the names there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long each answer takes at least.
    #[serde(with = "compact::required")]
    pub latency: Duration,
    /// How often it may be called, by all keys together, before it says 429.
    #[serde(with = "rate")]
    pub rate: Rate,
    /// How often it may be called with each key.
    #[serde(with = "rate")]
    pub rate_per_key: Rate,
    /// How many calls may come at once; zero is as many as the rate has in a second.
    pub burst: u32,
    /// Whether documents carry a strong `ETag` and answer `If-None-Match` with 304.
    pub etag: bool,
    /// Headers of its documents and 304s.
    #[serde(with = "headers")]
    pub headers: HeaderMap,
    /// What goes wrong with calls that bring a key and are within the rates; the first that applies does.
    pub faults: Vec<Fault>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            rate: Rate::Unlimited,
            rate_per_key: Rate::Unlimited,
            burst: 0,
            etag: false,
            headers: HeaderMap::new(),
            faults: Vec::new(),
        }
    }
}

/// One thing that goes wrong, and with which calls. Without `route`, `share` and `next`: with all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Only with calls of this route, by its name in the statistics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Only with this share of the calls, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Only with so many calls more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// In place of the status; from 300 on the document is left out too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// In place of the behaviour's latency.
    #[serde(with = "compact::optional", skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
    /// In place of headers of these names, or beside the others.
    #[serde(with = "headers", skip_serializing_if = "HeaderMap::is_empty")]
    pub headers: HeaderMap,
    /// What is wrong with the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<SpoiledHead>,
    /// What happens to the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Spoiled>,
    /// How long the body takes, in small pieces.
    #[serde(with = "compact::optional", skip_serializing_if = "Option::is_none")]
    pub drip: Option<Duration>,
}

/// What happens to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spoiled {
    /// Its whole length is announced, and the connection breaks after half of it.
    Cut,
    /// Half of it is a whole answer.
    Truncated,
    /// Every object in it has one member more.
    UnknownFields,
    /// An error stands in its place, as JSON: with status 200 it looks like a document.
    Error,
    /// Nothing stands in its place.
    Empty,
    /// A page of a server on the way stands in its place.
    Page,
    /// A byte order mark stands before it.
    ByteOrderMark,
    /// It is pressed though nobody asked for it.
    Gzip,
}

impl Behaviour {
    /// The fault of a call of this route; it is one time less to come then.
    pub(super) fn fault_of(&mut self, route: &str, seed: u64, nth: u64) -> Option<Fault> {
        let mut numbered = (0u64..).zip(&mut self.faults);
        let (_, fault) = numbered.find(|(at, fault)| {
            fault.next != Some(0)
                && fault.route.as_deref().is_none_or(|only| only == route)
                && fault.share.is_none_or(|share| Draws::new(seed, &[FAILURES, nth, *at]).share(share))
        })?;
        fault.next = fault.next.map(|left| left - 1);
        Some(fault.clone())
    }

    /// Whether any fault spoils heads.
    pub(super) fn spoils_heads(&self) -> bool {
        self.faults.iter().any(|fault| fault.head.is_some())
    }

    /// The rate as a quota, if there is one.
    pub(super) fn quota(&self, rate: Rate) -> Option<Quota> {
        let Rate::Every(interval) = rate else { return None };
        // To the nearest: 3/s is kept as a third of a second rounded to nanoseconds, of which a second has more than three.
        let interval = interval.as_nanos().max(1);
        let a_second = (Duration::from_secs(1).as_nanos() + interval / 2) / interval;
        let burst = if self.burst > 0 { self.burst } else { u32::try_from(a_second).unwrap_or(u32::MAX).max(1) };
        Some(Quota { rate, burst })
    }
}

// What the draws of failures are for; the documents' purposes are numbered from one.
const FAILURES: u64 = 100;

impl Fault {
    /// The status that was asked for.
    pub(super) fn status(&self) -> Option<StatusCode> {
        self.status.and_then(|status| StatusCode::from_u16(status).ok())
    }
}
