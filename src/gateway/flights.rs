//! Flights: one call of the upstream for all who want the same meanwhile, in a task of its own.
//! Given a job, makes its call once for everybody who joins, and hands back what it brought, or why it brought nothing.
//! Never lets a caller that leaves touch a flight that others wait for, and never knows of which mode the job is.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;

use crate::budget::{Asker, Cause, Permit};
use crate::cache::Key;
use crate::clock::Tick;
use crate::flight::{self, FlightSlot, Leader, Rank};
use crate::quota::Limit;
use crate::route::RouteIndex;
use crate::trail::Trail;
use crate::trail::trace::Traced;
use crate::upstream::Failed;

use super::fetches::Fetches;
use super::landing::{Landing, Shared};
use super::refusal::{Fault, Refusal};
use super::{Dials, asker};

/// So many flights are under way that another finds no place; they last as long as the budget lets them wait.
pub(super) const FULL: Refusal = Refusal::Busy { retry: Duration::from_secs(1) };

/// After a failure, and where an answer was stale when it came, what is stored is left alone for this long.
pub(super) const REST: Duration = Duration::from_secs(1);

/// For whom, and why, a job's call is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    pub(super) route: RouteIndex,
    pub(super) asker: Asker,
    pub(super) cause: Cause,
}

/// All that a flight takes along, nothing of a caller; and what it brings.
pub(super) trait Job: Send + Sized + 'static {
    /// What it brings to who started it.
    type Brought: Send;

    /// For whom its call is made.
    fn purpose(&self) -> Purpose;

    /// Under which it is the same as another; `None` where it is like none.
    fn name(&self) -> Option<Key>;

    /// It brought nothing: what is stored rests until then, so that not every request asks again.
    fn rest(&self, until: Tick);

    /// The upstream's status, if there is one.
    fn status(brought: &Self::Brought) -> Option<StatusCode>;

    /// What those get who joined.
    fn share(brought: &Self::Brought) -> Shared;

    /// The same, for one who joined; `None` where each has to ask alone.
    fn shared(shared: Shared) -> Option<Self::Brought>;
}

/// A job over a connector.
pub(super) trait Runs<C>: Job {
    /// Makes the call, and stores what may be stored.
    fn run(
        &self,
        gateway: &Fetches<C>,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> impl Future<Output = Result<Self::Brought, Refusal>> + Send;
}

/// What comes of asking together with others.
pub(super) enum Joined<S, B> {
    /// It was stored a moment ago.
    Stored(S),
    /// A flight brought it; `true` if somebody else had started that.
    Brought(B, bool),
}

/// What is done in place of starting a flight.
enum Instead<S> {
    Serve(S),
    Alone,
    Refuse(Refusal),
}

/// A flight in its task.
type Flying<B> = Pin<Box<dyn Future<Output = Result<B, Refusal>> + Send>>;

/// Whether a flight was refused for who started it, and for no other: the hub found that the request had been there, or it was
/// too long in its starter's line.
fn is_of_its_starter(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Loop | Refusal::Busy { .. })
}

impl<C: Dials> Fetches<C> {
    /// Takes part in the flight for this key, and starts it if there is none and nothing was stored meanwhile: joining is free,
    /// starting is paid for. A request that may not start one for others (`starts_none`) makes a call of its own.
    ///
    /// Where a flight was refused for its starter alone, the others take part in one more, together.
    pub(super) async fn coalesced<E: Runs<C>, S>(
        self: &Arc<Self>,
        job: E,
        rank: Rank,
        starts_none: bool,
        stored: impl Fn() -> Option<S>,
        trail: &mut Trail,
    ) -> Result<Joined<S, E::Brought>, Refusal> {
        let mut again = false;
        while let Some(key) = job.name() {
            let may_start = || match stored() {
                Some(stored) => Err(Instead::Serve(stored)),
                None if starts_none => Err(Instead::Alone),
                None => self.pay(trail, self.clock.tick()).map_err(Instead::Refuse),
            };
            match self.flights.join_or(&key, rank, may_start) {
                Err(Instead::Serve(stored)) => return Ok(Joined::Stored(stored)),
                Err(Instead::Refuse(refusal)) => return Err(refusal),
                Err(Instead::Alone) => break,
                Ok(flight::Joined::Full) => return Err(FULL),
                Ok(flight::Joined::Fetch(leader, _waits)) => {
                    return Ok(Joined::Brought(self.send_off(job, Some(leader), None, trail).await?, false));
                }
                Ok(flight::Joined::Wait(pending)) => {
                    let landed = self.clock.until(self.request_deadline(trail), pin!(pending.landed())).await;
                    let flight = landed.as_ref().ok().and_then(|landed| landed.as_ref()?.1);
                    self.traced_flight(&mut trail.trace, flight, true);
                    match landed.map_err(|_| Refusal::Deadline)?.map(|(landed, _)| landed) {
                        Some(Ok(shared)) => match E::shared(shared) {
                            Some(brought) => return Ok(Joined::Brought(brought, true)),
                            None => break,
                        },
                        Some(Err(refusal)) if !again && is_of_its_starter(&refusal) => again = true,
                        Some(Err(refusal)) => return Err(refusal),
                        None => return Err(Fault::Failed(Failed::Broken).into()),
                    }
                }
            }
        }
        Ok(Joined::Brought(self.alone(job, trail).await?, false))
    }

