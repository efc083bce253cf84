//! How does a request go through that nothing stores?
//! Given a grant for such a route, hands back the partner's answer as it comes, credentials exchanged on the way.
//! Never retries, and never lets the partner's household through: its 401, 429 and 5xx become ours.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::access::Grant;
use crate::budget::Cause;
use crate::cache;
use crate::dial::OutBody;
use crate::trail::trace::parent::TRACEPARENT;
use crate::trail::{Outcome, Trail};
use crate::upstream::headers::{RequestTooLarge, strip_for_caller};
use crate::upstream::through;

use super::fetch::is_pause;
use super::refusal::{Fault, Refusal};
use super::respond::Body;
use super::{Dials, Gateway, turn};

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
        let deadline = trail.began.plus(self.settings.flight_timeout.min(self.settings.request_timeout));
        through::make_ready(&mut parts.headers, false);
        let method = parts.method.clone();
        let mut request = self.outbound(parts, body)?;
        let asker = turn::asker(grant, turn::target(&target));
        self.pay(trail, self.clock.tick())?;
        let permit = self.permit(asker, deadline, turn::NO_FLIGHT).await;
        self.traced_wait(&mut trail.trace, permit.as_ref().err());
        let mut permit = permit?;
        if let Some(parent) = self.traceparent(&trail.trace) {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        let shown = self.shown(&mut permit, deadline).await?;
        self.ledger.counts.call(route, Cause::Pass, asker.payer);
        let sent = self.clock.tick();
        let answer = self.upstream.send_on(&permit, &shown, request, &target, deadline).await;
        trail.upstream = Some(self.clock.tick().since(sent));
        let heard = answer.as_ref().map(Response::status).map_err(|why| *why);
        self.traced_call(&mut trail.trace, Cause::Pass, heard);
        let said = answer.as_ref().ok().and_then(|answer| self.upstream.said(answer.status(), answer.headers()));
        if let Some(said) = said.filter(|said| said.is_of_the_token()) {
            // A body cannot be sent twice: the next request shows the other key.
            self.key_refused(&mut permit, shown, said).await?;
            return Err(self.key_fault().into());
        }
        let told =
            self.report(&mut permit, &shown, answer.as_ref().map(|it| (it.status(), it.headers())).map_err(|why| *why));
        let answer = answer.map_err(Fault::Failed)?;
        let status = answer.status();
        self.withheld(status, answer.headers(), None)?;
        if let Some(until) = told.filter(|_| is_pause(status)) {
            return Err(Refusal::Closed { retry: until.since(self.clock.tick()) });
        }
        match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => return Err(Fault::Key.into()),
            status if status.is_server_error() => return Err(Fault::Status.into()),
            _ => {}
        }
        let (mut head, incoming) = answer.into_parts();
        strip_for_caller(&mut head.headers);
        through::localise(status, &mut head.headers, &self.origin, (&method, &target))?;
        trail.outcome = Outcome::Pass;
        let body = Body::stream(incoming, permit, self.clock, self.settings.flight_timeout);
        Ok(self.signature.passed(Response::from_parts(head, body), status, &trail.request_id))
    }

    pub(super) fn outbound(&self, parts: &mut Parts, body: Incoming) -> Result<Request<OutBody>, Refusal> {
        let most = self.settings.max_request_body;
        let told = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
            .and_then(|text| text.parse().ok());
        if told.is_some_and(|length: u64| length > most as u64) {
            return Err(Refusal::BodyTooLarge);
        }
        let body: OutBody = if hyper::body::Body::is_end_stream(&body) {
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            let limited = Limited::new(body, most);
            limited
                .map_err(|error| if error.is::<LengthLimitError>() { RequestTooLarge.into() } else { error })
                .boxed_unsync()
        };
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.version_mut() = parts.version;
        *request.headers_mut() = std::mem::take(&mut parts.headers);
        Ok(request)
    }
}
