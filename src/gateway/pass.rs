//! The body of an answer that passes through.
//! Given the upstream's body, hands back one for the caller, whole where it is here already, else from a pool of buffers.
//! Never passes on more than `upstream.max_response`.

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};

use crate::budget::Permit;
use crate::upstream::Failed;

use super::Dials;
use super::fetches::Fetches;
use super::refusal::{Fault, Refusal};
use super::respond::Body;
use super::spool::{self, Limits, Spooled};

impl<C: Dials> Fetches<C> {
    /// An answer's body on its way to the caller, the first part of which was read already.
    ///
    /// # Errors
    /// It is larger than `upstream.max_response`, as its head says.
    pub(super) fn streamed(
        &self,
        before: Bytes,
        incoming: Incoming,
        permit: Permit,
        length: Option<u64>,
    ) -> Result<Body, Refusal> {
        let max_response = self.calls.upstream().max_response();
        if incoming.size_hint().lower().saturating_add(before.len() as u64) > max_response as u64 {
            return Err(Fault::Failed(Failed::TooLarge).into());
        }
        // What hyper knows it ends at by itself, and costs nothing here.
        let length = length.filter(|_| incoming.size_hint().exact().is_none());
        let limits = Limits { patience: self.settings.flight_timeout, max_response, length };
        let lease = self.buffers.lease(permit.asker().who);
        Ok(match spool::spool(before, incoming, permit, lease, (self.clock, limits)) {
            Spooled::Whole(bytes) => Body::full(bytes),
            Spooled::Comes(spool, filler) => {
                self.tasks.spawn(filler.run());
                Body::spool(spool)
            }
        })
    }
}
