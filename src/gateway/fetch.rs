//! How does an answer come that is not in memory?
//! Given a grant and a key, joins or starts the one flight for it, and shows what lands.
//! Never lets a caller's leaving touch the flight: it runs in its own task.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::VIA;
use http::request::Parts;
use http::{Response, StatusCode};

use crate::access::Grant;
use crate::budget::breaker::Reason;
use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause, Permit};
use crate::cache::freshness::{Fallback, Stage};
use crate::cache::policy::{self, NotStored};
use crate::cache::standard::{Detail, Why};
use crate::cache::{self, Entry, Key, Lookup, hub};
use crate::clock::{Now, Tick};
use crate::flight::{Joined, Obligation, Pending};
use crate::http::accept::accepts_json;
use crate::route::RouteIndex;
use crate::trail::Trail;
use crate::trail::trace::{Context, Traced};
use crate::upstream::{Failed, Fetched, Wish};

use super::document::Candidate;
use super::landing::{Answered, Landed, Landing};
use super::plan::Served;
use super::refusal::{Fault, Refusal};
use super::respond::{Body, Came};
use super::{Dials, Gateway, REFRESHES, turn};
use crate::upstream::call::Called;
use crate::upstream::calls::{Answers, Call};

/// After a failure an entry is left alone for this long.
const REST: Duration = Duration::from_secs(1);

/// So many flights are under way that another finds no place; they last as long as the budget lets them wait.
pub(super) const FULL: Refusal = Refusal::Busy { retry: Duration::from_secs(1) };

/// What is done in place of starting a flight.
pub(super) enum Instead<T> {
    /// Another one has just landed.
    Show(T),
    /// It starts one that nobody joins.
    Alone,
    /// Its caller may not.
    Refuse(Refusal),
}

/// All that a flight takes along: nothing of a caller.
struct Flight {
    route: RouteIndex,
    /// Where the answer is stored; `None` where the route stores nothing.
    key: Option<Key>,
    wish: Wish,
    cause: Cause,
    asker: Asker,
    held: Option<Arc<Entry>>,
    /// When `held` was still there.
    held_at: Tick,
    /// Its own trace, if who starts it is traced.
    trace: Traced,
}

/// How one comes to what is wanted.
enum Boarded {
    /// It landed just now.
    Held(Arc<Entry>),
    /// It is to go alone.
    Alone,
    /// By a flight; `true` if somebody else had started it. Its trace is known to who starts it before it lands.
    Waits(Pending<Landing>, bool, Option<Context>),
}

/// Whether a flight was refused for who started it, and for no other: the hub found that the request had been there, or it was
/// too long in its starter's line.
fn is_of_its_starter(landed: &Result<Answered, Refusal>) -> bool {
    matches!(landed, Err(Refusal::Loop | Refusal::Busy { .. }))
}

/// What comes of asking together with others.
enum Shared {
    /// It landed just now.
    Held(Arc<Entry>),
    /// A flight's end; `true` if somebody else had started it.
    Landed(Result<Answered, Refusal>, bool),
}

