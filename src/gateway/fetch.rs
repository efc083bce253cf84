//! Documents of the API: the query for one, its call, and what becomes of the answer.
//! Given a grant and a key, makes the call that a plan wants, and hands back the entry, stored where it may be.
//! Never replaces a good document with an answer that is none.

use std::sync::Arc;

use http::header::VIA;
use http::request::Parts;

use crate::access::Grant;
use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause, Permit};
use crate::cache::{self, Entry, Key, Stored};
use crate::clock::{Now, Tick};
use crate::flight::Rank;
use crate::trail::Trail;
use crate::trail::trace::Traced;
use crate::upstream::UpstreamRequest;
use crate::upstream::call::Called;
use crate::upstream::calls::{Answers, Call};

use super::execute::{Ask, Query, Reached};
use super::fetches::Fetches;
use super::flights::{Purpose, Runs};
use super::landing::FetchedDocument;
use super::refusal::Refusal;
use super::respond::Delivery;
use super::take_in::DocumentFetch;
use super::{Dials, asker};

impl<C: Dials> Runs<C> for DocumentFetch {
    async fn run(
        &self,
        gateway: &Fetches<C>,
        permit: Permit,
        deadline: Tick,
        trace: &mut Traced,
    ) -> Result<FetchedDocument, Refusal> {
        let Purpose { route, asker, cause } = self.purpose;
        let (answers, retries, forwards_authorization) = (Answers::Retried, true, false);
        let call = Call { route, asker, cause, deadline, answers, retries, forwards_authorization };
        let Called { answer, permit, asked, paused, .. } = gateway.calls.call(&call, &self.wish, permit, trace).await?;
        // Its place in flight is free while the answer is taken in.
        drop(permit);
        gateway.take_in(self, answer, paused, asked)
    }
}

/// A request for a document.
pub(super) struct DocumentQuery<'a> {
    pub(super) grant: &'a Grant,
    /// Where it is stored; `None` where the route stores nothing.
    pub(super) key: Option<Key>,
    pub(super) parts: &'a Parts,
}

impl<C: Dials> Query<C> for DocumentQuery<'_> {
    type Stored = Entry;
    type Job = DocumentFetch;

    fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    fn rank(&self) -> Rank {
        asker::rank(asker::lane_of(self.grant), asker::who(self.grant.caller()))
    }

    fn is_alone(&self) -> bool {
        self.key.is_none()
    }

    fn starts_none(&self, fetches: &Fetches<C>) -> bool {
        // Where a request has been goes on to a hub, which may refuse it for that: what a caller says there is its own alone.
        fetches.calls.upstream().is_hub() && self.parts.headers.contains_key(VIA)
    }

    fn stored_since(&self, fetches: &Fetches<C>, before: Option<&Arc<Entry>>, now: Now) -> Option<Arc<Entry>> {
        let entry = fetches.store.stored_entry(self.key.as_ref()?)?;
        let is_new = before.is_none_or(|before| !Arc::ptr_eq(before, &entry));
        (is_new && entry.life().is_fresh(now.tick)).then_some(entry)
    }

    fn job(&self, fetches: &Fetches<C>, ask: Ask<Entry>) -> DocumentFetch {
        let (grant, headers) = (self.grant, &self.parts.headers);
        let cause = match &ask.stored {
            _ if ask.is_refresh => Cause::Refresh,
            Some(_) => Cause::Revalidate,
            None => Cause::Miss,
        };
        let route = grant.wanted().route();
        let mut wish = UpstreamRequest::default();
        if let Some(settings) = fetches.routes.at(route) {
            wish.target = cache::key::target_of(grant.wanted().resource(), settings);
            for name in &settings.forward_headers {
                wish.headers.extend(headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
        }
        // A refresh is nobody's, so it begins a way of its own.
        wish.via = (!ask.is_refresh).then(|| fetches.calls.upstream().way_of(headers)).flatten();
        let held_at = fetches.clock.tick();
        // It may have been purged since it was looked up.
        let held = ask.stored.and(self.key.as_ref()).and_then(|key| fetches.store.stored_entry(key));
        if let Some(entry) = &held {
            (wish.etag, wish.modified) = entry.validators();
        }
        // Starting a flight is paid for by who starts it; a refresh is paid for by nobody.
        let (resource, scope) = (asker::target(&wish.target), asker::scope(route));
        let asker = match ask.is_refresh {
            true => Asker { lane: Lane::Refresh, who: 0, resource, payer: None, scope },
            false => asker::asker(grant, resource, scope),
        };
        DocumentFetch {
            purpose: Purpose { route, asker, cause },
            key: self.key.clone(),
            wish,
            stored_entry: held,
            stored_at: held_at,
        }
    }
}

/// A document and how it came about, once its plan is carried out.
pub(super) fn landed(reached: Reached<Entry, FetchedDocument>, trail: &mut Trail) -> (Arc<Entry>, Delivery) {
    match reached {
        Reached::Stored(entry, detail) => {
            entry.was_hit();
            (entry, Delivery::from_memory(detail))
        }
        Reached::Brought { brought: FetchedDocument { entry, status, stored, took }, why, collapsed } => {
            trail.upstream = Some(took);
            let (forwarded, detail) = (Some((why, status)), stored.err());
            (entry, Delivery { forwarded, stored: stored.is_ok(), collapsed, detail })
        }
    }
}
