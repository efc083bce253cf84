//! May we ask the partner?
//! Given who asks and `now`, hands back a [`Permit`], a [`Ticket`] for the queue, or until when the breaker is open.
//! Never sleeps and never sees a socket: whoever holds a ticket waits and asks again.

pub mod lanes;

mod share;

pub mod signal;

pub mod breaker;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Tick;
use crate::gcra::{Arrivals, Quota, Rate};

use breaker::{Breaker, Failure, Reason, Started, State as Circuit};
use lanes::{Lane, Lanes, Position, Who};
use share::Shares;
use signal::Pause;
use signal::excerpt::{HeaderExcerpt, Unreadable};

/// Why the partner is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing was stored.
    Miss,
    /// What was stored is to be confirmed first.
    Revalidate,
    /// A stale answer was served, its successor is fetched behind.
    Refresh,
    /// The attempt before failed.
    Retry,
    /// The route stores nothing.
    Pass,
}

impl Cause {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 5] = [Self::Miss, Self::Revalidate, Self::Refresh, Self::Retry, Self::Pass];

    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Revalidate => "revalidate",
            Self::Refresh => "refresh",
            Self::Retry => "retry",
            Self::Pass => "pass",
        }
    }
}

/// How much may be asked.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Calls per time, and how many at once after a rest.
    pub quota: Quota,
    /// Calls under way at once.
    pub max_in_flight: usize,
    /// The longest a call may wait for its turn.
    pub max_wait: Duration,
    /// Whether a part of both is kept for others than the caller that uses most of it: there is more than one.
    pub shared: bool,
    /// How failures open the breaker.
    pub breaker: breaker::Settings,
}

/// Which breaker a call stands behind. What is heard on an opaque route may be about that path alone, and any caller of such a
/// route chooses the path: it decides for opaque routes only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// An endpoint of the partner's API.
    Documented,
    /// Any other target.
    Opaque,
}

impl Scope {
    /// Both, in the order of their metrics.
    pub const ALL: [Self; 2] = [Self::Documented, Self::Opaque];

    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Opaque => "opaque",
        }
    }
}

/// What a documented call opens, it opens for opaque ones for this much longer: the probe is a documented call where there is
/// one, and closes both.
const OPAQUE_LATER: Duration = Duration::from_secs(1);

/// For whom a call would be made, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// How urgent it is.
    pub lane: Lane,
    /// Who waits for it first.
    pub who: Who,
    /// The resource, as any number that stands for it: failures are counted once for each.
    pub resource: u64,
    /// Who is charged with it, by its place among the callers; nobody with a refresh.
    pub payer: Option<usize>,
    /// Which breaker it stands behind.
    pub scope: Scope,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The partner answered, whatever it said about the resource.
    Answered,
    /// No whole answer, or 5xx.
    Failed,
    /// It wants to be left alone.
    Paused {
        /// For how long, and by which word.
        pause: Pause,
        /// Whether it refused the call; else it answered, and nothing is left of its limit.
        refused: bool,
    },
    /// It took none of our keys; `recent` if it had taken one within the last minute.
    KeyRefused {
        /// Whether one was accepted lately.
        recent: bool,
    },
}

/// A pause by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorPause {
    /// When it ends by itself.
    pub until: Tick,
    /// What the operator gave as the reason.
    pub why: Arc<str>,
}

/// The one way to the partner.
pub struct Budget {
    state: Mutex<State>,
    breaker_changed: Notify,
    unreadable: Unreadable,
}

struct State {
    settings: Settings,
    arrivals: Arrivals,
    in_flight: usize,
    shares: Shares,
    queue: Lanes<Waiter>,
    documented: Breaker,
    opaque: Breaker,
    operator: Option<OperatorPause>,
}

struct Waiter {
    who: Who,
    scope: Scope,
    woken: Arc<Notify>,
}

impl State {
    fn breaker(&mut self, scope: Scope) -> &mut Breaker {
        match scope {
            Scope::Documented => &mut self.documented,
            Scope::Opaque => &mut self.opaque,
        }
    }

    /// Whether calls of this kind may start at `now`, whoever makes them.
    fn circuit(&self, who: Who, scope: Scope, now: Tick) -> Circuit {
        if let Some(pause) = self.operator.as_ref().filter(|pause| now < pause.until) {
            return Circuit::Open { until: pause.until, reason: Reason::PausedByOperator };
        }
        match scope {
            Scope::Documented => self.documented.state_for(caller_of(who), now),
            Scope::Opaque => self.opaque.state_for(caller_of(who), now),
        }
    }

