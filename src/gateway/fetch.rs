//! How does an answer come that is not in memory?
//! Given a grant and a key, joins or starts the one flight for it, and shows what lands.
//! Never lets a caller's leaving touch the flight: it runs in its own task.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use crate::access::Grant;
use crate::budget::{Asked, Cause, Later, Permit};
use crate::cache::policy::{self, NotStored};
use crate::cache::{self, Entry, Held, Key};
use crate::clock::{Now, Tick};
use crate::flight::{Joined, Obligation};
use crate::route::RouteIndex;
use crate::trail::Trail;
use crate::upstream::{Failed, Fetched, Wish, pause_until};

use super::refusal::{Fault, Refusal};
use super::respond::{Body, Came};
use super::{Dials, Gateway, REFRESHES};

/// After a failure an entry is left alone for this long.
const REST: Duration = Duration::from_secs(1);

/// So many flights are under way that another finds no place; they last as long as the budget lets them wait.
const FULL: Refusal = Refusal::Busy { retry: Duration::from_secs(1) };

/// What a flight brings.
#[derive(Debug, Clone)]
pub enum Landed {
    /// An answer, stored or not.
    Answer {
        /// It.
        entry: Arc<Entry>,
        /// The status the partner answered with (304 for a confirmation).
        status: StatusCode,
        /// Whether it is in the store, or why not.
        stored: Result<(), NotStored>,
        /// How long the partner took.
        took: Duration,
    },
    /// A reason for none.
    Refused(Refusal),
}

/// All that a flight takes along: nothing of a caller.
struct Plan {
    route: RouteIndex,
    key: Key,
    wish: Wish,
    cause: Cause,
    held: Option<Arc<Entry>>,
    /// When `held` was still there.
    held_at: Tick,
}

impl<C: Dials> Gateway<C> {
    /// Nothing usable is held: one flight for everybody who asks.
    pub(super) async fn fetch_once(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        held: Option<Arc<Entry>>,
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let why = if held.is_some() { "stale" } else { "uri-miss" };
        let (pending, collapsed) = match self.flights.join(&key) {
            Joined::Wait(pending) => (pending, true),
            Joined::Fetch(obligation, pending) => {
                // Between the look and the join a flight may have landed: its answer is as good as a new one.
                if let Held::Fresh(entry) = self.store.look(&key, self.clock.now()) {
                    return self.show(grant, entry, Came::Hit, parts, trail).await;
                }
                let cause = if held.is_some() { Cause::Revalidate } else { Cause::Miss };
                let plan = self.plan(grant, key, held, cause, parts);
                let this = Arc::clone(self);
                self.tasks.spawn(async move { this.fly(plan, Some(obligation)).await });
                (pending, false)
            }
            Joined::Full => return Err(FULL),
        };
        let deadline = trail.began.plus(self.settings.request_timeout);
        let landed = self.clock.until(deadline, pending.landed()).await.map_err(|_| Refusal::Deadline)?;
        self.show_landed(grant, landed, (why, collapsed), parts, trail).await
    }

    /// The partner does not want it stored: everybody asks for themselves, and nobody waits for nobody.
    pub(super) async fn fetch_alone(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let place = self.flights.alone().ok_or(FULL)?;
        let plan = self.plan(grant, key, None, Cause::Miss, parts);
        let (this, deadline) = (Arc::clone(self), trail.began.plus(self.settings.request_timeout));
        let flight = self.tasks.spawn(async move {
            let _place = place;
            this.fly(plan, None).await
        });
        let landed = self.clock.until(deadline, flight).await.map_err(|_| Refusal::Deadline)?;
        self.show_landed(grant, landed.ok(), ("uri-miss", false), parts, trail).await
    }

    /// Something old is held: the partner is asked to confirm it, and it is served if that fails and may be.
    pub(super) async fn confirm(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        entry: Arc<Entry>,
        on_error: bool,
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        if on_error && entry.is_resting(self.clock.tick()) {
            return self.show(grant, entry, Came::Stale("stale-if-error"), parts, trail).await;
        }
        match self.fetch_once(grant, key, Some(Arc::clone(&entry)), parts, trail).await {
            Err(Refusal::Partner(_) | Refusal::Busy { .. } | Refusal::Closed { .. } | Refusal::Deadline)
                if on_error =>
            {
                self.show(grant, entry, Came::Stale("stale-if-error"), parts, trail).await
            }
            other => other,
        }
    }

