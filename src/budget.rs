//! May we ask the partner?
//! Given who asks and `now`, hands back a [`Permit`], a [`Ticket`] for the queue, or until when the door is closed.
//! Never sleeps and never sees a socket: whoever holds a ticket waits and asks again.

pub mod gate;

pub mod lanes;

pub mod signal;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Tick;
use crate::gcra::{Arrivals, Quota, Rate};

use gate::{Gate, Passage, Started, Why};
use lanes::{Lane, Lanes, Place, Who};

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
    pub const fn word(self) -> &'static str {
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
    /// How failures close the door.
    pub gate: gate::Settings,
}

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
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The partner answered, whatever it said about the resource.
    Answered,
    /// No whole answer, or 5xx.
    Failed,
    /// It wants to be left alone until then.
    Told(Tick),
    /// It took none of our keys.
    KeyRefused,
}

/// The one door to the partner.
pub struct Budget {
    state: Mutex<State>,
    gate_changed: Notify,
}

struct State {
    settings: Settings,
    arrivals: Arrivals,
    in_flight: usize,
    lanes: Lanes<Arc<Notify>>,
    gate: Gate,
}

impl State {
    /// What changed may make it the first one's turn.
    fn wake_first(&self) {
        if let Some((_, first)) = self.lanes.first() {
            first.notify_one();
        }
    }

    fn wake_all(&self) {
        self.lanes.all().for_each(|place| place.notify_one());
    }

    fn take(&mut self, now: Tick) -> Result<Started, Later> {
        self.arrivals = self.takes(now)?;
        self.in_flight += 1;
        Ok(self.gate.start(now))
    }

    /// What is spent after one more call, if it may start.
    fn takes(&self, now: Tick) -> Result<Arrivals, Later> {
        match self.gate.passage(now) {
            Passage::Closed { until, why } => return Err(Later::Closed { until, why }),
            Passage::Probing => return Err(Later::Woken),
            Passage::Open | Passage::Probe => {}
        }
        if self.in_flight >= self.settings.max_in_flight {
            return Err(Later::Woken);
        }
        self.arrivals.admit(self.settings.quota, now).map_err(|back| Later::At(back.at))
    }

    /// When the rate lets one more call through, after those who wait.
    fn free(&self, now: Tick) -> Tick {
        let free = match self.arrivals.admit(self.settings.quota, now) {
            Ok(_) => now,
            Err(back) => back.at,
        };
        let ahead = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        free.plus(self.settings.quota.rate.interval().saturating_mul(ahead))
    }
}

/// The answer to a wish to call.
pub enum Asked {
    /// Call now.
    Permit(Permit),
    /// Wait for your turn.
    Queued(Ticket),
    /// Nobody calls before then.
    Closed {
        /// When it opens.
        until: Tick,
        /// Why it is closed.
        why: Why,
    },
}

/// Not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// Ask again at this moment, or when woken.
    At(Tick),
    /// Ask again when woken.
    Woken,
    /// The door closed meanwhile.
    Closed {
        /// When it opens.
        until: Tick,
        /// Why it is closed.
        why: Why,
    },
}

/// What a wish to call would be told.
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
        /// When it opens.
        until: Tick,
        /// Why it is closed.
        why: Why,
    },
}

/// What a reader of the metrics wants to know.
#[derive(Debug, Clone, Copy)]
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
    /// Until when nobody calls, and why.
    pub closed: Option<(Tick, Why)>,
}

impl Budget {
    /// A full budget.
    pub fn new(settings: Settings) -> Arc<Self> {
        let (lanes, gate) = (Lanes::default(), Gate::default());
        Arc::new(Self {
            state: Mutex::new(State { settings, arrivals: Arrivals::default(), in_flight: 0, lanes, gate }),
            gate_changed: Notify::new(),
        })
    }

    /// Goes by other settings from here on: what is under way, waits or was spent stays so.
    pub fn change(&self, settings: Settings, now: Tick) {
        let mut state = self.state.lock();
        state.arrivals = state.arrivals.carried(state.settings.quota, settings.quota, now);
        state.settings = settings;
        state.wake_all();
    }

    /// May one more call start?
    pub fn ask(self: &Arc<Self>, asker: Asker, now: Tick) -> Asked {
        let mut state = self.state.lock();
        if let Passage::Closed { until, why } = state.gate.passage(now) {
            return Asked::Closed { until, why };
        }
        if state.lanes.is_empty()
            && let Ok(started) = state.take(now)
        {
            return Asked::Permit(Permit { budget: Arc::clone(self), asker, started: Some(started) });
        }
        let woken = Arc::new(Notify::new());
        let place = state.lanes.enter(asker.lane, asker.who, Arc::clone(&woken));
        let deadline = now.plus(state.settings.max_wait);
        Asked::Queued(Ticket { budget: Arc::clone(self), asker, place: Some(place), woken, deadline })
    }

