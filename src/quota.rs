//! Is it their turn?
//! Given a caller and `now`, hands back [`Admitted`], or when to come back; later, whether this one may start a call.
//! Never waits, and never knows what is asked for: every request of a caller pays, whatever comes of it.

pub mod strangers;

mod spent;

mod headers;

mod account;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::clock::Tick;
use crate::gcra::{Quota, Rate};
use crate::token::Caller;

use account::Account;

pub use headers::LimitHeaders;

/// What one caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests in so much time, and how many at once after a rest.
    pub requests: Quota,
    /// Requests under way at one time, until the last byte of their answers; `None` is unlimited.
    pub concurrent: Option<u32>,
    /// Partner calls it may start in so much time. Joining one that is under way is free, and so is a refresh behind.
    pub upstream: Quota,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests in so much time.
    Requests,
    /// Requests at one time.
    Concurrent,
    /// Partner calls in so much time.
    Upstream,
}

impl Limit {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Concurrent, Self::Upstream];

    /// The fixed word: the key in `[callers.limits]`, and the name of the policy that callers are told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Concurrent => "concurrent",
            Self::Upstream => "upstream",
        }
    }
}

/// Not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComeBack {
    /// Which limit is reached.
    pub limit: Limit,
    /// When it is worth coming back: exact for rates, a guess for places.
    pub at: Tick,
}

/// What the callers with limits have spent, for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The caller's name.
    pub caller: Arc<str>,
    /// How often each limit refused it, in the order of [`Limit::ALL`].
    pub times: [u64; Limit::ALL.len()],
}

/// The callers' accounts.
#[derive(Debug, Default)]
pub struct CallerLimits {
    /// By [`Caller::index`]; `None` is unlimited.
    accounts: Vec<Option<Arc<Account>>>,
}

impl CallerLimits {
    /// Accounts for these callers, in the order of [`crate::token::Settings::callers`].
    pub fn new(callers: impl IntoIterator<Item = (String, Option<Limits>)>) -> Self {
        Self::default().reconfigured(callers)
    }

    /// The same for other callers, or under other limits: what a caller has spent it has spent there too.
    #[must_use]
    pub fn reconfigured(&self, callers: impl IntoIterator<Item = (String, Option<Limits>)>) -> Self {
        let account = |(caller, limits): (String, Option<Limits>)| {
            let limits = limits.filter(Limits::limit)?;
            let known = self.accounts.iter().flatten().find(|account| *account.caller == *caller);
            Some(Arc::new(Account::open(caller.into(), limits, known.map(Arc::as_ref))))
        };
        Self { accounts: callers.into_iter().map(account).collect() }
    }

    /// Is it this caller's turn?
    ///
    /// # Errors
    /// [`ComeBack`]; a request that is refused has spent nothing.
    pub fn admit(&self, caller: &Caller, now: Tick) -> Result<Admitted, ComeBack> {
        self.admit_at(caller.index(), now)
    }

    fn admit_at(&self, place: usize, now: Tick) -> Result<Admitted, ComeBack> {
        let Some(account) = self.account(place) else { return Ok(Admitted(None)) };
        account.enter(now)?;
        Ok(Admitted(Some(Arc::clone(account))))
    }

    /// The same where nobody is told of a refusal, so that none is counted.
    pub fn admit_silently(&self, caller: &Caller, now: Tick) -> Option<Admitted> {
        match self.account(caller.index()) {
            None => Some(Admitted(None)),
            Some(account) => account.enter_silently(now).then(|| Admitted(Some(Arc::clone(account)))),
        }
    }

    /// Would this caller be let in, and, inside, could it start a call to the partner? Nothing is booked, and no refusal counted.
    ///
    /// # Errors
    /// [`ComeBack`], as the request itself would get it.
    pub fn foresee(&self, caller: &Caller, now: Tick) -> Result<Result<(), ComeBack>, ComeBack> {
        self.account(caller.index()).map_or(Ok(Ok(())), |account| account.foresee(now))
    }

    /// What a caller is told of its limits; `None` where it has none.
    pub fn tell(&self, caller: &Caller, now: impl FnOnce() -> Tick) -> Option<LimitHeaders> {
        self.account(caller.index()).map(|account| account.tell(now()))
    }

    /// How often each caller was refused.
    pub fn refused(&self) -> Vec<Refused> {
        let accounts = self.accounts.iter().flatten();
        accounts.map(|account| account.refused()).collect()
    }

    fn account(&self, place: usize) -> Option<&Arc<Account>> {
        self.accounts.get(place)?.as_ref()
    }
}

impl Limits {
    fn limit(&self) -> bool {
        self.requests.rate != Rate::Unlimited || self.concurrent.is_some() || self.upstream.rate != Rate::Unlimited
    }
}

/// A caller's turn. Dropping it gives its place back.
#[derive(Debug)]
pub struct Admitted(Option<Arc<Account>>);

impl Admitted {
    /// May this one start a call to the partner?
    ///
    /// # Errors
    /// [`ComeBack`]; a call that is refused has spent nothing.
    pub fn start(&self, now: Tick) -> Result<(), ComeBack> {
        let Some(account) = &self.0 else { return Ok(()) };
        account.start(now)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(account) = &self.0 {
            account.leave();
        }
    }
}
