//! How does a request go through that nothing stores?
//! Given a grant for such a route, hands back the partner's answer as it comes, credentials exchanged on the way.
//! Never lets the partner's household through: its 401, 429 and 5xx become ours.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use crate::access::Grant;
use crate::budget::breaker::Reason;
use crate::budget::{Cause, Permit};
use crate::cache;
use crate::trail::{Outcome, Trail};
use crate::upstream::headers::strip_for_caller;
use crate::upstream::{Failed, through};

use super::fetch::is_pause;
use super::refusal::{Fault, Refusal};
use super::respond::Body;
use super::spool::{self, Limits, Spooled};
use super::{Dials, Gateway, turn};
use crate::upstream::call::Called;
use crate::upstream::calls::{Answers, Call};

impl<C: Dials> Gateway<C> {
    pub(super) async fn pass_through(
        self: &Arc<Self>,
        grant: &Grant,
        parts: &mut Parts,
        body: Incoming,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let route = grant.wanted().route();
        let target = self.routes.at(route).map(|route| cache::key::target_of(grant.wanted().resource(), route));
        let target = target.ok_or(Refusal::NoSuchRoute)?;
        let deadline = self.pass_deadline(trail);
        through::make_ready(&mut parts.headers, false);
        let asker = turn::asker(grant, turn::target(&target), turn::scope(route));
        let (outgoing, upload) = self.outgoing(parts, body, target, asker.who, deadline).await?;
        self.pay(trail, self.clock.tick())?;
        let permit = self.permit(asker, deadline, &mut trail.trace).await?;
        let call = Call {
            route,
            asker,
            cause: Cause::Pass,
            deadline,
            answers: Answers::Judged,
            retries: false,
            forwards_authorization: false,
        };
        let sent = self.clock.tick();
        let called = self.calls.call(&call, &outgoing, permit, &mut trail.trace).await;
        trail.upstream = Some(self.clock.tick().since(sent));
        let Called { answer, permit, paused, .. } = called?;
        drop(upload);
        let status = answer.status();
        self.withheld(status, answer.headers(), None)?;
        if let Some(until) = paused.filter(|_| is_pause(status)) {
            let retry = until.since(self.clock.tick());
            return Err(Refusal::Closed { retry, reason: Reason::PausedByPartner });
        }
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(self.calls.login_fault().into());
            }
            status if status.is_server_error() => return Err(Fault::Status.into()),
            _ => {}
        }
        let (mut head, incoming) = answer.into_parts();
        strip_for_caller(&mut head.headers);
        through::localise(status, &mut head.headers, &self.origin, (&outgoing.method, &outgoing.target))?;
        trail.outcome = Outcome::Pass;
        let body = self.streamed(Bytes::new(), incoming, permit, through::length_of(&head.headers))?;
        Ok(self.signature.passed(Response::from_parts(head, body), status, &trail.request_id))
    }

    /// An answer's body on its way to the caller, the first part of which was read already.
    ///
    /// # Errors
    /// It is larger than `upstream.max_response`, as its head says.
    pub(super) fn streamed(
        &self,
        before: Bytes,
        incoming: Incoming,
        permit: Permit,
        length: Option<u64>,
    ) -> Result<Body, Refusal> {
        let max_response = self.calls.upstream().max_response();
        if incoming.size_hint().lower().saturating_add(before.len() as u64) > max_response as u64 {
            return Err(Fault::Failed(Failed::TooLarge).into());
        }
        // What hyper knows it ends at by itself, and costs nothing here.
        let length = length.filter(|_| incoming.size_hint().exact().is_none());
        let limits = Limits { patience: self.settings.flight_timeout, max_response, length };
        let lease = self.buffers.lease(permit.asker().who);
        Ok(match spool::spool(before, incoming, permit, lease, (self.clock, limits)) {
            Spooled::Whole(bytes) => Body::full(bytes),
            Spooled::Comes(spool, filler) => {
                self.tasks.spawn(filler.run());
                Body::spool(spool)
            }
        })
    }
}
