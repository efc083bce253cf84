//! What would a request get on a route in standard mode?
//! Given a grant and what is held, hands back the verdict, and whether somebody fetches the same.
//! Never gives, sends or refreshes.

use crate::access::Grant;
use crate::cache::Lookup;
use crate::cache::Reply;
use crate::cache::peek::Peek;
use crate::cache::reason::Why;
use crate::clock::Now;
use crate::quota::ComeBack;
use crate::trail::Outcome;

use super::super::execute::Ask;
use super::super::explain::{Subject, Verdict, Wanted};
use super::super::flights::Job;
use super::super::plan::plan;
use super::super::refusal::Refusal;
use super::super::{Dials, Gateway};
use super::Asked;
use super::reply_fetch::ReplyFetch;

/// The verdict, and whether somebody fetches it, if that was looked at.
type Foreseen = (Verdict, Option<bool>);

impl<C: Dials> Gateway<C> {
    pub(in crate::gateway) fn foresee_standard(
        &self,
        grant: &Grant,
        (wanted, peek): (&Wanted, Option<&Peek>),
        may: Result<(), ComeBack>,
        now: Now,
    ) -> Result<Foreseen, Refusal> {
        let mut head = wanted.headers.clone();
        let (asked, why) = self.fetches.asked(grant, &mut head, false)?;
        let asked = Asked { head, ..asked };
        if why.is_some() {
            let ahead = self.may_call(may, false, asked.asker, now.tick)?;
            let why = "the route, its method or its headers go past the store";
            return Ok((Verdict::calls(Outcome::Pass, why, Some(ahead), now.tick), None));
        }
        let found = || peek.map_or(Lookup::Absent, |peek| peek.select(&asked.head, now));
        let planned = || plan(found(), &asked.wishes, true, now.tick);
        let ask = Ask::of(planned()).ok();
        let alone = asked.is_alone() || ask.as_ref().is_some_and(|ask| !ask.coalesce);
        let job = ask.map(|ask| ReplyFetch::new(&asked, ask));
        let flight = job.as_ref().and_then(Job::name).map(|name| self.fetches.flights.has(&name));
        let can_confirm = job.is_some_and(|job| !job.about.is_empty());
        let subject = Subject {
            asker: asked.asker,
            may,
            flight: flight.unwrap_or(false),
            alone,
            confirms: if can_confirm { |why| matches!(why, Why::Stale | Why::Request) } else { |_| false },
            shows: &|_: &Reply| Ok(()),
        };
        Ok((self.foresee_plan(planned(), &subject, now.tick)?, flight))
    }
}
