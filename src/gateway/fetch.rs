//! How does an answer come that is not in memory?
//! Given a grant and a key, joins or starts the one flight for it, and shows what lands.
//! Never lets a caller's leaving touch the flight: it runs in its own task.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use crate::access::Grant;
use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause, Permit};
use crate::cache::policy::{self, NotStored};
use crate::cache::{self, Entry, Held, Key};
use crate::clock::{Now, Tick};
use crate::flight::{Joined, Obligation};
use crate::route::RouteIndex;
use crate::token::Priority;
use crate::trail::Trail;
use crate::upstream::{Failed, Fetched, Wish};

use super::refusal::{Fault, Refusal};
use super::respond::{Body, Came};
use super::turn;
use super::{Dials, Gateway};

/// After a failure an entry is left alone for this long.
const REST: Duration = Duration::from_secs(1);

/// What a flight brings.
#[derive(Debug, Clone)]
pub enum Landed {
    /// An answer, stored or not.
    Answer {
        /// It.
        entry: Arc<Entry>,
        /// The status the partner answered with (304 for a confirmation).
        status: StatusCode,
        /// Whether it is in the store.
        stored: bool,
        /// How long the partner took.
        took: Duration,
    },
    /// A reason for none.
    Refused(Refusal),
}

/// What is done in place of starting a flight.
enum Instead {
    /// Another one has just landed.
    Show(Arc<Entry>),
    /// Its caller may not.
    Refuse(Refusal),
}

/// All that a flight takes along: nothing of a caller.
struct Plan {
    route: RouteIndex,
    key: Key,
    wish: Wish,
    cause: Cause,
    asker: Asker,
    held: Option<Arc<Entry>>,
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
        let now = self.clock.now();
        // Joining is free, starting is paid for; between the look and the join a flight may have landed, its answer as
        // good as a new one.
        let may_start = || match self.store.look(&key, now) {
            Held::Fresh(entry) => Err(Instead::Show(entry)),
            _ => self.pay(trail, now.tick).map_err(Instead::Refuse),
        };
        let joined = match self.flights.join_or(&key, turn::urgency(lane_of(grant)), may_start) {
            Ok(joined) => joined,
            Err(Instead::Show(entry)) => return self.show(grant, entry, Came::Hit, parts, trail).await,
            Err(Instead::Refuse(refusal)) => return Err(refusal),
        };
        let (pending, collapsed) = match joined {
            Joined::Wait(pending) => (pending, true),
            Joined::Fetch(obligation, pending) => {
                let cause = if held.is_some() { Cause::Revalidate } else { Cause::Miss };
                let plan = self.plan(grant, key, held, cause, parts);
                let this = Arc::clone(self);
                self.tasks.spawn(async move { this.fly(plan, Some(obligation)).await });
                (pending, false)
            }
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
        self.pay(trail, self.clock.tick())?;
        let plan = self.plan(grant, key, None, Cause::Miss, parts);
        let (this, deadline) = (Arc::clone(self), trail.began.plus(self.settings.request_timeout));
        let flight = self.tasks.spawn(async move { this.fly(plan, None).await });
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
            Err(
                Refusal::Partner(_)
                | Refusal::Busy { .. }
                | Refusal::Closed { .. }
                | Refusal::Deadline
                | Refusal::Limited { .. },
            ) if on_error => self.show(grant, entry, Came::Stale("stale-if-error"), parts, trail).await,
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
        if entry.is_resting(now.tick) {
            return;
        }
        if let Joined::Fetch(obligation, _) = self.flights.join(&key, turn::urgency(Lane::Refresh)) {
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
                let detail = entry.not_stored().map_or("", NotStored::word);
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
        if let Some(entry) = &held {
            (wish.etag, wish.modified) = entry.validators();
        }
        // Starting a flight is paid for by who starts it; a refresh is paid for by nobody.
        let (lane, who) = match cause {
            Cause::Refresh => (Lane::Refresh, 0),
            _ => (lane_of(grant), turn::who(grant.caller())),
        };
        let asker = Asker { lane, who, resource: turn::resource(&key) };
        Plan { route, key, wish, cause, asker, held }
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
            permit = self.permit(plan.asker, deadline, obligation.as_ref()) => permit,
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

    /// Asks, again if that may help, and takes in what comes.
    async fn ask(&self, plan: &Plan, mut permit: Permit, deadline: Tick) -> Result<Landed, Refusal> {
        let mut cause = plan.cause;
        let mut attempt = 0;
        loop {
            let asked = self.clock.tick();
            self.ledger.counts.call(plan.route, cause);
            let fetched = self.upstream.ask(&permit, &plan.wish, deadline).await;
            let told = self.settle(&mut permit, fetched.as_ref().map(|it| (it.status, &it.head)).map_err(|why| *why));
            // Its place in flight is free while the answer is taken in, and during a pause before the next attempt.
            drop(permit);
            let outcome = match fetched {
                Ok(fetched) => self.take_in(plan, fetched, told, asked),
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
            permit = self.permit(plan.asker, deadline, None).await.map_err(|_| refusal)?;
            (attempt, cause) = (attempt + 1, Cause::Retry);
        }
    }

    /// Full jitter: anything from nothing to the doubled backoff, so that many do not come back together.
    fn backoff(&self, attempt: u32) -> Duration {
        let share = f64::from(turn::dice()) / f64::from(u32::MAX);
        self.settings.backoff.saturating_mul(1 << attempt.min(8)).mul_f64(share)
    }

    /// Judges an answer and stores it if it may be.
    fn take_in(&self, plan: &Plan, fetched: Fetched, told: Option<Tick>, asked: Tick) -> Result<Landed, Refusal> {
        let now = self.clock.now();
        let Fetched { status, head, body, came } = fetched;
        if let Some(until) = told.filter(|_| is_pause(status)) {
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
        let stored = match entry.not_stored() {
            None => self.store.keep(plan.key.clone(), Arc::clone(&entry)),
            Some(NotStored::Status | NotStored::TooLarge) => false,
            Some(why) => {
                tracing::warn!(
                    route = route.name,
                    reason = why.word(),
                    "the partner forbids storing; `override = true` on the route would store it"
                );
                self.store.remember_uncacheable(plan.key.clone(), now);
                false
            }
        };
        Ok(Landed::Answer { entry, status, stored, took: came.since(asked) })
    }
}

/// Whether an answer is nothing but the wish to be left alone; any other may come with it.
pub(super) fn is_pause(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Where its caller stands in the queue.
pub(super) fn lane_of(grant: &Grant) -> Lane {
    match grant.caller().priority() {
        Priority::Interactive => Lane::Interactive,
        Priority::Batch => Lane::Batch,
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
