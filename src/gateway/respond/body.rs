//! What is sent, and when is a request over?
//! Given bytes or the partner's stream, hands back a body that closes the trail when its last byte is taken or its caller leaves.
//! Never buffers: a stream passes frame by frame.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::budget::Permit;
use crate::clock::Clock;
use crate::trail::{Ledger, Trail};

/// Settles the request when it is dropped.
pub struct End {
    /// Where the trail goes.
    pub ledger: Arc<Ledger>,
    /// To tell how long it took.
    pub clock: Clock,
    /// What happened.
    pub trail: Trail,
}

impl Drop for End {
    fn drop(&mut self) {
        let now = self.clock.tick();
        self.ledger.close(&mut self.trail, now);
    }
}

enum What {
    Bytes(Bytes),
    Stream(Box<Stream>),
}

struct Stream {
    /// What was read of it before it was decided to pass it on.
    before: Bytes,
    incoming: Incoming,
    /// Given back when the partner's last byte is here.
    permit: Option<Permit>,
    clock: Clock,
    patience: Duration,
    /// Set where the partner was waited for; most answers are here whole when they are begun.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    /// The end of the partner's patience, if it does not move before.
    fn later(&self) -> Sleep {
        self.clock.sleep_until(self.clock.tick().plus(self.patience))
    }

    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stalled.is_none() {
            self.stalled = Some(Box::pin(self.later()));
        }
        self.stalled.as_mut().map_or(Poll::Pending, |stalled| stalled.as_mut().poll(cx))
    }
}

/// The body of every response.
pub struct Body {
    what: What,
    /// In a box: a response is moved a few times on its way out, and this is the larger part of it.
    end: Option<Box<End>>,
}

/// The partner stood still in the middle of its answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the partner's answer broke off")]
pub struct BrokeOff;

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        Self { what: What::Bytes(bytes), end: None }
    }

    /// The partner's answer as it comes; a pause longer than `patience` breaks it off.
    pub fn stream(incoming: Incoming, permit: Permit, clock: Clock, patience: Duration) -> Self {
        Self::stream_after(Bytes::new(), incoming, permit, clock, patience)
    }

    /// The same, whose first bytes have been read already.
    pub fn stream_after(before: Bytes, incoming: Incoming, permit: Permit, clock: Clock, patience: Duration) -> Self {
        let stream = Stream { before, incoming, permit: Some(permit), clock, patience, stalled: None };
        Self { what: What::Stream(Box::new(stream)), end: None }
    }

    /// What settles the request with this body.
    #[must_use]
    pub fn ending(mut self, end: Box<End>) -> Self {
        self.end = Some(end);
        self
    }

    /// Its bytes, of a body that was made of bytes.
    pub(super) fn into_bytes(self) -> Bytes {
        match self.what {
            What::Bytes(bytes) => bytes,
            What::Stream(_) => Bytes::new(),
        }
    }

    fn sent(&mut self, bytes: usize) {
        if let Some(end) = &mut self.end {
            end.trail.bytes += bytes as u64;
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let this = &mut *self;
        match &mut this.what {
            What::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            What::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                this.sent(bytes.len());
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            What::Stream(stream) if !stream.before.is_empty() => {
                let bytes = std::mem::take(&mut stream.before);
                this.sent(bytes.len());
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            What::Stream(stream) => {
                let polled = Pin::new(&mut stream.incoming).poll_frame(cx);
                if polled.is_pending() {
                    return stream.stalled(cx).map(|()| Some(Err(BrokeOff)));
                }
                let later = stream.stalled.is_some().then(|| stream.later());
                if let (Some(stalled), Some(later)) = (&mut stream.stalled, later) {
                    stalled.set(later);
                }
                if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
                    stream.permit = None;
                }
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    this.sent(bytes);
                }
                polled.map_err(|_| BrokeOff)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.what {
            What::Bytes(bytes) => bytes.is_empty(),
            What::Stream(stream) => stream.before.is_empty() && stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.what {
            What::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            What::Stream(stream) => {
                let (read, rest) = (stream.before.len() as u64, stream.incoming.size_hint());
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(read));
                if let Some(most) = rest.upper() {
                    hint.set_upper(most.saturating_add(read));
                }
                hint
            }
        }
    }
}
