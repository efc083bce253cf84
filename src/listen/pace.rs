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

/// hyper parses up to 100 headers without an allocation and refuses more by itself; we refuse first.
const MOST_LINES: usize = 100;

const QUIET: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

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
    too_large: F,
    farewell: Option<Bytes>,
    lingered: usize,
}

impl<I, F> Paced<I, F> {
    pub(super) fn new(io: I, pace: Arc<Pace>, most_head: usize, too_large: F) -> Self {
        Self { io, pace, most_head, head: 0, lines: 0, too_large, farewell: None, lingered: 0 }
    }

    /// Notes what was read between requests: it is, or begins, a head.
    fn note_head(&mut self, read: &[u8]) -> bool {
        if self.pace.phase.swap(HEAD, Ordering::Relaxed) != HEAD {
            (self.head, self.lines) = (0, 0);
        }
        self.head = self.head.saturating_add(read.len());
        let mut lines = count_lines(read);
        if self.lines + lines > MOST_LINES {
            // A body or a second head may stand in the same read: only the head's own lines count.
            let end = read.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(read.len());
            lines = count_lines(read.get(..end).unwrap_or(read));
        }
        self.lines += lines;
        self.lines <= MOST_LINES
    }
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
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
