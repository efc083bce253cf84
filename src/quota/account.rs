//! What may one caller still do?
//! Given its limits and `now`, books requests, places and calls, or hands back when to come back.
//! Never books a request that it refuses.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;

use crate::clock::Tick;
use crate::gcra::Arrivals;

use super::headers::{self, LimitHeaders};
use super::spent::Spent;
use super::{ComeBack, Limit, Limits, Refused};

/// When a place may be free is not known; nobody is told to come back sooner than in a second anyway.
const SLOT_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Account {
    pub(super) caller: Arc<str>,
    limits: Limits,
    /// `RateLimit-Policy`, which stays the same.
    policy: HeaderValue,
    /// Shared with the account that takes this one's place.
    spent: Arc<Mutex<Spent>>,
}

impl Account {
    /// An account; what was spent in one `before`, under the same name, is spent here.
    pub(super) fn open(caller: Arc<str>, limits: Limits, before: Option<&Self>) -> Self {
        let spent = before.map(|before| Arc::clone(&before.spent)).unwrap_or_default();
        Self { caller, limits, policy: headers::policy(&limits), spent }
    }

    /// One more request.
    pub(super) fn enter(&self, now: Tick) -> Result<(), ComeBack> {
        let mut spent = self.spent.lock();
        spent.count_by(&self.limits, now);
        spent.requests = self.entered(&spent, now).map_err(|back| spent.refuse(back))?;
        spent.under_way += 1;
        Ok(())
    }

    /// The same, where a refusal is not counted.
    pub(super) fn enter_silently(&self, now: Tick) -> bool {
        let mut spent = self.spent.lock();
        spent.count_by(&self.limits, now);
        let Ok(requests) = self.entered(&spent, now) else { return false };
        spent.requests = requests;
        spent.under_way += 1;
        true
    }

    /// Whether one more request would be let in, and whether it could start a call then.
    pub(super) fn foresee(&self, now: Tick) -> Result<Result<(), ComeBack>, ComeBack> {
        let mut spent = self.spent.lock();
        spent.count_by(&self.limits, now);
        let then = Spent { requests: self.entered(&spent, now)?, ..*spent };
        Ok(self.started(&then, now).map(drop))
    }

    fn entered(&self, spent: &Spent, now: Tick) -> Result<Arrivals, ComeBack> {
        if self.limits.concurrent.is_some_and(|most| spent.under_way >= most) {
            let at = self.next_request(spent, now).max(now.plus(SLOT_RETRY));
            return Err(ComeBack { limit: Limit::Concurrent, at });
        }
        let requests = spent.requests.admit(self.limits.requests, now);
        requests.map_err(|back| ComeBack { limit: Limit::Requests, at: back.at })
    }

    /// One request less under way.
    pub(super) fn leave(&self) {
        let mut spent = self.spent.lock();
        spent.under_way = spent.under_way.saturating_sub(1);
    }

    /// One more call to the partner.
    pub(super) fn start(&self, now: Tick) -> Result<(), ComeBack> {
        let mut spent = self.spent.lock();
        spent.count_by(&self.limits, now);
        spent.upstream = self.started(&spent, now).map_err(|back| spent.refuse(back))?;
        Ok(())
    }

    fn started(&self, spent: &Spent, now: Tick) -> Result<Arrivals, ComeBack> {
        let upstream = spent.upstream.admit(self.limits.upstream, now);
        upstream.map_err(|back| ComeBack { limit: Limit::Upstream, at: self.next_request(spent, now).max(back.at) })
    }

    /// When one more request would be let in: whoever is sent away for another reason need not come back before.
    fn next_request(&self, spent: &Spent, now: Tick) -> Tick {
        spent.requests.admit(self.limits.requests, now).map_or_else(|back| back.at, |_| now)
    }

    /// How the caller stands.
    pub(super) fn tell(&self, now: Tick) -> LimitHeaders {
        let mut spent = self.spent.lock();
        spent.count_by(&self.limits, now);
        LimitHeaders { policy: self.policy.clone(), standing: headers::standing(&self.limits, &spent, now) }
    }

    /// How often each limit refused.
    pub(super) fn refused(&self) -> Refused {
        Refused { caller: Arc::clone(&self.caller), times: self.spent.lock().refused }
    }
}
