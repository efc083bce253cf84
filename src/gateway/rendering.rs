//! How a document is shown: narrowed to a right, compressed, and as a response.
//! Given an entry and a request, hands back the response. It has the store, beside whose entries views and codings are kept.
//! Never asks the upstream, and never knows a token.

use std::sync::Arc;

use http::Response;
use http::request::Parts;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::access::{Grant, Sight};
use crate::cache::{Coding, Entry, Store};
use crate::clock::Clock;
use crate::http::asks::{Asks, Kinds};
use crate::route::Routes;
use crate::trail::{Ledger, Trail};
use crate::view::Allow;

use super::narrow::Views;
use super::refusal::Refusal;
use super::respond::{Body, Came, Document, Signature};

/// All that showing needs.
pub(super) struct Rendering {
    pub(super) routes: Arc<Routes>,
    pub(super) store: Arc<Store>,
    /// What beyond the schema narrowed rights may see.
    pub(super) allow: Arc<Allow>,
    /// Views under way, so that each is made once however many wait for it.
    pub(super) views: Views,
    /// One document is compressed at a time.
    pub(super) press: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    /// What every answer carries.
    pub(super) signature: Signature,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Clock,
}

impl Rendering {
    /// Shows a document through the caller's right.
    pub(super) async fn show(
        &self,
        grant: &Grant,
        entry: Arc<Entry>,
        came: Came,
        (parts, asks): (&Parts, Asks),
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let view = match grant.sight() {
            Sight::Full => None,
            Sight::Narrow(lens) => Some(self.narrow(grant, lens, &entry, &parts.headers).await?),
        };
        let full = view.is_none();
        let (view, coding) = match asks.has(Kinds::CODING) {
            true => self.pressed(grant, &entry, view, &parts.headers),
            false => (view, Coding::Identity),
        };
        // A hit is judged and shown at one moment; whatever had to wait is older by then.
        let shown_at = if came == Came::Hit && trail.upstream.is_none() { trail.began } else { self.clock.tick() };
        let age = entry.life().age(shown_at);
        (trail.outcome, trail.cause) = came.words();
        trail.age = Some(age.as_secs());
        self.signature.document(
            Document { entry, full, view, coding, age, came, asks },
            &parts.method,
            &parts.headers,
            &trail.request_id,
        )
    }
}
