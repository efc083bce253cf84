//! Is what the partner answers a document of its API?
//! Given an answer to one of the routes in api mode and what is held, lets it be taken in or says why it replaces nothing.
//! Never judges what is inside a document: that is the partner's.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::account_api::Endpoint;
use crate::cache::freshness::Stage;
use crate::cache::{Entry, Key, Stored};
use crate::clock::Tick;
use crate::route::{Route, RouteIndex};
use crate::upstream::document::{Members, Top, is_named_json, is_plain_json, top};

use super::Dials;
use super::fetches::Fetches;
use super::refusal::Fault;

/// An answer, and whose place it would take.
pub(super) struct Candidate<'a> {
    pub(super) route: (RouteIndex, &'a Route),
    pub(super) key: Option<&'a Key>,
    pub(super) status: StatusCode,
    pub(super) body: &'a [u8],
    pub(super) stored_entry: Option<&'a Entry>,
}

impl<C: Dials> Fetches<C> {
    /// Lets an answer be taken in, its type said as callers know it.
    ///
    /// # Errors
    /// [`Fault`]: what is held stays, and may be shown in its place.
    pub(super) fn admitted(&self, it: &Candidate<'_>, head: &mut HeaderMap, now: Tick) -> Result<(), Fault> {
        let judged = match it.status {
            StatusCode::PARTIAL_CONTENT => return Ok(()),
            status if status.is_success() => self.is_document(it, head),
            StatusCode::NOT_FOUND | StatusCode::GONE => self.is_absence(it, head, now),
            _ => return Ok(()),
        };
        match (judged, it.key) {
            (Err(fault), _) => self.ledger.counts.unfit(fault.as_str()),
            (Ok(()), Some(key)) => self.store.is_there(key),
            (Ok(()), None) => {}
        }
        judged
    }

    fn is_document(&self, it: &Candidate<'_>, head: &mut HeaderMap) -> Result<(), Fault> {
        let endpoint = Endpoint::ALL.get(it.route.0).copied();
        // Where the top is looked at, a type that says nothing of the bytes does no harm.
        let by_its_top = endpoint.filter(|_| it.route.1.documents_only);
        let plain = is_plain_json(head);
        if !plain && !is_named_json(head, by_its_top.is_some()) {
            return Err(Fault::NotJson);
        }
        let top = top(endpoint, it.body).ok_or(Fault::NotJson)?;
        if let Some(endpoint) = by_its_top {
            let Top::Object(members) = top else { return Err(Fault::NotADocument) };
            if !self.is_like_one_before(endpoint, members, it.stored_entry) {
                return Err(Fault::NotADocument);
            }
            self.store.had_top(endpoint, members.names());
        }
        if !plain {
            say_json(head);
        }
        Ok(())
    }

    /// Whether it has the documented member, or the members of one that was good. What a project's document looks like is
    /// our reading of the API, so that there the first to come is good, unless it is empty.
    fn is_like_one_before(&self, endpoint: Endpoint, members: Members, stored_entry: Option<&Entry>) -> bool {
        if members.has_the_documented() {
            return true;
        }
        let names = members.names();
        let before = self.store.top_of(endpoint);
        let stored = stored_entry.filter(|entry| entry.status().is_success());
        match stored.and_then(|entry| top(None, entry.bytes_of_body())) {
            _ if names == 0 || members.has_something_else_there() => false,
            Some(Top::Object(stored)) if stored.names() == names => true,
            Some(_) => before == names,
            None => before == names || (before == 0 && endpoint == Endpoint::ProjectResources),
        }
    }

    /// A 404 is the API's word if it is JSON. One that is a page, while something good is held, is one of the way there until
    /// it was heard again and again.
    fn is_absence(&self, it: &Candidate<'_>, head: &HeaderMap, now: Tick) -> Result<(), Fault> {
        let (Some(key), Some(stored_entry)) = (it.key, it.stored_entry) else { return Ok(()) };
        let good = stored_entry.status().is_success() && stored_entry.life().stage(now) != Stage::Over;
        if !good || (is_named_json(head, true) && top(None, it.body).is_some()) || self.store.believes_absence(key, now)
        {
            return Ok(());
        }
        Err(Fault::DoubtfulAbsence)
    }
}

/// A type that callers' clients know: what the partner says where that is JSON's, else JSON's own.
fn say_json(head: &mut HeaderMap) {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let listed = head.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().contains(&b','));
    let empty = head.get(CONTENT_TYPE).is_none_or(HeaderValue::is_empty);
    if listed || empty || !is_named_json(head, false) {
        head.insert(CONTENT_TYPE, JSON);
    }
}
