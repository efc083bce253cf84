//! What was asked of the partner, for whom, and what was saved?
//! Given the house, hands back the account since its start, by route, by caller and by both, and how the budget stands.
//! Never shows what was asked for.

use serde_json::{Map, Value, json};

use crate::budget::Cause;
use crate::gateway::{Dials, Gateway};
use crate::trail::spend::{Account, Saved, Sums};

use super::reply::Reply;

/// `GET /admin/v1/spend`.
pub(super) fn spend<C: Dials>(gateway: &Gateway<C>) -> Reply {
    let now = gateway.clock().now();
    // The clock was made at the start.
    let ran_ms = now.tick.as_nanos() / 1_000_000;
    let since = i64::try_from(now.unix_ms.saturating_sub(ran_ms)).unwrap_or_default();
    let since = jiff::Timestamp::from_millisecond(since).unwrap_or_default();
    let Account { all, routes, callers, both } = gateway.ledger().counts.account();
    let budget = gateway.calls().budget().figures(now.tick);
    let closed = budget
        .documented
        .as_ref()
        .map(|standing| json!({"why": standing.reason.as_str(), "seconds": whole(standing.until.since(now.tick))}));
    Reply::of(json!({
        "since": since,
        "seconds": ran_ms / 1000,
        "all": row(&[], &all),
        "routes": routes.iter().map(|(route, sums)| row(&[("route", Some(route))], sums)).collect::<Vec<_>>(),
        "callers":
            callers.iter().map(|(caller, sums)| row(&[("caller", caller.as_ref())], sums)).collect::<Vec<_>>(),
        "routes_and_callers": both
            .iter()
            .map(|(route, caller, sums)| row(&[("route", Some(route)), ("caller", caller.as_ref())], sums))
            .collect::<Vec<_>>(),
        "budget": {
            "left": budget.left,
            "in_flight": budget.in_flight,
            "queued": budget.queued,
            "closed": closed,
        },
    }))
}

/// A name or two, then the sums and what they are made of.
fn row(names: &[(&str, Option<&String>)], sums: &Sums) -> Value {
    let mut row: Map<String, Value> = names.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    row.insert("calls".to_owned(), sums.called().into());
    row.extend(Cause::ALL.iter().zip(sums.calls).map(|(cause, many)| (cause.as_str().to_owned(), many.into())));
    row.insert("saved".to_owned(), sums.spared().into());
    row.extend(Saved::ALL.iter().zip(sums.saved).map(|(kind, many)| (kind.as_str().to_owned(), many.into())));
    Value::Object(row)
}

/// Rounded up, as callers are told it.
fn whole(left: std::time::Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}
