//! The permit of a call to the upstream.
//! Given who asks, waits for the budget and hands back the permit, or why there is none.
//! Never waits beyond the deadline it was given.

use std::hash::Hash;

use crate::budget::breaker::Reason;
use crate::budget::lanes::Lane;
use crate::budget::{Asked, Asker, Later, Permit};
use crate::clock::Tick;
use crate::flight::Leader;

use super::calls::{Calls, Connects};
use super::fault::Unanswered;

impl<C: Connects> Calls<C> {
    /// Waits for a place in the budget, but not beyond `max_wait` or `deadline`; a flight waits in the best
    /// place of all who join it.
    ///
    /// # Errors
    /// [`Unanswered`]: the breaker is open, or no place in time.
    pub async fn permit<K: Hash + Eq, V>(
        &self,
        asker: Asker,
        deadline: Tick,
        flight: Option<&Leader<K, V>>,
    ) -> Result<Permit, Unanswered> {
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
                return Err(Unanswered::Busy { retry: self.budget.opens(asker.who, asker.scope, now).since(now) });
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
    pub fn closed(&self, until: Tick, now: Tick, reason: Reason) -> Unanswered {
        match reason {
            Reason::PausedByPartner | Reason::PausedByOperator | Reason::Failing => {
                Unanswered::Closed { retry: until.since(now), reason }
            }
            Reason::KeyRefused => self.key_fault().into(),
        }
    }
}

fn lane(urgency: u8) -> Lane {
    match urgency {
        0 => Lane::Interactive,
        1 => Lane::Batch,
        _ => Lane::Refresh,
    }
}
