//! How an answer came about: from memory, or by a call, and what the store has of it.
//! Given what happened, says it in `Cache-Status` (RFC 9211), in the log and in the metrics, on routes of both modes alike.
//! Never says more than closed words and numbers.

use http::header::{AGE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cache::reason::{Detail, Why};
use crate::http::cache_status::{CACHE_STATUS, Member};
use crate::trail::{Outcome, RequestId};

use super::{Signature, VARY_BY_TOKEN, number};

/// What happened to a request; by default, it was a hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Why the upstream was asked, and the status it answered with; `None` where it was not.
    pub forwarded: Option<(Why, StatusCode)>,
    /// Whether what it answered is in the store now.
    pub stored: bool,
    /// Whether another request's call served this one.
    pub collapsed: bool,
    /// Why it is not stored, or why it was right to serve what was.
    pub detail: Option<Detail>,
}

impl Delivery {
    /// Something stored and fresh.
    pub const HIT: Self = Self { forwarded: None, stored: false, collapsed: false, detail: None };

    /// Something stored, with a word on why that was right.
    pub const fn from_memory(detail: Option<Detail>) -> Self {
        Self { detail, ..Self::HIT }
    }

    /// By a call, made for this reason, that was answered with this status.
    pub const fn forwarded(why: Why, status: StatusCode) -> Self {
        Self { forwarded: Some((why, status)), ..Self::HIT }
    }

    /// The same for the log: the outcome, and the detail where there is one. Of a document (`is_document`) that was asked about
    /// because it was stale, whether it changed is not told apart: who may see a part of it must not learn that of the rest.
    #[inline]
    pub(crate) fn outcome_and_cause(self, is_document: bool) -> (Outcome, &'static str) {
        let outcome = match self.forwarded {
            None if matches!(self.detail, None | Some(Detail::Clamped)) => Outcome::Hit,
            None => Outcome::Stale,
            Some(_) if self.collapsed => Outcome::Collapsed,
            Some((Why::Stale, _)) if is_document => Outcome::Revalidated,
            Some(_) if is_document => Outcome::Miss,
            Some((Why::Bypass | Why::Method, _)) => Outcome::Pass,
            Some((_, StatusCode::NOT_MODIFIED)) if self.stored => Outcome::Revalidated,
            Some(_) => Outcome::Miss,
        };
        (outcome, self.detail.map_or("", Detail::as_str))
    }
}

impl Signature {
    /// Our member of `Cache-Status`. `ttl` is what is left of the lifetime of something stored; the upstream's status, which
    /// tells whether something changed, is shown only to who may see all of it.
    pub(super) fn cache_status(&self, delivery: Delivery, ttl: Option<i64>, shows_status: bool) -> HeaderValue {
        let Delivery { forwarded, stored, collapsed, detail } = delivery;
        let mut member = match (forwarded, ttl) {
            (None, Some(ttl)) => Member::of_hit(&self.hit, ttl),
            _ => Member::of(self.name.as_bytes()),
        };
        if let Some((why, status)) = forwarded {
            member.forwarded(why.as_str());
            if shows_status {
                member.forwarded_status(status);
            }
            if stored {
                member.stored();
                ttl.into_iter().for_each(|ttl| member.ttl(ttl));
            }
            if collapsed {
                member.collapsed();
            }
        }
        member.detail(detail.map_or("", Detail::as_str));
        member.value()
    }

    /// Signs an answer of the standard mode; `age` in whole seconds replaces whatever it said of its age.
    pub(in crate::gateway) fn tell(
        &self,
        headers: &mut HeaderMap,
        delivery: Delivery,
        (ttl, age): (Option<i64>, Option<u64>),
        id: &RequestId,
    ) {
        // Behind the members of other caches.
        headers.append(CACHE_STATUS, self.cache_status(delivery, ttl, true));
        // A cache before us that shares must not show to one what another's token opened (RFC 9111 §4.1). Of an answer
        // that may be stored here, what the partner itself says of it stands.
        if !headers.contains_key(VARY) {
            headers.insert(VARY, VARY_BY_TOKEN);
        }
        if let Some(age) = age {
            headers.insert(AGE, number(age));
        }
        self.sign(headers, id);
    }
}
