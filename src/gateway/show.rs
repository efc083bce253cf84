//! How a document is shown: narrowed to a right, compressed, and as a response.
//! Given an entry, the caller's right and a request, hands back the response.
//! Never asks the upstream: what it is given is shown, however old it is.

use std::sync::Arc;

use http::Response;
use http::request::Parts;

use crate::access::{Grant, Sight};
use crate::cache::{Coding, Entry, Stored};
use crate::http::request_flags::{Kinds, RequestFlags};
use crate::trail::Trail;

use super::refusal::Refusal;
use super::rendering::Rendering;
use super::respond::{Body, Delivery, Document};

impl Rendering {
    /// Shows a document through the caller's right.
    pub(super) async fn show(
        &self,
        grant: &Grant,
        entry: Arc<Entry>,
        delivery: Delivery,
        (parts, asks): (&Parts, RequestFlags),
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let view = match grant.sight() {
            Sight::Full => None,
            Sight::Narrow(lens) => Some(self.narrowed(grant, lens, &entry, &parts.headers).await?),
        };
        let full = view.is_none();
        let (view, coding) = match asks.has(Kinds::CODING) {
            true => self.compressed(grant, &entry, view, &parts.headers),
            false => (view, Coding::Identity),
        };
        // A hit is judged and shown at one moment; whatever had to wait is older by then.
        let shown_at =
            if delivery == Delivery::HIT && trail.upstream.is_none() { trail.began } else { self.clock.tick() };
        let age = entry.life().age(shown_at);
        (trail.outcome, trail.cause) = delivery.outcome_and_cause(true);
        trail.age = Some(age.as_secs());
        self.signature.document(
            Document { entry, full, view, coding, age, delivery, flags: asks },
            &parts.method,
            &parts.headers,
            &trail.request_id,
        )
    }
}
