//! What does a key stand for?
//! Given its bytes, hands back route, resource and forwarded headers, or which keys a purge means.
//! Never guesses: bytes that no key has stand for nothing.

use smallvec::SmallVec;

use crate::account_api::{Endpoint, uuid_text};
use crate::route::{Resource, RouteIndex, Word, client_in};

use super::{Key, Parts, UUID, begin};

/// A key, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The route's position in the table.
    pub route: RouteIndex,
    /// The route's edition.
    pub edition: u32,
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
    /// Those of no route as these are: their editions, in the order of the table.
    Outside(Box<[u32]>),
    /// All.
    All,
}

impl Which {
    /// All keys of this resource, whatever headers were forwarded.
    pub fn resource(route: RouteIndex, edition: u32, resource: &Resource) -> Self {
        let mut parts = Parts::new();
        begin(&mut parts, (route, edition), resource);
        Self::Resource(Key(SmallVec::from_slice(&parts)))
    }

    /// Whether this key is one of them.
    pub fn means(&self, key: &Key) -> bool {
        match self {
            // Every part has its length before it and every list its count: what begins alike is the same resource.
            Self::Resource(start) => key.0.starts_with(&start.0),
            Self::Route(route) => Reader(&key.0).number() == Some(*route),
            Self::Client(client) => is_of_client(key, client),
            Self::Outside(editions) => {
                let mut reader = Reader(&key.0);
                let now = reader.number().and_then(|route| editions.get(route));
                now.is_none() || reader.edition().as_ref() != now
            }
            Self::All => true,
        }
    }
}

fn is_of_client(key: &Key, client: &[u8]) -> bool {
    let mut reader = Reader(&key.0);
    let endpoint = reader.number().and_then(|route| Endpoint::ALL.get(route));
    let (Some(endpoint), Some(_)) = (endpoint, reader.edition()) else { return false };
    // What follows the resource does not matter here.
    match Reader(reader.0).documented_resource(*endpoint).or_else(|| reader.raw()) {
        _ if *endpoint == Endpoint::Clients => true,
        Some(Resource::Documented { ids, .. }) => ids.first().is_some_and(|id| **id == *client),
        Some(Resource::Opaque(target)) => client_in(&target).is_some_and(|id| *id == *client),
        None => false,
    }
}

impl Key {
    /// What it stands for; `None` if these are no key's bytes.
    pub fn decode(&self) -> Option<Named> {
        let mut reader = Reader(&self.0);
        let (route, edition) = (reader.number()?, reader.edition()?);
        let rest = reader.0;
        let decoded = Endpoint::ALL.get(route).and_then(|endpoint| {
            let resource = reader.documented_resource(*endpoint)?;
            Some((resource, reader.headers()?))
        });
        // A route of the seven in standard mode holds targets as they came.
        let (resource, headers) = decoded.or_else(|| {
            let mut reader = Reader(rest);
            Some((reader.raw()?, reader.headers()?))
        })?;
        Some(Named { route, edition, resource, headers })
    }

    /// The position of its route.
    pub(in crate::cache) fn route(&self) -> Option<RouteIndex> {
        Reader(&self.0).number()
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

    /// A resource of this endpoint, by its values.
    fn documented_resource(&mut self, endpoint: Endpoint) -> Option<Resource> {
        let wanted = endpoint.template().matches('{').count();
        if usize::from(self.byte()?) != wanted {
            return None;
        }
        let ids = (0..wanted).map(|_| self.identifier()).collect::<Option<_>>()?;
        let query = (0..self.byte()?).map(|_| Some((self.byte()?, self.identifier()?)));
        let query = query.collect::<Option<SmallVec<_>>>()?;
        Some(Resource::Documented { endpoint, ids, query })
    }

    /// A target as it came.
    fn raw(&mut self) -> Option<Resource> {
        std::str::from_utf8(self.part()?).ok().map(|target| Resource::Opaque(target.to_owned()))
    }

    /// Names and values to the end.
    fn headers(&mut self) -> Option<Vec<(String, String)>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut headers = Vec::new();
        while !self.0.is_empty() {
            headers.push((text(self.part()?), text(self.part()?)));
        }
        Some(headers)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn identifier(&mut self) -> Option<Word> {
        match self.byte()? {
            UUID => self.take(16)?.try_into().ok().map(|bits| Word::from_slice(&uuid_text(bits))),
            length => self.take(length.into()).map(Word::from_slice),
        }
    }

    fn number(&mut self) -> Option<usize> {
        self.take(2)?.try_into().ok().map(|bytes| usize::from(u16::from_be_bytes(bytes)))
    }

    fn edition(&mut self) -> Option<u32> {
        Some(self.take(3)?.iter().fold(0, |edition, byte| edition << 8 | u32::from(*byte)))
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = self.take(3)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length)
    }
}
