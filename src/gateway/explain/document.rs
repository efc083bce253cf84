//! What would a request for a document get?
//! Given a grant and what is held, hands back the verdict by the same plan that the request itself would have.
//! Never shows, confirms or fetches.

use crate::access::Grant;
use crate::cache::peek::Peek;
use crate::cache::reason::Why;
use crate::cache::{Entry, Key, Lookup};
use crate::clock::{Now, Tick};
use crate::http::accept::accepts_json;
use crate::http::request_flags::{Kinds, RequestFlags};
use crate::route::{Resource, Route};
use crate::trail::Outcome;

use super::super::refusal::Refusal;
use super::super::{Dials, Gateway};
use super::plan::{Subject, asker_of};
use super::{May, Verdict, Wanted};

impl<C: Dials> Gateway<C> {
    pub(super) fn foresee_document(
        &self,
        grant: &Grant,
        route: &Route,
        (wanted, peek): (&Wanted, Option<&Peek>),
        may: May,
        now: Now,
    ) -> Result<Verdict, Refusal> {
        let asks = RequestFlags::of(&wanted.headers);
        let acceptable = !asks.has(Kinds::ACCEPT) || accepts_json(&wanted.headers);
        let Some(key) = Key::of(grant, route, &wanted.headers) else {
            return self.foresee_unstored(grant, acceptable, may, now.tick);
        };
        if !acceptable {
            return Err(Refusal::NotAcceptable);
        }
        let found = peek.map_or(Lookup::Absent, |peek| peek.look(now));
        let subject = Subject {
            asker: asker_of(grant),
            may,
            flight: self.fetches.flights.has(&key),
            alone: false,
            confirms: |why| why == Why::Stale,
            shows: &|entry: &Entry| self.rendering.shows(grant, entry),
        };
        self.foresee_plan(self.plan(found, grant, &wanted.headers, asks, now.tick), &subject, now.tick)
    }

    fn foresee_unstored(&self, grant: &Grant, acceptable: bool, may: May, now: Tick) -> Result<Verdict, Refusal> {
        let (outcome, full) = match grant.wanted().resource() {
            Resource::Opaque(_) => (Outcome::Pass, false),
            Resource::Documented { .. } if !acceptable => return Err(Refusal::NotAcceptable),
            Resource::Documented { .. } => (Outcome::Miss, self.fetches.flights.is_full()),
        };
        let ahead = self.may_call(may, full, asker_of(grant), now)?;
        Ok(Verdict::calls(outcome, "the route stores nothing", Some(ahead), now))
    }
}
