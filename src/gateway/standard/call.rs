//! How does one call to the partner go in standard mode?
//! Given a job, hands back what it brought: a stored answer, one to hand through, or a failure.
//! Never retries an answer, and never calls without a permit.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::budget::{Cause, Permit};
use crate::cache::lifetime::Exchange;
use crate::cache::validation;
use crate::cache::{Key, Stored};
use crate::clock::Tick;
use crate::trail::trace::Traced;
use crate::upstream::call::{Called, Outgoing};
use crate::upstream::calls::{Answers, Call};
use crate::upstream::headers::strip_for_caller;
use crate::upstream::through;

use super::super::Dials;
use super::super::fetches::Fetches;
use super::super::flights::{Job, Purpose, Runs};
use super::super::landing::{FetchedReply, Shared};
use super::super::refusal::{Fault, Refusal};
use super::Asked;
use super::reply_fetch::{Arrived, Brought, ReplyFetch};

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

impl Job for ReplyFetch {
    type Brought = Brought;

    fn purpose(&self) -> Purpose {
        Purpose { route: self.asked.route, asker: self.asked.asker, cause: self.cause }
    }

    fn name(&self) -> Option<Key> {
        Some(self.asked.key.sent_with(&self.asked.method, &self.sent))
    }

    fn rest(&self, until: Tick) {
        self.old.iter().for_each(|old| old.rest_until(until));
    }

    fn status(brought: &Brought) -> Option<StatusCode> {
        match brought {
            Brought::Kept(kept) => kept.delivery.forwarded.map(|(_, status)| status),
            Brought::Through { response, .. } => Some(response.status()),
        }
    }

    fn share(brought: &Brought) -> Shared {
        match brought {
            // What is given without being stored is for the one who asked.
            Brought::Kept(kept) if kept.delivery.stored => {
                Shared::FetchedReply(Box::new(FetchedReply { withheld: HeaderMap::new(), ..kept.clone() }))
            }
            Brought::Kept(_) | Brought::Through { .. } => Shared::Alone,
        }
    }

    fn shared(shared: Shared) -> Option<Brought> {
        match shared {
            Shared::FetchedReply(kept) => Some(Brought::Kept(*kept)),
            Shared::Alone | Shared::Document(_) => None,
        }
    }
}

impl<C: Dials> Runs<C> for ReplyFetch {
    async fn run(
        &self,
        gateway: &Fetches<C>,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Brought, Refusal> {
        gateway.run(self, permit, deadline, trace).await
    }
}

impl<C: Dials> Fetches<C> {
    async fn run(
        &self,
        fetch: &ReplyFetch,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Brought, Refusal> {
        let arrived = self.fetch_once_more(fetch, permit, deadline, trace).await?;
        let gone = StatusCode::NOT_MODIFIED == arrived.status && !fetch.about.is_empty();
        if gone {
            if let Some(meant) = validation::meant(&fetch.about, &arrived.head) {
                return Ok(self.confirmed(fetch, &Arc::clone(meant), &arrived));
            }
            // It means one that is not held any more: asked again without a condition.
            let mut again = fetch.clone();
            again.about.clear();
            again.sent = fetch.asked.head.clone();
            drop(arrived);
            let permit = self.permit(fetch.asked.asker, deadline, trace).await?;
            let arrived = self.fetch_once_more(&again, permit, deadline, trace).await?;
            return self.take(&again, arrived, deadline).await;
        }
        if fetch.keeps_errors_out && matches!(arrived.status.as_u16(), 500 | 502 | 503 | 504) {
            return Err(Fault::Status.into());
        }
        self.take(fetch, arrived, deadline).await
    }

    /// Makes the call of a job.
    async fn fetch_once_more(
        &self,
        fetch: &ReplyFetch,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Arrived, Refusal> {
        let asked = &fetch.asked;
        let outgoing = Outgoing {
            method: asked.method.clone(),
            version: Version::HTTP_11,
            target: asked.target.clone(),
            head: fetch.sent.clone(),
            body: Bytes::new(),
        };
        let call = asked.call(fetch.cause, deadline, true);
        let Called { answer, permit, asked: sent, .. } = self.calls.call(&call, &outgoing, permit, trace).await?;
        self.withheld(answer.status(), answer.headers(), Some(&asked.key))?;
        let exchange = Exchange { asked: sent, received: self.clock.now() };
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
        Ok(Arrived { status, head, incoming, permit, exchange, as_of: exchange.asked })
    }
}