    /// What would a wish to call be told at `now`? Nothing is spent, and nobody loses a place.
    pub fn foresee(&self, now: Tick) -> Prospect {
        let state = self.state.lock();
        match state.takes(now) {
            Err(Later::Closed { until, why }) => Prospect::Closed { until, why },
            Ok(_) if state.lanes.is_empty() => Prospect::Call { probe: state.gate.passage(now) == Passage::Probe },
            Ok(_) | Err(Later::At(_)) => Prospect::Waits { until: Some(state.free(now)) },
            Err(Later::Woken) => Prospect::Waits { until: None },
        }
    }

    /// The longest a call may wait for its turn.
    pub fn max_wait(&self) -> Duration {
        self.state.lock().settings.max_wait
    }

    /// When a call that was refused at `now` would come through if nobody else came.
    pub fn opens(&self, now: Tick) -> Tick {
        let state = self.state.lock();
        let free = state.free(now);
        state.gate.closed().map_or(free, |(until, _)| until.max(free))
    }

    /// Nothing starts before `until`, as the partner wanted it before a restart.
    pub fn restore(&self, until: Tick, why: Why) {
        let mut state = self.state.lock();
        state.gate.restore(until, why);
        state.wake_all();
    }

    /// Returns when the gate has closed or opened since the last time; for one who waits.
    pub async fn gate_changed(&self) {
        self.gate_changed.notified().await;
    }

    /// Another partner's budget is in force from here on: whoever waits for the gate looks at that one.
    pub fn followed(&self) {
        self.gate_changed.notify_one();
    }

    /// A key is there that was not there before.
    pub fn key_changed(&self, now: Tick) {
        let mut state = self.state.lock();
        state.gate.key_changed(now);
        state.wake_first();
    }

    /// How things stand.
    pub fn figures(&self, now: Tick) -> Figures {
        let state = self.state.lock();
        let limited = state.settings.quota.rate != Rate::Unlimited;
        Figures {
            in_flight: state.in_flight,
            queued: state.lanes.len(),
            left: limited.then(|| state.arrivals.left(state.settings.quota, now)),
            most: limited.then_some(state.settings.quota.burst),
            most_in_flight: state.settings.max_in_flight,
            closed: state.gate.closed(),
        }
    }
}

/// A place in the queue. Dropping it leaves the queue.
pub struct Ticket {
    budget: Arc<Budget>,
    asker: Asker,
    place: Option<Place>,
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
        if let Passage::Closed { until, why } = state.gate.passage(now) {
            return Err(Later::Closed { until, why });
        }
        let first = state.lanes.first().map(|(place, _)| place);
        let Some(place) = self.place.filter(|place| Some(*place) == first) else { return Err(Later::Woken) };
        let started = state.take(now)?;
        state.lanes.serve(place);
        self.place = None;
        state.wake_first();
        Ok(Permit { budget: Arc::clone(&self.budget), asker: self.asker, started: Some(started) })
    }

    /// Somebody more urgent waits for it too.
    pub fn raise(&mut self, lane: Lane, who: Who) {
        let mut state = self.budget.state.lock();
        if let Some(place) = self.place {
            self.place = Some(state.lanes.raise(place, lane, who));
        }
        state.wake_first();
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
        let Some(place) = self.place else { return };
        let mut state = self.budget.state.lock();
        state.lanes.leave(place);
        state.wake_first();
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

    /// What became of the call; the first word counts. `dice` is any number: it spreads the pauses of many gateways.
    pub fn settle(&mut self, verdict: Verdict, now: Tick, dice: u32) {
        let Some(started) = self.started.take() else { return };
        let mut state = self.budget.state.lock();
        let settings = &{ state.settings.gate };
        let before = state.gate.closed();
        match verdict {
            Verdict::Answered => state.gate.succeeded(started),
            Verdict::Failed => state.gate.failed(self.asker.resource, started, now, settings, dice),
            Verdict::Told(until) => state.gate.told(until),
            Verdict::KeyRefused => state.gate.key_refused(started, now, settings, dice),
        }
        if state.gate.closed() != before {
            self.budget.gate_changed.notify_one();
        }
        match state.gate.passage(now) {
            Passage::Closed { .. } => state.wake_all(),
            _ => state.wake_first(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        if let Some(started) = self.started.take() {
            state.gate.vanished(started);
        }
        state.in_flight = state.in_flight.saturating_sub(1);
        state.wake_first();
    }
}

#[cfg(test)]
mod tests;
