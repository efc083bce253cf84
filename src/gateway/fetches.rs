//! What is fetched for requests, and how: the store, the flights, the calls, and what they need.
//! Given to the files that fetch, take in and store; it has no caller's token and no rule of who may have what.
//! Never renders an answer.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::cache::{Key, Store};
use crate::clock::Clock;
use crate::flight::Flights;
use crate::route::Routes;
use crate::trail::Ledger;
use crate::upstream::calls::Calls;

use super::Settings;
use super::buffers::Buffers;
use super::landing::Landing;

/// All that fetching needs.
pub(super) struct Fetches<C> {
    pub(super) routes: Arc<Routes>,
    pub(super) store: Arc<Store>,
    pub(super) flights: Arc<Flights<Key, Landing>>,
    pub(super) calls: Calls<C>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    /// Flights run in tasks of their own.
    pub(super) tasks: TaskTracker,
    /// Room for uploads, and for answers whose readers are slow.
    pub(super) buffers: Arc<Buffers>,
    /// The upstream's origin, as it begins a `Location` of its own.
    pub(super) origin: String,
}
