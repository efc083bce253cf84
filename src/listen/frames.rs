//! Frames of HTTP/2 that ask for nothing: does a peer send them as fast as it can?
//! Given the bytes of a connection in pieces of any size, reads the frames' headers (RFC 9113 §4.1) and ends a flood.
//! Never reads what is in a frame, but for how much of it is padding.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::limiter::ConnectionLimiter;
use super::watched_io::poll_leave;
use crate::clock::{Clock, Tick};

/// Frames that ask for nothing, in so much time and without a request between them, until the connection is ended. A peer
/// answers two pings a minute of ours, and sends its own settings and those that it acknowledges now and then.
const MAX_IDLE_FRAMES: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(10);

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes read after the last words: a flood is not waited for as an upload is.
const MAX_LINGER: usize = 256 << 10;

/// What a client begins with (RFC 9113 §3.4).
const PREFACE: u32 = 24;

/// The length of a frame's header.
const HEADER: u8 = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 8;

const ENHANCE_YOUR_CALM: u8 = 11;

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: u8,
    stream: u32,
    /// Whether there is anything in it but padding.
    is_empty: bool,
}

/// Reads frames' headers out of one direction of a connection.
#[derive(Debug, Default)]
struct Frames {
    /// Of a header that has not come whole, and of the byte behind it that says how long the padding is.
    header: [u8; HEADER as usize + 1],
    read: u8,
    /// Bytes until the next header.
    skip: u32,
}

impl Frames {
    /// What a client sends.
    fn of_client() -> Self {
        Self { skip: PREFACE, ..Self::default() }
    }

    /// Whether the next byte begins a frame.
    fn is_between(&self) -> bool {
        self.skip == 0 && self.read == 0
    }

    /// Follows the bytes that passed.
    fn follow(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((&byte, rest)) = bytes.split_first() else { return };
            if self.read == 0
                && let Some(header) = bytes.first_chunk::<{ HEADER as usize }>()
                && !is_padded(header)
            {
                // The whole header at once, as it nearly always is.
                bytes = bytes.get(header.len()..).unwrap_or_default();
                self.skip = length(header);
                each(Frame { kind: header[3], stream: stream(header), is_empty: self.skip == 0 });
                continue;
            }
            bytes = rest;
            if let Some(place) = self.header.get_mut(usize::from(self.read)) {
                *place = byte;
            }
            self.read += 1;
            self.end_header(&mut each);
        }
    }

    fn end_header(&mut self, each: &mut impl FnMut(Frame)) {
        let [header @ .., padding] = self.header;
        let padded = is_padded(&header) && length(&header) > 0;
        if self.read < HEADER || (padded && self.read == HEADER) {
            return;
        }
        let taken = u32::from(self.read - HEADER);
        self.skip = length(&header) - taken;
        let padding = if taken == 0 { 0 } else { u32::from(padding) };
        self.read = 0;
        each(Frame { kind: header[3], stream: stream(&header), is_empty: self.skip <= padding });
    }
}

fn is_padded(header: &[u8; HEADER as usize]) -> bool {
    header[3] == DATA && header[4] & PADDED != 0
}

fn length(header: &[u8; HEADER as usize]) -> u32 {
    u32::from_be_bytes([0, header[0], header[1], header[2]])
}

fn stream(header: &[u8; HEADER as usize]) -> u32 {
    u32::from_be_bytes([header[5] & 0x7f, header[6], header[7], header[8]])
}

/// Counts the frames that ask for nothing.
#[derive(Debug, Default)]
struct Calm {
    since: Tick,
    count: u32,
    /// The last stream that the peer began.
    last: u32,
}

impl Calm {
    /// Notes a frame; whether there have been too many.
    fn is_broken_by(&mut self, frame: Frame, now: impl FnOnce() -> Tick) -> bool {
        match frame.kind {
            HEADERS => (self.count, self.last) = (0, frame.stream.max(self.last)),
            // What takes part in a request or its answer.
            WINDOW_UPDATE | CONTINUATION => {}
            DATA if !frame.is_empty => {}
            _ => {
                self.count += 1;
                // The clock is read at the first of them and where there are too many.
                if self.count == 1 {
                    self.since = now();
                } else if self.count > MAX_IDLE_FRAMES {
                    let now = now();
                    if now.since(self.since) <= WINDOW {
                        return true;
                    }
                    (self.count, self.since) = (1, now);
                }
            }
        }
        false
    }
}

/// A connection of HTTP/2 whose frames are counted.
pub(super) struct Counted<I> {
    io: I,
    clock: Clock,
    connections: Arc<ConnectionLimiter>,
    theirs: Frames,
    ours: Frames,
    calm: Calm,
    /// Once there were too many.
    farewell: Option<Farewell>,
}

/// The end of a connection.
struct Farewell {
    /// What is left of the last words.
    payload: Bytes,
    until: Pin<Box<Sleep>>,
    lingered: usize,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Counted<I> {
    pub(super) fn new(io: I, clock: Clock, connections: Arc<ConnectionLimiter>) -> Self {
        let (theirs, ours, calm) = (Frames::of_client(), Frames::default(), Calm::default());
        Self { io, clock, connections, theirs, ours, calm, farewell: None }
    }

    /// GOAWAY (RFC 9113 §6.8), where a frame may stand.
    fn farewell(&self) -> Farewell {
        let mut payload = Vec::new();
        if self.ours.is_between() {
            payload.extend([0, 0, 8, 7, 0, 0, 0, 0, 0]);
            payload.extend(self.calm.last.to_be_bytes());
            payload.extend([0, 0, 0, ENHANCE_YOUR_CALM]);
        }
        let until = Box::pin(self.clock.sleep_until(self.clock.tick().plus(FAREWELL)));
        Farewell { payload: payload.into(), until, lingered: 0 }
    }

    fn written(&mut self, bytes: &[u8]) {
        self.ours.follow(bytes, |_| ());
    }
}

impl Farewell {
    /// Says the last words as far as they are taken in time, and ends in an error.
    fn poll(&mut self, io: &mut (impl AsyncRead + AsyncWrite + Unpin), cx: &mut Context<'_>) -> Poll<io::Error> {
        let over = || io::Error::other("too many frames that ask for nothing");
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(over());
        }
        while !self.payload.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &self.payload)) {
                Ok(written) if written > 0 => self.payload.advance(written),
                _ => return Poll::Ready(over()),
            }
        }
        ready!(poll_leave(Pin::new(io), cx, &mut self.lingered, MAX_LINGER));
        Poll::Ready(over())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Counted<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(farewell) = &mut this.farewell {
            return farewell.poll(&mut this.io, cx).map(Err);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let (calm, clock, mut is_flood) = (&mut this.calm, &this.clock, false);
        let read = buf.filled().get(before..).unwrap_or_default();
        this.theirs.follow(read, |frame| is_flood |= calm.is_broken_by(frame, || clock.tick()));
        if is_flood {
            buf.set_filled(before);
            this.connections.flooded();
            let farewell = this.farewell();
            return this.farewell.insert(farewell).poll(&mut this.io, cx).map(Err);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // Nothing comes after the last words.
        if self.farewell.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.written(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.farewell.is_some() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = left.min(buf.len());
            self.written(buf.get(..part).unwrap_or_default());
            left -= part;
        }
        Poll::Ready(Ok(written))
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

#[cfg(test)]
mod tests;
