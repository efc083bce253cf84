//! Could the question be answered that a decision hangs on?
//! Given it, hands back the grant if the list that answers it is held, else the verdict that it has to be fetched first.
//! Never fetches or refreshes that list.

use crate::access::{Grant, Question};
use crate::cache::freshness::Stage;
use crate::cache::{Key, Lookup, Stored};
use crate::clock::Now;
use crate::http::asks::Asks;
use crate::view::NotUnderstood;

use super::super::plan::wishes_of;
use super::super::refusal::Refusal;
use super::super::settle::said;
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
        let held = key.clone().map(|key| self.store.glimpse(key).look(now));
        if let Some(Lookup::Stored(list)) = &held
            && matches!(list.life().stage(now.tick), Stage::Fresh | Stage::Due | Stage::Stale)
        {
            let providers = said(question.project(), list).map_err(|NotUnderstood| Refusal::NotUnderstood)?;
            return Ok(Ok(question.settle(&providers)?));
        }
        if wishes_of(&wanted.headers, Asks::of(&wanted.headers)).only_if_cached {
            return Err(Refusal::OnlyIfCached);
        }
        let joins = !matches!(held, Some(Lookup::Uncacheable)) && key.is_some_and(|key| self.fetches.flights.has(&key));
        let ahead = if joins {
            None
        } else {
            Some(self.may_call(may, self.fetches.flights.is_full(), asker_of(question.list()), now.tick)?)
        };
        Ok(Err(Verdict::asks_for_the_list(ahead)))
    }
}
