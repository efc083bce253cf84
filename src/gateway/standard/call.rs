//! How does one call to the partner go in standard mode?
//! Given an errand, hands back what it brought: a stored answer, one to hand through, or a failure.
//! Never retries an answer, and never calls without a permit.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::budget::{Cause, Permit};
use crate::cache::Key;
use crate::cache::standard::moments::Exchange;
use crate::cache::standard::validation;
use crate::clock::Tick;
use crate::flight::Obligation;
use crate::trail::trace::Traced;
use crate::upstream::headers::strip_for_caller;
use crate::upstream::through;

use super::super::landing::Landing;
use super::super::refusal::{Fault, Refusal};
use super::super::{Dials, Gateway};
use super::Asked;
use super::errand::{Arrived, Brought, Errand};
use crate::upstream::call::{Called, Outgoing};
use crate::upstream::calls::{Answers, Call};

impl Asked {
    /// How the call for this request is made.
    pub(super) fn call(&self, cause: Cause, deadline: Tick, retries: bool) -> Call {
        Call {
            route: self.route,
            asker: self.asker,
            cause,
            deadline,
            answers: if self.hides_failures { Answers::Judged } else { Answers::Passed },
            retries,
            forwards_authorization: self.forwards_authorization,
        }
    }
}

/// After a failure, and where a reply was stale when it came, it is not refreshed behind for this long.
pub(super) const REST: Duration = Duration::from_secs(1);

impl<C: Dials> Gateway<C> {
    /// One errand, from its place in the queue to its landing.
    pub(super) async fn fly_standard(
        self: Arc<Self>,
        errand: Errand,
        obligation: Option<Obligation<Key, Landing>>,
        mut trace: Traced,
    ) -> Brought {
        let deadline = self.clock.tick().plus(self.settings.flight_timeout);
        let call = (errand.asked.asker, errand.cause);
        let permit = self.permit_of_flight(call, deadline, obligation.as_ref(), &mut trace).await;
        let is_forsaken = permit.is_none();
        let brought = match permit {
            Some(Ok(permit)) => self.run(&errand, permit, deadline, &mut trace).await,
            Some(Err(refusal)) => Err(refusal),
            None => Err(Refusal::Deadline),
        };
        let brought = brought.unwrap_or_else(Brought::Failed);
        if let (Brought::Failed(_), Some(old), false) = (&brought, &errand.old, is_forsaken) {
            old.rest_until(self.clock.tick().plus(REST));
        }
        if let Some(obligation) = obligation {
            obligation.land((brought.to_share(), trace.context()));
        }
        self.traced_landing(trace, (errand.asked.route, errand.cause), brought.heard());
        brought
    }

    async fn run(
        &self,
        errand: &Errand,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Brought, Refusal> {
        let arrived = self.fetch_once_more(errand, permit, deadline, trace).await?;
        let gone = StatusCode::NOT_MODIFIED == arrived.status && !errand.about.is_empty();
        if gone {
            if let Some(meant) = validation::meant(&errand.about, &arrived.head) {
                return Ok(self.confirmed(errand, &Arc::clone(meant), &arrived));
            }
            // It means one that is not held any more: asked again without a condition.
            let mut again = errand.clone();
            again.about.clear();
            again.sent = errand.asked.head.clone();
            drop(arrived);
            let permit = self.permit(errand.asked.asker, deadline, trace).await?;
            let arrived = self.fetch_once_more(&again, permit, deadline, trace).await?;
            return self.take(&again, arrived, deadline).await;
        }
        if errand.keeps_errors_out && matches!(arrived.status.as_u16(), 500 | 502 | 503 | 504) {
            return Err(Fault::Status.into());
        }
        self.take(errand, arrived, deadline).await
    }

    /// Makes the call of an errand.
    async fn fetch_once_more(
        &self,
        errand: &Errand,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Arrived, Refusal> {
        let asked = &errand.asked;
        let outgoing = Outgoing {
            method: asked.method.clone(),
            version: Version::HTTP_11,
            target: asked.target.clone(),
            head: errand.sent.clone(),
            body: Bytes::new(),
        };
        let call = asked.call(errand.cause, deadline, true);
        let Called { answer, permit, asked: sent, .. } = self.calls.call(&call, &outgoing, permit, trace).await?;
        self.withheld(answer.status(), answer.headers(), Some(&asked.key))?;
        let exchange = Exchange { asked: sent, came: self.clock.now() };
        self.arrived(answer, permit, exchange, asked)
    }

    /// Takes out of a head what is for us.
    pub(super) fn arrived(
        &self,
        answer: Response<Incoming>,
        permit: Permit,
        exchange: Exchange,
        asked: &Asked,
    ) -> Result<Arrived, Refusal> {
        let (parts, incoming) = answer.into_parts();
        let (status, mut head) = (parts.status, parts.headers);
        let login = status == StatusCode::UNAUTHORIZED && !asked.forwards_authorization;
        if login || status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(self.calls.login_fault().into());
        }
        match () {
            () if asked.hides_failures => strip_for_caller(&mut head),
            () if asked.forwards_authorization => through::strip_connection(&mut head),
            () => through::strip_household(&mut head),
        }
        through::localise(status, &mut head, &self.origin, (&asked.method, &asked.target))?;
        Ok(Arrived { status, head, incoming, permit, exchange, known: exchange.asked })
    }
}
