//! Could the question be answered that a decision hangs on?
//! Given it, hands back the grant if the list that answers it is held, else the verdict that it has to be fetched first.
//! Never fetches or refreshes that list.

use crate::access::{Grant, Question};
use crate::cache::Key;
use crate::clock::Now;
use crate::view::NotUnderstood;

use super::super::execute::Ask;
use super::super::lookup_provider::{plan_for_list, providers_in};
use super::super::plan::Plan;
use super::super::refusal::Refusal;
use super::super::{Dials, Gateway};
use super::plan::asker_of;
use super::{May, Verdict, Wanted};

impl<C: Dials> Gateway<C> {
    /// The grant, if the list that decides is held; else what comes before anybody knows.
    pub(super) fn settled(
        &self,
        question: Question,
        wanted: &Wanted,
        may: May,
        now: Now,
    ) -> Result<Result<Grant, Verdict>, Refusal> {
        let route = self.routes.at(question.list().wanted().route()).ok_or(Refusal::NoSuchRoute)?;
        let key = Key::of(question.list(), route, &wanted.headers);
        let found = key.as_ref().map(|key| self.store.peek(key.clone()).look(now));
        let ask = match Ask::of(plan_for_list(found, &wanted.headers, now)) {
            Ok(ask) => ask,
            Err(Plan::Serve(list, _) | Plan::ServeAndRefresh(list, _)) => {
                let providers =
                    providers_in(question.project(), &list).map_err(|NotUnderstood| Refusal::NotUnderstood)?;
                return Ok(Ok(question.settle(&providers)?));
            }
            Err(_) => return Err(Refusal::OnlyIfCached),
        };
        let joins = ask.coalesce && key.is_some_and(|key| self.fetches.flights.has(&key));
        let ahead = if joins {
            None
        } else {
            Some(self.may_call(may, self.fetches.flights.is_full(), asker_of(question.list()), now.tick)?)
        };
        Ok(Err(Verdict::calls_for_the_list(ahead)))
    }
}
