//! Which requests are traced, and where do their traces wait?
//! Given a request's head, hands back its trace if it is sampled; given one that is over, puts it into a bounded queue.
//! Never makes anything of a request that is not sampled, never believes a caller's sampled flag, and never waits.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::clock::{Now, Tick};

use super::{Context, Facts, Trace, Traced, parent};

/// Finished traces that wait to be sent; more are dropped and counted. The default of OpenTelemetry's batch processor.
pub(super) const TRACE_CAPACITY: usize = 2048;

/// A finished trace, as it waits to be sent.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) trace: Box<Trace>,
    pub(super) end: End,
}

/// How a trace ends.
#[derive(Debug)]
pub struct End {
    /// What it is called, as in `GET clients`.
    pub name: String,
    /// Whether it is a request; else a flight.
    pub served: bool,
    /// When.
    pub at: Tick,
    /// What is said of it.
    pub facts: Facts,
    /// Whether it is our failure, or the partner's.
    pub failed: bool,
}

/// Decides what is traced, and keeps what is until it is sent.
#[derive(Debug)]
pub struct Tracer {
    /// Of 2^53 draws so many are sampled.
    sampled: u64,
    queue: mpsc::Sender<Finished>,
    waiting: Mutex<Option<mpsc::Receiver<Finished>>>,
    pub(super) sent: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Tracer {
    /// Samples this share of the requests, 0 to 1.
    pub fn new(share: f64) -> Self {
        let (queue, waiting) = mpsc::channel(TRACE_CAPACITY);
        let sampled = (share.clamp(0.0, 1.0) * (1u64 << 53) as f64) as u64;
        let waiting = Mutex::new(Some(waiting));
        Self { sampled, queue, waiting, sent: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// The trace of a request, if it is sampled: by our own ratio, whatever its sender says.
    #[inline]
    pub fn sample(&self, headers: &HeaderMap, now: Now) -> Traced {
        match dice() >> 11 < self.sampled {
            true => begin(headers, now),
            false => Traced::NONE,
        }
    }

    /// Takes a finished trace; one that finds no room is dropped and counted.
    pub fn finish(&self, traced: Traced, end: impl FnOnce() -> End) {
        let Some(trace) = traced.0 else { return };
        if self.queue.try_send(Finished { trace, end: end() }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What waits to be sent, for the one who sends it.
    pub(super) fn waiting(&self) -> Option<mpsc::Receiver<Finished>> {
        self.waiting.lock().take()
    }

    /// Traces that were sent, and those that were dropped.
    pub fn figures(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

#[cold]
fn begin(headers: &HeaderMap, now: Now) -> Traced {
    let sender = parent::of(headers);
    let begun = drawn().map(|(trace, span)| {
        let context = Context { trace: sender.map_or(trace, |sender| sender.trace), span };
        Trace { parent: sender.map(|sender| sender.span), ..Trace::new(context, now) }
    });
    Traced(begun.map(Box::new))
}

/// Numbers for a trace and a span that nobody else has.
pub(super) fn drawn() -> Option<(u128, u64)> {
    let mut bits = [0; 24];
    getrandom::fill(&mut bits).ok()?;
    let (trace, span) = bits.split_at(16);
    let (trace, span) = (u128::from_be_bytes(trace.try_into().ok()?), u64::from_be_bytes(span.try_into().ok()?));
    Some((trace.max(1), span.max(1)))
}

/// Any number, at the price of a few instructions (splitmix64, of a random start in each thread).
fn dice() -> u64 {
    thread_local!(static STATE: Cell<u64> = Cell::new(drawn().map_or(0, |(_, start)| start)));
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}
