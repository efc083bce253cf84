//! Can this request be answered before hyper reads it?
//! Given what comes in, asks the door first; what the door does not answer from the bytes alone goes on to hyper untouched.
//! Never asks while hyper has anything to read, to answer or to write: answers leave in the order of their requests.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watchdog::{Command, ConnectionState};
use super::watched_io::{LINGER, poll_leave};
use super::{BadHead, Handler};

/// A head and a small body, ready to be sent.
pub type Wire = Vec<u8>;

/// Answers in a row on one connection before the others of its worker have their turn.
const MOST_IN_A_ROW: usize = 32;

/// After so many heads in a row that the door left to hyper, it is asked for one in as many: a client whose heads can never
/// be known, because of a header of its own or a condition, does not pay for each.
const UNKNOWN_IN_A_ROW: u8 = 8;

/// An answer that was given at once; its head is in the [`Wire`].
pub struct AtOnce<O> {
    /// What follows the head.
    pub body: Bytes,
    /// Dropped when the last byte is out.
    pub owed: O,
}

/// A connection whose door is asked before hyper.
pub(super) struct Ahead<I, D: Handler> {
    io: I,
    handler: D,
    peer: SocketAddr,
    connection: Arc<ConnectionState>,
    seam: Seam,
    /// Whether hyper waits for a head and has nothing else to do.
    idle: bool,
    /// Heads in a row that the door left to hyper; beyond [`UNKNOWN_IN_A_ROW`] the count starts over at it.
    unknown: u8,
    /// What the socket did not take yet of an answer.
    rest: Option<Box<Rest<D::Owed>>>,
    /// How many requests hyper had handed over when all were answered and nothing was left to write. What it writes before
    /// it hands over another is no answer of the door's: it is hyper's own to a head that it cannot read.
    settled: u64,
    /// Whether that was so: then it is said in the door's words, and is the last that is said.
    refused: bool,
    /// Bytes read after the last words.
    lingered: usize,
}

/// Where there are requests that are not answered.
const UNSETTLED: u64 = u64::MAX;

struct Rest<O> {
    parts: [Bytes; 2],
    owed: Option<O>,
}

impl<I: AsyncRead + AsyncWrite + Unpin, D: Handler> Ahead<I, D> {
    pub(super) fn new(io: I, handler: D, peer: SocketAddr, connection: Arc<ConnectionState>) -> Self {
        let (seam, idle, rest) = (Seam::default(), true, None);
        Self { io, handler, peer, connection, seam, idle, unknown: 0, rest, settled: 0, refused: false, lingered: 0 }
    }

    /// Asks the door for an answer to what was read, unless it has answered nothing of this connection for long.
    #[inline]
    fn at_once(&mut self, read: &[u8], wire: &mut Wire) -> Option<AtOnce<D::Owed>> {
        let is_asked = self.unknown <= UNKNOWN_IN_A_ROW;
        let answer = is_asked.then(|| self.handler.at_once(read, self.peer, wire)).flatten();
        self.unknown = match self.unknown + 1 {
            _ if answer.is_some() => 0,
            unknown if unknown < 2 * UNKNOWN_IN_A_ROW => unknown,
            _ => UNKNOWN_IN_A_ROW,
        };
        answer
    }

    /// Whether hyper speaks for itself.
    #[inline]
    fn is_ours(&self) -> bool {
        self.settled == self.connection.begun()
    }

    /// Takes what hyper says of a head that it cannot read, and says it in the door's words.
    #[cold]
    fn refuse(&mut self, said: &[u8]) {
        if !self.refused {
            let fault = match said.get(b"HTTP/1.1 ".len()..).and_then(<[u8]>::first_chunk::<3>) {
                Some(b"431" | b"414") => BadHead::TooLarge,
                _ => BadHead::Malformed,
            };
            let words = self.handler.refuse_on_the_wire(fault, self.peer);
            self.rest = Some(Box::new(Rest { parts: [words, Bytes::new()], owed: None }));
            self.refused = true;
        }
    }

