//! What does a trace say of the path?
//! Given what a step brought, adds it to the trace in the words of log and metrics.
//! Never says an address, a query or a header, and does nothing for a request that is not sampled.

use http::StatusCode;

use crate::budget::{Asker, Cause, Permit};
use crate::cache::Key;
use crate::clock::Tick;
use crate::flight::Leader;
use crate::route::RouteIndex;
use crate::trail::Trail;
use crate::trail::trace::{Context, End, Fact, Facts, Stage, Traced};
use crate::upstream::calls::NO_FLIGHT;

use super::Dials;
use super::fetches::Fetches;
use super::landing::Landing;
use super::refusal::Refusal;
use super::respond::cause_of_refusal;

impl<C: Dials> Fetches<C> {
    /// It was looked up in memory.
    #[inline]
    pub(super) fn traced_look(&self, trail: &mut Trail, held: impl FnOnce() -> &'static str) {
        trail.trace.reached(Stage::Cache, || self.clock.tick());
        if let Some(step) = trail.trace.last() {
            step.facts.push(Fact::Text("reseller_gateway.held", held().into()));
        }
    }

    /// It was waited for a flight: that one, if it is traced too, which somebody else had started or not.
    pub(super) fn traced_flight(&self, trace: &mut Traced, flight: Option<Context>, collapsed: bool) {
        trace.reached(Stage::Flight, || self.clock.tick());
        if let Some(step) = trace.last() {
            step.facts.push(Fact::Flag("reseller_gateway.collapsed", collapsed));
            step.link = flight;
        }
    }

    /// Waits for the permit of a call that nobody else joins.
    pub(super) async fn permit(&self, asker: Asker, deadline: Tick, trace: &mut Traced) -> Result<Permit, Refusal> {
        let permit = self.calls.permit(asker, deadline, NO_FLIGHT).await.map_err(Refusal::from);
        self.traced_wait(trace, permit.as_ref().err());
        permit
    }

    /// Waits for the permit of a flight; `None` where all who wanted it have left. A refresh is waited for by nobody and wanted
    /// all the same.
    pub(super) async fn permit_of_flight(
        &self,
        (asker, cause): (Asker, Cause),
        deadline: Tick,
        leader: Option<&Leader<Key, Landing>>,
        trace: &mut Traced,
    ) -> Option<Result<Permit, Refusal>> {
        let forsaken = async {
            match leader {
                Some(leader) if cause != Cause::Refresh => leader.forsaken().await,
                _ => std::future::pending().await,
            }
        };
        let permit = tokio::select! {
            biased;
            permit = self.calls.permit(asker, deadline, leader) => Some(permit.map_err(Refusal::from)),
            () = forsaken => None,
        };
        let refused = permit.as_ref().map_or(Some(&Refusal::Deadline), |permit| permit.as_ref().err());
        self.traced_wait(trace, refused);
        permit
    }

    /// It was waited for the budget.
    fn traced_wait(&self, trace: &mut Traced, refused: Option<&Refusal>) {
        trace.reached(Stage::Budget, || self.clock.tick());
        if let (Some(step), Some(refused)) = (trace.last(), refused) {
            step.facts.push(Fact::error(cause_of_refusal(refused)));
            step.failed = true;
        }
    }

    /// A flight is over: with this status of the partner's, or refused.
    pub(super) fn traced_landing(
        &self,
        trace: Traced,
        (route, cause): (RouteIndex, Cause),
        landed: Result<Option<StatusCode>, &Refusal>,
    ) {
        self.ledger.landed(trace, || {
            let route = self.ledger.counts.route(Some(route)).to_owned();
            let name = format!("flight {route}");
            let mut facts: Facts =
                smallvec::smallvec![Fact::Text("reseller_gateway.route", route.into()), Fact::cause(cause)];
            match landed {
                Ok(status) => facts.extend(status.map(Fact::status)),
                Err(refusal) => facts.push(Fact::error(cause_of_refusal(refusal))),
            }
            End { name, served: false, at: self.clock.tick(), facts, failed: landed.is_err() }
        });
    }
}
