//! How does an answer come that is not in memory?
//! Given a grant and a key, joins or starts the one flight for it, and shows what lands.
//! Never lets a caller's leaving touch the flight: it runs in its own task.

use std::sync::Arc;

use http::header::VIA;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use crate::access::Grant;
use crate::budget::breaker::Reason;
use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause, Permit};
use crate::cache::freshness::{Fallback, Life, Stage};
use crate::cache::lifetime::Exchange;
use crate::cache::reason::{Detail, Why};
use crate::cache::storability::judge_document;
use crate::cache::{self, Entry, Key, Lookup, Stored, hub};
use crate::clock::{Now, Tick};
use crate::http::accept::accepts_json;
use crate::route::{RouteIndex, Terms};
use crate::trail::Trail;
use crate::trail::trace::Traced;
use crate::upstream::call::Called;
use crate::upstream::calls::{Answers, Call};
use crate::upstream::{Fetched, Wish};

use super::document::Candidate;
use super::fetches::Fetches;
use super::flights::{Came as Landed, Errand, Purpose, REST, Runs};
use super::landing::{Answered, Shared};
use super::refusal::{Fault, Refusal};
use super::respond::Delivery;
use super::{Dials, REFRESHES, turn};

/// The call for a document.
struct DocumentErrand {
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

impl<C: Dials> Fetches<C> {
    /// Nothing usable is held: one flight for everybody who asks.
    pub(super) async fn fetch_once(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Option<Arc<Entry>>,
        why: Why,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<(Arc<Entry>, Delivery), Refusal> {
        match self.land_shared(grant, key, held, parts, trail).await? {
            Landed::Stored(entry) => Ok((entry, Delivery::HIT)),
            Landed::Brought(answered, collapsed) => Ok(landed(answered, (why, collapsed), trail)),
        }
    }

    /// The same for the gateway's own eyes.
    pub(super) async fn land_joined(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Option<Arc<Entry>>,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<Arc<Entry>, Refusal> {
        Ok(match self.land_shared(grant, key, held, parts, trail).await? {
            Landed::Stored(entry) => entry,
            Landed::Brought(answered, _) => answered.entry,
        })
    }

    async fn land_shared(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Option<Arc<Entry>>,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<Landed<Arc<Entry>, Answered>, Refusal> {
        let now = self.clock.now();
        // Where a request has been goes on to a hub, which may refuse it for that: what a caller says there is its own alone.
        let goes_alone = self.calls.upstream().is_hub() && parts.headers.contains_key(VIA);
        // Between the look and the join a flight may have landed: its answer is as good as a new one.
        let stored = || match self.store.look(&key, now) {
            Lookup::Stored(entry) if entry.life().is_fresh(now.tick) => {
                Some(entry).filter(|entry| held.as_ref().is_none_or(|held| !Arc::ptr_eq(held, entry)))
            }
            _ => None,
        };
        let cause = if held.is_some() { Cause::Revalidate } else { Cause::Miss };
        let errand = |_: &Trail| self.errand(grant, Some(key.clone()), held.clone(), cause, parts);
        let rank = turn::rank(turn::lane_of(grant), turn::who(grant.caller()));
        self.coalesced((&key, rank, goes_alone), stored, errand, trail).await
    }

    /// The partner does not want it stored: everybody asks for themselves, and nobody waits for nobody.
    pub(super) async fn fetch_alone(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<(Arc<Entry>, Delivery), Refusal> {
        let answered = self.alone(self.errand(grant, Some(key), None, Cause::Miss, parts), trail).await?;
        Ok(landed(answered, (Why::UriMiss, false), trail))
    }

    /// The route stores nothing, and the right is too narrow for what would pass through.
    pub(super) async fn fetch_unstored(
        self: &Arc<Self>,
        grant: &Grant,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<(Arc<Entry>, Delivery), Refusal> {
        if !accepts_json(&parts.headers) {
            return Err(Refusal::NotAcceptable);
        }
        let answered = self.alone(self.errand(grant, None, None, Cause::Miss, parts), trail).await?;
        Ok(landed(answered, (Why::Bypass, false), trail))
    }

    /// A flight that nobody joins, for the gateway's own eyes; without a key nothing of it is stored.
    pub(super) async fn land_alone(
        self: &Arc<Self>,
        grant: &Grant,
        key: Option<Key>,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<Arc<Entry>, Refusal> {
        Ok(self.alone(self.errand(grant, key, None, Cause::Miss, parts), trail).await?.entry)
    }

    /// Something old is held: the partner is asked to confirm it, and it is served if that fails and may be.
    pub(super) async fn confirm(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        entry: Arc<Entry>,
        (why, fallback): (Why, Fallback),
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<(Arc<Entry>, Delivery), Refusal> {
        match self.fetch_once(grant, key.clone(), Some(Arc::clone(&entry)), why, parts, trail).await {
            Err(refusal) if refusal.allows(fallback) && self.still_ours(&key) => {
                Ok((entry, Delivery::from_memory(Some(Detail::StaleIfError))))
            }
            other => other,
        }
    }

    /// Starts the refresh of an entry whose end is near or over, unless one runs, or the last one failed just now.
    pub(super) fn refresh_behind(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        entry: &Arc<Entry>,
        parts: &Parts,
        now: Now,
        trail: &Trail,
    ) {
        if entry.is_resting(now.tick) || self.flights.count() >= REFRESHES {
            return;
        }
        // Between the look and the join one may have landed: the entry that was looked at is not the one that is held then.
        let still_held = || match self.store.held(&key) {
            Some(held) if Arc::ptr_eq(&held, entry) => Ok(()),
            _ => Err(()),
        };
        let stored = Some(Arc::clone(entry));
        let errand = || self.errand(grant, Some(key.clone()), stored, Cause::Refresh, parts);
        self.send_behind(&key, still_held, errand, trail);
    }

    fn errand(
        &self,
        grant: &Grant,
        key: Option<Key>,
        held: Option<Arc<Entry>>,
        cause: Cause,
        parts: &Parts,
    ) -> DocumentErrand {
        let route = grant.wanted().route();
        let mut wish = Wish::default();
        if let Some(settings) = self.routes.at(route) {
            wish.target = cache::key::target_of(grant.wanted().resource(), settings);
            for name in &settings.forward_headers {
                wish.headers.extend(parts.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
        }
        // A refresh is nobody's, so it begins a way of its own.
        wish.via = (cause != Cause::Refresh).then(|| self.calls.upstream().way_of(&parts.headers)).flatten();
        let held_at = self.clock.tick();
        // It may have been purged since it was looked up.
        let held = held.and(key.as_ref()).and_then(|key| self.store.held(key));
        if let Some(entry) = &held {
            (wish.etag, wish.modified) = entry.validators();
        }
        // Starting a flight is paid for by who starts it; a refresh is paid for by nobody.
        let (resource, scope) = (turn::target(&wish.target), turn::scope(route));
        let asker = match cause {
            Cause::Refresh => Asker { lane: Lane::Refresh, who: 0, resource, payer: None, scope },
            _ => turn::asker(grant, resource, scope),
        };
        DocumentErrand { purpose: Purpose { route, asker, cause }, key, wish, held, held_at }
    }

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

/// What a call has just brought, as it is shown.
fn landed(answered: Answered, (why, collapsed): (Why, bool), trail: &mut Trail) -> (Arc<Entry>, Delivery) {
    let Answered { entry, status, stored, took } = answered;
    trail.upstream = Some(took);
    (entry, Delivery { forwarded: Some((why, status)), stored: stored.is_ok(), collapsed, detail: stored.err() })
}

/// Whether an answer is nothing but the wish to be left alone; any other may come with it.
pub(super) fn is_pause(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
