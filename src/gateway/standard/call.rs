//! How does one call to the partner go in standard mode?
//! Given an errand, hands back what it brought: a stored answer, one to hand through, or a failure.
//! Never retries an answer, and never calls without a permit.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;

use crate::budget::{Cause, Permit};
use crate::cache::Key;
use crate::cache::standard::moments::Exchange;
use crate::cache::standard::validation;
use crate::clock::Tick;
use crate::dial::OutBody;
use crate::flight::Obligation;
use crate::trail::trace::parent::TRACEPARENT;
use crate::trail::trace::{Context, Traced};
use crate::upstream::hub::Said;
use crate::upstream::{Failed, through};

use super::super::fetch::MOST_KEYS;
use super::super::refusal::{Fault, Refusal};
use super::super::turn::NO_FLIGHT;
use super::super::{Dials, Gateway};
use super::errand::{Arrived, Brought, Errand};
use super::{Asked, Landed};

/// After a failure a reply is not refreshed behind for this long.
const REST: Duration = Duration::from_secs(1);

impl<C: Dials> Gateway<C> {
    /// One errand, from its place in the queue to its landing.
    pub(super) async fn fly_standard(
        self: Arc<Self>,
        errand: Errand,
        obligation: Option<Obligation<Key, (Landed, Option<Context>)>>,
        mut trace: Traced,
    ) -> Brought {
        let deadline = self.clock.tick().plus(self.settings.flight_timeout);
        let forsaken = async {
            match &obligation {
                Some(obligation) if errand.cause != Cause::Refresh => obligation.forsaken().await,
                _ => std::future::pending().await,
            }
        };
        let permit = tokio::select! {
            biased;
            permit = self.permit(errand.asked.asker, deadline, obligation.as_ref()) => permit,
            () = forsaken => Err(Refusal::Deadline),
        };
        self.traced_wait(&mut trace, permit.as_ref().err());
        let brought = match permit {
            Ok(permit) => self.run(&errand, permit, deadline, &mut trace).await,
            Err(refusal) => Err(refusal),
        };
        let brought = brought.unwrap_or_else(Brought::failed);
        if let (Brought::Failed(_), Some(old)) = (&brought, &errand.old) {
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
        let arrived = self.call(errand, permit, deadline, trace).await?;
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
            let permit = self.permit(errand.asked.asker, deadline, NO_FLIGHT).await?;
            self.traced_wait(trace, None);
            let arrived = self.call(&again, permit, deadline, trace).await?;
            return self.take(&again, arrived, deadline).await;
        }
        if errand.keeps_errors_out && matches!(arrived.status.as_u16(), 500 | 502 | 503 | 504) {
            return Err(Fault::Status.into());
        }
        self.take(errand, arrived, deadline).await
    }

    /// What a 401 says of our key: a caller's own `Authorization` may be what it means where that is forwarded.
    pub(super) fn about_our_key(&self, answer: &Response<Incoming>, asked: &Asked) -> Option<Said> {
        let said = self.upstream.said(answer.status(), answer.headers());
        said.filter(|said| said.is_of_the_token() && !asked.forwards_authorization)
    }

    /// Sends the request; again while nothing is heard, as often as the partner's settings say.
    async fn call(
        &self,
        errand: &Errand,
        mut permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Arrived, Refusal> {
        let asked = &errand.asked;
        let (mut cause, mut attempt, mut keys) = (errand.cause, 0, 1);
        loop {
            let shown = self.shown(&mut permit, deadline).await?;
            self.ledger.counts.call(asked.route, cause, asked.asker.payer);
            let sent = self.clock.tick();
            let empty: OutBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let mut request = Request::new(empty);
            *request.method_mut() = asked.method.clone();
            *request.headers_mut() = errand.sent.clone();
            if let Some(parent) = self.traceparent(trace) {
                request.headers_mut().insert(TRACEPARENT, parent);
            }
            let answer = self.upstream.send_on(&permit, &shown, request, &asked.target, deadline).await;
            self.traced_call(trace, cause, answer.as_ref().map(Response::status).map_err(|why| *why));
            if let Some(said) = answer.as_ref().ok().and_then(|answer| self.about_our_key(answer, asked)) {
                self.key_refused(&mut permit, shown, said).await?;
                if keys >= MOST_KEYS {
                    return Err(self.key_fault().into());
                }
                drop(permit);
                permit = self.permit(asked.asker, deadline, NO_FLIGHT).await?;
                self.traced_wait(trace, None);
                (keys, cause) = (keys + 1, Cause::Retry);
                continue;
            }
            self.report_any(
                &mut permit,
                &shown,
                answer.as_ref().map(|it| (it.status(), it.headers())).map_err(|why| *why),
            );
            let failed = match answer {
                Ok(answer) => {
                    self.withheld(answer.status(), answer.headers(), Some(&asked.key))?;
                    let exchange = Exchange { asked: sent, came: self.clock.now() };
                    return self.arrived(answer, permit, exchange, asked);
                }
                Err(failed) => failed,
            };
            drop(permit);
            let pause = if failed == Failed::Connect { Duration::ZERO } else { self.backoff(attempt) };
            let late = self.clock.tick().plus(pause) >= deadline;
            if attempt >= self.settings.retries || late || !matches!(failed, Failed::Connect | Failed::Broken) {
                return Err(Fault::Failed(failed).into());
            }
            self.clock.sleep_until(self.clock.tick().plus(pause)).await;
            trace.resume_at(|| self.clock.tick());
            let again = self.permit(asked.asker, deadline, NO_FLIGHT).await;
            permit = again.map_err(|_| Refusal::from(Fault::Failed(failed)))?;
            self.traced_wait(trace, None);
            (attempt, cause) = (attempt + 1, Cause::Retry);
        }
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
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(Fault::Key.into());
        }
        match asked.forwards_authorization {
            true => through::strip_connection(&mut head),
            false => through::strip_household(&mut head),
        }
        through::localise(status, &mut head, &self.origin, (&asked.method, &asked.target))?;
        Ok(Arrived { status, head, incoming, permit, exchange, known: exchange.asked })
    }
}
