//! How does an answer of the standard mode say where it came from?
//! Given what happened, writes its member of `Cache-Status` (RFC 9211) behind those of other caches.
//! Never says more than closed words and numbers.

use http::header::{AGE, VARY};
use http::{HeaderMap, StatusCode};

use crate::cache::standard::{Detail, Why};
use crate::http::cache_status::{CACHE_STATUS, Member};
use crate::trail::RequestId;

use super::{Signature, VARY_BY_TOKEN, number};

/// What happened to a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Why it went on to the partner and what status came back; a hit did not.
    pub forwarded: Option<(Why, Option<StatusCode>)>,
    /// Whether the answer is in the store now.
    pub stored: bool,
    /// Whether another request's call served this one.
    pub collapsed: bool,
    /// Seconds of freshness left of a stored answer; negative when stale.
    pub ttl: Option<i64>,
    /// What else there is to say.
    pub detail: Option<Detail>,
}

impl Signature {
    /// Signs an answer of the standard mode; `age` in whole seconds replaces whatever it said of its age.
    pub fn tell(&self, headers: &mut HeaderMap, told: &Told, age: Option<u64>, id: &RequestId) {
        let mut member = Member::of(self.name.as_bytes());
        match told.forwarded {
            None => member.hit(),
            Some((why, status)) => {
                member.forwarded(why.word());
                status.into_iter().for_each(|status| member.forwarded_status(status));
            }
        }
        if told.stored {
            member.stored();
        }
        if told.collapsed {
            member.collapsed();
        }
        if let Some(ttl) = told.ttl {
            member.ttl(ttl);
        }
        member.detail(told.detail.map_or("", Detail::word));
        headers.append(CACHE_STATUS, member.value());
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
