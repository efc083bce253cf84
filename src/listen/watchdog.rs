//! Is this connection moving?
//! Given what is noted of its bytes and requests and the clock's ticks, says when a connection must finish or be cut.
//! Never costs a timer per connection: one sweep looks at all of them twice a second.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::Limits;
use crate::clock::{Clock, Tick};

const SWEEP: Duration = Duration::from_millis(500);

const QUIET: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;
/// The last words are said; what still comes is read and forgotten.
const LEAVING: u8 = 3;

/// What one answered request adds to [`ConnectionState::moved`]; a movement of bytes adds one.
const REQUEST: u64 = 1 << 40;

/// Answers on one connection of which nobody knows how many they are.
const NEVER: u64 = 1 << 63;

/// What a connection is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Nothing,
    Finish,
    /// Another needs its place: it goes if it is idle, and else when its requests are answered.
    GiveWay,
    Cut,
}

/// How one connection moves.
#[derive(Debug)]
pub(super) struct ConnectionState {
    id: u64,
    phase: AtomicU8,
    /// Bytes moved, and requests answered in its upper bits; compared by the sweep, so that nobody reads a clock per byte.
    moved: AtomicU64,
    /// Requests that hyper handed over, and those of them whose answer it has to the end, or gave up.
    begun: AtomicU64,
    ended: AtomicU64,
    /// Since when it is idle, in nanoseconds, and how many requests were answered by then, as the sweep saw it last.
    idle_since: AtomicU64,
    idle_after: AtomicU64,
    /// Answers of hyper's that are over.
    answered: AtomicU64,
    /// Whether the last answer refused a body that still comes.
    parting: AtomicBool,
    command: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl ConnectionState {
    /// hyper hands over a request.
    pub(super) fn serving(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is answered, whoever answered it.
    pub(super) fn quiet(&self) {
        self.phase.store(QUIET, Ordering::Relaxed);
        self.moved.fetch_add(REQUEST, Ordering::Relaxed);
    }

    /// Bytes between requests were read: they are, or begin, a head. Whether they begin it.
    pub(super) fn reads_head(&self) -> bool {
        self.phase.swap(HEAD, Ordering::Relaxed) != HEAD
    }

    /// Whether a head has begun and is not whole.
    pub(super) fn is_within_head(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == HEAD
    }

    /// Whether what is read next is of a head.
    pub(super) fn awaits_head(&self) -> bool {
        self.phase.load(Ordering::Relaxed) < SERVING
    }

    /// The last words are said, and the peer has as long to hear them as it has for a head.
    pub(super) fn leaving(&self) {
        self.phase.store(LEAVING, Ordering::Relaxed);
    }

    /// Something went on, other than bytes of the connection's own.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// hyper has the last of an answer's body, or gave it up.
    pub(super) fn answer_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.answered.store(self.answered().wrapping_add(1), Ordering::Relaxed);
    }

    /// A request has a body, so that what comes next need not be a head: from here on nobody counts.
    pub(super) fn has_body(&self) {
        self.answered.store(NEVER, Ordering::Relaxed);
    }

    /// Whether one of the requests had a body: what is read between two requests may be what is left of it.
    pub(super) fn had_body(&self) -> bool {
        self.answered() >= NEVER
    }

    /// The connection ends with this answer, and what is left of the request's body may still come.
    pub(super) fn part(&self) {
        self.parting.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    pub(super) fn is_parting(&self) -> bool {
        self.parting.load(Ordering::Relaxed)
    }

    /// How often hyper had the last of an answer, or more than there can be requests.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Requests that hyper handed over.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether hyper has every answer to the end.
    pub(super) fn all_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed) == self.begun()
    }

