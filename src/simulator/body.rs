//! How do the bytes go out?
//! Given bytes, a pace and whether they break off, hands back a body that hyper sends.
//! Never waits for anything but its own pace.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use crate::clock::Clock;

/// In how many pieces a body drips.
const PIECES: usize = 20;

/// The body of every answer.
#[derive(Debug)]
pub struct Body {
    rest: Bytes,
    /// The bytes at the end that are announced and never sent.
    held_back_bytes: usize,
    /// Whether what was sent before the break had its chance to leave the process.
    flushed: bool,
    drip: Option<Drip>,
}

#[derive(Debug)]
struct Drip {
    piece: usize,
    pause: Duration,
    clock: Clock,
    wait: Pin<Box<Sleep>>,
}

/// It was asked to break here.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the body was to be cut here")]
pub struct Cut;

impl Body {
    /// These bytes at once.
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self { rest: bytes, held_back_bytes: 0, flushed: false, drip: None }
    }

    /// The connection breaks before anything of the answer is written.
    pub(super) const fn broken() -> Self {
        Self { rest: Bytes::from_static(b"-"), held_back_bytes: 1, flushed: true, drip: None }
    }

    /// The same, breaking the connection after half of them.
    pub(super) const fn cut(mut self) -> Self {
        self.held_back_bytes = self.rest.len().div_ceil(2);
        self
    }

    /// The same, taking about so long.
    pub(super) fn dripping(mut self, takes: Duration, clock: Clock) -> Self {
        let (piece, pause) = (self.rest.len().div_ceil(PIECES).max(1), takes / PIECES as u32);
        let wait = Box::pin(clock.sleep_until(clock.tick().plus(pause)));
        self.drip = Some(Drip { piece, pause, clock, wait });
        self
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let ready = this.rest.len() - this.held_back_bytes;
        if ready == 0 && this.held_back_bytes == 0 {
            return Poll::Ready(None);
        }
        if ready == 0 {
            // hyper forgets what it has not written when a body fails: it gets one turn to write.
            if std::mem::replace(&mut this.flushed, true) {
                return Poll::Ready(Some(Err(Cut)));
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut piece = ready;
        if let Some(drip) = &mut this.drip {
            ready!(drip.wait.as_mut().poll(cx));
            drip.wait.set(drip.clock.sleep_until(drip.clock.tick().plus(drip.pause)));
            piece = piece.min(drip.piece);
        }
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
