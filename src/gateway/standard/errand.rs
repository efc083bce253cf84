//! How does one call to the partner go in standard mode?
//! Given an errand, hands back what it brought: a stored answer, one to hand through, or a failure.
//! Never retries an answer, and never keeps one whose body did not come whole.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Incoming};

use crate::budget::{Cause, Permit};
use crate::cache::Key;
use crate::cache::standard::directives::Said;
use crate::cache::standard::moments::Exchange;
use crate::cache::standard::reuse::Fallback;
use crate::cache::standard::slot::Held;
use crate::cache::standard::validation::Told as HeadTold;
use crate::cache::standard::{Detail, Reply, Why, invalidation, storing, validation};
use crate::clock::{Now, Tick};
use crate::dial::OutBody;
use crate::flight::Obligation;
use crate::route::Target;
use crate::trail::Trail;
use crate::upstream::{Failed, pause_until, through};

use super::super::refusal::{Fault, Refusal};
use super::super::respond::{Body, Told};
use super::super::{Dials, Gateway};
use super::{Asked, Failure, Kept, Landed};

/// After a failure a reply is not refreshed behind for this long.
const REST: Duration = Duration::from_secs(1);

/// All that one call takes along.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    asked: Asked,
    /// The head as it goes out.
    sent: HeaderMap,
    why: Why,
    pub(super) cause: Cause,
    /// The replies that a 304 may mean.
    about: Vec<Arc<Reply>>,
    /// The reply whose successor is fetched.
    old: Option<Arc<Reply>>,
    /// Whether a server error counts as no answer, since something stale may stand in for it (RFC 5861 §4).
    pub(super) keeps_errors_out: bool,
}

/// What it brought.
#[derive(Debug)]
pub(super) enum Brought {
    Kept(Kept),
    Through { response: Response<Body>, told: Told, took: Duration },
    Failed(Failure),
}

impl Brought {
    pub(super) fn failed(refusal: Refusal) -> Self {
        Self::Failed(Failure::of(refusal))
    }

    /// What landed for all; `None` where each has to ask alone.
    pub(super) fn shared(landed: Landed) -> Option<Self> {
        match landed {
            Landed::Kept(kept) => Some(Self::Kept(kept)),
            Landed::Failed(failure) => Some(Self::Failed(failure)),
            Landed::Alone => None,
        }
    }

    fn to_share(&self) -> Landed {
        match self {
            // What is given without being stored is for the one who asked.
            Self::Kept(kept) if kept.told.stored => Landed::Kept(Kept { withheld: HeaderMap::new(), ..kept.clone() }),
            Self::Kept(_) | Self::Through { .. } => Landed::Alone,
            Self::Failed(failure) => Landed::Failed(failure.clone()),
        }
    }
}

impl Errand {
    pub(super) fn new(asked: &Asked, held: Held, why: Why, fallback: Fallback) -> Self {
        let mut sent = asked.head.clone();
        let mut cause = Cause::Miss;
        let (mut about, mut old) = (Vec::new(), None);
        if asked.method == Method::GET {
            match held {
                Held::Fits(reply) => {
                    cause = Cause::Revalidate;
                    if validation::ask_about(&mut sent, &reply) {
                        about.push(Arc::clone(&reply));
                    }
                    old = Some(reply);
                }
                // The caller's own condition would get mixed up with ours.
                Held::Others(others) if !validation::is_conditional(&sent) => {
                    about = others.into_iter().filter(|other| other.tag().is_some()).take(8).collect();
                    let tags: Vec<_> = about.iter().filter_map(|other| other.tag()).collect();
                    if !tags.is_empty() {
                        validation::ask_which(&mut sent, &tags);
                    }
                }
                _ => {}
            }
        } else if let Held::Fits(reply) = held {
            old = Some(reply);
        }
        Self { asked: asked.clone(), sent, why, cause, about, old, keeps_errors_out: fallback.error }
    }

    /// Under which it is the same as another.
    pub(super) fn name(&self) -> Key {
        self.asked.key.sent_with(&self.asked.method, &self.sent)
    }

    fn told(&self, status: StatusCode) -> Told {
        Told { forwarded: Some((self.why, Some(status))), ..Told::default() }
    }
}

/// An answer whose head is here.
struct Arrived {
    status: StatusCode,
    head: HeaderMap,
    incoming: Incoming,
    permit: Permit,
    exchange: Exchange,
    /// Until when a change of the resource would have been in it.
    known: Tick,
}

impl Arrived {
    fn took(&self) -> Duration {
        self.exchange.came.tick.since(self.exchange.asked)
    }
}

