//! What does a key stand for?
//! Given its bytes, hands back route, resource and forwarded headers, or which keys a purge means.
//! Never guesses: bytes that no key has stand for nothing.

use smallvec::SmallVec;

use crate::account_api::Endpoint;
use crate::route::{Resource, RouteIndex, Word};

use super::{Key, Parts, begin};

/// A key, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The route's position in the table.
    pub route: RouteIndex,
    /// The resource.
    pub resource: Resource,
    /// Headers of the caller's that were forwarded, and so split the resource.
    pub headers: Vec<(String, String)>,
}

/// Which keys are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Those of one resource.
    Resource(Key),
    /// Those of one route.
    Route(RouteIndex),
    /// Those of one client's own paths, and every list of clients: its row may stand there, or should.
    Client(Word),
    /// All.
    All,
}

impl Which {
    /// All keys of this resource, whatever headers were forwarded.
    pub fn resource(route: RouteIndex, resource: &Resource) -> Self {
        let mut parts = Parts::new();
        begin(&mut parts, route, resource);
        Self::Resource(Key(parts.as_slice().into()))
    }

    /// Whether this key is one of them.
    pub fn means(&self, key: &Key) -> bool {
        match self {
            // Every part has its length before it and every list its count: what begins alike is the same resource.
            Self::Resource(start) => key.0.starts_with(&start.0),
            Self::Route(route) => Reader(&key.0).number() == Some(*route),
            Self::Client(client) => is_of_client(key, client),
            Self::All => true,
        }
    }
}

fn is_of_client(key: &Key, client: &[u8]) -> bool {
    let mut reader = Reader(&key.0);
    let Some(endpoint) = reader.number().and_then(|route| Endpoint::ALL.get(route)) else { return false };
    let ids = reader.byte();
    *endpoint == Endpoint::Clients || (ids > Some(0) && reader.part() == Some(client))
}

impl Key {
    /// What it stands for; `None` if these are no key's bytes.
    pub fn named(&self) -> Option<Named> {
        let mut reader = Reader(&self.0);
        let route = reader.number()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let resource = match Endpoint::ALL.get(route) {
            None => Resource::Raw(text(reader.part()?)),
            Some(&endpoint) => {
                let mut ids = SmallVec::new();
                for _ in 0..reader.byte()? {
                    ids.push(Word::from_slice(reader.part()?));
                }
                let mut query = SmallVec::new();
                for _ in 0..reader.byte()? {
                    query.push((reader.byte()?, Word::from_slice(reader.part()?)));
                }
                Resource::Seven { endpoint, ids, query }
            }
        };
        let mut headers = Vec::new();
        while !reader.0.is_empty() {
            headers.push((text(reader.part()?), text(reader.part()?)));
        }
        Some(Named { route, resource, headers })
    }

    /// Its bytes, to put keys in an order that stays.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, many: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(many)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<usize> {
        self.take(2)?.try_into().ok().map(|bytes| usize::from(u16::from_be_bytes(bytes)))
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = self.take(3)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}
