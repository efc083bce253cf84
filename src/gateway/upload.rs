//! A caller's request body, read whole before any call to the upstream is begun.
//! Given the body and who sends it, hands back its bytes, or whose fault it is that there are none.
//! Never holds a permit meanwhile: a slow caller waits for itself alone.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

use crate::budget::lanes::Who;
use crate::clock::Tick;

use super::Dials;
use super::buffers::Lease;
use super::fetches::Fetches;
use super::refusal::Refusal;
use crate::upstream::call::Outgoing;

impl<C: Dials> Fetches<C> {
    /// The request as it goes on to `target`, with its body, and the lease of the body's bytes.
    ///
    /// # Errors
    /// The body is too large, broken or too slow, or there is no room for it in time.
    pub(super) async fn outgoing(
        &self,
        parts: &mut Parts,
        body: Incoming,
        target: String,
        who: Who,
        deadline: Tick,
    ) -> Result<(Outgoing, Lease), Refusal> {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.settings.max_request_body as u64) {
            return Err(Refusal::BodyTooLarge);
        }
        let mut lease = self.buffers.lease(who);
        let body = match body.is_end_stream() {
            true => Bytes::new(),
            false => {
                let read = self.upload(body, &mut lease);
                self.clock.until(deadline, read).await.unwrap_or(Err(Refusal::SlowBody))?
            }
        };
        let outgoing = Outgoing {
            method: parts.method.clone(),
            version: parts.version,
            target,
            head: std::mem::take(&mut parts.headers),
            body,
        };
        Ok((outgoing, lease))
    }

    async fn upload(&self, mut body: Incoming, lease: &mut Lease) -> Result<Bytes, Refusal> {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            let Ok(part) = frame.into_data() else { continue };
            if read.len() + part.len() > self.settings.max_request_body {
                return Err(Refusal::BodyTooLarge);
            }
            if !lease.grow(part.len()) {
                let full = self.clock.tick().plus(self.calls.budget().max_wait());
                let busy = Refusal::Busy { retry: super::BUFFER_RETRY };
                self.clock.until(full, lease.grown(part.len())).await.map_err(|_| busy)?;
            }
            read.extend_from_slice(&part);
        }
        Ok(read.freeze())
    }
}

/// A body that does not end as its head says is the caller's doing, whether it left or wrote nonsense.
fn broken(error: &hyper::Error) -> Refusal {
    // Of HTTP/1.1 a chunk that cannot be read is invalid input; whatever else ends a body is its sender's leaving.
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => Refusal::BrokenBody,
                _ => Refusal::CallerLeft,
            };
        }
        source = cause.source();
    }
    if error.is_parse() { Refusal::BrokenBody } else { Refusal::CallerLeft }
}