    /// What changed may make it the turn of any caller's first one.
    fn wake(&self) {
        if self.queue.is_empty() {
            return;
        }
        let mut seen: Vec<(Who, Scope)> = Vec::new();
        for (_, waiter) in self.queue.in_order() {
            if !seen.contains(&(waiter.who, waiter.scope)) {
                seen.push((waiter.who, waiter.scope));
                waiter.woken.notify_one();
            }
        }
    }

    fn wake_all(&self) {
        self.queue.in_order().for_each(|(_, waiter)| waiter.woken.notify_one());
    }

    fn take(&mut self, who: Who, scope: Scope, now: Tick) -> Result<Started, Later> {
        self.arrivals = self.takes(who, scope, now)?;
        self.in_flight += 1;
        self.shares.start(who, self.settings.quota, now);
        Ok(self.breaker(scope).start(caller_of(who), now))
    }

    /// What is spent after one more call, if it may start.
    fn takes(&self, who: Who, scope: Scope, now: Tick) -> Result<Arrivals, Later> {
        match self.circuit(who, scope, now) {
            Circuit::Open { until, reason } => return Err(Later::Closed { until, reason }),
            Circuit::Probing => return Err(Later::Woken),
            Circuit::Closed | Circuit::HalfOpen => {}
        }
        let most = self.settings.max_in_flight;
        if self.in_flight >= most || (self.settings.shared && self.shares.has_its_part(who, most, now)) {
            return Err(Later::Woken);
        }
        self.arrivals.admit(self.quota(who, now), now).map_err(|back| Later::At(back.at))
    }

    /// Who waits before `place` and could start now, or is of the same caller.
    fn ahead_of(&self, position: Position, who: Who, scope: Scope, now: Tick) -> Option<&Waiter> {
        let mut seen: Vec<(Who, Scope)> = vec![(who, scope)];
        for (other, waiter) in self.queue.in_order() {
            if other == position {
                return None;
            }
            if (waiter.who, waiter.scope) == (who, scope) {
                return Some(waiter);
            }
            if !seen.contains(&(waiter.who, waiter.scope)) {
                if self.takes(waiter.who, waiter.scope, now).is_ok() {
                    return Some(waiter);
                }
                seen.push((waiter.who, waiter.scope));
            }
        }
        None
    }

    /// What calls of this caller are measured against.
    fn quota(&self, who: Who, now: Tick) -> Quota {
        match self.settings.shared {
            true => self.shares.quota(who, self.settings.quota, now),
            false => self.settings.quota,
        }
    }

    /// When the rate lets one more call of this caller through, after those who wait.
    fn free(&self, who: Who, now: Tick) -> Tick {
        let free = match self.arrivals.admit(self.quota(who, now), now) {
            Ok(_) => now,
            Err(back) => back.at,
        };
        let ahead = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        free.plus(self.settings.quota.rate.interval().saturating_mul(ahead))
    }

    /// What is open now for calls of this kind: until when, why, and by which word.
    fn opening(&self, scope: Scope, now: Tick) -> Option<Standing> {
        if let Some(pause) = self.operator.as_ref().filter(|pause| now < pause.until) {
            let excerpt = Some((Arc::clone(&pause.why), false));
            return Some(Standing { until: pause.until, reason: Reason::PausedByOperator, excerpt });
        }
        let breaker = match scope {
            Scope::Documented => &self.documented,
            Scope::Opaque => &self.opaque,
        };
        breaker.opening().map(|opening| Standing {
            until: opening.until,
            reason: opening.reason,
            excerpt: opening.excerpt.map(|(excerpt, capped)| (excerpt.as_str().into(), capped)),
        })
    }

    /// Applies an outcome of a call.
    fn settle(&mut self, asker: &Asker, verdict: Verdict, started: Started, now: Tick, dice: u32) {
        let settings = self.settings.breaker;
        let breaker = self.breaker(asker.scope);
        match verdict {
            Verdict::Answered => {
                if breaker.succeeded(started, now) && asker.scope == Scope::Documented {
                    self.opaque.release_inherited();
                }
                return;
            }
            Verdict::Failed => {
                let failure = Failure { resource: asker.resource, caller: caller_of(asker.who) };
                breaker.failed(failure, started, now, &settings, dice);
            }
            Verdict::Paused { pause, refused } => breaker.pause(&pause, refused, started, now),
            Verdict::KeyRefused { recent } => breaker.key_refused(started, now, &settings, dice, recent),
        }
        if asker.scope == Scope::Documented
            && !self.documented.is_for_one()
            && let Some(opening) = self.documented.opening().filter(|opening| now < opening.until)
        {
            self.opaque.inherit(opening, opening.until.plus(OPAQUE_LATER));
        }
    }
}

