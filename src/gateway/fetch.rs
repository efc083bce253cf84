//! Documents of the API: the query for one, its call, and what becomes of the answer.
//! Given a grant and a key, makes the call that a plan wants, and hands back the entry, stored where it may be.
//! Never replaces a good document with an answer that is none.

use std::sync::Arc;

use http::header::VIA;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use crate::access::Grant;
use crate::budget::breaker::Reason;
use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause, Permit};
use crate::cache::freshness::{Life, Stage};
use crate::cache::lifetime::Exchange;
use crate::cache::reason::Detail;
use crate::cache::storability::judge_document;
use crate::cache::{self, Entry, Key, Stored, hub};
use crate::clock::{Now, Tick};
use crate::flight::Rank;
use crate::route::{RouteIndex, Terms};
use crate::trail::Trail;
use crate::trail::trace::Traced;
use crate::upstream::call::Called;
use crate::upstream::calls::{Answers, Call};
use crate::upstream::{Fetched, Wish};

use super::document::Candidate;
use super::execute::{Ask, Query, Reached};
use super::fetches::Fetches;
use super::flights::{Errand, Purpose, REST, Runs};
use super::landing::{Answered, Shared};
use super::refusal::{Fault, Refusal};
use super::respond::Delivery;
use super::{Dials, turn};

/// The call for a document.
pub(super) struct DocumentErrand {
    purpose: Purpose,
    /// Where the answer is stored; `None` where the route stores nothing.
    key: Option<Key>,
    wish: Wish,
    held: Option<Arc<Entry>>,
    /// When `held` was still there.
    held_at: Tick,
}

impl Errand for DocumentErrand {
    type Brought = Answered;

    fn purpose(&self) -> Purpose {
        self.purpose
    }

    fn name(&self) -> Option<Key> {
        self.key.clone()
    }

    fn rest(&self, until: Tick) {
        self.held.iter().for_each(|held| held.rest_until(until));
    }

    fn status(brought: &Answered) -> Option<StatusCode> {
        Some(brought.status)
    }

    fn share(brought: &Answered) -> Shared {
        Shared::Document(brought.clone())
    }

    fn shared(shared: Shared) -> Option<Answered> {
        match shared {
            Shared::Document(answered) => Some(answered),
            // Nothing else lands under a document's key.
            Shared::Kept(_) | Shared::Alone => None,
        }
    }
}

impl<C: Dials> Runs<C> for DocumentErrand {
    async fn run(
        &self,
        gateway: &Fetches<C>,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Answered, Refusal> {
        let Purpose { route, asker, cause } = self.purpose;
        let (answers, retries, forwards_authorization) = (Answers::Retried, true, false);
        let call = Call { route, asker, cause, deadline, answers, retries, forwards_authorization };
        let Called { answer, permit, asked, paused, .. } = gateway.calls.call(&call, &self.wish, permit, trace).await?;
        // Its place in flight is free while the answer is taken in.
        drop(permit);
        gateway.take_in(self, answer, paused, asked)
    }
}

/// A request for a document.
pub(super) struct DocumentQuery<'a> {
    pub(super) grant: &'a Grant,
    /// Where it is stored; `None` where the route stores nothing.
    pub(super) key: Option<Key>,
    pub(super) parts: &'a Parts,
}

