//! How is the forecast told?
//! Given a forecast, hands back a table in TOML's comments, and one sentence where it does not fit.
//! Never reckons by itself.

use std::fmt::Write as _;
use std::time::Duration;

use super::{CALL, Calls, Forecast, PER_CLIENT};
use crate::config::page::time_text;

impl Forecast {
    /// The calls by route, the budget, the verdict, and what it rests on; every line is a comment of TOML.
    pub fn table(&self) -> String {
        let mut table = format!(
            "# Partner calls at worst: {} clients (upstream.expect.clients), and every resource is read all the time.\n\
             # Callers share what is stored, so their number changes nothing. Assumed: {PER_CLIENT} provider and {PER_CLIENT} project\n\
             # per client, the list of clients whole and for 1 provider, lifetimes as set here (the partner names none),\n\
             # no retries. Not counted: ids that do not exist, more query parameters, forwarded headers, `other`, extra routes.\n#\n",
            self.clients
        );
        let mut line = |route: &str, resources: &str, ttl: &str, calls: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{}", format!("# {route:<20}{resources:>10}{ttl:>10}{calls:>16}").trim_end());
        };
        line("route", "resources", "ttl", "calls a minute");
        for row in &self.rows {
            let ttl = if row.is_stored { time_text(row.ttl) } else { "not kept".to_owned() };
            line(&row.route, &row.resources.to_string(), &ttl, &calls_text(row.calls()));
        }
        line("together", "", "", &calls_text(self.calls()));
        let allowed = self.allowed().map_or_else(|| "no limit".to_owned(), |calls| calls_text(Some(calls)));
        line("upstream.budget", "", &self.budget.to_string(), &allowed);
        if self.fits() {
            table.push_str("# It fits.\n");
        } else {
            table.push_str("# It does not fit. It would with\n");
            for way in self.ways_out() {
                let _ = writeln!(table, "#   {way}");
            }
        }
        table
    }

    /// What to change, if the budget does not allow all calls there can be.
    pub fn warning(&self) -> Option<String> {
        let allowed = self.allowed().filter(|_| !self.fits())?;
        let calls = match self.calls() {
            Some(calls) => format!("{} partner calls a minute", calls_text(Some(calls))),
            None => "a partner call for each request on some route".to_owned(),
        };
        Some(format!(
            "upstream.budget.rate: {} clients can cost {calls}, and the budget allows {}; then answers are shown stale, \
             or refused with 503. It would fit with {}",
            self.clients,
            calls_text(Some(allowed)),
            self.ways_out().join("; or with ")
        ))
    }

    /// The settings that would make it fit, each way by itself.
    fn ways_out(&self) -> Vec<String> {
        let ttls = self.with_ttls_that_fit().map(|better| self.changes(&better));
        let budget = self.with_a_budget_that_fits();
        let budget =
            budget.map(|better| format!("upstream.budget.rate = \"{}\", if the partner allows it", better.budget));
        let ways: Vec<_> = ttls.into_iter().chain(budget).collect();
        if ways.is_empty() { vec!["fewer clients, if there are fewer".to_owned()] } else { ways }
    }

    /// The routes that are otherwise in `better`, as keys and values.
    fn changes(&self, better: &Self) -> String {
        let pairs = self.rows.iter().zip(&better.rows).filter(|(row, better)| row != better);
        let changes = pairs.map(|(row, better)| {
            let kept = if row.is_stored { "" } else { " (stored, in `api` mode)" };
            (better.ttl, format!("{}{kept}", row.route))
        });
        let mut by_ttl: Vec<(Duration, Vec<String>)> = Vec::new();
        for (ttl, route) in changes {
            match by_ttl.iter_mut().find(|(other, _)| *other == ttl) {
                Some((_, routes)) => routes.push(route),
                None => by_ttl.push((ttl, vec![route])),
            }
        }
        let of_ttl = |(ttl, routes): &(Duration, Vec<String>)| {
            format!("ttl = \"{}\" for {}", time_text(*ttl), routes.join(", "))
        };
        by_ttl.iter().map(of_ttl).collect::<Vec<_>>().join(", and ")
    }
}

/// In calls, with one digit after the point, rounded up.
fn calls_text(calls: Option<Calls>) -> String {
    calls.map_or_else(
        || "each request".to_owned(),
        |calls| {
            let tenths = calls.div_ceil(CALL / 10);
            format!("{}.{}", tenths / 10, tenths % 10)
        },
    )
}
