//! What reached the API?
//! Given the route and the key of a call and the status it got, hands back totals by each of them.
//! Never counts its own doors, and never decides anything.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Serialize;

use super::keys::REFUSED;
use crate::account_api::Endpoint;

/// What is called that is none of the seven.
pub(super) const OTHER: &str = "other";

/// The name a call is counted under.
pub(super) fn route_of(endpoint: Option<Endpoint>) -> &'static str {
    endpoint.map_or(OTHER, Endpoint::name)
}

/// The calls so far, as the statistics show them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Counts {
    total: u64,
    routes: BTreeMap<&'static str, u64>,
    statuses: BTreeMap<u16, u64>,
    /// By the key's name, so that no key is ever shown.
    keys: BTreeMap<String, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        let names = Endpoint::ALL.map(Endpoint::name).into_iter().chain([OTHER]);
        Self {
            total: 0,
            routes: names.map(|name| (name, 0)).collect(),
            statuses: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }
}

impl Counts {
    /// One more call, with an accepted key or without; hands back its number, from one.
    pub(super) fn arrive(&mut self, route: &'static str, key: Option<&str>) -> u64 {
        self.total += 1;
        *self.routes.entry(route).or_default() += 1;
        *self.keys.entry(key.unwrap_or(REFUSED).to_owned()).or_default() += 1;
        self.total
    }

    /// What a call was answered with.
    pub(super) fn answered(&mut self, status: StatusCode) {
        *self.statuses.entry(status.as_u16()).or_default() += 1;
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}