impl<C: Dials> Gateway<C> {
    /// Nothing usable is held: one flight for everybody who asks.
    pub(super) async fn fetch_once(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Option<Arc<Entry>>,
        why: Why,
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        match self.land_shared(grant, key, held, parts, trail).await? {
            Shared::Held(entry) => self.show(grant, entry, Came::Hit, parts, trail).await,
            Shared::Landed(landed, collapsed) => self.show_landed(grant, landed, (why, collapsed), parts, trail).await,
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
        match self.land_shared(grant, key, held, parts, trail).await? {
            Shared::Held(entry) => Ok(entry),
            Shared::Landed(landed, _) => Ok(landed?.entry),
        }
    }

    /// Takes part in a flight until it lands. Where it was refused for its starter alone, the others take part in one more,
    /// together.
    async fn land_shared(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Option<Arc<Entry>>,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<Shared, Refusal> {
        let mut again = false;
        loop {
            let (pending, collapsed, flight) = match self.board(grant, key.clone(), held.clone(), parts, trail)? {
                Boarded::Held(entry) => return Ok(Shared::Held(entry)),
                Boarded::Alone => {
                    let landed = self.fly_alone(grant, Some(key), held, parts, trail).await?;
                    return Ok(Shared::Landed(landed, false));
                }
                Boarded::Waits(pending, collapsed, flight) => (pending, collapsed, flight),
            };
            let landed = self.await_landing(pending, (flight, collapsed), trail).await?;
            if !collapsed || again || !is_of_its_starter(&landed) {
                return Ok(Shared::Landed(landed, collapsed));
            }
            again = true;
        }
    }

    /// Waits as long as the request has. The outer refusal is the request's own, the inner one the flight's.
    async fn await_landing(
        &self,
        pending: Pending<Landing>,
        (flight, collapsed): (Option<Context>, bool),
        trail: &mut Trail,
    ) -> Result<Result<Answered, Refusal>, Refusal> {
        let deadline = trail.began.plus(self.settings.request_timeout);
        let landed = self.clock.until(deadline, pin!(pending.landed())).await;
        let joined = landed.as_ref().ok().and_then(|landed| landed.as_ref()?.1);
        self.traced_flight(&mut trail.trace, flight.or(joined), collapsed);
        Ok(Landed::document(landed.map_err(|_| Refusal::Deadline)?.map(|(landed, _)| landed)))
    }

    /// Takes a place in the flight for this key, and starts it if there is none: joining is free, starting is paid for.
    fn board(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Option<Arc<Entry>>,
        parts: &Parts,
        trail: &Trail,
    ) -> Result<Boarded, Refusal> {
        let now = self.clock.now();
        // Where a request has been goes on to a hub, which may refuse it for that: what a caller says there is its own alone.
        let has_a_way = self.calls.upstream().is_hub() && parts.headers.contains_key(VIA);
        // Between the look and the join a flight may have landed: its answer is as good as a new one.
        let may_start = || match self.store.look(&key, now) {
            Lookup::Stored(entry)
                if entry.life().is_fresh(now.tick) && held.as_ref().is_none_or(|held| !Arc::ptr_eq(held, &entry)) =>
            {
                Err(Instead::Show(entry))
            }
            _ if has_a_way => Err(Instead::Alone),
            _ => self.pay(trail, now.tick).map_err(Instead::Refuse),
        };
        match self.flights.join_or(&key, turn::rank(turn::lane_of(grant), turn::who(grant.caller())), may_start) {
            Err(Instead::Show(entry)) => Ok(Boarded::Held(entry)),
            Err(Instead::Alone) => Ok(Boarded::Alone),
            Err(Instead::Refuse(refusal)) => Err(refusal),
            Ok(Joined::Full) => Err(FULL),
            Ok(Joined::Wait(pending)) => Ok(Boarded::Waits(pending, true, None)),
            Ok(Joined::Fetch(obligation, pending)) => {
                let cause = if held.is_some() { Cause::Revalidate } else { Cause::Miss };
                let flight = self.flight_for(grant, Some(key), held, cause, parts, trail);
                let (this, span) = (Arc::clone(self), flight.trace.context());
                // In a box: a task moves what it runs more than once.
                self.tasks.spawn(Box::pin(async move { this.fly(flight, Some(obligation)).await }));
                Ok(Boarded::Waits(pending, false, span))
            }
        }
    }

    /// The partner does not want it stored: everybody asks for themselves, and nobody waits for nobody.
    pub(super) async fn fetch_alone(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let landed = self.fly_alone(grant, Some(key), None, parts, trail).await?;
        self.show_landed(grant, landed, (Why::UriMiss, false), parts, trail).await
    }

    /// The route stores nothing, and the right is too narrow for what would pass through.
    pub(super) async fn fetch_unstored(
        self: &Arc<Self>,
        grant: &Grant,
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        if !accepts_json(&parts.headers) {
            return Err(Refusal::NotAcceptable);
        }
        let landed = self.fly_alone(grant, None, None, parts, trail).await?;
        self.show_landed(grant, landed, (Why::Bypass, false), parts, trail).await
    }

    /// A flight that nobody joins, for the gateway's own eyes; without a key nothing of it is stored.
    pub(super) async fn land_alone(
        self: &Arc<Self>,
        grant: &Grant,
        key: Option<Key>,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<Arc<Entry>, Refusal> {
        Ok(self.fly_alone(grant, key, None, parts, trail).await??.entry)
    }

    async fn fly_alone(
        self: &Arc<Self>,
        grant: &Grant,
        key: Option<Key>,
        held: Option<Arc<Entry>>,
        parts: &Parts,
        trail: &mut Trail,
    ) -> Result<Result<Answered, Refusal>, Refusal> {
        // A place first: what does not start is not paid for.
        let place = self.flights.alone().ok_or(FULL)?;
        self.pay(trail, self.clock.tick())?;
        let cause = if held.is_some() { Cause::Revalidate } else { Cause::Miss };
        let flight = self.flight_for(grant, key, held, cause, parts, trail);
        let context = flight.trace.context();
        let (this, deadline) = (Arc::clone(self), trail.began.plus(self.settings.request_timeout));
        let landing = self.tasks.spawn(async move {
            let _place = place;
            this.fly(flight, None).await
        });
        let landed = self.clock.until(deadline, landing).await;
        self.traced_flight(&mut trail.trace, context, false);
        let ended = landed.map_err(|_| Refusal::Deadline)?;
        Ok(ended.unwrap_or_else(|_| Err(Fault::Failed(Failed::Broken).into())))
    }

    /// Something old is held: the partner is asked to confirm it, and it is served if that fails and may be.
    pub(super) async fn confirm(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        entry: Arc<Entry>,
        (why, fallback): (Why, Fallback),
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        match self.fetch_once(grant, key.clone(), Some(Arc::clone(&entry)), why, parts, trail).await {
            Err(refusal) if refusal.allows(fallback) && self.still_ours(&key) => {
                self.show(grant, entry, Served::Stale(Detail::StaleIfError).into(), parts, trail).await
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
        let joined = self.flights.join_or(&key, turn::REFRESH, still_held);
        if let Ok(Joined::Fetch(obligation, _)) = joined {
            let flight = self.flight_for(grant, Some(key), Some(Arc::clone(entry)), Cause::Refresh, parts, trail);
            let this = Arc::clone(self);
            self.tasks.spawn(async move { this.fly(flight, Some(obligation)).await });
        }
    }

    async fn show_landed(
        self: &Arc<Self>,
        grant: &Grant,
        landed: Result<Answered, Refusal>,
        (why, collapsed): (Why, bool),
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let Answered { entry, status, stored, took } = landed?;
        trail.upstream = Some(took);
        let (stored, detail) = (stored.is_ok(), stored.err().map_or("", NotStored::word));
        self.show(grant, entry, Came::Forwarded { why: why.word(), status, stored, collapsed, detail }, parts, trail)
            .await
    }

    fn flight_for(
        &self,
        grant: &Grant,
        key: Option<Key>,
        held: Option<Arc<Entry>>,
        cause: Cause,
        parts: &Parts,
        trail: &Trail,
    ) -> Flight {
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
        let trace = trail.trace.start(|| self.clock.tick());
        Flight { route, key, wish, cause, asker, held, held_at, trace }
    }

    /// One flight, from its place in the queue to its landing.
    async fn fly(&self, mut flight: Flight, obligation: Option<Obligation<Key, Landing>>) -> Result<Answered, Refusal> {
        let mut trace = std::mem::take(&mut flight.trace);
        let what = (flight.route, flight.cause);
        let deadline = self.clock.tick().plus(self.settings.flight_timeout);
        let permit =
            self.permit_of_flight((flight.asker, flight.cause), deadline, obligation.as_ref(), &mut trace).await;
        let landed = match permit {
            Some(Ok(permit)) => self.ask(&flight, permit, deadline, &mut trace).await,
            Some(Err(refusal)) => Err(refusal),
            None => {
                let forsaken = Refusal::Deadline;
                self.traced_landing(trace, what, Err(&forsaken));
                return Err(forsaken);
            }
        };
        if let Err(refusal) = &landed {
            // A refresh that had no turn in time has not failed: the next request puts it at the end of the line again.
            let had_no_turn = flight.cause == Cause::Refresh && matches!(refusal, Refusal::Busy { .. });
            if let Some(held) = flight.held.as_ref().filter(|_| !had_no_turn) {
                held.rest_until(self.clock.tick().plus(REST));
            }
        }
        if let Some(obligation) = obligation {
            obligation.land((landed.clone().into(), trace.context()));
        }
        self.traced_landing(trace, what, landed.as_ref().map(|answered| Some(answered.status)));
        landed
    }

    /// Asks, and takes in what comes.
    async fn ask(
        &self,
        flight: &Flight,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<Answered, Refusal> {
        let call = Call {
            route: flight.route,
            asker: flight.asker,
            cause: flight.cause,
            deadline,
            answers: Answers::Retried,
            retries: true,
            forwards_authorization: false,
        };
        let Called { answer, permit, asked, paused, .. } = self.calls.call(&call, &flight.wish, permit, trace).await?;
        // Its place in flight is free while the answer is taken in.
        drop(permit);
        self.take_in(flight, answer, paused, asked)
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
        let flight = Flight { route, key, wish, cause, asker, held: None, held_at: asked, trace: Traced::NONE };
        self.take_in(&flight, fetched, told, asked)
    }

    /// Judges an answer and stores it if it may be.
    fn take_in(&self, flight: &Flight, fetched: Fetched, told: Option<Tick>, asked: Tick) -> Result<Answered, Refusal> {
        let now = self.clock.now();
        let Fetched { status, mut head, body, came } = fetched;
        if let Some(until) = told.filter(|_| is_pause(status)) {
            return Err(Refusal::Closed { retry: until.since(now.tick), reason: Reason::PausedByPartner });
        }
        let route = self.routes.at(flight.route).ok_or(Refusal::NoSuchRoute)?;
        self.withheld(status, &head, flight.key.as_ref())?;
        let (key, held, body) = (flight.key.as_ref(), flight.held.as_deref(), &body[..]);
        self.admitted(&Candidate { route: (flight.route, route), key, status, body, held }, &mut head, now.tick)?;
        let of_whom = if self.calls.upstream().is_hub() { hub::judge } else { policy::judge };
        let rest = REST.max(route.terms.ttl / 10);
        let judged = |status| of_whom(&route.terms, status, &head, asked, came).map(|life| life.rested(rest));
        let judge = |status| match flight.key {
            Some(_) => judged(status).map(|life| match self.calls.upstream().is_hub() {
                // A hub refreshes by its own clock: who asks it early gets the same answer once more.
                true => life,
                false => life.spread(
                    flight.held.as_deref().map(Entry::life),
                    asked,
                    turn::drawn(flight.asker.resource, asked),
                ),
            }),
            None => Err(NotStored::Route),
        };
        let entry = match (status, &flight.held) {
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
        let as_of = if status == StatusCode::NOT_MODIFIED { flight.held_at } else { asked };
        let stored = match (entry.not_stored(), flight.key.clone()) {
            (_, None) => Err(NotStored::Route),
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
