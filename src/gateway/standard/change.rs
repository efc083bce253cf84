//! How does a request go through that the store has no part in?
//! Given it, hands back the partner's answer as it comes, and forgets what the request changed (RFC 9111 §4.4).
//! Never lets a caller read its own change from an older answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::VARY;
use http::{HeaderMap, Method, StatusCode};

use crate::budget::Cause;
use crate::budget::breaker::Reason;
use crate::cache::Key;
use crate::cache::lifetime::Exchange;
use crate::cache::reason::Why;
use crate::cache::{invalidation, storability};
use crate::clock::Tick;
use crate::route::Target;
use crate::trail::Trail;

use super::super::Dials;
use super::super::fetches::Fetches;
use super::super::landing::FetchedReply;
use super::super::refusal::{Fault, Refusal};
use super::super::respond::{Delivery, VARY_BY_TOKEN};
use super::super::take_in::is_pause;
use super::reply_fetch::{Arrived, Brought};
use super::{Asked, Got};
use crate::upstream::call::{Called, Outgoing};

impl<C: Dials> Fetches<C> {
    /// A request that the store has no part in, or that changes what is stored.
    pub(super) async fn send_through(
        self: &Arc<Self>,
        mut asked: Asked,
        why: Why,
        outgoing: Outgoing,
        stored: bool,
        trail: &mut Trail,
    ) -> Result<Got, Refusal> {
        let deadline = self.pass_deadline(trail);
        let permit = self.permit(asked.asker, deadline, &mut trail.trace).await?;
        let call = asked.call(Cause::Pass, deadline, false);
        let began = self.clock.tick();
        let called = self.calls.call(&call, &outgoing, permit, &mut trail.trace).await;
        trail.upstream = Some(self.clock.tick().since(began));
        let Called { answer, permit, asked: sent, paused, .. } = called?;
        let exchange = Exchange { asked: sent, received: self.clock.now() };
        let (status, head) = (answer.status(), answer.headers());
        self.withheld(status, head, Some(&asked.key))?;
        if asked.hides_failures {
            self.refuse_failure(status, paused)?;
        }
        // Forgotten before the answer is known to the caller, who may read its own change at once.
        if stored && invalidation::changes(&asked.method, status) {
            let now = exchange.received.tick;
            self.store.invalidate(&asked.key, now);
            let places = invalidation::also_changed(&self.origin, &asked.target, head);
            places.iter().for_each(|place| self.forget(place, now));
        }
        let mut arrived = self.arrived(answer, permit, exchange, &asked)?;
        if !stored {
            arrived.head.append(VARY, VARY_BY_TOKEN);
        }
        // This answer is of after the change.
        let arrived = Arrived { as_of: self.clock.tick(), ..arrived };
        let delivery = Delivery::forwarded(why, status);
        // Only what may be stored is compared with its request again.
        asked.head = if stored { outgoing.head } else { HeaderMap::new() };
        match self.stored_for_get(&asked, arrived, delivery, stored, deadline).await? {
            Brought::Kept(FetchedReply { reply, withheld, delivery, .. }) => {
                Ok(Got::Stored { asked: Box::new(asked), reply, withheld, delivery })
            }
            Brought::Through { response, delivery, .. } => Ok(Got::Through(response, delivery)),
        }
    }

    /// Refuses in our own name what says nothing to the caller.
    fn refuse_failure(&self, status: StatusCode, paused: Option<Tick>) -> Result<(), Refusal> {
        match paused.filter(|_| is_pause(status)) {
            Some(until) => {
                let retry = until.since(self.clock.tick());
                Err(Refusal::Closed { retry, reason: Reason::PausedByPartner })
            }
            None if status.is_server_error() => Err(Fault::Status.into()),
            None => Ok(()),
        }
    }

    /// The answer to a POST may be one to a later GET (RFC 9110 §9.3.3).
    async fn stored_for_get(
        &self,
        asked: &Asked,
        arrived: Arrived,
        delivery: Delivery,
        stored: bool,
        deadline: Tick,
    ) -> Result<Brought, Refusal> {
        let is_one = stored
            && asked.method == Method::POST
            && storability::answers_a_get(&asked.target, arrived.status, &arrived.head, arrived.exchange);
        let judged = is_one.then(|| {
            storability::judge(&asked.method, &asked.head, arrived.status, &arrived.head, arrived.exchange).ok()
        });
        match judged.flatten() {
            Some(storable) => self.keep(asked, arrived, storable, delivery, deadline).await,
            None => self.through(arrived, Bytes::new(), delivery),
        }
    }

    /// Forgets what is held of a target, on whichever route.
    fn forget(&self, target: &str, now: Tick) {
        let Ok(uri) = target.parse::<http::Uri>() else { return };
        let Ok(target) = Target::parse(&uri) else { return };
        let Ok(wanted) = self.routes.find(&Method::GET, &target) else { return };
        let Some(route) = self.routes.at(wanted.route()) else { return };
        self.store.invalidate(&Key::named(&wanted, route, &HeaderMap::new()), now);
    }
}
