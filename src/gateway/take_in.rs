//! What becomes of the upstream's answer to a request for a document.
//! Given the job and the answer, hands back the entry, stored where it may be, or why it replaces nothing.
//! Never shows it: to whom it is shown is decided elsewhere.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::budget::breaker::Reason;
use crate::budget::{Asker, Cause};
use crate::cache::freshness::{Life, Stage};
use crate::cache::lifetime::Exchange;
use crate::cache::reason::Detail;
use crate::cache::storability::judge_document;
use crate::cache::{Entry, Key, Stored, hub};
use crate::clock::{Now, Tick};
use crate::route::{Route, RouteIndex, Terms};
use crate::upstream::{Fetched, UpstreamRequest};

use super::document::Candidate;
use super::fetches::Fetches;
use super::flights::{Job, Purpose, REST};
use super::landing::{FetchedDocument, Shared};
use super::refusal::{Fault, Refusal};
use super::{Dials, asker};

/// The call for a document.
pub(super) struct DocumentFetch {
    pub(super) purpose: Purpose,
    /// Where the answer is stored; `None` where the route stores nothing.
    pub(super) key: Option<Key>,
    pub(super) wish: UpstreamRequest,
    pub(super) stored_entry: Option<Arc<Entry>>,
    /// When `stored_entry` was still there.
    pub(super) stored_at: Tick,
}

impl Job for DocumentFetch {
    type Brought = FetchedDocument;

    fn purpose(&self) -> Purpose {
        self.purpose
    }

    fn name(&self) -> Option<Key> {
        self.key.clone()
    }

    fn rest(&self, until: Tick) {
        self.stored_entry.iter().for_each(|stored_entry| stored_entry.rest_until(until));
    }

    fn status(brought: &FetchedDocument) -> Option<StatusCode> {
        Some(brought.status)
    }

    fn share(brought: &FetchedDocument) -> Shared {
        Shared::Document(brought.clone())
    }

    fn shared(shared: Shared) -> Option<FetchedDocument> {
        match shared {
            Shared::Document(answered) => Some(answered),
            // Nothing else lands under a document's key.
            Shared::FetchedReply(_) | Shared::Alone => None,
        }
    }
}

/// An answer, beside what it is the answer to.
struct Arrived<'a> {
    job: &'a DocumentFetch,
    route: &'a Route,
    head: HeaderMap,
    body: &'a [u8],
    exchange: Exchange,
}

impl<C: Dials> Fetches<C> {
    /// What becomes of an answer that nobody waits for, where nothing was held before.
    pub(super) fn take_in_alone(
        &self,
        (route, key, asker): (RouteIndex, Option<Key>, Asker),
        fetched: Fetched,
        paused_until: Option<Tick>,
        asked: Tick,
    ) -> Result<FetchedDocument, Refusal> {
        let (wish, cause) = (UpstreamRequest::default(), Cause::Miss);
        let job =
            DocumentFetch { purpose: Purpose { route, asker, cause }, key, wish, stored_entry: None, stored_at: asked };
        self.take_in(&job, fetched, paused_until, asked)
    }

    /// For how long a document may be used, by the route's terms and what the upstream's head says.
    pub(super) fn judged(
        &self,
        terms: &Terms,
        status: StatusCode,
        head: &HeaderMap,
        exchange: Exchange,
    ) -> Result<Life, Detail> {
        match self.calls.upstream().is_hub() {
            true => hub::judge(terms, status, head, exchange),
            false => judge_document(terms, false, status, head, exchange),
        }
    }

