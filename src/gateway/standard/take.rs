//! What becomes of an answer?
//! Given a job and the head that came, stores what may be stored and hands the rest through.
//! Never keeps an answer whose body did not come whole.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use crate::cache::Key;
use crate::cache::Reply;
use crate::cache::freshness::Stage;
use crate::cache::reason::Detail;
use crate::cache::validation::HeadUpdate;
use crate::cache::{Stored, storability, validation};
use crate::clock::{Now, Tick};
use crate::upstream::{Failed, through};

use super::super::Dials;
use super::super::fetches::Fetches;
use super::super::flights::REST;
use super::super::refusal::{Fault, Refusal};
use super::super::respond::Delivery;
use super::reply_fetch::{Arrived, Brought, ReplyFetch};
use super::{Asked, FetchedReply};

impl<C: Dials> Fetches<C> {
    /// A 304 to our own question.
    pub(super) fn confirmed(&self, fetch: &ReplyFetch, meant: &Arc<Reply>, arrived: &Arrived) -> Brought {
        let (key, sent) = (&fetch.asked.key, &fetch.asked.head);
        let mut delivery = fetch.delivery(StatusCode::NOT_MODIFIED);
        let (reply, taken_back) = validation::freshened(meant, &arrived.head, sent, arrived.exchange);
        let reply = self.at_rest(reply);
        if taken_back.is_some() {
            self.store.invalidate(key, arrived.exchange.received.tick);
        } else {
            delivery.stored = self.store.keep_reply(key, sent, &reply, arrived.as_of);
        }
        delivery.detail = taken_back.or((!delivery.stored).then_some(Detail::Superseded));
        Brought::Kept(FetchedReply { reply, withheld: HeaderMap::new(), delivery, took: arrived.took() })
    }

    /// Stores an answer if it may be, and hands it through if not.
    pub(super) async fn take(&self, fetch: &ReplyFetch, arrived: Arrived, deadline: Tick) -> Result<Brought, Refusal> {
        let asked = &fetch.asked;
        let mut delivery = fetch.delivery(arrived.status);
        if asked.method == Method::HEAD {
            self.take_head(fetch, &arrived);
            return self.through(arrived, Bytes::new(), delivery);
        }
        let judged =
            storability::judge(&asked.method, &fetch.asked.head, arrived.status, &arrived.head, arrived.exchange);
        match judged {
            Ok(storable) => self.keep(asked, arrived, storable, delivery, deadline).await,
            Err(why) => {
                delivery.detail = Some(why);
                let of_the_request = matches!(why, Detail::RequestNoStore | Detail::Authorization | Detail::Partial);
                if !of_the_request && arrived.status != StatusCode::NOT_MODIFIED {
                    self.store.remember_unstored(&asked.key, arrived.exchange.received);
                }
                // A newer answer is there, even if it may not be held: the old one is not fresh any more.
                if let Some(old) = fetch.old.as_ref().filter(|_| arrived.status.is_success()) {
                    self.outdate(&asked.key, old, arrived.exchange.received, arrived.as_of);
                }
                self.through(arrived, Bytes::new(), delivery)
            }
        }
    }

    pub(super) async fn keep(
        &self,
        asked: &Asked,
        arrived: Arrived,
        storable: storability::Storable,
        mut delivery: Delivery,
        deadline: Tick,
    ) -> Result<Brought, Refusal> {
        let took = arrived.took();
        let Arrived { status, head, incoming, permit, exchange, as_of } = arrived;
        let gathered = self.clock.until(deadline, gather(incoming, self.store.max_object())).await;
        let body = match gathered.map_err(|_| Refusal::Deadline)?? {
            Gathered::Whole(body) => body,
            Gathered::Over(before, incoming) => {
                delivery.detail = Some(Detail::TooLarge);
                self.store.remember_unstored(&asked.key, exchange.received);
                let arrived = Arrived { status, head, incoming, permit, exchange, as_of };
                return self.through(arrived, before, delivery);
            }
        };
        drop(permit);
        let withheld = head
            .iter()
            .filter(|(name, _)| storable.withheld.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let head = storability::stored_head(&head, &storable.withheld, exchange);
        let reply = self.at_rest(Reply::new(status, &head, body, storable.life, storable.selection));
        delivery.stored = self.store.keep_reply(&asked.key, &asked.head, &reply, as_of);
        delivery.detail = (!delivery.stored).then_some(Detail::Superseded);
        Ok(Brought::Kept(FetchedReply { reply, withheld, delivery, took }))
    }

    /// A reply that was stale when it came is the newest there is: it is not asked for again with each request. Where nothing
    /// allows a stale one (RFC 9111 §4.2.4), each request asks all the same.
    fn at_rest(&self, reply: Reply) -> Arc<Reply> {
        let now = self.clock.tick();
        if reply.life().stage(now) == Stage::Stale {
            reply.rest_until(now.plus(REST));
        }
        Arc::new(reply)
    }

    /// What a HEAD says of a stored GET (RFC 9111 §4.3.5).
    fn take_head(&self, fetch: &ReplyFetch, arrived: &Arrived) {
        let Some(old) = &fetch.old else { return };
        let (sent, exchange) = (&fetch.asked.head, arrived.exchange);
        let key = &fetch.asked.key;
        match validation::after_head(old, arrived.status, &arrived.head, sent, exchange) {
            Some(HeadUpdate::Updated(new) | HeadUpdate::Outdated(new)) => {
                self.store.replace_reply(key, old, &Arc::new(*new), arrived.as_of);
            }
            None => {}
        }
    }

    fn outdate(&self, key: &Key, old: &Arc<Reply>, now: Now, known: Tick) {
        let ended = old.with(&old.head(), old.life().ended(now.tick), old.selection().clone());
        self.store.replace_reply(key, old, &Arc::new(ended), known);
    }

    pub(super) fn through(&self, arrived: Arrived, before: Bytes, delivery: Delivery) -> Result<Brought, Refusal> {
        let took = arrived.took();
        let Arrived { status, head, incoming, permit, .. } = arrived;
        let length = through::length_of(&head);
        let body = self.streamed(before, incoming, permit, length)?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = head;
        Ok(Brought::Through { response, delivery, took })
    }
}

enum Gathered {
    Whole(Bytes),
    /// More than is stored: what was read, and the rest.
    Over(Bytes, Incoming),
}

/// Reads a body up to `most` bytes.
async fn gather(mut incoming: Incoming, most: usize) -> Result<Gathered, Refusal> {
    if incoming.size_hint().lower() > most as u64 {
        return Ok(Gathered::Over(Bytes::new(), incoming));
    }
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|_| Refusal::from(Fault::Failed(Failed::Broken)))?;
        if let Ok(part) = frame.into_data() {
            body.extend_from_slice(&part);
        }
        if body.len() > most {
            return Ok(Gathered::Over(body.freeze(), incoming));
        }
    }
    // Copied to its exact size, so that what is weighed is what is held.
    Ok(Gathered::Whole(Bytes::copy_from_slice(&body)))
}
