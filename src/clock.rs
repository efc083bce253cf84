//! What time is it, and how long must this wait?
//! Given nothing, hands back one reading that a request carries with it: monotonic for arithmetic, wall for dates.
//! Never judges anything; no other room may read a clock or sleep.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::fmt::friendly::{Spacing, SpanPrinter};
use tokio::time::{Instant, Sleep};

/// No deadline is later than that, however far the one is that was asked for: two hundred years, in nanoseconds.
const FAR: u64 = 200 * 365 * 86_400 * 1_000_000_000;

/// A time as people and the configuration write it: `1h30m`.
pub fn time_text(time: Duration) -> String {
    let days = time.as_secs() / 86_400;
    if days > 1 && time == Duration::from_secs(days * 86_400) {
        return format!("{days}d");
    }
    SpanPrinter::new().spacing(Spacing::None).unsigned_duration_to_string(&time)
}

/// A monotonic moment, in nanoseconds since the clock was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The moment `nanos` nanoseconds after the clock was made.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock was made.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment moved on by `by`, stopping at the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading of the clock, taken once per request and handed to every room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For durations: never goes back.
    pub tick: Tick,
    /// For dates: milliseconds since 1970-01-01T00:00:00Z, as the machine's wall clock tells it.
    pub unix_ms: u64,
}

impl Now {
    /// Whole seconds since 1970-01-01T00:00:00Z, as JWT's NumericDate counts them (RFC 7519 §2).
    pub const fn unix(self) -> u64 {
        self.unix_ms / 1000
    }

    /// The wall clock's reading as the standard library's type.
    pub fn wall(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.unix_ms)
    }
}

/// The one reader of time. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// What the wall clock said then, in milliseconds since 1970.
    began: u64,
    moved: bool,
}

impl Clock {
    /// The machine's clocks.
    pub fn real() -> Self {
        Self { start: Instant::now(), began: wall(), moved: false }
    }

    /// A clock whose wall time starts at `unix_ms` and moves only with the runtime's (paused) time: for tests.
    pub fn moved_by_hand(unix_ms: u64) -> Self {
        Self { start: Instant::now(), began: unix_ms, moved: true }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let tick = self.tick();
        let unix_ms = if self.moved { self.moved_on(tick) } else { wall() };
        Now { tick, unix_ms }
    }

    /// Seconds since 1970 by whichever says less: the wall clock, or the one of the start moved on by the monotonic clock.
    /// For what is given up for good when its time is over: a wall clock that jumps ahead ends nothing too early.
    pub fn steady(&self) -> u64 {
        let now = self.now();
        now.unix_ms.min(self.moved_on(now.tick)) / 1000
    }

    const fn moved_on(&self, tick: Tick) -> u64 {
        self.began.saturating_add(tick.0 / 1_000_000)
    }

    /// Reads the monotonic clock alone: half the price of `now`, enough for durations.
    pub fn tick(&self) -> Tick {
        Tick(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Waits until `at`; returns at once if it has passed.
    pub fn sleep_until(&self, at: Tick) -> Sleep {
        tokio::time::sleep_until(self.start + Duration::from_nanos(at.0.min(FAR)))
    }

    /// Runs `work` until `at` at the latest.
    ///
    /// # Errors
    /// [`Late`] when the moment came first; `work` is dropped then.
    pub async fn until<T>(&self, at: Tick, work: impl Future<Output = T>) -> Result<T, Late> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.sleep_until(at) => Err(Late),
        }
    }
}

/// The machine's wall clock, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one reader of time")]
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The moment came before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late;

/// hyper's timer on the same clock, so that paused time moves the connections' deadlines too.
#[derive(Debug, Clone, Copy)]
pub struct HyperTimer;

struct HyperSleep(Pin<Box<Sleep>>);

impl Future for HyperSleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for HyperSleep {}

impl hyper::rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_clocks_move_together_when_moved_by_hand() {
        let clock = Clock::moved_by_hand(1_000_000);
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(90)).await;
        let after = clock.now();
        assert_eq!(after.tick.since(before.tick), Duration::from_secs(90));
        assert_eq!(after.unix(), before.unix() + 90);
    }

    /// The wall clock was two days ahead for a minute, and what was to be remembered for a day was forgotten.
    #[test]
    fn a_wall_clock_that_jumps_ahead_takes_the_steady_one_nowhere() {
        let real = Clock::real();
        let day = 86_400_000;
        let started_behind = Clock { began: real.began - day, ..real };
        assert!(started_behind.now().unix() - started_behind.steady() >= 86_399, "as if it had jumped ahead since");
        let started_ahead = Clock { began: real.began + day, ..real };
        assert!(started_ahead.steady() <= started_ahead.now().unix(), "as if it had been set back since");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_outlasts_its_moment_is_late() {
        let clock = Clock::moved_by_hand(0);
        let at = clock.tick().plus(Duration::from_secs(1));
        assert_eq!(clock.until(at, std::future::pending::<()>()).await, Err(Late));
        assert_eq!(clock.until(at, async { 7 }).await, Ok(7));
    }
}