/// The caller behind a number of the queue; refreshes are nobody's.
fn caller_of(who: Who) -> Option<u64> {
    (who != 0).then_some(who)
}

/// The answer to a request for a permit.
pub enum Asked {
    /// Call now.
    Permit(Permit),
    /// Wait for your turn.
    Queued(Ticket),
    /// Nobody calls before then.
    Closed {
        /// When the next call may try.
        until: Tick,
        /// Why.
        reason: Reason,
    },
}

/// Not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// Ask again at this moment, or when woken.
    At(Tick),
    /// Ask again when woken.
    Woken,
    /// The breaker opened meanwhile.
    Closed {
        /// When the next call may try.
        until: Tick,
        /// Why.
        reason: Reason,
    },
}

/// What a request for a permit would be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// Call now.
    Call {
        /// Whether its outcome would decide for all others.
        probe: bool,
    },
    /// Wait for your turn.
    Waits {
        /// Until when, if nobody else comes and nobody leaves; `None` where it is for a call under way to end.
        until: Option<Tick>,
    },
    /// Nobody calls before then.
    Closed {
        /// When the next call may try.
        until: Tick,
        /// Why.
        reason: Reason,
    },
}

/// An open breaker, as it is shown to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// When the next call may try.
    pub until: Tick,
    /// Why.
    pub reason: Reason,
    /// The partner's word, or the operator's, and whether the partner's was cut.
    pub excerpt: Option<(Arc<str>, bool)>,
}

/// What a reader of the metrics wants to know.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that wait.
    pub queued: usize,
    /// Calls that would be let through at once; `None` if the rate is unlimited.
    pub left: Option<u32>,
    /// And after a rest.
    pub most: Option<u32>,
    /// Calls that may be under way.
    pub most_in_flight: usize,
    /// The breaker of documented routes, if it is open or a probe is awaited.
    pub documented: Option<Standing>,
    /// The breaker of opaque routes, likewise.
    pub opaque: Option<Standing>,
}

impl Budget {
    /// A full budget.
    pub fn new(settings: Settings) -> Arc<Self> {
        let state = State {
            settings,
            arrivals: Arrivals::default(),
            in_flight: 0,
            shares: Shares::default(),
            queue: Lanes::default(),
            documented: Breaker::default(),
            opaque: Breaker::default(),
            operator: None,
        };
        Arc::new(Self { state: Mutex::new(state), breaker_changed: Notify::new(), unreadable: Unreadable::default() })
    }

    /// Goes by other settings from here on: what is under way, waits or was spent stays so.
    pub fn reconfigure(&self, settings: Settings, now: Tick) {
        let mut state = self.state.lock();
        state.arrivals = state.arrivals.rescaled(state.settings.quota, settings.quota, now);
        state.shares.forget_rates();
        state.settings = settings;
        state.wake_all();
    }

    /// May one more call start?
    pub fn ask(self: &Arc<Self>, asker: Asker, now: Tick) -> Asked {
        let mut state = self.state.lock();
        if let Circuit::Open { until, reason } = state.circuit(asker.who, asker.scope, now) {
            return Asked::Closed { until, reason };
        }
        if state.queue.is_empty()
            && let Ok(started) = state.take(asker.who, asker.scope, now)
        {
            return Asked::Permit(Permit { budget: Arc::clone(self), asker, started: Some(started) });
        }
        let woken = Arc::new(Notify::new());
        let waiter = Waiter { who: asker.who, scope: asker.scope, woken: Arc::clone(&woken) };
        let position = state.queue.enter(asker.lane, asker.who, waiter);
        let deadline = now.plus(state.settings.max_wait);
        drop(state);
        let mut ticket =
            Ticket { budget: Arc::clone(self), asker, starter: asker.who, position: Some(position), woken, deadline };
        // Others may wait for what this call does not need: their own part of the budget, or another breaker.
        match ticket.claim(now) {
            Ok(permit) => Asked::Permit(permit),
            Err(_) => Asked::Queued(ticket),
        }
    }