    /// After the last words: closing over what still comes would reset them away.
    fn leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.leaving();
        poll_leave(Pin::new(&mut self.io), cx, &mut self.lingered, LINGER).map(Ok)
    }

    /// Sends an answer as far as the socket takes it.
    fn send(&mut self, cx: &mut Context<'_>, wire: Wire, at_once: AtOnce<D::Owed>) -> Poll<io::Result<()>> {
        let AtOnce { mut body, owed } = at_once;
        let mut sent_of_head = 0;
        loop {
            let head = wire.get(sent_of_head..).unwrap_or_default();
            if head.is_empty() && body.is_empty() {
                break;
            }
            let io = Pin::new(&mut self.io);
            let polled = match body.is_empty() {
                true => io.poll_write(cx, head),
                false => io.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(&body)]),
            };
            match polled {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => {
                    let of_head = sent.min(head.len());
                    sent_of_head += of_head;
                    body.advance((sent - of_head).min(body.len()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let parts = [Bytes::from(wire).split_off(sent_of_head), body];
                    self.rest = Some(Box::new(Rest { parts, owed: Some(owed) }));
                    return Poll::Pending;
                }
            }
        }
        drop(owed);
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => {
                self.rest = Some(Box::new(Rest { parts: Default::default(), owed: None }));
                Poll::Pending
            }
            ready => ready,
        }
    }

    /// Sends what is left of an answer; whatever comes after it waits.
    fn send_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(())) };
        for part in &mut rest.parts {
            while !part.is_empty() {
                match ready!(Pin::new(&mut self.io).poll_write(cx, part))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    sent => part.advance(sent),
                }
            }
        }
        rest.owed = None;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.rest = None;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, D: Handler> AsyncRead for Ahead<I, D> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        for _ in 0..MOST_IN_A_ROW {
            ready!(this.send_rest(cx))?;
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            let read = buf.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut wire = Wire::new();
            let asked = this.idle && this.connection.command() == Command::Nothing;
            match asked.then(|| this.at_once(read, &mut wire)).flatten() {
                Some(at_once) => {
                    buf.set_filled(before);
                    this.connection.quiet();
                    ready!(this.send(cx, wire, at_once))?;
                }
                None => {
                    this.idle = false;
                    this.seam.pass(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, D: Handler> AsyncWrite for Ahead<I, D> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.send_rest(cx))?;
        if self.is_ours() {
            self.refuse(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.send_rest(cx))?;
        if self.is_ours() {
            self.refuse(bufs.first().map_or(&[], |buf| buf));
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_rest(cx))?;
        if self.refused {
            return self.leave(cx);
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        // hyper flushes when it has written all there is. With every head answered, it waits for the next.
        self.idle = self.seam.is_between(self.connection.answered());
        self.settled = if self.connection.all_ended() { self.connection.begun() } else { UNSETTLED };
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_rest(cx))?;
        if self.connection.is_parting() {
            return self.leave(cx);
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Where among requests hyper is, told by the bytes that went to it. Whatever could be read in two ways is [`Seam::Lost`],
/// and stays so for as long as the connection lasts.
#[derive(Debug, PartialEq, Eq)]
enum Seam {
    /// Behind this many whole heads.
    Between { heads: u64 },
    /// Within the one after them: how long its last line is, and whether that ends in a carriage return.
    Within { heads: u64, line: usize, returned: bool },
    /// Nobody knows.
    Lost,
}

impl Default for Seam {
    fn default() -> Self {
        Self::Between { heads: 0 }
    }
}

impl Seam {
    /// Follows bytes that hyper gets.
    fn pass(&mut self, bytes: &[u8]) {
        let (heads, mut line, mut returned) = match *self {
            Self::Between { heads } => (heads, 0, false),
            Self::Within { heads, line, returned } => (heads, line, returned),
            Self::Lost => return,
        };
        let begins = matches!(self, Self::Between { .. });
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            line += at - from;
            returned = if at > 0 { bytes.get(at - 1) == Some(&b'\r') } else { returned };
            // A line that ends in another way, and an empty one before a head, are read by some as if they were not there.
            let is_first = begins && from == 0;
            *self = match (returned, line) {
                (true, 1) if is_first => Self::Lost,
                (true, 1) if at + 1 == bytes.len() => Self::Between { heads: heads + 1 },
                // More came with it: a body, or the next head, which hyper reads from its own memory.
                (true, 1) | (false, _) => Self::Lost,
                (true, _) => {
                    (from, line) = (at + 1, 0);
                    continue;
                }
            };
            return;
        }
        returned = if from < bytes.len() { bytes.last() == Some(&b'\r') } else { false };
        *self = Self::Within { heads, line: line + bytes.len() - from, returned };
    }

    /// Whether so many answers are those to all heads.
    fn is_between(&self, answered: u64) -> bool {
        *self == Self::Between { heads: answered }
    }
}

/// A body of hyper's that tells when hyper has it all.
pub(super) struct NotifyOnEnd<B> {
    body: B,
    connection: Arc<ConnectionState>,
}

impl<B> NotifyOnEnd<B> {
    pub(super) fn new(body: B, connection: Arc<ConnectionState>) -> Self {
        Self { body, connection }
    }
}

impl<B> Drop for NotifyOnEnd<B> {
    fn drop(&mut self) {
        self.connection.answer_ended();
    }
}

impl<B: Body + Unpin> Body for NotifyOnEnd<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