impl<C: Dials> Gateway<C> {
    /// One errand, from its place in the queue to its landing.
    pub(super) async fn fly_standard(
        self: Arc<Self>,
        errand: Errand,
        obligation: Option<Obligation<Key, Landed>>,
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
            permit = self.permit(deadline) => permit,
            () = forsaken => Err(Refusal::Deadline),
        };
        let brought = match permit {
            Ok(permit) => self.run(&errand, permit, deadline).await,
            Err(refusal) => Err(refusal),
        };
        let brought = brought.unwrap_or_else(Brought::failed);
        if let (Brought::Failed(_), Some(old)) = (&brought, &errand.old) {
            old.rest_until(self.clock.tick().plus(REST));
        }
        if let Some(obligation) = obligation {
            obligation.land(brought.to_share());
        }
        brought
    }

    async fn run(&self, errand: &Errand, permit: Permit, deadline: Tick) -> Result<Brought, Refusal> {
        let arrived = self.call(errand, permit, deadline).await?;
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
            let permit = self.permit(deadline).await?;
            let arrived = self.call(&again, permit, deadline).await?;
            return self.take(&again, arrived, deadline).await;
        }
        if errand.keeps_errors_out && matches!(arrived.status.as_u16(), 500 | 502 | 503 | 504) {
            return Err(Fault::Status.into());
        }
        self.take(errand, arrived, deadline).await
    }

    /// Sends the request; again while nothing is heard, as often as the partner's settings say.
    async fn call(&self, errand: &Errand, mut permit: Permit, deadline: Tick) -> Result<Arrived, Refusal> {
        let asked = &errand.asked;
        let mut cause = errand.cause;
        for attempt in 0.. {
            self.ledger.counts.call(asked.route, cause);
            let sent = self.clock.tick();
            let empty: OutBody = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let answer = self.upstream.send_on(&asked.method, &asked.target, &errand.sent, empty, deadline).await;
            let failed = match answer {
                Ok(answer) => {
                    let exchange = Exchange { asked: sent, came: self.clock.now() };
                    return self.arrived(answer, permit, exchange, asked.forwards_authorization);
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
            permit = self.permit(deadline).await.map_err(|_| Refusal::from(Fault::Failed(failed)))?;
            cause = Cause::Retry;
        }
        Err(Fault::Failed(Failed::Broken).into())
    }

    /// Reads what a head says to us: that we are to stay away, or that our key is not good.
    fn arrived(
        &self,
        answer: Response<Incoming>,
        permit: Permit,
        exchange: Exchange,
        forwards_authorization: bool,
    ) -> Result<Arrived, Refusal> {
        let (parts, incoming) = answer.into_parts();
        let (status, mut head) = (parts.status, parts.headers);
        if let Some(until) = pause_until(status, &head, exchange.came) {
            self.budget.close_until(until);
        }
        match status {
            StatusCode::UNAUTHORIZED if !forwards_authorization => return Err(Fault::Key.into()),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => return Err(Fault::Key.into()),
            _ => {}
        }
        storing::strip(&mut head);
        if !forwards_authorization {
            through::strip_household(&mut head);
        }
        self.localise(&mut head);
        Ok(Arrived { status, head, incoming, permit, exchange, known: exchange.asked })
    }

    /// A 304 to our own question.
    fn confirmed(&self, errand: &Errand, meant: &Arc<Reply>, arrived: &Arrived) -> Brought {
        let (key, sent) = (&errand.asked.key, &errand.asked.head);
        let mut told = errand.told(StatusCode::NOT_MODIFIED);
        let (reply, taken_back) = validation::freshened(meant, &arrived.head, sent, arrived.exchange);
        let reply = Arc::new(reply);
        if taken_back.is_some() {
            self.store.invalidate(key, arrived.exchange.came.tick);
        } else {
            told.stored = self.store.keep_reply(key, sent, &reply, arrived.known);
        }
        told.detail = taken_back.or((!told.stored).then_some(Detail::Superseded));
        Brought::Kept(Kept { reply, withheld: HeaderMap::new(), told, took: arrived.took() })
    }

    /// Stores an answer if it may be, and hands it through if not.
    async fn take(&self, errand: &Errand, arrived: Arrived, deadline: Tick) -> Result<Brought, Refusal> {
        let asked = &errand.asked;
        let mut told = errand.told(arrived.status);
        if asked.method == Method::HEAD {
            self.take_head(errand, &arrived);
            return Ok(self.through(arrived, Bytes::new(), told));
        }
        let judged = storing::judge(&asked.method, &errand.asked.head, arrived.status, &arrived.head, arrived.exchange);
        match judged {
            Ok(storable) => self.keep(asked, arrived, storable, told, deadline).await,
            Err(why) => {
                told.detail = Some(why);
                let of_the_request = matches!(why, Detail::RequestNoStore | Detail::Authorization | Detail::Partial);
                if !of_the_request && arrived.status != StatusCode::NOT_MODIFIED {
                    self.store.remember_unstored(&asked.key, arrived.exchange.came);
                }
                // A newer answer is there, even if it may not be held: the old one is not fresh any more.
                if let Some(old) = errand.old.as_ref().filter(|_| arrived.status.is_success()) {
                    self.outdate(&asked.key, old, arrived.exchange.came, arrived.known);
                }
                Ok(self.through(arrived, Bytes::new(), told))
            }
        }
    }

    async fn keep(
        &self,
        asked: &Asked,
        arrived: Arrived,
        storable: storing::Storable,
        mut told: Told,
        deadline: Tick,
    ) -> Result<Brought, Refusal> {
        let took = arrived.took();
        let Arrived { status, head, incoming, permit, exchange, known } = arrived;
        let gathered = self.clock.until(deadline, gather(incoming, self.store.max_object())).await;
        let body = match gathered.map_err(|_| Refusal::Deadline)?? {
            Gathered::Whole(body) => body,
            Gathered::Over(before, incoming) => {
                told.detail = Some(Detail::TooLarge);
                self.store.remember_unstored(&asked.key, exchange.came);
                let arrived = Arrived { status, head, incoming, permit, exchange, known };
                return Ok(self.through(arrived, before, told));
            }
        };
        drop(permit);
        let withheld = head
            .iter()
            .filter(|(name, _)| storable.withheld.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let head = storing::stored_head(&head, &storable.withheld, exchange);
        let reply = Arc::new(Reply::new(status, &head, body, storable.life, storable.selection));
        told.stored = self.store.keep_reply(&asked.key, &asked.head, &reply, known);
        told.detail = (!told.stored).then_some(Detail::Superseded);
        Ok(Brought::Kept(Kept { reply, withheld, told, took }))
    }

    /// What a HEAD says of a stored GET (RFC 9111 §4.3.5).
    fn take_head(&self, errand: &Errand, arrived: &Arrived) {
        let Some(old) = &errand.old else { return };
        let (sent, exchange) = (&errand.asked.head, arrived.exchange);
        let key = &errand.asked.key;
        match validation::after_head(old, arrived.status, &arrived.head, sent, exchange) {
            Some(HeadTold::Updated(new) | HeadTold::Outdated(new)) => {
                self.store.replace_reply(key, old, &Arc::new(*new), arrived.known);
            }
            None => {}
        }
    }

    fn outdate(&self, key: &Key, old: &Arc<Reply>, now: Now, known: Tick) {
        let ended = old.with(&old.head(), old.life().ended(now.tick), old.selection().clone());
        self.store.replace_reply(key, old, &Arc::new(ended), known);
    }

    fn through(&self, arrived: Arrived, before: Bytes, told: Told) -> Brought {
        let took = arrived.took();
        let Arrived { status, head, incoming, permit, .. } = arrived;
        let body = Body::stream_after(before, incoming, permit, self.clock, self.settings.flight_timeout);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = head;
        Brought::Through { response, told, took }
    }

    /// A request that the store has no part in, or that changes what is stored.
    pub(super) async fn send_through(
        self: &Arc<Self>,
        asked: &Asked,
        why: Why,
        request: Request<OutBody>,
        stored: bool,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let deadline = trail.began.plus(self.settings.flight_timeout.min(self.settings.request_timeout));
        let permit = self.permit(deadline).await?;
        self.ledger.counts.call(asked.route, Cause::Pass);
        let (parts, body) = request.into_parts();
        let sent = self.clock.tick();
        let answer = self.upstream.send_on(&asked.method, &asked.target, &parts.headers, body, deadline).await;
        let exchange = Exchange { asked: sent, came: self.clock.now() };
        trail.upstream = Some(exchange.came.tick.since(sent));
        let answer = answer.map_err(Fault::Failed)?;
        let (status, head) = (answer.status(), answer.headers());
        // Forgotten before the answer is known to the caller, who may read its own change at once.
        if stored && invalidation::changes(&asked.method, status) {
            let now = exchange.came.tick;
            self.store.invalidate(&asked.key, now);
            let places = invalidation::also_changed(&self.origin, &asked.target, head);
            places.iter().for_each(|place| self.forget(place, now));
        }
        let arrived = self.arrived(answer, permit, exchange, asked.forwards_authorization)?;
        // This answer is of after the change.
        let arrived = Arrived { known: self.clock.tick(), ..arrived };
        let told = Told { forwarded: Some((why, Some(status))), ..Told::default() };
        let asked = Asked { head: parts.headers, ..asked.clone() };
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
        let said = Said::of(&arrived.head);
        let is_one = stored
            && asked.method == Method::POST
            && storing::answers_a_get(&asked.target, arrived.status, &arrived.head, &said);
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
