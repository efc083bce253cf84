//! How does a request go through that the store has no part in?
//! Given it, hands back the partner's answer as it comes, and forgets what the request changed (RFC 9111 §4.4).
//! Never lets a caller read its own change from an older answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::VARY;
use http::{HeaderMap, Method, Request, Response};

use crate::budget::Cause;
use crate::cache::Key;
use crate::cache::standard::directives::Said;
use crate::cache::standard::moments::Exchange;
use crate::cache::standard::{Why, invalidation, storing};
use crate::clock::Tick;
use crate::dial::OutBody;
use crate::route::Target;
use crate::trail::Trail;
use crate::trail::trace::parent::TRACEPARENT;

use super::super::refusal::{Fault, Refusal};
use super::super::respond::{Body, Told, VARY_BY_TOKEN};
use super::super::turn::NO_FLIGHT;
use super::super::{Dials, Gateway};
use super::Asked;
use super::errand::{Arrived, Brought};

impl<C: Dials> Gateway<C> {
    /// A request that the store has no part in, or that changes what is stored.
    pub(super) async fn send_through(
        self: &Arc<Self>,
        mut asked: Asked,
        why: Why,
        mut request: Request<OutBody>,
        stored: bool,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let deadline = trail.began.plus(self.settings.flight_timeout.min(self.settings.request_timeout));
        let permit = self.permit(asked.asker, deadline, NO_FLIGHT).await;
        self.traced_wait(&mut trail.trace, permit.as_ref().err());
        let mut permit = permit?;
        let shown = self.shown(&mut permit, deadline).await?;
        self.ledger.counts.call(asked.route, Cause::Pass, asked.asker.payer);
        // Only what may be stored is compared with its request again.
        let sent_head = if stored { request.headers().clone() } else { HeaderMap::new() };
        if let Some(parent) = self.traceparent(&trail.trace) {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        let sent = self.clock.tick();
        let answer = self.upstream.send_on(&permit, &shown, request, &asked.target, deadline).await;
        let heard = answer.as_ref().map(Response::status).map_err(|why| *why);
        self.traced_call(&mut trail.trace, Cause::Pass, heard);
        if let Some(said) = answer.as_ref().ok().and_then(|answer| self.about_our_key(answer, &asked)) {
            // A body cannot be sent twice: the next request shows the other key.
            self.key_refused(&mut permit, shown, said).await?;
            return Err(self.key_fault().into());
        }
        self.report_any(&mut permit, &shown, answer.as_ref().map(|it| (it.status(), it.headers())).map_err(|why| *why));
        let exchange = Exchange { asked: sent, came: self.clock.now() };
        trail.upstream = Some(exchange.came.tick.since(sent));
        let answer = answer.map_err(Fault::Failed)?;
        let (status, head) = (answer.status(), answer.headers());
        self.withheld(status, head, Some(&asked.key))?;
        // Forgotten before the answer is known to the caller, who may read its own change at once.
        if stored && invalidation::changes(&asked.method, status) {
            let now = exchange.came.tick;
            self.store.invalidate(&asked.key, now);
            let places = invalidation::also_changed(&self.origin, &asked.target, head);
            places.iter().for_each(|place| self.forget(place, now));
        }
        let mut arrived = self.arrived(answer, permit, exchange, &asked)?;
        if !stored {
            arrived.head.append(VARY, VARY_BY_TOKEN);
        }
        // This answer is of after the change.
        let arrived = Arrived { known: self.clock.tick(), ..arrived };
        let told = Told { forwarded: Some((why, Some(status))), ..Told::default() };
        asked.head = sent_head;
        match self.stored_for_get(&asked, arrived, told, stored, deadline).await? {
            Brought::Kept(kept) => Ok(self.give_kept(&asked, kept, trail)),
            Brought::Through { response, told, .. } => Ok(self.hand_on(response, told, trail)),
            Brought::Failed(failure) => Err(failure.refusal),
        }
    }

    /// The answer to a POST may be one to a later GET (RFC 9110 §9.3.3).
    async fn stored_for_get(
        &self,
        asked: &Asked,
        arrived: Arrived,
        told: Told,
        stored: bool,
        deadline: Tick,
    ) -> Result<Brought, Refusal> {
        let is_one = stored
            && asked.method == Method::POST
            && storing::answers_a_get(&asked.target, arrived.status, &arrived.head, &Said::of(&arrived.head));
        let judged = is_one
            .then(|| storing::judge(&asked.method, &asked.head, arrived.status, &arrived.head, arrived.exchange).ok());
        match judged.flatten() {
            Some(storable) => self.keep(asked, arrived, storable, told, deadline).await,
            None => Ok(self.through(arrived, Bytes::new(), told)),
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
