//! What is sent, and when is a request over?
//! Given bytes or a spool, hands back a body that closes the trail when its last byte is taken or its caller leaves.
//! Never waits for the partner: a spool is filled by a task of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::clock::Clock;
use crate::trail::{Ledger, Trail};

use super::super::spool::{BrokeOff, Spool};

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
    Spool(Box<Spool>),
}

/// The body of every response.
pub struct Body {
    what: What,
    /// In a box: a response is moved a few times on its way out, and this is the larger part of it.
    end: Option<Box<End>>,
}

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

    /// The partner's answer as it comes.
    pub(in crate::gateway) fn spool(spool: Spool) -> Self {
        Self { what: What::Spool(Box::new(spool)), end: None }
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
            What::Spool(_) => Bytes::new(),
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
            What::Spool(spool) => {
                let polled = spool.poll_frame(cx);
                if let Poll::Ready(Some(Ok(frame))) = &polled {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    this.sent(bytes);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.what {
            What::Bytes(bytes) => bytes.is_empty(),
            What::Spool(spool) => spool.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.what {
            What::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            What::Spool(spool) => spool.size_hint(),
        }
    }
}
