//! What would a request for a document get?
//! Given a grant and what is held, hands back the verdict by the same [`Course`] that the request itself would take.
//! Never shows, confirms or fetches.

use crate::access::Grant;
use crate::budget::Asker;
use crate::budget::lanes::Lane;
use crate::cache::glimpse::Glimpse;
use crate::cache::{Entry, Held, Key};
use crate::clock::{Now, Tick};
use crate::http::accept::accepts_json;
use crate::http::asks::{Asks, Kinds};
use crate::route::{Resource, Route};
use crate::trail::Outcome;

use super::super::fetch::why_asked;
use super::super::refusal::Refusal;
use super::super::respond::{Came, worded};
use super::super::wishes::{Course, STALE_IF_ERROR, course, wishes_of};
use super::super::{Dials, Gateway, REFRESHES, turn};
use super::verdict::Ages;
use super::{Call, May, Verdict, Wanted};

impl<C: Dials> Gateway<C> {
    pub(super) fn foresee_document(
        &self,
        grant: &Grant,
        route: &Route,
        (wanted, glimpse): (&Wanted, Option<&Glimpse>),
        may: May,
        now: Now,
    ) -> Result<Verdict, Refusal> {
        let asks = Asks::of(&wanted.headers);
        let acceptable = !asks.has(Kinds::ACCEPT) || accepts_json(&wanted.headers);
        let Some(key) = Key::of(grant, route, &wanted.headers) else {
            return self.foresee_unstored(grant, acceptable, may, now.tick);
        };
        if !acceptable {
            return Err(Refusal::NotAcceptable);
        }
        let held = glimpse.map_or(Held::Absent, |glimpse| glimpse.look(now));
        let wishes = wishes_of(&wanted.headers, asks);
        match course(held, &wishes, self.rules.may_refresh(grant.caller()), now.tick) {
            Course::Show(entry, came) => self.foresee_shown(grant, &entry, came, now.tick),
            Course::Refresh(entry, came) => {
                let shown = self.foresee_shown(grant, &entry, came, now.tick)?;
                let (call, behind) = self.foresee_refresh((grant, &key), &entry, now.tick);
                Ok(shown.and(call, &behind))
            }
            Course::Confirm { entry, on_error } => match self.foresee_fetch((grant, &key), Some(&entry), may, now.tick)
            {
                Err(refusal) if on_error && refusal.allows_stale() => {
                    let shown = self.foresee_shown(grant, &entry, STALE_IF_ERROR, now.tick)?;
                    Ok(shown
                        .and(Call::None, &format!(", since the partner cannot be asked: {}", worded(&refusal).title)))
                }
                foreseen => foreseen,
            },
            Course::FetchAlone => {
                let ahead = self.may_call(may, self.flights.is_full(), asker_of(grant), now.tick)?;
                Ok(Verdict::asks(Outcome::Miss, "the partner lately forbade storing it", Some(ahead), now.tick))
            }
            Course::FetchOnce => self.foresee_fetch((grant, &key), None, may, now.tick),
            Course::Nothing => Err(Refusal::OnlyIfCached),
        }
    }

    fn foresee_unstored(&self, grant: &Grant, acceptable: bool, may: May, now: Tick) -> Result<Verdict, Refusal> {
        const WHY: &str = "the route stores nothing";
        match grant.wanted().resource() {
            Resource::Raw(_) => {
                let ahead = self.may_call(may, false, asker_of(grant), now)?;
                Ok(Verdict::asks(Outcome::Pass, WHY, Some(ahead), now))
            }
            Resource::Seven { .. } if !acceptable => Err(Refusal::NotAcceptable),
            Resource::Seven { .. } => {
                let ahead = self.may_call(may, self.flights.is_full(), asker_of(grant), now)?;
                Ok(Verdict::asks(Outcome::Miss, WHY, Some(ahead), now))
            }
        }
    }

    fn foresee_shown(&self, grant: &Grant, entry: &Entry, came: Came, now: Tick) -> Result<Verdict, Refusal> {
        self.shows(grant, entry)?;
        let life = entry.life();
        let ages = Ages { age: life.age(now), lifetime: life.lifetime };
        Ok(Verdict::shown(came.words(), entry.status(), ages))
    }

    fn foresee_fetch(
        &self,
        (grant, key): (&Grant, &Key),
        held: Option<&Entry>,
        may: May,
        now: Tick,
    ) -> Result<Verdict, Refusal> {
        if self.flights.has(key) {
            return Ok(Verdict::joins());
        }
        let ahead = self.may_call(may, self.flights.is_full(), asker_of(grant), now)?;
        Ok(match why_asked(held, || now) {
            "stale" => Verdict::asks(Outcome::Revalidated, "what is held has to be confirmed", Some(ahead), now),
            "request" => Verdict::asks(Outcome::Miss, "the request forces it", Some(ahead), now),
            _ => Verdict::asks(Outcome::Miss, "nothing is held", Some(ahead), now),
        })
    }

    /// What becomes of the refresh behind, which is paid for by nobody.
    fn foresee_refresh(&self, (grant, key): (&Grant, &Key), entry: &Entry, now: Tick) -> (Call, String) {
        if entry.is_resting(now) || self.flights.count() >= REFRESHES {
            return (
                Call::None,
                ", and no refresh is tried: one failed just now, or too many are under way".to_owned(),
            );
        }
        if self.flights.has(key) {
            return (Call::None, " while a refresh is under way".to_owned());
        }
        match self.may_call(Ok(()), self.flights.is_full(), refresh_of(asker_of(grant)), now) {
            Ok(_) => (Call::Behind, " while a refresh starts".to_owned()),
            Err(refusal) => (Call::None, format!(", and its refresh cannot start: {}", worded(&refusal).title)),
        }
    }
}

/// Who would call for this grant; over which resource does not matter before the call is made.
pub(super) fn asker_of(grant: &Grant) -> Asker {
    turn::asker(grant, 0, turn::scope(grant.wanted().route()))
}

/// The refresh behind, which is nobody's.
fn refresh_of(asker: Asker) -> Asker {
    Asker { lane: Lane::Refresh, who: 0, payer: None, ..asker }
}
