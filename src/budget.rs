//! May we ask the partner?
//! Given a cause and `now`, hands back a [`Permit`], a [`Ticket`] for the queue, or until when the door is closed.
//! Never sleeps and never sees a socket: whoever holds a ticket waits and asks again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Tick;
use crate::gcra::{Arrivals, Quota, Rate};

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
}

/// The one door to the partner.
pub struct Budget {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    arrivals: Arrivals,
    in_flight: usize,
    queue: VecDeque<Arc<Notify>>,
    closed_until: Tick,
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
    /// Until when the partner asked to be left alone.
    pub closed_until: Option<Tick>,
}

impl Budget {
    /// A full budget.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { settings, state: Mutex::default() })
    }

    /// May one more call start?
    pub fn ask(self: &Arc<Self>, now: Tick) -> Asked {
        let mut state = self.state.lock();
        if state.closed_until > now {
            return Asked::Closed { until: state.closed_until };
        }
        if state.queue.is_empty() && self.take(&mut state, now).is_ok() {
            return Asked::Permit(Permit { budget: Arc::clone(self) });
        }
        let place = Arc::new(Notify::new());
        state.queue.push_back(Arc::clone(&place));
        Asked::Queued(Ticket { budget: Arc::clone(self), place, deadline: now.plus(self.settings.max_wait) })
    }

    /// When a call that was refused at `now` would come through if nobody else came.
    pub fn opens(&self, now: Tick) -> Tick {
        let state = self.state.lock();
        let free = match state.arrivals.admit(self.settings.quota, now) {
            Ok(_) => now,
            Err(back) => back.at,
        };
        let ahead = u32::try_from(state.queue.len()).unwrap_or(u32::MAX);
        free.plus(self.settings.quota.rate.interval().saturating_mul(ahead)).max(state.closed_until)
    }

    /// The partner asked to be left alone: nothing starts before `until`, and all who wait learn it now.
    pub fn close_until(&self, until: Tick) {
        let mut state = self.state.lock();
        state.closed_until = state.closed_until.max(until);
        state.queue.iter().for_each(|place| place.notify_one());
    }

    /// How things stand.
    pub fn figures(&self, now: Tick) -> Figures {
        let state = self.state.lock();
        let limited = self.settings.quota.rate != Rate::Unlimited;
        Figures {
            in_flight: state.in_flight,
            queued: state.queue.len(),
            left: limited.then(|| state.arrivals.left(self.settings.quota, now)),
            closed_until: (state.closed_until > now).then_some(state.closed_until),
        }
    }

    fn take(&self, state: &mut State, now: Tick) -> Result<(), Later> {
        if state.in_flight >= self.settings.max_in_flight {
            return Err(Later::Woken);
        }
        state.arrivals = state.arrivals.admit(self.settings.quota, now).map_err(|back| Later::At(back.at))?;
        state.in_flight += 1;
        Ok(())
    }
}

/// A place in the queue. Dropping it leaves the queue.
pub struct Ticket {
    budget: Arc<Budget>,
    place: Arc<Notify>,
    deadline: Tick,
}

impl Ticket {
    /// Is it my turn?
    ///
    /// # Errors
    /// [`Later`] says when to ask again.
    pub fn claim(&self, now: Tick) -> Result<Permit, Later> {
        let mut state = self.budget.state.lock();
        if state.closed_until > now {
            return Err(Later::Closed { until: state.closed_until });
        }
        if !state.queue.front().is_some_and(|first| Arc::ptr_eq(first, &self.place)) {
            return Err(Later::Woken);
        }
        self.budget.take(&mut state, now)?;
        Ok(Permit { budget: Arc::clone(&self.budget) })
    }

    /// The moment at which waiting ends without a call.
    pub fn deadline(&self) -> Tick {
        self.deadline
    }

    /// Returns when it is worth asking again.
    pub async fn woken(&self) {
        self.place.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        state.queue.retain(|place| !Arc::ptr_eq(place, &self.place));
        if let Some(first) = state.queue.front() {
            first.notify_one();
        }
    }
}

/// The right to one call, from its start until its answer is read.
pub struct Permit {
    budget: Arc<Budget>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let Some(first) = state.queue.front() {
            first.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(interval_ms: u64, burst: u32, max_in_flight: usize) -> Arc<Budget> {
        let rate = Rate::Every(Duration::from_millis(interval_ms));
        Budget::new(Settings { quota: Quota { rate, burst }, max_in_flight, max_wait: Duration::from_secs(2) })
    }

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_first_in_the_queue_is_served_first_and_at_the_moment_it_was_told() {
        let budget = budget(100, 1, 9);
        let Asked::Permit(_first) = budget.ask(at(0)) else { panic!("full budget") };
        let (Asked::Queued(second), Asked::Queued(third)) = (budget.ask(at(0)), budget.ask(at(0))) else {
            panic!("spent")
        };
        assert_eq!(third.claim(at(100)).err(), Some(Later::Woken));
        assert_eq!(second.claim(at(0)).err(), Some(Later::At(at(100))));
        assert!(second.claim(at(100)).is_ok());
        drop(second);
        assert_eq!(third.claim(at(100)).err(), Some(Later::At(at(200))));
    }

    #[test]
    fn a_caller_that_leaves_the_queue_frees_its_place() {
        let budget = budget(100, 1, 9);
        let Asked::Permit(_first) = budget.ask(at(0)) else { panic!("full budget") };
        let (Asked::Queued(second), Asked::Queued(third)) = (budget.ask(at(0)), budget.ask(at(0))) else {
            panic!("spent")
        };
        drop(second);
        assert!(third.claim(at(100)).is_ok());
    }

    #[test]
    fn a_permit_gives_its_place_in_flight_back() {
        let budget = budget(0, 1, 1);
        let Asked::Permit(first) = budget.ask(at(0)) else { panic!("full budget") };
        let Asked::Queued(second) = budget.ask(at(0)) else { panic!("one in flight") };
        assert_eq!(second.claim(at(5)).err(), Some(Later::Woken));
        drop(first);
        assert!(second.claim(at(5)).is_ok());
    }

    #[test]
    fn nothing_starts_while_the_partner_wants_to_be_left_alone() {
        let budget = budget(0, 1, 1);
        let Asked::Permit(_first) = budget.ask(at(0)) else { panic!("full budget") };
        let Asked::Queued(second) = budget.ask(at(0)) else { panic!("one in flight") };
        budget.close_until(at(30_000));
        assert_eq!(second.claim(at(1)).err(), Some(Later::Closed { until: at(30_000) }));
        assert!(matches!(budget.ask(at(29_999)), Asked::Closed { until } if until == at(30_000)));
        drop((_first, second));
        assert!(matches!(budget.ask(at(30_000)), Asked::Permit(_)));
    }
}