    /// A flight that nobody joins. What finds no place does not start, and is not paid for.
    pub(super) async fn alone<E: Runs<C>>(self: &Arc<Self>, job: E, trail: &mut Trail) -> Result<E::Brought, Refusal> {
        let slot = self.flights.alone().ok_or(FULL)?;
        self.pay(trail, self.clock.tick())?;
        self.send_off(job, None, Some(slot), trail).await
    }

    /// Flies in a task of its own, so that a caller that leaves changes nothing, and waits for it as long as the request has.
    async fn send_off<E: Runs<C>>(
        self: &Arc<Self>,
        job: E,
        leader: Option<Leader<Key, Landing>>,
        slot: Option<FlightSlot>,
        trail: &mut Trail,
    ) -> Result<E::Brought, Refusal> {
        let (this, trace) = (Arc::clone(self), trail.trace.start(|| self.clock.tick()));
        let span = trace.context();
        // In a box: a task moves what it runs more than once, and that it is `Send` for any connector is settled here.
        let flight: Flying<E::Brought> = Box::pin(async move {
            let _slot = slot;
            this.fly(job, leader, trace).await
        });
        let flight = self.tasks.spawn(flight);
        let brought = self.clock.until(self.request_deadline(trail), flight).await;
        self.traced_flight(&mut trail.trace, span, false);
        brought.map_err(|_| Refusal::Deadline)?.unwrap_or_else(|_| Err(Fault::Failed(Failed::Broken).into()))
    }

    /// Starts the flight of a refresh, which nobody waits for; `false` if somebody
    /// fetches the same, there is no room, or `may` says no.
    pub(super) fn send_behind<E: Runs<C>>(
        self: &Arc<Self>,
        job: E,
        may: impl FnOnce() -> Result<(), ()>,
        trail: &Trail,
    ) -> bool {
        let Some(key) = job.name() else { return false };
        let Ok(flight::Joined::Fetch(leader, _)) = self.flights.join_or(&key, asker::REFRESH, may) else {
            return false;
        };
        let (this, trace) = (Arc::clone(self), trail.trace.start(|| self.clock.tick()));
        let flight: Flying<E::Brought> = Box::pin(async move { this.fly(job, Some(leader), trace).await });
        self.tasks.spawn(flight);
        true
    }

    /// One flight, from its place in the queue to its landing.
    async fn fly<E: Runs<C>>(
        &self,
        job: E,
        leader: Option<Leader<Key, Landing>>,
        mut trace: Traced,
    ) -> Result<E::Brought, Refusal> {
        let Purpose { route, asker, cause } = job.purpose();
        let deadline = self.clock.tick().plus(self.settings.flight_timeout);
        let permit = self.permit_of_flight((asker, cause), deadline, leader.as_ref(), &mut trace).await;
        let brought = match permit {
            Some(Ok(permit)) => job.run(self, permit, deadline, &mut trace).await,
            Some(Err(refusal)) => Err(refusal),
            None => {
                let forsaken = Refusal::Deadline;
                self.traced_landing(trace, (route, cause), Err(&forsaken));
                return Err(forsaken);
            }
        };
        let rest = match &brought {
            // A refresh that had no turn in time has not failed: the next request puts it at the end of the line again.
            Err(Refusal::Busy { .. }) if cause == Cause::Refresh => Duration::ZERO,
            Err(_) => REST,
            // What was answered and not stored leaves what is stored as it was, for the next request to refresh.
            Ok(_) => Duration::ZERO,
        };
        job.rest(self.clock.tick().plus(rest));
        if let Some(leader) = leader {
            leader.land((brought.as_ref().map(E::share).map_err(Refusal::clone), trace.context()));
        }
        self.traced_landing(trace, (route, cause), brought.as_ref().map(E::status));
        brought
    }

    /// Lets the caller of this request pay for a call to the partner that it is about to start.
    pub(super) fn pay(&self, trail: &Trail, now: Tick) -> Result<(), Refusal> {
        // Who has no turn has not come through the door, and starts nothing.
        let none = Refusal::Limited { limit: Limit::Upstream, retry: Duration::ZERO };
        let turn = trail.admitted.as_ref().ok_or(none)?;
        turn.start(now).map_err(|back| Refusal::limited(back, now))?;
        trail.paid.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A request waits for the upstream until then.
    fn request_deadline(&self, trail: &Trail) -> Tick {
        trail.began.plus(self.settings.request_timeout)
    }
}
