//! What does a trace say of the path?
//! Given what a step brought, adds it to the trace in the words of log and metrics.
//! Never says an address, a query or a header, and does nothing for a request that is not sampled.

use http::{HeaderValue, StatusCode};

use crate::budget::Cause;
use crate::route::RouteIndex;
use crate::trail::Trail;
use crate::trail::trace::{Context, End, Fact, Facts, Stage, Traced};
use crate::upstream::Failed;

use super::refusal::{Fault, Refusal};
use super::respond::word_of;
use super::{Dials, Gateway};

const CAUSE: &str = "reseller_gateway.cause";
const ROUTE: &str = "reseller_gateway.route";
const STATUS: &str = "http.response.status_code";
/// OpenTelemetry's name for why something failed, in a word.
const ERROR: &str = "error.type";

fn word(key: &'static str, word: &'static str) -> Fact {
    Fact::Word(key, word.into())
}

fn status_of(status: StatusCode) -> Fact {
    Fact::Number(STATUS, i64::from(status.as_u16()))
}

impl<C: Dials> Gateway<C> {
    /// It was looked up in memory.
    #[inline]
    pub(super) fn traced_look(&self, trail: &mut Trail, held: impl FnOnce() -> &'static str) {
        trail.trace.reached(Stage::Cache, || self.clock.tick());
        if let Some(step) = trail.trace.last() {
            step.facts.push(word("reseller_gateway.held", held()));
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

    /// It was waited for the budget.
    pub(super) fn traced_wait(&self, trace: &mut Traced, refused: Option<&Refusal>) {
        trace.reached(Stage::Budget, || self.clock.tick());
        if let (Some(step), Some(refused)) = (trace.last(), refused) {
            step.facts.push(word(ERROR, word_of(refused)));
            step.failed = true;
        }
    }

    /// The partner was asked.
    pub(super) fn traced_call(&self, trace: &mut Traced, cause: Cause, answer: Result<StatusCode, Failed>) {
        trace.reached(Stage::Partner, || self.clock.tick());
        let Some(step) = trace.last() else { return };
        step.facts.push(word(CAUSE, cause.word()));
        step.facts.push(match answer {
            Ok(status) => status_of(status),
            Err(failed) => word(ERROR, Fault::Failed(failed).word()),
        });
        step.failed = !answer.is_ok_and(|status| status.as_u16() < 400);
    }

    /// What the partner is told of the call that comes next, if it is told anything.
    pub(super) fn traceparent(&self, trace: &Traced) -> Option<HeaderValue> {
        if self.settings.propagate_trace { trace.coming()?.header() } else { None }
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
            let mut facts: Facts = smallvec::smallvec![Fact::Word(ROUTE, route.into()), word(CAUSE, cause.word())];
            match landed {
                Ok(status) => facts.extend(status.map(status_of)),
                Err(refusal) => facts.push(word(ERROR, word_of(refusal))),
            }
            End { name, served: false, at: self.clock.tick(), facts, failed: landed.is_err() }
        });
    }
}