    /// Starts the refresh of a stale entry unless one runs, or the last one failed just now.
    pub(super) fn refresh_behind(
        self: &Arc<Self>,
        grant: &Grant,
        key: Key,
        entry: &Arc<Entry>,
        parts: &Parts,
        now: Now,
    ) {
        if entry.is_resting(now.tick) || self.flights.count() >= REFRESHES {
            return;
        }
        if let Joined::Fetch(obligation, _) = self.flights.join(&key) {
            let plan = self.plan(grant, key, Some(Arc::clone(entry)), Cause::Refresh, parts);
            let this = Arc::clone(self);
            self.tasks.spawn(async move { this.fly(plan, Some(obligation)).await });
        }
    }

    async fn show_landed(
        &self,
        grant: &Grant,
        landed: Option<Landed>,
        (why, collapsed): (&'static str, bool),
        parts: &mut Parts,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        match landed {
            Some(Landed::Answer { entry, status, stored, took }) => {
                trail.upstream = Some(took);
                let (stored, detail) = (stored.is_ok(), stored.err().map_or("", NotStored::word));
                self.show(grant, entry, Came::Forwarded { why, status, stored, collapsed, detail }, parts, trail).await
            }
            Some(Landed::Refused(refusal)) => Err(refusal),
            None => Err(Fault::Failed(Failed::Broken).into()),
        }
    }

    fn plan(&self, grant: &Grant, key: Key, held: Option<Arc<Entry>>, cause: Cause, parts: &Parts) -> Plan {
        let route = grant.wanted().route();
        let mut wish = Wish::default();
        if let Some(settings) = self.routes.at(route) {
            wish.target = cache::key::target_of(grant.wanted().resource(), settings);
            for name in &settings.forward_headers {
                wish.headers.extend(parts.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
        }
        let held_at = self.clock.tick();
        // It may have been purged since it was looked up.
        let held = held.and_then(|_| self.store.held(&key));
        if let Some(entry) = &held {
            (wish.etag, wish.modified) = entry.validators();
        }
        Plan { route, key, wish, cause, held, held_at }
    }

    /// One flight, from its place in the queue to its landing.
    async fn fly(&self, plan: Plan, obligation: Option<Obligation<Key, Landed>>) -> Landed {
        let deadline = self.clock.tick().plus(self.settings.flight_timeout);
        let forsaken = async {
            match &obligation {
                // A refresh is waited for by nobody and wanted all the same.
                Some(obligation) if plan.cause != Cause::Refresh => obligation.forsaken().await,
                _ => std::future::pending().await,
            }
        };
        let permit = tokio::select! {
            biased;
            permit = self.permit(deadline) => permit,
            () = forsaken => return Landed::Refused(Refusal::Deadline),
        };
        let landed = match permit {
            Ok(permit) => self.ask(&plan, permit, deadline).await,
            Err(refusal) => Err(refusal),
        };
        let landed = landed.unwrap_or_else(|refusal| {
            if let Some(held) = &plan.held {
                held.rest_until(self.clock.tick().plus(REST));
            }
            Landed::Refused(refusal)
        });
        if let Some(obligation) = obligation {
            obligation.land(landed.clone());
        }
        landed
    }

    /// Waits for the budget, but not beyond `max_wait` or `deadline`.
    pub(super) async fn permit(&self, deadline: Tick) -> Result<Permit, Refusal> {
        let now = self.clock.tick();
        let closed = |until: Tick, now: Tick| Refusal::Closed { retry: until.since(now) };
        let ticket = match self.budget.ask(now) {
            Asked::Permit(permit) => return Ok(permit),
            Asked::Closed { until } => return Err(closed(until, now)),
            Asked::Queued(ticket) => ticket,
        };
        let deadline = deadline.min(ticket.deadline());
        loop {
            let now = self.clock.tick();
            let at = match ticket.claim(now) {
                Ok(permit) => return Ok(permit),
                Err(Later::Closed { until }) => return Err(closed(until, now)),
                Err(Later::At(at)) => at.min(deadline),
                Err(Later::Woken) => deadline,
            };
            if now >= deadline {
                return Err(Refusal::Busy { retry: self.budget.opens(now).since(now) });
            }
            let _ = self.clock.until(at, ticket.woken()).await;
        }
    }

    /// Asks, again if that may help, and takes in what comes.
    async fn ask(&self, plan: &Plan, mut permit: Permit, deadline: Tick) -> Result<Landed, Refusal> {
        let mut cause = plan.cause;
        let mut attempt = 0;
        loop {
            let asked = self.clock.tick();
            self.ledger.counts.call(plan.route, cause);
            let outcome = match self.upstream.ask(permit, &plan.wish, deadline).await {
                Ok(fetched) => self.take_in(plan, fetched, asked),
                Err(failed) => Err(Fault::Failed(failed).into()),
            };
            let Err(refusal) = outcome else { return outcome };
            let pause = match &refusal {
                // Nothing was sent, so nothing is lost by trying at once.
                Refusal::Partner(Fault::Failed(Failed::Connect)) => Duration::ZERO,
                Refusal::Partner(Fault::Failed(Failed::Broken) | Fault::Status) => self.backoff(attempt),
                _ => return Err(refusal),
            };
            if attempt >= self.settings.retries || self.clock.tick().plus(pause) >= deadline {
                return Err(refusal);
            }
            self.clock.sleep_until(self.clock.tick().plus(pause)).await;
            permit = self.permit(deadline).await.map_err(|_| refusal)?;
            (attempt, cause) = (attempt + 1, Cause::Retry);
        }
    }

    /// Full jitter: anything from nothing to the doubled backoff, so that many do not come back together.
    fn backoff(&self, attempt: u32) -> Duration {
        let mut dice = [0; 4];
        let _ = getrandom::fill(&mut dice);
        let share = f64::from(u32::from_le_bytes(dice)) / f64::from(u32::MAX);
        self.settings.backoff.saturating_mul(1 << attempt.min(8)).mul_f64(share)
    }

    /// Judges an answer and stores it if it may be.
    fn take_in(&self, plan: &Plan, fetched: Fetched, asked: Tick) -> Result<Landed, Refusal> {
        let now = self.clock.now();
        let Fetched { status, head, body, came } = fetched;
        if let Some(until) = pause_until(status, &head, now) {
            self.budget.close_until(until);
            return Err(Refusal::Closed { retry: until.since(now.tick) });
        }
        let route = self.routes.at(plan.route).ok_or(Refusal::NoSuchRoute)?;
        let judge = |status| policy::judge(&route.terms, status, &head, asked, came);
        let entry = match (status, &plan.held) {
            (StatusCode::UNAUTHORIZED, _) => return Err(Fault::Key.into()),
            (StatusCode::NOT_MODIFIED, Some(held)) => match judge(StatusCode::OK) {
                Ok(life) => held.freshened(&head, life),
                Err(why) => Entry::new(held.status(), &head, &held.body(), Err(why)),
            },
            (StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT, _) => return Err(Fault::Unasked.into()),
            (status, _) if status.is_server_error() => return Err(Fault::Status.into()),
            (status, _) if status.is_redirection() => return Err(Fault::Redirect.into()),
            (status, _) if status.is_success() && !is_json(&head, &body) => return Err(Fault::NotJson.into()),
            (status, _) => Entry::new(status, &head, &body, judge(status)),
        };
        let entry = Arc::new(entry);
        // A confirmation is as old as what it confirms.
        let as_of = if status == StatusCode::NOT_MODIFIED { plan.held_at } else { asked };
        let stored = match entry.not_stored() {
            None => self.store.keep(plan.key.clone(), Arc::clone(&entry), as_of),
            Some(why @ (NotStored::Status | NotStored::TooLarge | NotStored::Purged)) => Err(why),
            Some(why) => {
                tracing::warn!(
                    route = route.name,
                    reason = why.word(),
                    "the partner forbids storing; `override = true` on the route would store it"
                );
                self.store.remember_uncacheable(plan.key.clone(), now, as_of);
                Err(why)
            }
        };
        Ok(Landed::Answer { entry, status, stored, took: came.since(asked) })
    }
}

/// Whether a successful answer is a whole JSON document, by its type and by its bytes.
fn is_json(head: &HeaderMap, body: &[u8]) -> bool {
    let named = head.get(CONTENT_TYPE).is_some_and(|value| {
        let essence =
            value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        essence == b"application/json" || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
    });
    let plain = head.get(CONTENT_ENCODING).is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    named && plain && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}
