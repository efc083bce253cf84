//! What a plan would come to, were it executed now.
//! Given the plan of a request for a document, or for a route in standard mode, hands back the verdict.
//! Never serves, confirms or fetches.

use crate::access::Grant;
use crate::budget::Asker;
use crate::budget::lanes::Lane;
use crate::cache::Stored;
use crate::cache::reason::{Detail, Why};
use crate::clock::Tick;
use crate::trail::Outcome;

use super::super::plan::Plan;
use super::super::refusal::Refusal;
use super::super::respond::{Delivery, worded};
use super::super::{Dials, Gateway, REFRESHES, asker};
use super::verdict::Ages;
use super::{Call, May, Verdict};

/// The request that the plan is for.
pub(in crate::gateway) struct Subject<'a, T> {
    /// Who would call for it.
    pub(in crate::gateway) asker: Asker,
    /// Whether its caller may start a call.
    pub(in crate::gateway) may: May,
    /// Whether somebody fetches the same.
    pub(in crate::gateway) flight: bool,
    /// Whether its own call is for nobody else.
    pub(in crate::gateway) alone: bool,
    /// Whether a call for this reason counts as one that confirms what is stored.
    pub(in crate::gateway) confirms: fn(Why) -> bool,
    /// Whether its caller could be shown what is stored.
    pub(in crate::gateway) shows: &'a dyn Fn(&T) -> Result<(), Refusal>,
}

impl<C: Dials> Gateway<C> {
    pub(in crate::gateway) fn foresee_plan<T: Stored>(
        &self,
        plan: Plan<T>,
        it: &Subject<'_, T>,
        now: Tick,
    ) -> Result<Verdict, Refusal> {
        match plan {
            Plan::Serve(stored, detail) => served_verdict(it, &*stored, detail, now),
            Plan::ServeAndRefresh(stored, detail) => {
                let (call, behind) = self.foresee_refresh(it, &*stored, now);
                Ok(served_verdict(it, &*stored, detail, now)?.and(call, &behind))
            }
            Plan::Revalidate { stored, why, fallback } => match self.foresee_call(it, why, true, now) {
                Err(refusal) if refusal.allows(fallback) => {
                    let title = worded(&refusal).title;
                    let verdict = served_verdict(it, &*stored, Some(Detail::StaleIfError), now)?;
                    Ok(verdict.and(Call::None, &format!(", since the partner cannot be asked: {title}")))
                }
                foreseen => foreseen,
            },
            Plan::Fetch { why, coalesce, .. } => self.foresee_call(it, why, coalesce, now),
            Plan::Refuse => Err(Refusal::OnlyIfCached),
        }
    }

    fn foresee_call<T>(&self, it: &Subject<'_, T>, why: Why, coalesce: bool, now: Tick) -> Result<Verdict, Refusal> {
        if it.flight && coalesce && !it.alone {
            return Ok(Verdict::joins());
        }
        let ahead = self.may_call(it.may, self.fetches.flights.is_full(), it.asker, now)?;
        let confirms = (it.confirms)(why);
        let outcome = if confirms { Outcome::Revalidated } else { Outcome::Miss };
        let why = match why {
            _ if !coalesce => "the partner lately forbade storing it",
            Why::Stale if !confirms => "what is held is over, and nothing could confirm it",
            Why::Stale => "what is held has to be confirmed",
            Why::Request => "the request forces it",
            Why::VaryMiss => "what is held answers other requests",
            Why::UriMiss | Why::Bypass | Why::Method => "nothing is held",
        };
        Ok(Verdict::calls(outcome, why, Some(ahead), now))
    }

    /// What becomes of the refresh behind, which is paid for by nobody.
    fn foresee_refresh<T: Stored>(&self, it: &Subject<'_, T>, stored: &T, now: Tick) -> (Call, String) {
        if it.flight {
            return (Call::None, " while a refresh is under way".to_owned());
        }
        if stored.is_resting(now) || self.fetches.flights.count() >= REFRESHES {
            let why = ", and no refresh is tried: one failed just now, or too many are under way";
            return (Call::None, why.to_owned());
        }
        let refresh = Asker { lane: Lane::Refresh, who: 0, payer: None, ..it.asker };
        match self.may_call(Ok(()), self.fetches.flights.is_full(), refresh, now) {
            Ok(_) => (Call::Behind, " while a refresh starts".to_owned()),
            Err(refusal) => (Call::None, format!(", and its refresh cannot start: {}", worded(&refusal).title)),
        }
    }
}

fn served_verdict<T: Stored>(
    it: &Subject<'_, T>,
    stored: &T,
    detail: Option<Detail>,
    now: Tick,
) -> Result<Verdict, Refusal> {
    (it.shows)(stored)?;
    let life = stored.life();
    let ages = Ages { age: life.age(now), lifetime: life.lifetime };
    Ok(Verdict::of_served(Delivery::from_memory(detail).outcome_and_cause(false), stored.status(), ages))
}

/// Who would call for this grant; over which resource does not matter before the call is made.
pub(super) fn asker_of(grant: &Grant) -> Asker {
    asker::asker(grant, 0, asker::scope(grant.wanted().route()))
}
