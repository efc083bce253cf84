//! How does the partner behave?
//! Given JSON or settings, hands back a behaviour that can be kept, and for one call the fault that applies to it.
//! Never answers anything, and never accepts what it would not do.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::counts::OTHER;
use super::draws::Draws;
use crate::account_api::Endpoint;
use crate::gcra::{Quota, Rate};

const MOST_FAULTS: usize = 64;
const MOST_HEADERS: usize = 64;
const LONGEST: Duration = Duration::from_secs(3600);

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
}

impl Behaviour {
    /// This with the members of a JSON object in place of its own; `null` stands for what `initial` has there.
    ///
    /// # Errors
    /// Which member is wrong, what is known or what is wanted.
    pub(super) fn changed(&self, initial: &Self, object: &[u8]) -> Result<Self, String> {
        let change: Map<String, Value> =
            serde_json::from_slice(object).map_err(|error| format!("A JSON object is wanted: {error}."))?;
        let (Ok(Value::Object(mut whole)), Ok(initial)) = (serde_json::to_value(self), serde_json::to_value(initial))
        else {
            return Err("This behaviour cannot be written down.".to_owned());
        };
        for (name, value) in change {
            let value = match value {
                Value::Null => initial.get(&name).cloned().unwrap_or_default(),
                value => value,
            };
            // Each alone first, so that an error names its member.
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            Self::deserialize(Value::Object(alone)).map_err(|error| format!("{name}: {error}."))?;
            whole.insert(name, value);
        }
        let changed = Self::deserialize(Value::Object(whole)).map_err(|error| format!("{error}."))?;
        changed.check().map(|()| changed)
    }

    fn check(&self) -> Result<(), String> {
        let waits = self.faults.iter().flat_map(|fault| [fault.latency, fault.drip]).flatten().chain([self.latency]);
        if waits.max() > Some(LONGEST) {
            return Err("latency, drip: at most 1h.".to_owned());
        }
        if self.faults.len() > MOST_FAULTS {
            return Err(format!("faults: at most {MOST_FAULTS}."));
        }
        self.faults
            .iter()
            .enumerate()
            .try_for_each(|(at, fault)| fault.check().map_err(|reason| format!("faults[{at}].{reason}")))
    }

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

    /// The rate as a quota, if there is one.
    pub(super) fn quota(&self, rate: Rate) -> Option<Quota> {
        let interval = rate.interval();
        let a_second = Duration::from_secs(1).as_nanos().checked_div(interval.as_nanos())?;
        let burst = if self.burst > 0 { self.burst } else { u32::try_from(a_second).unwrap_or(u32::MAX) };
        Some(Quota { rate, burst: burst.max(1) })
    }
}

// What the draws of failures are for; the documents' purposes are numbered from one.
const FAILURES: u64 = 100;

impl Fault {
    fn check(&self) -> Result<(), String> {
        let names: Vec<&str> = Endpoint::ALL.map(Endpoint::name).into_iter().chain([OTHER]).collect();
        if self.route.as_deref().is_some_and(|route| !names.contains(&route)) {
            return Err(format!("route: one of {} is wanted.", names.join(", ")));
        }
        if self.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("share: a number from 0 to 1 is wanted.".to_owned());
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return Err("status: a number from 200 to 599 is wanted.".to_owned());
        }
        Ok(())
    }

    /// The status that was asked for.
    pub(super) fn status(&self) -> Option<StatusCode> {
        self.status.and_then(|status| StatusCode::from_u16(status).ok())
    }
}

mod rate {
    use super::*;

    pub(super) fn serialize<S: Serializer>(rate: &Rate, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(rate)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Rate, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

mod headers {
    use super::*;

    pub(super) fn serialize<S: Serializer>(headers: &HeaderMap, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<HeaderMap, D::Error> {
        let named = BTreeMap::<String, String>::deserialize(from)?;
        if named.len() > MOST_HEADERS {
            return Err(refused(format!("at most {MOST_HEADERS} headers")));
        }
        named.into_iter().map(|(name, value)| header(&name, &value).map_err(refused)).collect()
    }

    fn refused<E: serde::de::Error>(reason: impl Display) -> E {
        E::custom(reason)
    }
}

/// A header that an answer may carry.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let read = HeaderName::try_from(name).map_err(|_| format!("`{name}` cannot be a header's name"))?;
    if ["connection", "content-length", "transfer-encoding"].contains(&read.as_str()) {
        return Err(format!("`{read}` follows from the body; say `body` or `drip` in a fault"));
    }
    let value = HeaderValue::try_from(value).map_err(|_| format!("the value of `{read}` cannot be a header's"))?;
    Ok((read, value))
}