    /// What would a request for a permit be answered at `now`? Nothing is spent, and nobody loses a place.
    pub fn foresee(&self, who: Who, scope: Scope, now: Tick) -> Prospect {
        let state = self.state.lock();
        match state.takes(who, scope, now) {
            Err(Later::Closed { until, reason }) => Prospect::Closed { until, reason },
            Ok(_) if state.queue.is_empty() => {
                Prospect::Call { probe: state.circuit(who, scope, now) == Circuit::HalfOpen }
            }
            Ok(_) | Err(Later::At(_)) => Prospect::Waits { until: Some(state.free(who, now)) },
            Err(Later::Woken) => Prospect::Waits { until: None },
        }
    }

    /// The longest a call may wait for its turn.
    pub fn max_wait(&self) -> Duration {
        self.state.lock().settings.max_wait
    }

    /// When a call of this caller that was refused at `now` would come through if nobody else came.
    pub fn opens(&self, who: Who, scope: Scope, now: Tick) -> Tick {
        let state = self.state.lock();
        let free = state.free(who, now);
        state.opening(scope, now).map_or(free, |standing| standing.until.max(free))
    }

    /// Nothing starts before `until`, as the partner wanted it before a restart.
    pub fn restore(&self, until: Tick, reason: Reason) {
        let mut state = self.state.lock();
        state.documented.restore(until, reason);
        state.opaque.restore(until, reason);
        state.wake_all();
    }

    /// Nothing starts before the pause's end, or until [`Budget::resume`].
    pub fn pause(&self, pause: OperatorPause) {
        let mut state = self.state.lock();
        state.operator = Some(pause);
        self.breaker_changed.notify_one();
        state.wake_all();
    }

    /// Ends a pause, by hand or the partner's: the next call is the probe. Hands back whether there was anything to end.
    pub fn resume(&self, now: Tick) -> bool {
        let mut state = self.state.lock();
        let paused = state.operator.take().is_some_and(|pause| now < pause.until);
        let mut ended = paused;
        for scope in Scope::ALL {
            let breaker = state.breaker(scope);
            ended |= matches!(breaker.state(now), Circuit::Open { .. });
            match paused && breaker.opening().is_none() {
                // What was paused by hand is probed like everything else that was left alone.
                true => breaker.restore(now, Reason::PausedByOperator),
                false => breaker.half_open(now),
            }
        }
        self.breaker_changed.notify_one();
        state.wake_all();
        ended
    }

    /// Until when the partner wants to be left alone, be that over or not, while its word is the reason.
    pub fn partner_pause(&self) -> Option<Tick> {
        let state = self.state.lock();
        let opening = state.documented.opening().filter(|opening| opening.reason == Reason::PausedByPartner);
        opening.map(|opening| opening.until)
    }

    /// The pause by hand, if one is in force.
    pub fn operator_pause(&self, now: Tick) -> Option<OperatorPause> {
        self.state.lock().operator.clone().filter(|pause| now < pause.until)
    }

    /// Returns when the breaker has opened or closed since the last time; for one who waits.
    pub async fn breaker_changed(&self) {
        self.breaker_changed.notified().await;
    }

    /// Wakes who waits for [`Budget::breaker_changed`]: another budget took this one's place.
    pub fn retire(&self) {
        self.breaker_changed.notify_one();
    }

    /// A text of the partner's that names a time and cannot be read: said once an hour.
    pub fn unreadable(&self, excerpt: HeaderExcerpt, now: Tick) {
        self.unreadable.say(excerpt, now);
    }

    /// Whether a refusal of the key over documents that this caller asks for says nothing of the key: it was refused for them,
    /// and was accepted for others right after.
    pub fn has_other_login(&self, who: Who, now: Tick) -> bool {
        self.state.lock().documented.has_other_login(caller_of(who), now)
    }

    /// Notes a caller for whose documents the key was refused, while it was accepted for others.
    pub fn note_other_login(&self, who: Who, now: Tick) {
        if let Some(caller) = caller_of(who) {
            self.state.lock().documented.note_other_login(caller, now);
        }
    }

    /// A key is there that was not there before.
    pub fn key_changed(&self, now: Tick) {
        let mut state = self.state.lock();
        state.documented.key_changed(now);
        state.opaque.key_changed(now);
        state.wake();
    }

