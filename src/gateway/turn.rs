//! When may a call to the partner start, and what does its outcome mean for the next?
//! Given who asks, waits for the budget and hands back the permit; given an outcome, tells the budget.
//! Never waits beyond the deadline it was given.

use std::hash::Hash;

use http::{HeaderMap, StatusCode};

use crate::access::Grant;
use crate::budget::lanes::{Lane, Who};
use crate::budget::{Asked, Asker, Later, Permit, Verdict, gate, signal};
use crate::cache::Key;
use crate::clock::Tick;
use crate::flight::Obligation;
use crate::token::{Caller, Priority};
use crate::upstream::Failed;
use crate::upstream::credential::Shown;

use super::refusal::{Fault, Refusal};
use super::{Dials, Gateway};

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
pub(super) fn asker(grant: &Grant, resource: u64) -> Asker {
    let caller = grant.caller();
    Asker { lane: lane_of(grant), who: who(caller), resource, payer: Some(caller.place()) }
}

/// A caller as the budget's queue knows it.
fn who(caller: &Caller) -> Who {
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

/// How urgent a lane is, as a flight knows it.
pub(super) fn urgency(lane: Lane) -> u8 {
    lane as u8
}

fn lane(urgency: u8) -> Lane {
    match urgency {
        0 => Lane::Interactive,
        1 => Lane::Batch,
        _ => Lane::Refresh,
    }
}

impl<C: Dials> Gateway<C> {
    /// Waits for a place in the budget, but not beyond `max_wait` or `deadline`; a flight that more urgent callers join moves up.
    pub(super) async fn permit<V>(
        &self,
        asker: Asker,
        deadline: Tick,
        flight: Option<&Obligation<Key, V>>,
    ) -> Result<Permit, Refusal> {
        let now = self.clock.tick();
        let mut ticket = match self.budget.ask(asker, now) {
            Asked::Permit(permit) => return Ok(permit),
            Asked::Closed { until, why } => return Err(self.closed(until, now, why)),
            Asked::Queued(ticket) => ticket,
        };
        let deadline = deadline.min(ticket.deadline());
        loop {
            let now = self.clock.tick();
            let at = match ticket.claim(now) {
                Ok(permit) => return Ok(permit),
                Err(Later::Closed { until, why }) => return Err(self.closed(until, now, why)),
                Err(Later::At(at)) => at.min(deadline),
                Err(Later::Woken) => deadline,
            };
            if now >= deadline {
                // Who comes back does not wait behind itself.
                drop(ticket);
                return Err(Refusal::Busy { retry: self.budget.opens(now).since(now) });
            }
            let raised = async {
                match flight {
                    Some(flight) => flight.raised().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.clock.until(at, ticket.woken()) => {}
                urgency = raised => ticket.raise(lane(urgency), asker.who),
            }
        }
    }

    /// Tells the budget and the credential what became of a call; hands back until when the partner wants to be left
    /// alone, if it said so.
    pub(super) fn report(&self, permit: &mut Permit, shown: &Shown, answer: Heard<'_>) -> Option<Tick> {
        match answer {
            // That a request had been there is its caller's doing, and no failure of the hub's.
            Ok((StatusCode::LOOP_DETECTED, _)) if self.upstream.is_hub() => self.report_any(permit, shown, answer),
            Ok((status, _)) if status.is_server_error() => self.report_as(permit, shown, answer, Verdict::Failed),
            _ => self.report_as(permit, shown, answer, Verdict::Answered),
        }
    }

    /// The same where an answer says nothing about the partner's health, whatever its status.
    pub(super) fn report_any(&self, permit: &mut Permit, shown: &Shown, answer: Heard<'_>) -> Option<Tick> {
        self.report_as(permit, shown, answer, Verdict::Answered)
    }

    pub(super) fn closed(&self, until: Tick, now: Tick, why: gate::Why) -> Refusal {
        match why {
            gate::Why::Told | gate::Why::Failing => Refusal::Closed { retry: until.since(now) },
            gate::Why::Key => self.key_fault().into(),
        }
    }

    fn report_as(&self, permit: &mut Permit, shown: &Shown, answer: Heard<'_>, answered: Verdict) -> Option<Tick> {
        let now = self.clock.now();
        self.ledger.counts.heard(answer.map(|(status, _)| status).map_err(|failed| Fault::Failed(failed).word()));
        // A partner that fails, or is too busy to look, has said nothing about the key.
        if answer.is_ok_and(|(status, _)| !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS) {
            self.upstream.credential().taken(shown);
        }
        let told =
            answer.ok().and_then(|(status, head)| signal::heard(status, head, now, self.settings.max_pause).pause);
        let told = told.map(|pause| pause.until);
        let verdict = match (told, answer) {
            (Some(until), _) => Verdict::Told(until),
            (None, Ok(_)) => answered,
            (None, Err(Failed::TooLarge | Failed::RequestTooLarge)) => Verdict::Answered,
            (None, Err(_)) => Verdict::Failed,
        };
        // An answer starts no pause, and a throw of dice is a call to the system.
        let dice = if verdict == Verdict::Answered { 0 } else { dice() };
        permit.settle(verdict, now.tick, dice);
        told
    }
}

/// What came of a call: a status and a head, or nothing.
type Heard<'a> = Result<(StatusCode, &'a HeaderMap), Failed>;

/// Any number.
pub(super) fn dice() -> u32 {
    let mut dice = [0; 4];
    let _ = getrandom::fill(&mut dice);
    u32::from_le_bytes(dice)
}
