//! For whom a call to the upstream is made, as the budget and the table of flights know it.
//! Given a grant and a resource, hands back the asker, its lane in the queue and its rank in a flight.
//! Never asks the budget, and never waits.

use std::hash::Hash;

use crate::access::Grant;
use crate::budget::lanes::{Lane, Who};
use crate::budget::{Asker, Scope};
use crate::cache::Key;
use crate::clock::Tick;
use crate::flight::Rank;
use crate::route::{OTHER, RouteIndex};
use crate::token::{Caller, Priority};

/// Numbers for names and keys, the same throughout a process.
fn number_of(what: impl Hash) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(what)
}

/// Where its caller stands in the queue.
pub(super) fn lane_of(grant: &Grant) -> Lane {
    match grant.caller().priority() {
        Priority::Interactive => Lane::Interactive,
        Priority::Batch => Lane::Batch,
    }
}

/// Who asks for a resource, where a caller waits for it and pays.
pub(super) fn asker(grant: &Grant, resource: u64, scope: Scope) -> Asker {
    let caller = grant.caller();
    Asker { lane: lane_of(grant), who: who(caller), resource, payer: Some(caller.index()), scope }
}

/// Which breaker calls of a route stand behind.
pub(super) fn scope(route: RouteIndex) -> Scope {
    if route < OTHER { Scope::Documented } else { Scope::Opaque }
}

/// A caller as the budget's queue knows it.
pub(super) fn who(caller: &Caller) -> Who {
    number_of(caller.name())
}

/// A resource as the gate knows it.
pub(super) fn resource(key: &Key) -> u64 {
    number_of(key)
}

/// The same for a target that is passed through.
pub(super) fn target(target: &str) -> u64 {
    number_of(target)
}

/// Any number, another for each resource and moment: what many draw at once is spread, without a call of the system.
pub(super) fn drawn(resource: u64, at: Tick) -> u32 {
    number_of((resource, at.as_nanos())) as u32
}

/// Where a call for this caller would wait, as a flight knows it.
pub(super) fn rank(lane: Lane, who: Who) -> Rank {
    Rank { urgency: lane as u8, who }
}

/// The same for a refresh, which is made for nobody.
pub(super) const REFRESH: Rank = Rank { urgency: Lane::Refresh as u8, who: 0 };
