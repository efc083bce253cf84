//! What a gateway is put together of, and what others may see of it.
//! Given the parts, hands back the gateway; later, the parts that its operators' doors ask about.
//! Never answers a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::access::Rules;
use crate::cache::{Key, Store};
use crate::clock::Clock;
use crate::flight::Flights;
use crate::quota::CallerLimits;
use crate::quota::strangers::Strangers;
use crate::route::Routes;
use crate::token::Tokens;
use crate::trail::{Ledger, Trail};
use crate::upstream::calls::Calls;
use crate::view::Allow;

use super::buffers::Buffers;
use super::fetches::Fetches;
use super::landing::Landing;
use super::refusal::Refusal;
use super::rendering::{Rendering, Views};
use super::respond::Signature;
use super::{Dials, Gateway, Settings, VIEWS, probe};

/// What a gateway is put together of.
pub struct Parts<C> {
    /// Who asks?
    pub tokens: Arc<Tokens>,
    /// Is it their turn?
    pub caller_limits: CallerLimits,
    /// Whose tokens turned out bad lately?
    pub strangers: Arc<Strangers>,
    /// What do they want?
    pub routes: Arc<Routes>,
    /// May they?
    pub rules: Rules,
    /// Do we hold it?
    pub store: Arc<Store>,
    /// Is someone fetching it?
    pub flights: Arc<Flights<Key, Landing>>,
    /// May we ask the upstream, and what does it say?
    pub calls: Calls<C>,
    /// What beyond the schema narrowed rights may see.
    pub allow: Arc<Allow>,
    /// What happened.
    pub ledger: Arc<Ledger>,
    /// Our name in `Via` and `Cache-Status`.
    pub name: String,
    /// Waits and limits.
    pub settings: Settings,
    /// Time.
    pub clock: Clock,
    /// Flights in their own tasks.
    pub tasks: TaskTracker,
    /// Room for uploads, and for answers whose readers are slow.
    pub buffers: Arc<Buffers>,
    /// One document is compressed at a time.
    pub compression: Arc<Semaphore>,
    /// Whether connections are asked to end.
    pub draining: Arc<AtomicBool>,
    /// Where request ids begin: a random number, then counted.
    pub first_request: u64,
}

impl<C: Dials> Gateway<C> {
    /// Puts it together.
    ///
    /// # Errors
    /// A name that cannot stand in a header.
    pub fn new(parts: Parts<C>) -> Result<Self, http::header::InvalidHeaderValue> {
        let Parts {
            tokens, caller_limits, strangers, routes, rules, store, flights, calls, allow, ledger, name, ..
        } = parts;
        let Parts { settings, clock, tasks, buffers, compression, draining, first_request, .. } = parts;
        let rendering = Rendering {
            routes: Arc::clone(&routes),
            store: Arc::clone(&store),
            allow,
            views: Views::new(VIEWS),
            compression,
            tasks: tasks.clone(),
            signature: Signature::new(&name)?,
            ledger: Arc::clone(&ledger),
            clock,
        };
        let fetches = Arc::new(Fetches {
            routes: Arc::clone(&routes),
            store: Arc::clone(&store),
            flights,
            origin: calls.upstream().origin(),
            calls,
            ledger: Arc::clone(&ledger),
            settings,
            clock,
            tasks,
            buffers,
        });
        let requests = (first_request, AtomicU64::new(0));
        Ok(Self {
            tokens,
            caller_limits,
            strangers,
            routes,
            rules,
            store,
            fetches,
            rendering,
            ledger,
            name,
            clock,
            draining,
            requests,
        })
    }

    /// Tokens, and who they stand for.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// The limits of callers.
    pub fn caller_limits(&self) -> &CallerLimits {
        &self.caller_limits
    }

    /// Whose tokens turned out bad lately.
    pub fn strangers(&self) -> &Arc<Strangers> {
        &self.strangers
    }

    /// The routes.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Who may have what.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is stored.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What happened.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Its name in `Via` and `Cache-Status`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The flights under way.
    pub fn flights(&self) -> &Flights<Key, Landing> {
        &self.fetches.flights
    }

    /// The calls to the upstream.
    pub fn calls(&self) -> &Calls<C> {
        &self.fetches.calls
    }

    /// Waits and limits.
    pub fn settings(&self) -> &Settings {
        &self.fetches.settings
    }

    /// Flights in their own tasks.
    pub fn tasks(&self) -> &TaskTracker {
        &self.fetches.tasks
    }

    /// Room for uploads, and for answers whose readers are slow.
    pub fn buffers(&self) -> &Arc<Buffers> {
        &self.fetches.buffers
    }

    /// One answer of the upstream's, and what would become of it, for `check --probe`.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn try_out(&self, target: &str) -> Result<probe::Probe, Refusal> {
        self.fetches.try_out(target).await
    }

    /// One document is compressed at a time.
    pub fn compression(&self) -> &Arc<Semaphore> {
        &self.rendering.compression
    }

    /// What beyond the schema narrowed rights may see.
    pub fn allow(&self) -> &Allow {
        &self.rendering.allow
    }

    /// It was looked up in memory.
    #[inline]
    pub(crate) fn traced_look(&self, trail: &mut Trail, held: impl FnOnce() -> &'static str) {
        self.fetches.traced_look(trail, held);
    }

    /// What every answer carries.
    pub(crate) fn signature(&self) -> &Signature {
        &self.rendering.signature
    }

    /// Whether connections are asked to end.
    pub fn draining(&self) -> &Arc<AtomicBool> {
        &self.draining
    }

    /// Time.
    pub fn clock(&self) -> Clock {
        self.clock
    }
}
