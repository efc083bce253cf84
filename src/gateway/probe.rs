//! What would the gateway make of the partner's answer?
//! Given a target of the seven, asks for it once by the rooms of the path, and hands back the answer and what becomes of it.
//! Never shows it to a caller, and never asks again where the path would retry: it is for who wants to know the partner.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause};
use crate::cache::freshness::Life;
use crate::cache::lifetime::Exchange;
use crate::cache::reason::Detail;
use crate::cache::{Key, Stored, key};
use crate::clock::{Now, Tick};
use crate::route::{Mode, Route, Target, Terms};
use crate::trail::trace::Traced;
use crate::upstream::{Fetched, UpstreamRequest};

use super::fetches::Fetches;
use super::landing::FetchedDocument;
use super::refusal::Refusal;
use super::{Dials, asker};
use crate::upstream::call::Called;
use crate::upstream::calls::{Answers, Call};

/// One answer of the partner's.
#[derive(Debug)]
pub struct Probe {
    /// Its status.
    pub status: StatusCode,
    /// Its head.
    pub head: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Until its head came.
    pub took: Duration,
    /// Keys that were refused before one was taken.
    pub keys_refused: u32,
    /// What becomes of it.
    pub disposition: Disposition,
}

/// What becomes of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is stored.
    Stored(Life, TermsSource),
    /// It is given to who asked, and not stored.
    NotStored(Detail),
    /// It is no answer to anybody.
    Refused(Refusal),
    /// The route is in standard mode: the partner's head alone decides, request by request.
    Standard,
}

/// Whose terms a lifetime comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TermsSource {
    /// The partner's head.
    Partner,
    /// The route's, since the partner names none.
    Route,
    /// The route's, whatever the partner says: `override = true`.
    Override,
}

impl<C: Dials> Fetches<C> {
    /// Asks the partner once, or once per key if keys are refused, inside the budget.
    ///
    /// # Errors
    /// Why there is no answer: no route, no place in the budget, no key that is taken, or the call failed.
    pub(super) async fn try_out(&self, target: &str) -> Result<Probe, Refusal> {
        let uri: Uri = target.parse().map_err(|_| Refusal::NoSuchRoute)?;
        let wanted = self.routes.find(&Method::GET, &Target::parse(&uri)?)?;
        let route = self.routes.at(wanted.route()).ok_or(Refusal::NoSuchRoute)?;
        let wish = UpstreamRequest { target: key::target_of(wanted.resource(), route), ..UpstreamRequest::default() };
        let scope = asker::scope(wanted.route());
        let asker =
            Asker { lane: Lane::Interactive, who: 0, resource: asker::target(&wish.target), payer: None, scope };
        let deadline = self.clock.tick().plus(self.settings.flight_timeout);
        let mut untraced = Traced::NONE;
        let permit = self.permit(asker, deadline, &mut untraced).await?;
        let (cause, answers) = (Cause::Miss, Answers::Judged);
        let call = Call {
            route: wanted.route(),
            asker,
            cause,
            deadline,
            answers,
            retries: false,
            forwards_authorization: false,
        };
        let called = self.calls.call(&call, &wish, permit, &mut untraced).await?;
        let Called { answer: fetched, permit, asked, paused, keys_refused } = called;
        drop(permit);
        let (status, head, body) = (fetched.status, fetched.head.clone(), fetched.body.clone());
        let took = fetched.received_at.since(asked);
        let key = route.stored.then(|| Key::named(&wanted, route, &HeaderMap::new()));
        let destination = (wanted.route(), key, asker);
        let disposition = match route.mode {
            Mode::Standard { .. } => Disposition::Standard,
            Mode::Api => self.disposition(route, destination, fetched, paused, asked),
        };
        Ok(Probe { status, head, body, took, keys_refused, disposition })
    }

    fn disposition(
        &self,
        route: &Route,
        destination: (usize, Option<Key>, Asker),
        fetched: Fetched,
        paused_until: Option<Tick>,
        asked: Tick,
    ) -> Disposition {
        let (status, head, came) = (fetched.status, fetched.head.clone(), fetched.received_at);
        match self.take_in_alone(destination, fetched, paused_until, asked) {
            Ok(FetchedDocument { entry, stored: Ok(()), .. }) => {
                let exchange = Exchange { asked, received: Now { tick: came, ..self.clock.now() } };
                let source = terms_source(&route.terms, |terms| self.judged(terms, status, &head, exchange));
                Disposition::Stored(entry.life(), source)
            }
            Ok(FetchedDocument { stored: Err(why), .. }) => Disposition::NotStored(why),
            Err(refusal) => Disposition::Refused(refusal),
        }
    }
}

/// Whose lifetime it is shows where another one of the route's changes it.
fn terms_source(terms: &Terms, judged: impl Fn(&Terms) -> Result<Life, Detail>) -> TermsSource {
    let more = Duration::from_secs(1);
    let longer = Terms { ttl: terms.ttl + more, negative_ttl: terms.negative_ttl + more, ..*terms };
    let lifetime = |terms| judged(terms).map(|life| life.lifetime).ok();
    match lifetime(terms) == lifetime(&longer) {
        true => TermsSource::Partner,
        false if terms.overrides => TermsSource::Override,
        false => TermsSource::Route,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::storability::judge_document;

    fn won(cache_control: &'static str, overrides: bool) -> TermsSource {
        let head = HeaderMap::from_iter([(http::header::CACHE_CONTROL, http::HeaderValue::from_static(cache_control))]);
        let [ttl, none] = [Duration::from_secs(60), Duration::ZERO];
        let (stale_while_revalidate, stale_if_error, negative_ttl) = (none, none, none);
        let terms = Terms { ttl, stale_while_revalidate, stale_if_error, negative_ttl, overrides };
        let exchange = Exchange { asked: Tick::from_nanos(0), received: Now { tick: Tick::from_nanos(0), unix_ms: 0 } };
        terms_source(&terms, |terms| judge_document(terms, false, StatusCode::OK, &head, exchange))
    }

    #[test]
    fn the_partners_lifetime_wins_where_it_names_one_and_nothing_overrides_it() {
        assert_eq!(won("max-age=60", false), TermsSource::Partner, "even if it is the same");
        assert_eq!(won("no-cache", false), TermsSource::Partner);
        assert_eq!(won("must-revalidate", false), TermsSource::Route);
        assert_eq!(won("max-age=5, no-store", true), TermsSource::Override);
    }
}
