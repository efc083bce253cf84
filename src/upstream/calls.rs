//! Everything that a call to the upstream needs, in one place.
//! Given the budget, the upstream and the settings, makes the calls of this folder's other files: permit, credential, attempt.
//! Never knows routes' terms, callers' tokens or what is stored; what a lost credential takes with it is told to whoever stores.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::connect::Connect;

use crate::budget::{Asker, Budget, Cause};
use crate::clock::{Clock, Tick};
use crate::flight::Leader;
use crate::route::RouteIndex;
use crate::trail::Ledger;

use super::Upstream;

/// A connector to the upstream.
pub trait Connects: Connect + Clone + Send + Sync + 'static {}

impl<C: Connect + Clone + Send + Sync + 'static> Connects for C {}

/// For a call that nobody else can join.
pub const NO_FLIGHT: Option<&Leader<(), ()>> = None;

/// How calls are made and repeated.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The longest pause that the upstream may ask for.
    pub max_pause: Duration,
    /// Attempts beyond the first.
    pub retries: u32,
    /// The longest pause before the first of them; doubled for each further one.
    pub backoff: Duration,
    /// Whether the upstream is told of the trace.
    pub propagate_trace: bool,
}

/// What the upstream's answers have left here, for a credential that is lost and takes it along.
pub struct Holdings {
    /// Whether anything is stored or on its way.
    pub any: Box<dyn Fn() -> bool + Send + Sync>,
    /// Drops all of it.
    pub forget: Box<dyn Fn() + Send + Sync>,
}

/// The calls to one upstream.
pub struct Calls<C> {
    pub(super) budget: Arc<Budget>,
    pub(super) upstream: Upstream<C>,
    pub(super) telemetry: Arc<Ledger>,
    pub(super) clock: Clock,
    pub(super) settings: Settings,
    pub(super) holdings: Holdings,
}

impl<C> Calls<C> {
    /// Calls to this upstream, inside this budget.
    pub fn new(
        budget: Arc<Budget>,
        upstream: Upstream<C>,
        telemetry: Arc<Ledger>,
        holdings: Holdings,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        Self { budget, upstream, telemetry, clock, settings, holdings }
    }

    /// The budget that each call needs a permit of.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The upstream.
    pub fn upstream(&self) -> &Upstream<C> {
        &self.upstream
    }

    /// How calls are made and repeated.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// One call: for whom, and how it is made.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// For the counters.
    pub route: RouteIndex,
    /// For whom, and over what.
    pub asker: Asker,
    /// Why the upstream is asked the first time.
    pub cause: Cause,
    /// All attempts and waits end then.
    pub deadline: Tick,
    /// What a server error means, and whether it is asked again.
    pub answers: Answers,
    /// Whether it is tried again, as often as the settings say.
    pub retries: bool,
    /// Whether a 401 may be about credentials of the caller's own.
    pub forwards_authorization: bool,
}

/// What a server error says of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// It failed, and may succeed if it is asked again.
    Retried,
    /// It failed.
    Judged,
    /// Nothing: it is an answer like others.
    Passed,
}

/// Any number.
pub(super) fn dice() -> u32 {
    let mut dice = [0; 4];
    let _ = getrandom::fill(&mut dice);
    u32::from_le_bytes(dice)
}
