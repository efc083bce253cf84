//! Under which name is an answer stored?
//! Given a grant and the headers that go on, hands back the key; and from the key the target that is sent.
//! Never holds anything of the caller: what is keyed is what is sent, and nothing else.

pub mod named;

use http::{HeaderMap, Method};
use smallvec::SmallVec;

use crate::access::Grant;
use crate::account_api::{Endpoint, PREFIX, uuid_bits};
use crate::route::{Match, Resource, Route, RouteIndex};

/// The binary key of one representation: route and its edition, then every part with its length before it. What one UUID
/// names fits in the key itself; a store of many entries is smaller by it, and a hit needs no memory of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(super) SmallVec<[u8; 24]>);

type Parts = SmallVec<[u8; 128]>;

/// Stands in place of a length: 16 bytes of a UUID follow. No identifier is so long.
const UUID: u8 = 0x80;

impl Key {
    /// The key of what this grant opens, or `None` where nothing is stored.
    pub fn of(grant: &Grant, route: &Route, headers: &HeaderMap) -> Option<Self> {
        if !route.stored {
            return None;
        }
        Some(Self::named(grant.wanted(), route, headers))
    }

    /// The key of a resource: enough to forget what is held of it, which needs no right to see it.
    pub fn named(wanted: &Match, route: &Route, headers: &HeaderMap) -> Self {
        let mut parts = Parts::new();
        begin(&mut parts, (wanted.route(), route.edition), wanted.resource());
        for name in &route.forward_headers {
            for value in headers.get_all(name) {
                push(&mut parts, name.as_str().as_bytes());
                push(&mut parts, value.as_bytes());
            }
        }
        Self(SmallVec::from_slice(&parts))
    }

    /// The key under which requests for this one that go out with the same head are one request.
    #[must_use]
    pub fn sent_with(&self, method: &Method, head: &HeaderMap) -> Self {
        let mut parts = Parts::from_slice(&self.0);
        push(&mut parts, method.as_str().as_bytes());
        let mut fields: Vec<(&str, &[u8])> =
            head.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        // The order of different names means nothing; that of one name's lines does, and is kept.
        fields.sort_by_key(|(name, _)| *name);
        for (name, value) in fields {
            push(&mut parts, name.as_bytes());
            push(&mut parts, value);
        }
        Self(SmallVec::from_slice(&parts))
    }

    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a key always has a route")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// What all keys of a resource begin with.
#[inline]
fn begin(parts: &mut Parts, (route, edition): (RouteIndex, u32), resource: &Resource) {
    parts.extend_from_slice(&(route as u16).to_be_bytes());
    // Three bytes hold every edition there may be.
    parts.extend_from_slice(&edition.to_be_bytes()[1..]);
    match resource {
        Resource::Documented { ids, query, .. } => {
            parts.push(ids.len() as u8);
            for id in ids {
                push_identifier(parts, id);
            }
            parts.push(query.len() as u8);
            for (name, value) in query {
                parts.push(*name);
                push_identifier(parts, value);
            }
        }
        Resource::Opaque(target) => push(parts, target.as_bytes()),
    }
}

/// A UUID by its bits, anything else by its text of at most 64 characters.
#[inline]
fn push_identifier(parts: &mut Parts, id: &[u8]) {
    match uuid_bits(id) {
        Some(bits) => {
            parts.push(UUID);
            parts.extend_from_slice(&bits);
        }
        None => {
            parts.push(id.len() as u8);
            parts.extend_from_slice(id);
        }
    }
}

/// A length of three bytes keeps parts apart: no choice of values makes two resources share a key.
fn push(parts: &mut Parts, part: &[u8]) {
    parts.extend_from_slice(&(part.len() as u32).to_be_bytes()[1..]);
    parts.extend_from_slice(part);
}

/// The target that is sent to the partner for a resource, rebuilt from its values.
pub fn target_of(resource: &Resource, route: &Route) -> String {
    let (endpoint, ids, query) = match resource {
        Resource::Opaque(target) => return target.clone(),
        Resource::Documented { endpoint, ids, query } => (endpoint, ids, query),
    };
    let mut target = String::with_capacity(128);
    target.push_str(PREFIX);
    let mut ids = ids.iter();
    for segment in Endpoint::template(*endpoint).split_inclusive('/') {
        match segment.starts_with('{').then(|| ids.next()).flatten() {
            Some(id) => {
                target.push_str(std::str::from_utf8(id).unwrap_or_default());
                target.push('/');
            }
            None => target.push_str(segment),
        }
    }
    for (nth, (name, value)) in query.iter().enumerate() {
        target.push(if nth == 0 { '?' } else { '&' });
        target.push_str(route.query.get(usize::from(*name)).map_or("", String::as_str));
        target.push('=');
        target.push_str(std::str::from_utf8(value).unwrap_or_default());
    }
    target
}
