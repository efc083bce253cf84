//! Is a head of a decent size, and do bytes pass?
//! Given a connection, notes what passes for its [`ConnectionState`], and answers a head beyond the limits.
//! Never looks at what a head says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watchdog::ConnectionState;

/// The request line and 100 headers: so many hyper parses without an allocation, and it refuses more by itself; we refuse first.
pub(super) const MOST_LINES: usize = 101;

/// Bytes read after the last words, so that closing over unread ones does not reset them away (RFC 9112 §9.6). Many clients
/// send the whole of an upload before they read a word, and a reset takes the answer from them: so it is more than an upload
/// that somebody may send by mistake. What bounds it besides is the time of a head, and reading is all it costs.
pub(super) const LINGER: usize = 64 << 20;

/// Closes our side of a connection whose last words are written, and reads what still comes; `read` counts it.
pub(super) fn poll_leave(
    mut io: Pin<&mut (impl AsyncRead + AsyncWrite)>,
    cx: &mut Context<'_>,
    read: &mut usize,
    most: usize,
) -> Poll<()> {
    if ready!(io.as_mut().poll_shutdown(cx)).is_err() {
        return Poll::Ready(());
    }
    let mut rest = [0; 16 << 10];
    while *read < most {
        let mut rest = ReadBuf::new(&mut rest);
        match ready!(io.as_mut().poll_read(cx, &mut rest)) {
            Ok(()) if !rest.filled().is_empty() => *read += rest.filled().len(),
            _ => break,
        }
    }
    Poll::Ready(())
}

/// A connection whose movement is noted. A head too large is answered here, because hyper would do it without a word.
pub(super) struct WatchedIo<I, F> {
    io: I,
    connection: Arc<ConnectionState>,
    most_head: usize,
    head: usize,
    lines: usize,
    /// The last bytes of the read before: a head's end may stand across two.
    tail: [u8; 3],
    too_large: F,
    farewell: Option<Bytes>,
    lingered: usize,
}

impl<I, F> WatchedIo<I, F> {
    pub(super) fn new(io: I, connection: Arc<ConnectionState>, most_head: usize, too_large: F) -> Self {
        Self { io, connection, most_head, head: 0, lines: 0, tail: [0; 3], too_large, farewell: None, lingered: 0 }
    }

    /// Notes what was read between requests: it is, or begins, a head. `false`: one beyond the limits.
    fn note_head(&mut self, read: &[u8]) -> bool {
        if self.connection.reads_head() {
            (self.head, self.lines, self.tail) = (0, 0, [0; 3]);
        }
        let (head, lines) = (self.head.saturating_add(read.len()), self.lines + count_lines(read));
        let fits = if head > self.most_head || lines > MOST_LINES {
            self.one_more_fits(read)
        } else {
            (self.head, self.lines) = (head, lines);
            true
        };
        match read.last_chunk() {
            Some(last) => self.tail = *last,
            None => read.iter().for_each(|&byte| self.tail = [self.tail[1], self.tail[2], byte]),
        }
        fits
    }

    /// A body or a second head may stand in the same read: only what is the head's own counts.
    #[cold]
    fn one_more_fits(&mut self, read: &[u8]) -> bool {
        let end = end_of_head(self.tail, read);
        let own = end.and_then(|end| read.get(..end)).unwrap_or(read);
        self.head = self.head.saturating_add(own.len());
        // The empty line is none of them.
        self.lines = self.lines + count_lines(own) - usize::from(end.is_some());
        // The rest of a body that was refused may look like anything, and has its answer: whoever hands over requests counts.
        (self.head <= self.most_head && self.lines <= MOST_LINES) || self.connection.had_body()
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

impl<I: AsyncRead + AsyncWrite + Unpin, F: FnMut() -> Bytes + Unpin> WatchedIo<I, F> {
    /// Says the answer, closes our side, and reads what still comes; ends in an error, as the connection is over.
    #[cold]
    #[inline(never)]
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
        ready!(poll_leave(Pin::new(&mut self.io), cx, &mut self.lingered, LINGER));
        Poll::Ready(io::Error::other("head too large"))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, F: FnMut() -> Bytes + Unpin> AsyncRead for WatchedIo<I, F> {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Asked for more while the head is already at its limit: it is larger than that.
        if this.head >= this.most_head && this.connection.is_within_head() && !this.connection.had_body() {
            return this.part(cx).map(Err);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            return polled;
        }
        this.connection.moved();
        if this.connection.awaits_head() && !this.note_head(read) {
            this.head = usize::MAX;
            return this.part(cx).map(Err);
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin, F: Unpin> AsyncWrite for WatchedIo<I, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        if written.is_ready() {
            self.connection.moved();
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
            self.connection.moved();
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
