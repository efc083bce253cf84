//! What would a request get on a route in standard mode?
//! Given a grant and what is held, hands back the verdict, and whether somebody fetches the same.
//! Never gives, sends or refreshes.

use std::sync::Arc;

use crate::access::Grant;
use crate::cache::glimpse::Glimpse;
use crate::cache::standard::reuse::{self, Fallback, Use};
use crate::cache::standard::slot::Held;
use crate::cache::standard::{Detail, Reply, Why};
use crate::clock::{Now, Tick};
use crate::quota::ComeBack;
use crate::trail::Outcome;

use super::super::explain::{Ages, Call, Verdict, Wanted};
use super::super::refusal::Refusal;
use super::super::respond::{Told, worded};
use super::super::{Dials, Gateway, REFRESHES};
use super::errand::Errand;
use super::{Asked, give, stale};

/// The verdict, and whether somebody fetches it, if that was looked at.
type Foreseen = (Verdict, Option<bool>);

impl<C: Dials> Gateway<C> {
    pub(in crate::gateway) fn foresee_standard(
        &self,
        grant: &Grant,
        (wanted, glimpse): (&Wanted, Option<&Glimpse>),
        may: Result<(), ComeBack>,
        now: Now,
    ) -> Result<Foreseen, Refusal> {
        let mut head = wanted.headers.clone();
        let (asked, why) = self.asked(grant, &mut head, false)?;
        let asked = Asked { head, ..asked };
        if why.is_some() {
            let ahead = self.may_call(may, false, asked.asker, now.tick)?;
            let why = "the route, its method or its headers go past the store";
            return Ok((Verdict::asks(Outcome::Pass, why, Some(ahead), now.tick), None));
        }
        let held = glimpse.map_or(Held::Absent, |glimpse| glimpse.select(&asked.head, now));
        let Held::Fits(reply) = &held else {
            if asked.wishes.only_if_cached {
                return Err(Refusal::OnlyIfCached);
            }
            let why = if matches!(held, Held::Others(_)) { Why::VaryMiss } else { Why::UriMiss };
            return self.foresee_call(&asked, held, (why, Fallback::NONE), may, now.tick);
        };
        match reuse::judge(&reply.life(), &asked.wishes, now.tick) {
            Use::Fresh => Ok((shown(reply, &Told::default(), now.tick), None)),
            Use::Stale(detail) => Ok((shown(reply, &stale(detail), now.tick), None)),
            Use::Refresh => {
                let (call, behind) = self.foresee_behind(&asked, reply, now.tick);
                let shown = shown(reply, &stale(Detail::StaleWhileRevalidate), now.tick);
                Ok((shown.and(call, &behind), None))
            }
            Use::Validate { .. } if asked.wishes.only_if_cached => Err(Refusal::OnlyIfCached),
            Use::Validate { why, fallback } => self.foresee_call(&asked, held, (why, fallback), may, now.tick),
        }
    }

    /// What becomes of the refresh behind.
    fn foresee_behind(&self, asked: &Asked, reply: &Reply, now: Tick) -> (Call, String) {
        if self.flights.count() >= REFRESHES || reply.is_resting(now) {
            return (Call::None, ", and no refresh starts: one is under way or failed just now".to_owned());
        }
        match self.may_call(Ok(()), self.flights.is_full(), crate::budget::Asker { who: 0, ..asked.asker }, now) {
            Ok(_) => (Call::Behind, " while a refresh starts".to_owned()),
            Err(refusal) => (Call::None, format!(", and its refresh cannot start: {}", worded(&refusal).title)),
        }
    }

    fn foresee_call(
        &self,
        asked: &Asked,
        held: Held,
        (why, fallback): (Why, Fallback),
        may: Result<(), ComeBack>,
        now: Tick,
    ) -> Result<Foreseen, Refusal> {
        let alone = asked.is_alone(&held);
        let old = match &held {
            Held::Fits(reply) => Some(Arc::clone(reply)),
            _ => None,
        };
        let errand = Errand::new(asked, held, why, fallback);
        let flight = self.flights.has(&errand.name());
        if flight && !alone {
            return Ok((Verdict::joins(), Some(true)));
        }
        let verdict = match self.may_call(may, self.flights.is_full(), asked.asker, now) {
            Ok(ahead) => {
                let confirms = matches!(why, Why::Stale | Why::Request) && !errand.about.is_empty();
                let outcome = if confirms { Outcome::Revalidated } else { Outcome::Miss };
                Verdict::asks(outcome, why.word(), Some(ahead), now)
            }
            Err(refusal) => match old.filter(|_| refusal.allows(fallback)) {
                Some(reply) => {
                    let title = worded(&refusal).title;
                    let shown = shown(&reply, &stale(Detail::StaleIfError), now);
                    shown.and(Call::None, &format!(", since the partner cannot be asked: {title}"))
                }
                None => return Err(refusal),
            },
        };
        Ok((verdict, Some(flight)))
    }
}

fn shown(reply: &Reply, told: &Told, now: Tick) -> Verdict {
    let life = reply.life();
    let ages = Ages { age: life.age(now), lifetime: life.lifetime };
    Verdict::shown(give::words(told), reply.status(), ages)
}
