//! What may a test wait for?
//! Given something to look for, looks again and again until it is there, and fails with its name when it never is.
//! Never waits for time alone: a test awaits an event, or moves the clock by hand. The one pause on purpose is a slow peer's.

use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Polls until `look` finds something; panics with `what` after ten seconds.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_for_within(Duration::from_secs(10), what, look)
}

/// The same for so long at most.
pub(crate) fn wait_for_within<T>(most: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + most;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// Looks again and again until then: what must not happen is looked for while it could.
pub(crate) fn throughout(until: Instant, mut look: impl FnMut()) {
    while Instant::now() < until {
        look();
        std::thread::sleep(LOOK);
    }
}

/// A peer that takes its time, between two pieces of what it sends. What a test claims never hangs on how long that is.
pub(crate) fn slow_peer(pause: Duration) {
    std::thread::sleep(pause);
}
