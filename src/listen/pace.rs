//! Is this connection moving, and is its head of a decent size?
//! Given the bytes that pass and the clock's ticks, says when a connection must finish or be cut.
//! Never costs a timer per connection: one sweep looks at all of them twice a second.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{Clock, Tick};

const SWEEP: Duration = Duration::from_millis(500);

/// The request line and 100 headers: so many hyper parses without an allocation, and it refuses more by itself; we refuse first.
pub(super) const MOST_LINES: usize = 101;

const QUIET: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

/// Answers on one connection of which nobody knows how many they are.
const NEVER: u64 = 1 << 63;

/// What a connection is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Finish,
    Cut,
}

/// How one connection moves.
#[derive(Debug)]
pub(super) struct Pace {
    id: u64,
    phase: AtomicU8,
    /// Bytes moved; compared by the sweep, so that nobody reads a clock per byte.
    moved: AtomicU64,
    /// Answers of hyper's that are over.
    answered: AtomicU64,
    wish: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Pace {
    pub(super) fn serving(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
    }

    pub(super) fn quiet(&self) {
        self.phase.store(QUIET, Ordering::Relaxed);
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// Something went on, other than bytes of the connection's own.
    pub(super) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// hyper has the last of an answer's body, or gave it up.
    pub(super) fn answer_ended(&self) {
        self.answered.store(self.answered().wrapping_add(1), Ordering::Relaxed);
    }

    /// A request has a body, so that what comes next need not be a head: from here on nobody counts.
    pub(super) fn has_body(&self) {
        self.answered.store(NEVER, Ordering::Relaxed);
    }

    /// How often that was so, or more than there can be requests.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The connection finishes what it is at, and closes.
    pub(super) fn finish(&self) {
        self.ask(Wish::Finish);
    }

    /// What the connection should do now.
    pub(super) fn wish(&self) -> Wish {
        match self.wish.load(Ordering::Acquire) {
            0 => Wish::Nothing,
            1 => Wish::Finish,
            _ => Wish::Cut,
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

    fn ask(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Ordering::AcqRel);
        if let Some(waker) = self.waker.lock().as_ref() {
            waker.wake_by_ref();
        }
    }
}

/// What the sweep knows of a connection: since when nothing changed.
struct Watched {
    pace: Arc<Pace>,
    phase: u8,
    moved: u64,
    since: Tick,
}

/// The connections of one listener.
#[derive(Default)]
pub(super) struct Paces {
    all: Mutex<HashMap<u64, Watched>>,
    next: AtomicU64,
    finishing: AtomicBool,
}

impl Paces {
    pub(super) fn enter(&self, now: Tick) -> Arc<Pace> {
        let pace = Arc::new(Pace {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            phase: AtomicU8::new(QUIET),
            moved: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            wish: AtomicU8::new(u8::from(self.finishing.load(Ordering::Acquire))),
            waker: Mutex::new(None),
        });
        let watched = Watched { pace: Arc::clone(&pace), phase: QUIET, moved: 0, since: now };
        self.all.lock().insert(pace.id, watched);
        pace
    }

    pub(super) fn leave(&self, pace: &Pace) {
        self.all.lock().remove(&pace.id);
    }

    /// Every connection finishes the request it is at, and closes.
    pub(super) fn finish_all(&self) {
        self.finishing.store(true, Ordering::Release);
        for watched in self.all.lock().values() {
            watched.pace.ask(Wish::Finish);
        }
    }

    /// Looks at all connections for ever, and cuts those that take too long over a head or stand still.
    pub(super) async fn sweep(self: Arc<Self>, clock: Clock, head_time: Duration, idle_time: Duration) {
        loop {
            clock.sleep_until(clock.tick().plus(SWEEP)).await;
            let now = clock.tick();
            for watched in self.all.lock().values_mut() {
                watched.look(now, head_time, idle_time);
            }
        }
    }
}

impl Watched {
    fn look(&mut self, now: Tick, head_time: Duration, idle_time: Duration) {
        let phase = self.pace.phase.load(Ordering::Relaxed);
        let moved = self.pace.moved.load(Ordering::Relaxed);
        // A head has its time from the first byte: dripping more of it does not win any. All else counts from the last byte.
        let changed = phase != self.phase || (phase != HEAD && moved != self.moved);
        if changed {
            (self.phase, self.moved, self.since) = (phase, moved, now);
            return;
        }
        let most = match phase {
            HEAD => head_time,
            QUIET => idle_time,
            _ => return,
        };
        if now.since(self.since) >= most {
            self.pace.ask(Wish::Cut);
        }
    }
}

/// Bytes read after a farewell, so that closing over unread ones does not reset it away.
const LINGER: usize = 256 << 10;

/// A connection whose movement is noted. A head too large is answered here, because hyper would do it without a word.
pub(super) struct Paced<I, F> {
    io: I,
    pace: Arc<Pace>,
    most_head: usize,
    head: usize,
    lines: usize,
    /// The last bytes of the read before: a head's end may stand across two.
    tail: [u8; 3],
    too_large: F,
    farewell: Option<Bytes>,
    lingered: usize,
}

impl<I, F> Paced<I, F> {
    pub(super) fn new(io: I, pace: Arc<Pace>, most_head: usize, too_large: F) -> Self {
        Self { io, pace, most_head, head: 0, lines: 0, tail: [0; 3], too_large, farewell: None, lingered: 0 }
    }

    /// Notes what was read between requests: it is, or begins, a head. `false`: one beyond the limits.
    fn note_head(&mut self, read: &[u8]) -> bool {
        if self.pace.phase.swap(HEAD, Ordering::Relaxed) != HEAD {
            (self.head, self.lines, self.tail) = (0, 0, [0; 3]);
        }
        let (mut head, mut lines) = (self.head.saturating_add(read.len()), self.lines + count_lines(read));
        if head > self.most_head || lines > MOST_LINES {
            // A body or a second head may stand in the same read: only what is the head's own counts.
            let end = end_of_head(self.tail, read);
            let own = end.and_then(|end| read.get(..end)).unwrap_or(read);
            head = self.head.saturating_add(own.len());
            // The empty line is none of them.
            lines = self.lines + count_lines(own) - usize::from(end.is_some());
        }
        (self.head, self.lines) = (head, lines);
        for &byte in read.get(read.len().saturating_sub(3)..).unwrap_or_default() {
            self.tail = [self.tail[1], self.tail[2], byte];
        }
        head <= self.most_head && lines <= MOST_LINES
    }
}

/// Where in this read the head ends, its empty line included.
fn end_of_head(tail: [u8; 3], read: &[u8]) -> Option<usize> {
    let mut last = [0, tail[0], tail[1], tail[2]];
    for (at, &byte) in read.iter().enumerate() {
        last = [last[1], last[2], last[3], byte];
        if last == *b"\r\n\r\n" {
            return Some(at + 1);
        }
    }
    None
}

fn count_lines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

impl<I: AsyncRead + AsyncWrite + Unpin, F: FnMut() -> Bytes + Unpin> Paced<I, F> {
    /// Says the answer, closes our side, and reads what still comes; ends in an error, as the connection is over.
    fn part(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let words = match &mut self.farewell {
            Some(words) => words,
            None => self.farewell.insert((self.too_large)()),
        };
        while !words.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, words)) {
                Ok(written) if written > 0 => words.advance(written),
                _ => return Poll::Ready(io::Error::other("peer left")),
            }
        }
        if ready!(Pin::new(&mut self.io).poll_shutdown(cx)).is_err() {
            return Poll::Ready(io::Error::other("peer left"));
        }
        let mut rest = [0; 4096];
        while self.lingered < LINGER {
            let mut rest = ReadBuf::new(&mut rest);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut rest)).map(|()| rest.filled().len());
            match read {
                Ok(read) if read > 0 => self.lingered += read,
                _ => break,
            }
        }
        Poll::Ready(io::Error::other("head too large"))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, F: FnMut() -> Bytes + Unpin> AsyncRead for Paced<I, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Asked for more while the head is already at its limit: it is larger than that.
        if this.pace.phase.load(Ordering::Relaxed) == HEAD && this.head >= this.most_head {
            return this.part(cx).map(Err);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            return polled;
        }
        this.pace.moved.fetch_add(1, Ordering::Relaxed);
        if this.pace.phase.load(Ordering::Relaxed) != SERVING && !this.note_head(read) {
            this.head = usize::MAX;
            return this.part(cx).map(Err);
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Paced<I, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if written.is_ready() {
            self.pace.moved.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if written.is_ready() {
            self.pace.moved.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
