//! What is held of an answer?
//! Given a judged head and a whole body, hands back one compact value: the head in a single block, the body beside it.
//! Never parses a body. The body has a block of its own: a 304 or another variant then shares it and copies nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ETAG, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cache::Stored;
use crate::cache::freshness::Life;

use super::vary::Selection;

/// One stored answer.
#[derive(Debug)]
pub struct Reply {
    /// For each field: the lengths of name (2 bytes) and value (4 bytes), then both.
    head: Bytes,
    body: Bytes,
    status: StatusCode,
    life: Life,
    selection: Selection,
    /// Nanoseconds until which nobody else refreshes it.
    rest: AtomicU64,
    hits: AtomicU32,
}

impl Stored for Reply {
    fn life(&self) -> Life {
        self.life
    }

    fn status(&self) -> StatusCode {
        self.status
    }

    fn hit_counter(&self) -> &AtomicU32 {
        &self.hits
    }

    fn rest(&self) -> &AtomicU64 {
        &self.rest
    }
}

impl Reply {
    /// Takes in a head as it is to be given, and the body.
    pub fn new(status: StatusCode, head: &HeaderMap, body: Bytes, life: Life, selection: Selection) -> Self {
        let mut block = BytesMut::new();
        for (name, value) in head {
            let (Ok(named), Ok(valued)) = (u16::try_from(name.as_str().len()), u32::try_from(value.len())) else {
                continue;
            };
            block.put_u16(named);
            block.put_u32(valued);
            block.put_slice(name.as_str().as_bytes());
            block.put_slice(value.as_bytes());
        }
        // Copied to its exact size, so that what is weighed is what is held.
        let head = Bytes::copy_from_slice(&block);
        Self { head, body, status, life, selection, rest: AtomicU64::new(0), hits: AtomicU32::new(0) }
    }

    /// The body, sharing the reply's memory.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// How often it was.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// What it was chosen by.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The whole head.
    pub fn head(&self) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, value) in self.fields() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&name), HeaderValue::from_maybe_shared(value)) {
                head.append(name, value);
            }
        }
        head
    }

    /// The first value of one field.
    pub fn value(&self, wanted: &HeaderName) -> Option<HeaderValue> {
        let found = self.fields().find(|(name, _)| name == wanted.as_str().as_bytes());
        found.and_then(|(_, value)| HeaderValue::from_maybe_shared(value).ok())
    }

    /// Its entity tag as the partner gave it.
    pub fn tag(&self) -> Option<HeaderValue> {
        self.value(&ETAG)
    }

    /// Its last modification as the partner gave it.
    pub fn modified(&self) -> Option<HeaderValue> {
        self.value(&LAST_MODIFIED)
    }

    /// The same body with another head, life and selection.
    #[must_use]
    pub fn with(&self, head: &HeaderMap, life: Life, selection: Selection) -> Self {
        Self::new(self.status, head, self.body.clone(), life, selection)
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.head.len() + self.body.len() + self.selection.bytes()
    }

    fn fields(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        let mut rest = self.head.clone();
        std::iter::from_fn(move || {
            let (named, valued) = (rest.get(..2)?, rest.get(2..6)?);
            let named = usize::from(u16::from_be_bytes(named.try_into().ok()?));
            let valued = u32::from_be_bytes(valued.try_into().ok()?) as usize;
            let mut field = rest.split_to((6 + named + valued).min(rest.len()));
            let value = field.split_off((6 + named).min(field.len()));
            Some((field.slice(6.min(field.len())..), value))
        })
    }
}