impl<C: Dials> Query<C> for DocumentQuery<'_> {
    type Stored = Entry;
    type Errand = DocumentErrand;

    fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    fn rank(&self) -> Rank {
        turn::rank(turn::lane_of(self.grant), turn::who(self.grant.caller()))
    }

    fn is_alone(&self) -> bool {
        self.key.is_none()
    }

    fn starts_none(&self, fetches: &Fetches<C>) -> bool {
        // Where a request has been goes on to a hub, which may refuse it for that: what a caller says there is its own alone.
        fetches.calls.upstream().is_hub() && self.parts.headers.contains_key(VIA)
    }

    fn stored_since(&self, fetches: &Fetches<C>, before: Option<&Arc<Entry>>, now: Now) -> Option<Arc<Entry>> {
        let entry = fetches.store.held(self.key.as_ref()?)?;
        let is_new = before.is_none_or(|before| !Arc::ptr_eq(before, &entry));
        (is_new && entry.life().is_fresh(now.tick)).then_some(entry)
    }

    fn errand(&self, fetches: &Fetches<C>, ask: Ask<Entry>) -> DocumentErrand {
        let (grant, headers) = (self.grant, &self.parts.headers);
        let cause = match &ask.stored {
            _ if ask.is_refresh => Cause::Refresh,
            Some(_) => Cause::Revalidate,
            None => Cause::Miss,
        };
        let route = grant.wanted().route();
        let mut wish = Wish::default();
        if let Some(settings) = fetches.routes.at(route) {
            wish.target = cache::key::target_of(grant.wanted().resource(), settings);
            for name in &settings.forward_headers {
                wish.headers.extend(headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
        }
        // A refresh is nobody's, so it begins a way of its own.
        wish.via = (!ask.is_refresh).then(|| fetches.calls.upstream().way_of(headers)).flatten();
        let held_at = fetches.clock.tick();
        // It may have been purged since it was looked up.
        let held = ask.stored.and(self.key.as_ref()).and_then(|key| fetches.store.held(key));
        if let Some(entry) = &held {
            (wish.etag, wish.modified) = entry.validators();
        }
        // Starting a flight is paid for by who starts it; a refresh is paid for by nobody.
        let (resource, scope) = (turn::target(&wish.target), turn::scope(route));
        let asker = match ask.is_refresh {
            true => Asker { lane: Lane::Refresh, who: 0, resource, payer: None, scope },
            false => turn::asker(grant, resource, scope),
        };
        DocumentErrand { purpose: Purpose { route, asker, cause }, key: self.key.clone(), wish, held, held_at }
    }
}

/// A document and how it came about, once its plan is carried out.
pub(super) fn landed(reached: Reached<Entry, Answered>, trail: &mut Trail) -> (Arc<Entry>, Delivery) {
    match reached {
        Reached::Stored(entry, detail) => {
            entry.was_hit();
            (entry, Delivery::from_memory(detail))
        }
        Reached::Brought { brought: Answered { entry, status, stored, took }, why, collapsed } => {
            trail.upstream = Some(took);
            let (forwarded, detail) = (Some((why, status)), stored.err());
            (entry, Delivery { forwarded, stored: stored.is_ok(), collapsed, detail })
        }
    }
}

impl<C: Dials> Fetches<C> {
    /// What becomes of an answer that nobody waits for, where nothing was held before.
    pub(super) fn take_in_alone(
        &self,
        (route, key, asker): (RouteIndex, Option<Key>, Asker),
        fetched: Fetched,
        told: Option<Tick>,
        asked: Tick,
    ) -> Result<Answered, Refusal> {
        let (wish, cause) = (Wish::default(), Cause::Miss);
        let errand = DocumentErrand { purpose: Purpose { route, asker, cause }, key, wish, held: None, held_at: asked };
        self.take_in(&errand, fetched, told, asked)
    }

    /// For how long a document may be used, by the route's terms and what the upstream's head says.
    pub(super) fn judged(
        &self,
        terms: &Terms,
        status: StatusCode,
        head: &HeaderMap,
        exchange: Exchange,
    ) -> Result<Life, Detail> {
        match self.calls.upstream().is_hub() {
            true => hub::judge(terms, status, head, exchange),
            false => judge_document(terms, false, status, head, exchange),
        }
    }

    /// Judges an answer and stores it if it may be.
    fn take_in(
        &self,
        errand: &DocumentErrand,
        fetched: Fetched,
        told: Option<Tick>,
        asked: Tick,
    ) -> Result<Answered, Refusal> {
        let now = self.clock.now();
        let Fetched { status, mut head, body, came } = fetched;
        if let Some(until) = told.filter(|_| is_pause(status)) {
            return Err(Refusal::Closed { retry: until.since(now.tick), reason: Reason::PausedByPartner });
        }
        let route = self.routes.at(errand.purpose.route).ok_or(Refusal::NoSuchRoute)?;
        self.withheld(status, &head, errand.key.as_ref())?;
        let (key, held, body) = (errand.key.as_ref(), errand.held.as_deref(), &body[..]);
        self.admitted(
            &Candidate { route: (errand.purpose.route, route), key, status, body, held },
            &mut head,
            now.tick,
        )?;
        let rest = REST.max(route.terms.ttl / 10);
        let judged = |status| {
            self.judged(&route.terms, status, &head, Exchange { asked, came: Now { tick: came, ..now } })
                .map(|life| life.rested(rest))
        };
        let judge = |status| match errand.key {
            Some(_) => judged(status).map(|life| match self.calls.upstream().is_hub() {
                // A hub refreshes by its own clock: who asks it early gets the same answer once more.
                true => life,
                false => life.spread(
                    errand.held.as_deref().map(Entry::life),
                    asked,
                    turn::drawn(errand.purpose.asker.resource, asked),
                ),
            }),
            None => Err(Detail::Route),
        };
        let entry = match (status, &errand.held) {
            (StatusCode::UNAUTHORIZED, _) => return Err(self.calls.login_fault().into()),
            (StatusCode::NOT_MODIFIED, Some(held)) => match judge(StatusCode::OK) {
                Ok(life) => held.freshened(&head, life),
                Err(why) => Entry::new(held.status(), &head, &held.body(), Err(why)),
            },
            (StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT, _) => return Err(Fault::Unasked.into()),
            (status, _) if status.is_server_error() => return Err(Fault::Status.into()),
            (status, _) if status.is_redirection() => return Err(Fault::Redirect.into()),
            (status, Some(held)) => Entry::new(status, &head, body, judge(status)).with_forms_of(held),
            (status, None) => Entry::new(status, &head, body, judge(status)),
        };
        let entry = Arc::new(entry.that_came(came));
        // Stale on arrival, it is the newest there is: a hub that serves it so, or a cache on the way, sees to a new one, and
        // nobody gains from asking at once for each who comes.
        if entry.life().stage(now.tick) == Stage::Stale {
            entry.rest_until(now.tick.plus(rest));
        }
        // A confirmation is as old as what it confirms.
        let as_of = if status == StatusCode::NOT_MODIFIED { errand.held_at } else { asked };
        let stored = match (entry.not_stored(), errand.key.clone()) {
            (_, None) => Err(Detail::Route),
            (None, Some(key)) => self.store.keep(key, Arc::clone(&entry), as_of),
            (Some(why), _) if !why.is_the_partners_will() => Err(why),
            (Some(why), Some(key)) => {
                if !self.calls.upstream().is_hub() {
                    tracing::warn!(
                        route = route.name,
                        reason = why.word(),
                        "the partner forbids storing; `override = true` on the route would store it"
                    );
                }
                self.store.remember_uncacheable(key, now, as_of);
                Err(why)
            }
        };
        Ok(Answered { entry, status, stored, took: came.since(asked) })
    }
}

/// Whether an answer is nothing but the wish to be left alone; any other may come with it.
pub(super) fn is_pause(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
