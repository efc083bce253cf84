//! How does an answer of the standard mode say where it came from?
//! Given what happened, writes its member of `Cache-Status` (RFC 9211) behind those of other caches.
//! Never says more than closed words and numbers.

use std::fmt::Write as _;

use http::header::AGE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cache::standard::{Detail, Why};
use crate::trail::RequestId;

use super::{CACHE_STATUS, Signature, number};

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
        let mut text = self.name.clone();
        let _ = match told.forwarded {
            None => write!(text, "; hit"),
            Some((why, None)) => write!(text, "; fwd={}", why.word()),
            Some((why, Some(status))) => write!(text, "; fwd={}; fwd-status={}", why.word(), status.as_u16()),
        };
        if told.stored {
            text.push_str("; stored");
        }
        if told.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(ttl) = told.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        if let Some(detail) = told.detail {
            let _ = write!(text, "; detail={}", detail.word());
        }
        if let Ok(text) = HeaderValue::from_str(&text) {
            headers.append(CACHE_STATUS, text);
        }
        if let Some(age) = age {
            headers.insert(AGE, number(age));
        }
        self.sign(headers, id);
    }
}
