//! Can the budget carry what the lifetimes ask for?
//! Given routes, a number of clients and the budget, hands back the calls at worst, and what would make them fit.
//! Never asks anybody: it is arithmetic over settings, and says what it assumes.

mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::Config;
use super::routes::{Route, RouteMode};
use crate::gcra::Rate;

/// What a client is assumed to have of each, where only the number of clients is set.
const PER_CLIENT: u64 = 1;

/// Calls are reckoned in millionths of a call per minute, so that sums are exact.
const CALL: u128 = 1_000_000;
const MINUTE: u128 = 60_000_000_000;

/// No proposed lifetime is longer.
const LONGEST: u64 = 400 * 86_400;

/// Calls per minute, in millionths.
type Calls = u128;

/// The partner calls that the settings can lead to, if every resource is read all the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    rows: Vec<Row>,
    budget: Rate,
    clients: u64,
}

/// One route's part.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    route: String,
    /// How many different resources there are; each is fetched once per lifetime, whoever reads it.
    resources: u64,
    ttl: Duration,
    /// Whether answers live as long as `ttl` says: not where they are not stored, or live as the partner alone says.
    is_stored: bool,
}

impl Row {
    fn of(route: &Route, clients: u64) -> Self {
        let resources = match route.name.as_str() {
            // The whole list, and the list of one provider's clients.
            "clients" => 1 + u64::from(!route.query.is_empty()),
            "client" => clients,
            _ => clients.saturating_mul(PER_CLIENT),
        };
        let is_stored = route.store && route.mode == RouteMode::Api;
        Self { route: route.name.clone(), resources, ttl: route.ttl, is_stored }
    }

    /// Rounded up; `None` where each request is a call, so that there is no bound.
    fn calls(&self) -> Option<Calls> {
        match (self.resources, self.is_stored, self.ttl.as_nanos()) {
            (0, ..) => Some(0),
            (_, false, _) | (_, _, 0) => None,
            (resources, true, ttl) => Some((u128::from(resources) * MINUTE * CALL).div_ceil(ttl)),
        }
    }

    /// This with a lifetime of at least `least`.
    fn lasting(&self, least: Duration) -> Self {
        Self { ttl: self.ttl.max(least), is_stored: true, ..self.clone() }
    }
}

impl Forecast {
    /// Of the seven built-in routes; what else is called has no number that settings could tell. `None` where nobody says how
    /// many clients there are.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let clients = config.upstream.expect.clients?;
        let seven = config.routes.iter().filter(|route| route.name != "other");
        Some(Self {
            rows: seven.map(|route| Row::of(route, clients)).collect(),
            budget: config.upstream.budget.rate,
            clients,
        })
    }

    /// Whether the budget allows all calls there can be in the long run.
    pub fn fits(&self) -> bool {
        match (self.allowed(), self.calls()) {
            (None, _) => true,
            (Some(allowed), calls) => calls.is_some_and(|calls| calls <= allowed),
        }
    }

    /// The same with the shortest lifetimes raised to one length, the least that fits; `None` where none does.
    ///
    /// One length, and not the best for each: which resource may be older is not known here, and raising the shortest
    /// alone changes least. Routes that take up to a hundredth of the budget are left alone, if it fits without them.
    fn with_ttls_that_fit(&self) -> Option<Self> {
        let hundredth = self.allowed().unwrap_or_default() / 100;
        self.with_the_least_ttl_above(Some(hundredth)).or_else(|| self.with_the_least_ttl_above(None))
    }

    fn with_the_least_ttl_above(&self, spared: Option<Calls>) -> Option<Self> {
        let lasting = |seconds: u64| self.lasting(Duration::from_secs(seconds), spared);
        if !lasting(LONGEST).fits() {
            return None;
        }
        let (mut too_short, mut enough) = (0, LONGEST);
        while enough - too_short > 1 {
            let middle = too_short.midpoint(enough);
            if lasting(middle).fits() { enough = middle } else { too_short = middle }
        }
        Some(lasting(enough.next_multiple_of(step(enough))))
    }

    /// The same with the least budget that fits, in calls per second or minute; `None` where none does.
    fn with_a_budget_that_fits(&self) -> Option<Self> {
        let calls = self.calls()?;
        let (unit, count) =
            if calls > 60 * CALL { ("s", calls.div_ceil(60 * CALL)) } else { ("m", calls.div_ceil(CALL)) };
        // Three digits: a rate is kept as whole nanoseconds between two calls, which can make it less than it says.
        let step = 10u128.pow(count.max(100).ilog10() - 2);
        let counts = (count.max(1).next_multiple_of(step)..).step_by(usize::try_from(step).ok()?);
        counts.take(3).find_map(|count| {
            let budget = format!("{count}/{unit}").parse().ok()?;
            let raised = Self { budget, ..self.clone() };
            raised.fits().then_some(raised)
        })
    }

    /// With lifetimes of at least `least`, but for routes that cost no more than `spared`.
    fn lasting(&self, least: Duration, spared: Option<Calls>) -> Self {
        let is_spared = |row: &Row| row.calls().is_some_and(|calls| spared.is_some_and(|spared| calls <= spared));
        let rows = self.rows.iter().map(|row| if is_spared(row) { row.clone() } else { row.lasting(least) });
        Self { rows: rows.collect(), ..self.clone() }
    }

    /// All routes together, if there is a bound.
    fn calls(&self) -> Option<Calls> {
        self.rows.iter().map(Row::calls).sum()
    }

    /// What the budget allows, rounded down; `None` without a limit.
    fn allowed(&self) -> Option<Calls> {
        (MINUTE * CALL).checked_div(self.budget.interval().as_nanos())
    }
}

/// To a multiple of how many seconds a proposal is rounded up, to be readable.
const fn step(seconds: u64) -> u64 {
    match seconds {
        0..=120 => 1,
        121..=600 => 10,
        601..=7200 => 60,
        _ => 3600,
    }
}
