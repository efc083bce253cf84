//! What showing a document needs: its fields, and nothing else of the gateway.
//! Given to the files below it, which narrow, compress and answer by it. It has the store, beside whose entries views and
//! codings are kept. Never asks the upstream, and never knows a token.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::access::Right;
use crate::account_api::Endpoint;
use crate::cache::tag::Tag;
use crate::cache::{Rendered, Store};
use crate::clock::Clock;
use crate::flight::Flights;
use crate::route::Routes;
use crate::trail::Ledger;
use crate::view::{Allow, NotUnderstood};

use super::respond::Signature;

/// Views under way: of which document, for which right.
pub type Views = Flights<(Endpoint, Tag, Right), Result<Rendered, NotUnderstood>>;

/// All that showing needs.
pub(super) struct Rendering {
    pub(super) routes: Arc<Routes>,
    pub(super) store: Arc<Store>,
    /// What beyond the schema narrowed rights may see.
    pub(super) allow: Arc<Allow>,
    /// Views under way, so that each is made once however many wait for it.
    pub(super) views: Views,
    /// One document is compressed at a time.
    pub(super) compression: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    /// What every answer carries.
    pub(super) signature: Signature,
    pub(super) ledger: Arc<Ledger>,
    pub(super) clock: Clock,
}
