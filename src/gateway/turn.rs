//! When may a call to the partner start?
//! Given who asks, waits for the budget and hands back the permit.
//! Never waits beyond the deadline it was given.

use std::hash::Hash;

use super::refusal::Refusal;
use super::{Dials, Gateway};
use crate::access::Grant;
use crate::budget::breaker::Reason;
use crate::budget::lanes::{Lane, Who};
use crate::budget::{Asked, Asker, Later, Permit, Scope};
use crate::cache::Key;
use crate::clock::Tick;
use crate::flight::{Obligation, Rank};
use crate::route::{OTHER, RouteIndex};
use crate::token::{Caller, Priority};

/// For a call that nobody else can join.
pub(super) const NO_FLIGHT: Option<&Obligation<Key, ()>> = None;

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
    Asker { lane: lane_of(grant), who: who(caller), resource, payer: Some(caller.place()), scope }
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

fn lane(urgency: u8) -> Lane {
    match urgency {
        0 => Lane::Interactive,
        1 => Lane::Batch,
        _ => Lane::Refresh,
    }
}

impl<C: Dials> Gateway<C> {
    /// Waits for a place in the budget, but not beyond `max_wait` or `deadline`; a flight waits in the best
    /// place of all who join it.
    pub(super) async fn permit<V>(
        &self,
        asker: Asker,
        deadline: Tick,
        flight: Option<&Obligation<Key, V>>,
    ) -> Result<Permit, Refusal> {
        let now = self.clock.tick();
        let mut ticket = match self.budget.ask(asker, now) {
            Asked::Permit(permit) => return Ok(permit),
            Asked::Closed { until, reason } => return Err(self.closed(until, now, reason)),
            Asked::Queued(ticket) => ticket,
        };
        let deadline = deadline.min(ticket.deadline());
        loop {
            let now = self.clock.tick();
            let at = match ticket.claim(now) {
                Ok(permit) => return Ok(permit),
                Err(Later::Closed { until, reason }) => return Err(self.closed(until, now, reason)),
                Err(Later::At(at)) => at.min(deadline),
                Err(Later::Woken) => deadline,
            };
            if now >= deadline {
                // Who comes back does not wait behind itself.
                drop(ticket);
                return Err(Refusal::Busy { retry: self.budget.opens(asker.who, asker.scope, now).since(now) });
            }
            let raised = async {
                match flight {
                    Some(flight) => flight.raised().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.clock.until(at, ticket.woken()) => {}
                joined = raised => joined.iter().for_each(|rank| ticket.raise(lane(rank.urgency), rank.who)),
            }
        }
    }

    /// The refusal while a breaker is open.
    pub(super) fn closed(&self, until: Tick, now: Tick, reason: Reason) -> Refusal {
        match reason {
            Reason::PausedByPartner | Reason::PausedByOperator | Reason::Failing => {
                Refusal::Closed { retry: until.since(now), reason }
            }
            Reason::KeyRefused => self.key_fault().into(),
        }
    }
}

/// Any number.
pub(super) fn dice() -> u32 {
    let mut dice = [0; 4];
    let _ = getrandom::fill(&mut dice);
    u32::from_le_bytes(dice)
}