    /// Judges an answer and stores it if it may be.
    pub(super) fn take_in(
        &self,
        job: &DocumentFetch,
        fetched: Fetched,
        paused_until: Option<Tick>,
        asked: Tick,
    ) -> Result<FetchedDocument, Refusal> {
        let now = self.clock.now();
        let Fetched { status, mut head, body, received_at } = fetched;
        if let Some(until) = paused_until.filter(|_| is_pause(status)) {
            return Err(Refusal::Closed { retry: until.since(now.tick), reason: Reason::PausedByPartner });
        }
        let index = job.purpose.route;
        let route = self.routes.at(index).ok_or(Refusal::NoSuchRoute)?;
        self.withheld(status, &head, job.key.as_ref())?;
        let (key, stored_entry, body) = (job.key.as_ref(), job.stored_entry.as_deref(), &body[..]);
        self.admitted(&Candidate { route: (index, route), key, status, body, stored_entry }, &mut head, now.tick)?;
        let exchange = Exchange { asked, received: Now { tick: received_at, ..now } };
        let entry = self.entry(&Arrived { job, route, head, body, exchange }, status)?;
        let entry = Arc::new(entry.received_at(received_at));
        // Stale on arrival, it is the newest there is: a hub that serves it so, or a cache on the way, sees to a new one, and
        // nobody gains from asking at once for each who comes.
        if entry.life().stage(now.tick) == Stage::Stale {
            entry.rest_until(now.tick.plus(rest_of(route)));
        }
        // A confirmation is as old as what it confirms.
        let as_of = if status == StatusCode::NOT_MODIFIED { job.stored_at } else { asked };
        let stored = self.store_entry(job.key.clone(), route, &entry, as_of, now);
        Ok(FetchedDocument { entry, status, stored, took: received_at.since(asked) })
    }

    /// The entry that an answer makes, of what is held already where it confirms that.
    fn entry(&self, arrived: &Arrived<'_>, status: StatusCode) -> Result<Entry, Refusal> {
        let Arrived { job, head, body, .. } = arrived;
        let judge = |status| self.judge(arrived, status);
        Ok(match (status, &job.stored_entry) {
            (StatusCode::UNAUTHORIZED, _) => return Err(self.calls.login_fault().into()),
            (StatusCode::NOT_MODIFIED, Some(stored_entry)) => match judge(StatusCode::OK) {
                Ok(life) => stored_entry.freshened(head, life),
                Err(why) => Entry::new(stored_entry.status(), head, &stored_entry.body(), Err(why)),
            },
            (StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT, _) => return Err(Fault::Unasked.into()),
            (status, _) if status.is_server_error() => return Err(Fault::Status.into()),
            (status, _) if status.is_redirection() => return Err(Fault::Redirect.into()),
            (status, Some(stored_entry)) => Entry::new(status, head, body, judge(status)).with_forms_of(stored_entry),
            (status, None) => Entry::new(status, head, body, judge(status)),
        })
    }

    /// Its life, or why it is not stored.
    fn judge(&self, arrived: &Arrived<'_>, status: StatusCode) -> Result<Life, Detail> {
        let Arrived { job, route, head, exchange, .. } = arrived;
        if job.key.is_none() {
            return Err(Detail::Route);
        }
        let life = self.judged(&route.terms, status, head, *exchange)?.rested(rest_of(route));
        // A hub refreshes by its own clock: who asks it early gets the same answer once more.
        if self.calls.upstream().is_hub() {
            return Ok(life);
        }
        let before = job.stored_entry.as_deref().map(Entry::life);
        let dice = asker::drawn(job.purpose.asker.resource, exchange.asked);
        Ok(life.spread(before, exchange.asked, dice))
    }

    fn store_entry(
        &self,
        key: Option<Key>,
        route: &Route,
        entry: &Arc<Entry>,
        as_of: Tick,
        now: Now,
    ) -> Result<(), Detail> {
        let key = key.ok_or(Detail::Route)?;
        match entry.not_stored() {
            None => self.store.keep(key, Arc::clone(entry), as_of),
            Some(why) if !why.is_the_partners_will() => Err(why),
            Some(why) => {
                if !self.calls.upstream().is_hub() {
                    tracing::warn!(
                        route = route.name,
                        reason = why.as_str(),
                        "the partner forbids storing; `override = true` on the route would store it"
                    );
                }
                self.store.remember_uncacheable(key, now, as_of);
                Err(why)
            }
        }
    }
}

/// For how long something that was stale when it came is left alone.
fn rest_of(route: &Route) -> Duration {
    REST.max(route.terms.ttl / 10)
}

/// Whether an answer is nothing but the wish to be left alone; any other may come with it.
pub(super) fn is_pause(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}
