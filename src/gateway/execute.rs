//! The execution of a plan: what is stored is served, a successor is fetched behind, or the upstream is asked first.
//! Given a query and its plan, hands back what is stored, or what a call brought, on routes of both modes alike.
//! Never decides, which the plan has done, and never renders.

use std::pin::Pin;
use std::sync::Arc;

use crate::cache::freshness::Fallback;
use crate::cache::reason::{Detail, Why};
use crate::cache::{Key, Stored};
use crate::clock::Now;
use crate::flight::Rank;
use crate::trail::Trail;

use super::fetches::Fetches;
use super::flights::{Joined, Runs};
use super::plan::Plan;
use super::refusal::Refusal;
use super::{Dials, REFRESHES};

/// What the upstream is asked for, and why.
#[derive(Debug)]
pub(super) struct Ask<T> {
    /// What fits the request and is to be confirmed or replaced.
    pub(super) stored: Option<Arc<T>>,
    /// What fits others, which a 304 may name.
    pub(super) others: Vec<Arc<T>>,
    pub(super) why: Why,
    /// Whether `stored` is served where the call fails.
    pub(super) fallback: Fallback,
    /// Whether all who ask meanwhile wait for one call.
    pub(super) coalesce: bool,
    /// Whether it is fetched behind, and nobody waits for it.
    pub(super) is_refresh: bool,
}

impl<T> Ask<T> {
    /// What a plan asks the upstream for; else the plan, which asks for nothing.
    pub(super) fn of(plan: Plan<T>) -> Result<Self, Plan<T>> {
        let (is_refresh, none) = (false, Fallback::NONE);
        match plan {
            Plan::Revalidate { stored, why, fallback } => {
                Ok(Self { stored: Some(stored), others: Vec::new(), why, fallback, coalesce: true, is_refresh })
            }
            Plan::Fetch { why, coalesce, others } => {
                Ok(Self { stored: None, others, why, fallback: none, coalesce, is_refresh })
            }
            plan => Err(plan),
        }
    }

    fn refresh(stored: &Arc<T>) -> Self {
        let (stored, others, why) = (Some(Arc::clone(stored)), Vec::new(), Why::Stale);
        Self { stored, others, why, fallback: Fallback::NONE, coalesce: true, is_refresh: true }
    }
}

/// A request for something that may be stored.
pub(super) trait Query<C> {
    /// What the store has of it.
    type Stored: Stored + Send + Sync;
    /// The call for it.
    type Job: Runs<C>;

    /// Under which key it is stored, if it is.
    fn key(&self) -> Option<&Key>;

    /// Where its call waits.
    fn rank(&self) -> Rank;

    /// Whether its call is for nobody else, whatever the plan says.
    fn is_alone(&self) -> bool;

    /// Whether it may join a call, and start none that others could join.
    fn starts_none(&self, fetches: &Fetches<C>) -> bool;

    /// What was stored since the plan was made, if that is as good as a new answer: a flight may have landed meanwhile.
    fn stored_since(
        &self,
        fetches: &Fetches<C>,
        before: Option<&Arc<Self::Stored>>,
        now: Now,
    ) -> Option<Arc<Self::Stored>>;

    /// Its call.
    fn job(&self, fetches: &Fetches<C>, ask: Ask<Self::Stored>) -> Self::Job;
}

/// What comes of a plan.
pub(super) enum Reached<S, B> {
    /// This is stored, and served with this word on why.
    Stored(Arc<S>, Option<Detail>),
    /// A call brought it.
    Brought {
        brought: B,
        /// Why it was made.
        why: Why,
        /// Whether another request's call served this one.
        collapsed: bool,
    },
}

/// What comes of a query's plan.
pub(super) type ReachedBy<C, Q> =
    Reached<<Q as Query<C>>::Stored, <<Q as Query<C>>::Job as super::flights::Job>::Brought>;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<C: Dials> Fetches<C> {
    /// Carries out a plan.
    ///
    /// # Errors
    /// Why nothing may be served: the plan refuses, or the call failed and nothing stored may stand in.
    ///
    /// In a box: it is large, and that it is `Send` for any connector is settled here.
    pub(super) fn execute<'a, Q: Query<C> + Sync>(
        self: &'a Arc<Self>,
        query: &'a Q,
        plan: Plan<Q::Stored>,
        now: Now,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<ReachedBy<C, Q>, Refusal>> {
        Box::pin(self.carry_out(query, plan, now, trail))
    }

    async fn carry_out<Q: Query<C> + Sync>(
        self: &Arc<Self>,
        query: &Q,
        plan: Plan<Q::Stored>,
        now: Now,
        trail: &mut Trail,
    ) -> Result<ReachedBy<C, Q>, Refusal> {
        let ask = match Ask::of(plan) {
            Ok(ask) => ask,
            Err(Plan::Serve(stored, detail)) => return Ok(Reached::Stored(stored, detail)),
            Err(Plan::ServeAndRefresh(stored, detail)) => {
                self.refresh_behind(query, &stored, now, trail);
                return Ok(Reached::Stored(stored, detail));
            }
            Err(_) => return Err(Refusal::OnlyIfCached),
        };
        let (stored, fallback) = (ask.stored.clone(), ask.fallback);
        match self.ask(query, ask, trail).await {
            Err(refusal) if refusal.allows(fallback) && query.key().is_some_and(|key| self.still_ours(key)) => {
                stored.map(|stored| Reached::Stored(stored, Some(Detail::StaleIfError))).ok_or(refusal)
            }
            reached => reached,
        }
    }

    /// Asks the upstream, together with whoever asks the same in the same words.
    async fn ask<Q: Query<C> + Sync>(
        self: &Arc<Self>,
        query: &Q,
        ask: Ask<Q::Stored>,
        trail: &mut Trail,
    ) -> Result<ReachedBy<C, Q>, Refusal> {
        let (why, before, now) = (ask.why, ask.stored.clone(), self.clock.now());
        let is_alone = query.is_alone() || !ask.coalesce;
        let job = query.job(self, ask);
        if is_alone {
            let brought = self.alone(job, trail).await?;
            return Ok(Reached::Brought { brought, why, collapsed: false });
        }
        let stored = || query.stored_since(self, before.as_ref(), now);
        Ok(match self.coalesced(job, query.rank(), query.starts_none(self), stored, trail).await? {
            Joined::Stored(stored) => Reached::Stored(stored, None),
            Joined::Brought(brought, collapsed) => Reached::Brought { brought, why, collapsed },
        })
    }

    /// Fetches a successor behind, unless somebody does, or the last one failed just now.
    fn refresh_behind<Q: Query<C>>(self: &Arc<Self>, query: &Q, stored: &Arc<Q::Stored>, now: Now, trail: &Trail) {
        let until = now.tick.plus(self.settings.flight_timeout);
        // Asked first: who has claimed it and starts none would leave it without a successor for a while.
        if self.flights.count() >= REFRESHES || !stored.claim_refresh(now.tick, until) {
            return;
        }
        // Since the look it may have been purged, and a flight may have landed.
        let may = || {
            let is_held = query.key().is_some_and(|key| self.store.holds(key));
            (is_held && query.stored_since(self, Some(stored), now).is_none()).then_some(()).ok_or(())
        };
        if !self.send_behind(query.job(self, Ask::refresh(stored)), may, trail) {
            stored.rest_until(now.tick);
        }
    }
}
