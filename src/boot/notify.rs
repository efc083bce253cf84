//! What does the service manager hear?
//! Given what happens to the process, tells systemd by `sd_notify(3)`, where it asked for it; else does nothing.
//! Never fails anything: who cannot be told is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::Clock;

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// All doors answer; `status` says in a few words how things stand.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; [`ready`] follows, however it goes. The moment is the kernel's own clock, which the
/// manager compares with its own.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => tell(&[NotifyState::Reloading, moment, NotifyState::Status("reloading")]),
        Err(error) => tracing::debug!(%error, "no monotonic clock"),
    }
}

/// The end has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing requests")]);
}

/// One count for each worker, which moves while it does.
#[derive(Clone)]
pub(super) struct Beats {
    counts: Arc<[AtomicU64]>,
    pause: Duration,
}

impl Beats {
    /// For so many workers, where the service manager wants to know (`WATCHDOG_USEC`).
    pub(super) fn wanted(workers: usize) -> Option<Self> {
        let within = sd_notify::watchdog_enabled()?;
        let counts = (0..workers).map(|_| AtomicU64::new(0)).collect();
        // Half of the time allowed is the custom; each count has to move in between.
        Some(Self { counts, pause: within / 4 })
    }

    /// Moves a worker's count, for as long as it gets to.
    pub(super) async fn beat(self, worker: usize, clock: Clock) {
        loop {
            if let Some(count) = self.counts.get(worker) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            clock.sleep_until(clock.tick().plus(self.pause)).await;
        }
    }

    /// Tells the manager that the process is alive, as long as every worker is.
    pub(super) async fn watch(self, clock: Clock) {
        let mut before = vec![0; self.counts.len()];
        loop {
            clock.sleep_until(clock.tick().plus(self.pause * 2)).await;
            let now: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            if now.iter().zip(&before).all(|(now, before)| now > before) {
                tell(&[NotifyState::Watchdog]);
            }
            before = now;
        }
    }
}