    /// How things stand.
    pub fn figures(&self, now: Tick) -> Figures {
        let state = self.state.lock();
        let limited = state.settings.quota.rate != Rate::Unlimited;
        Figures {
            in_flight: state.in_flight,
            queued: state.queue.len(),
            left: limited.then(|| state.arrivals.left(state.settings.quota, now)),
            most: limited.then_some(state.settings.quota.burst),
            most_in_flight: state.settings.max_in_flight,
            documented: state.opening(Scope::Documented, now),
            opaque: state.opening(Scope::Opaque, now),
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
pub struct Ticket {
    budget: Arc<Budget>,
    asker: Asker,
    /// Who waited for it first: where the caller in whose line it stands has all that one may, it is still this one's call.
    starter: Who,
    position: Option<Position>,
    woken: Arc<Notify>,
    deadline: Tick,
}

impl Ticket {
    /// Is it my turn?
    ///
    /// # Errors
    /// [`Later`] says when to ask again.
    pub fn claim(&mut self, now: Tick) -> Result<Permit, Later> {
        let mut state = self.budget.state.lock();
        let scope = self.asker.scope;
        if state.takes(self.asker.who, scope, now).is_err() && state.takes(self.starter, scope, now).is_ok() {
            self.asker.who = self.starter;
        }
        let who = self.asker.who;
        if let Circuit::Open { until, reason } = state.circuit(who, scope, now) {
            return Err(Later::Closed { until, reason });
        }
        let Some(position) = self.position else { return Err(Later::Woken) };
        if let Some(first) = state.ahead_of(position, who, scope, now) {
            // Whose turn it is may not know it yet. Whoever asks is not woken by its own question.
            first.woken.notify_one();
            return Err(Later::Woken);
        }
        let started = state.take(who, scope, now)?;
        state.queue.serve(position);
        self.position = None;
        state.wake();
        Ok(Permit { budget: Arc::clone(&self.budget), asker: self.asker, started: Some(started) })
    }

    /// Another caller, or a more urgent request, waits for it too: it is that caller's call where it comes earlier so.
    pub fn raise(&mut self, lane: Lane, who: Who) {
        let mut state = self.budget.state.lock();
        let better = self.position.and_then(|position| state.queue.raise(position, lane, who));
        let Some(position) = better else { return };
        if let Some(waiter) = state.queue.at(position) {
            waiter.who = who;
        }
        self.position = Some(position);
        (self.asker.lane, self.asker.who) = (lane, who);
        state.wake();
    }

    /// The moment at which waiting ends without a call.
    pub fn deadline(&self) -> Tick {
        self.deadline
    }

    /// Returns when it is worth asking again.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(position) = self.position else { return };
        let mut state = self.budget.state.lock();
        state.queue.leave(position);
        state.wake();
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("asker", &self.asker).finish_non_exhaustive()
    }
}

/// The right to one call, from its start until its answer is read.
pub struct Permit {
    budget: Arc<Budget>,
    asker: Asker,
    /// Until its outcome is known.
    started: Option<Started>,
}

impl Permit {
    /// For whom, and over what.
    pub fn asker(&self) -> Asker {
        self.asker
    }

    /// Whether its outcome decides for all others.
    pub fn is_probe(&self) -> bool {
        self.started.is_some_and(Started::is_probe)
    }

    /// What became of the call; the first word counts. `dice` is any number: it spreads the pauses of many gateways. Hands back
    /// until when the breaker of this call is open, if it is.
    pub fn settle(&mut self, verdict: Verdict, now: Tick, dice: u32) -> Option<Tick> {
        let started = self.started.take()?;
        let mut state = self.budget.state.lock();
        let of = |state: &State| {
            let until = |breaker: &Breaker| breaker.opening().map(|opening| (opening.until, opening.reason));
            (until(&state.documented), until(&state.opaque))
        };
        let before = of(&state);
        state.settle(&self.asker, verdict, started, now, dice);
        if of(&state) != before {
            self.budget.breaker_changed.notify_one();
        }
        match state.circuit(self.asker.who, self.asker.scope, now) {
            Circuit::Open { until, .. } => {
                state.wake_all();
                Some(until)
            }
            _ => {
                state.wake();
                None
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        if let Some(started) = self.started.take() {
            state.breaker(self.asker.scope).abandoned(started);
        }
        state.in_flight = state.in_flight.saturating_sub(1);
        state.shares.end(self.asker.who);
        state.wake();
    }
}

#[cfg(test)]
mod tests;