    /// Whether no request is being answered. A head that is not whole is none: its first bytes keep no place.
    pub(super) fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != SERVING && self.all_ended()
    }

    /// Since when it is idle; `None` where it is not. What happened since the last sweep happened `now`.
    pub(super) fn idle_since(&self, now: Tick) -> Option<Tick> {
        let seen = self.idle_after.load(Ordering::Relaxed);
        match self.is_idle() {
            true if seen == self.moved.load(Ordering::Relaxed) / REQUEST => {
                Some(Tick::from_nanos(self.idle_since.load(Ordering::Relaxed)))
            }
            true => Some(now),
            false => None,
        }
    }

    /// The connection leaves its place to another.
    pub(super) fn give_way(&self) {
        self.ask(Command::GiveWay);
    }

    /// The connection finishes what it is at, and closes.
    pub(super) fn finish(&self) {
        self.ask(Command::Finish);
    }

    /// What the connection should do now.
    pub(super) fn command(&self) -> Command {
        match self.command.load(Ordering::Acquire) {
            0 => Command::Nothing,
            1 => Command::Finish,
            2 => Command::GiveWay,
            _ => Command::Cut,
        }
    }

    /// Runs the connection, remembering once whom to wake when the wish changes: a task's waker stays the same.
    pub(super) async fn woken<T>(&self, connection: impl Future<Output = T>) -> T {
        std::future::poll_fn(|cx| {
            *self.waker.lock() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
        connection.await
    }

    /// Does what goes before any request, unless the place is needed or its time is over first.
    pub(super) async fn unless_cut<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let done = std::future::poll_fn(|cx| match self.command() {
            Command::GiveWay | Command::Cut => Poll::Ready(None),
            Command::Nothing | Command::Finish => work.as_mut().poll(cx).map(Some),
        });
        self.woken(done).await
    }

    fn ask(&self, command: Command) {
        self.command.fetch_max(command as u8, Ordering::AcqRel);
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// What the sweep knows of a connection: since when nothing changed.
struct Watched {
    pace: Arc<ConnectionState>,
    phase: u8,
    moved: u64,
    since: Tick,
}

/// The connections of one listener.
#[derive(Default)]
pub(super) struct Watchdog {
    all: Mutex<HashMap<u64, Watched>>,
    next: AtomicU64,
    finishing: AtomicBool,
}

impl Watchdog {
    pub(super) fn enter(&self, now: Tick) -> Arc<ConnectionState> {
        let pace = Arc::new(ConnectionState {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            phase: AtomicU8::new(QUIET),
            moved: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            idle_since: AtomicU64::new(now.as_nanos()),
            idle_after: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            parting: AtomicBool::new(false),
            command: AtomicU8::new(u8::from(self.finishing.load(Ordering::Acquire))),
            waker: Mutex::new(None),
        });
        let watched = Watched { pace: Arc::clone(&pace), phase: QUIET, moved: 0, since: now };
        self.all.lock().insert(pace.id, watched);
        pace
    }

    pub(super) fn leave(&self, pace: &ConnectionState) {
        self.all.lock().remove(&pace.id);
    }

    /// Every connection finishes the request it is at, and closes.
    pub(super) fn finish_all(&self) {
        self.finishing.store(true, Ordering::Release);
        for watched in self.all.lock().values() {
            watched.pace.ask(Command::Finish);
        }
    }

    /// Looks at all connections for ever, and cuts those that take too long over a head or stand still.
    pub(super) async fn sweep(self: Arc<Self>, clock: Clock, limits: Limits) {
        loop {
            clock.sleep_until(clock.tick().plus(SWEEP)).await;
            let now = clock.tick();
            for watched in self.all.lock().values_mut() {
                watched.look(now, &limits);
            }
        }
    }
}

impl Watched {
    fn look(&mut self, now: Tick, limits: &Limits) {
        let phase = self.pace.phase.load(Ordering::Relaxed);
        let moved = self.pace.moved.load(Ordering::Relaxed);
        // A head has its time from the first byte: dripping more of it does not win any. All else counts from the last byte.
        let drips = matches!(phase, HEAD | LEAVING);
        let answered = moved / REQUEST;
        let has_answered = answered != self.moved / REQUEST;
        let changed = phase != self.phase || has_answered || (!drips && moved != self.moved);
        if has_answered || !self.pace.is_idle() || (phase == QUIET && moved != self.moved) {
            self.pace.idle_since.store(now.as_nanos(), Ordering::Relaxed);
        }
        self.pace.idle_after.store(answered, Ordering::Relaxed);
        if changed {
            (self.phase, self.moved, self.since) = (phase, moved, now);
            return;
        }
        let most = match phase {
            HEAD | LEAVING => limits.head_time,
            // As long as nothing was asked, it may be that nothing ever will.
            QUIET if answered == 0 && self.pace.is_idle() => limits.silent_time,
            QUIET => limits.idle_time,
            _ => return,
        };
        if now.since(self.since) >= most {
            self.pace.ask(Command::Cut);
        }
    }
}
