//! What is stored of an answer?
//! Given a head and a body, hands back one compact value: body and header values in a single block of memory.
//! Never parses a body, and never keeps a slice of the connection's buffer alive.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::access::Right;
use crate::clock::Tick;
use crate::http::cache_control::forbids_transform;

use super::Stored;
use super::freshness::{Life, Windows};
use super::reason::Detail;
use super::representation::{Coding, Rendered, Representations};
use super::storability::STORED_HEADERS;
use super::tag::Tag;

/// The headers of an answer that are kept, in the block's order.
const PARTS: usize = STORED_HEADERS.len();

/// One stored answer, shared by all callers.
///
/// In this order: what a hit writes comes first, beside the count of its holders that every hit writes anyway, so that the
/// rest stays readable by all cores at once. And without a gap: with the counts of its holders it fills 160 bytes, a size
/// that the allocator has.
#[derive(Debug)]
#[repr(C)]
pub struct Entry {
    hits: AtomicU32,
    status: StatusCode,
    not_stored: Option<Detail>,
    /// Whether the partner said `no-transform`.
    untouched: bool,
    block: Bytes,
    /// Where the body ends, then where each kept header ends.
    ends: [u32; 1 + PARTS],
    life: PackedLife,
    tag: Tag,
    /// Nanoseconds until which no refresh is tried again.
    rest: AtomicU64,
    faces: Representations,
}

/// Headers of a stored answer.
#[derive(Debug, Clone, Copy)]
pub struct Head<'e> {
    /// The media type.
    pub content_type: Option<&'e [u8]>,
    /// The language.
    pub language: Option<&'e [u8]>,
    /// When the partner sent it, as it said.
    pub date: Option<&'e [u8]>,
    /// When the partner last modified it, as it said.
    pub modified: Option<&'e [u8]>,
}

/// A [`Life`] in half its size: there are many entries, and milliseconds are fine enough for all of them.
#[derive(Debug, Clone, Copy)]
struct PackedLife {
    since: Tick,
    lifetime: u64,
    initial_age: u32,
    stale_while_revalidate: u32,
    stale_if_error: u32,
    early: u16,
    ask_first: bool,
}

impl From<Life> for PackedLife {
    fn from(life: Life) -> Self {
        // Beyond 49 days a window ends there.
        let short = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self {
            since: life.since,
            lifetime: u64::try_from(life.lifetime.as_millis()).unwrap_or(u64::MAX),
            initial_age: short(life.initial_age),
            stale_while_revalidate: short(life.stale.while_revalidate),
            stale_if_error: short(life.stale.if_error),
            ask_first: life.ask_first,
            early: u16::try_from(life.early.as_millis()).unwrap_or(u16::MAX),
        }
    }
}

impl From<PackedLife> for Life {
    fn from(life: PackedLife) -> Self {
        let long = |millis: u32| Duration::from_millis(millis.into());
        Self {
            since: life.since,
            lifetime: Duration::from_millis(life.lifetime),
            initial_age: long(life.initial_age),
            stale: Windows {
                if_asked: if life.ask_first { Duration::ZERO } else { long(life.stale_if_error) },
                ..Windows::of_route(long(life.stale_while_revalidate), long(life.stale_if_error))
            },
            ask_first: life.ask_first,
            early: Duration::from_millis(life.early.into()),
        }
    }
}

impl Stored for Entry {
    fn life(&self) -> Life {
        self.life.into()
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

impl Entry {
    /// Takes in an answer whose life, or reason for none, has been judged.
    pub fn new(status: StatusCode, head: &HeaderMap, body: &[u8], judged: Result<Life, Detail>) -> Self {
        let mut block = BytesMut::with_capacity(body.len() + 160);
        let mut ends = [0; 1 + PARTS];
        let values = STORED_HEADERS.iter().map(|name| head.get(name).map_or(&b""[..], HeaderValue::as_bytes));
        for (end, part) in ends.iter_mut().zip(std::iter::once(body).chain(values)) {
            block.put_slice(part);
            *end = u32::try_from(block.len()).unwrap_or(u32::MAX);
        }
        let (life, not_stored) = match judged {
            Ok(life) => (life, None),
            Err(why) => (Life { ask_first: true, ..Life::default() }, Some(why)),
        };
        Self {
            // Copied once more to its exact size, so that what is weighed is what is held.
            block: Bytes::copy_from_slice(&block),
            ends,
            status,
            life: life.into(),
            not_stored,
            tag: Tag::of(body),
            untouched: forbids_transform(head),
            rest: AtomicU64::new(0),
            hits: AtomicU32::new(0),
            faces: Representations::default(),
        }
    }

    /// The same document, sharing its memory, whose lifetime ends now if it has not ended yet; its stale windows count from then.
    #[must_use]
    pub(super) fn ended(&self, now: Tick) -> Self {
        let life = self.life().ended(now);
        Self {
            block: self.block.clone(),
            ends: self.ends,
            status: self.status,
            life: life.into(),
            not_stored: self.not_stored,
            untouched: self.untouched,
            tag: self.tag,
            rest: AtomicU64::new(0),
            hits: AtomicU32::new(self.hits()),
            faces: Representations::default(),
        }
    }

    /// The same document after a 304 (RFC 9111 §4.3.4): the new head's values, where it has them, and a new life. Its type
    /// stays: the bytes are the same, and servers put the type of an error page there.
    #[must_use]
    pub fn freshened(&self, head: &HeaderMap, life: Life) -> Self {
        let mut merged = HeaderMap::with_capacity(PARTS);
        for (nth, name) in STORED_HEADERS.iter().enumerate() {
            let told = head.get(name).filter(|_| *name != CONTENT_TYPE).cloned();
            let value = told.or_else(|| self.value(nth));
            if let Some(value) = value {
                merged.insert(name.clone(), value);
            }
        }
        let mut fresh = Self::new(self.status, &merged, &self.body(), Ok(life)).with_forms_of(self);
        fresh.untouched = match head.contains_key(CACHE_CONTROL) {
            true => forbids_transform(head),
            false => self.untouched,
        };
        fresh
    }

    /// The same, where it has no life since it is not stored: its age counts from when it came.
    #[must_use]
    pub fn received_at(mut self, came: Tick) -> Self {
        if self.not_stored.is_some() {
            self.life.since = came;
        }
        self
    }

    /// Takes over the full right's forms of another entry, if its body is the same: they would come out the same.
    ///
    /// Those of narrowed rights are made anew after every refresh: whether they were there would tell whether something
    /// outside the right has changed.
    #[must_use]
    pub fn with_forms_of(mut self, other: &Self) -> Self {
        if self.tag == other.tag && self.status == other.status {
            self.faces = other.faces.of(Right::FULL);
        }
        self
    }

    /// The body, sharing the entry's memory.
    pub fn body(&self) -> Bytes {
        self.block.slice(..(self.ends[0] as usize).min(self.block.len()))
    }

    /// The same without a share in it.
    pub fn bytes_of_body(&self) -> &[u8] {
        self.block.get(..self.ends[0] as usize).unwrap_or_default()
    }

    /// The kept headers that are shown, as they stand in the block.
    pub fn head(&self) -> Head<'_> {
        let [content_type, language, date, modified] = [0, 1, 2, 3].map(|nth| self.part(nth));
        Head { content_type, language, date, modified }
    }

    /// Why it is not in the store, if it is not.
    pub fn not_stored(&self) -> Option<Detail> {
        self.not_stored
    }

    /// The tag of the whole body.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Whether only the partner's own bytes may be sent.
    pub fn forbids_transform(&self) -> bool {
        self.untouched
    }

    /// The media type.
    pub fn content_type(&self) -> Option<HeaderValue> {
        // The common one costs neither a count of users nor a look at each byte.
        match self.part(0)? {
            b"application/json" => Some(HeaderValue::from_static("application/json")),
            _ => self.value(0),
        }
    }

    /// When the partner sent it, as it said.
    pub fn date(&self) -> Option<HeaderValue> {
        self.value(2)
    }

    /// The kept headers besides type and date: language, last modification.
    pub fn extra_headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        [1, 3].into_iter().filter_map(|nth| STORED_HEADERS.get(nth).cloned().zip(self.value(nth)))
    }

    /// When the partner last modified it, as it said.
    pub fn modified(&self) -> Option<&[u8]> {
        self.part(3)
    }

    /// The partner's validators, to ask it whether the document changed (RFC 9111 §4.3.1).
    pub fn validators(&self) -> (Option<HeaderValue>, Option<HeaderValue>) {
        (self.value(4), self.value(3))
    }

    fn value(&self, nth: usize) -> Option<HeaderValue> {
        let (from, to) = self.span_of(nth)?;
        HeaderValue::from_maybe_shared(self.block.slice(from..to)).ok()
    }

    fn part(&self, nth: usize) -> Option<&[u8]> {
        let (from, to) = self.span_of(nth)?;
        self.block.get(from..to)
    }

    /// Where a kept header's value stands in the block, if there is one.
    fn span_of(&self, nth: usize) -> Option<(usize, usize)> {
        let (from, to) = (*self.ends.get(nth)? as usize, *self.ends.get(nth + 1)? as usize);
        (from < to && to <= self.block.len()).then_some((from, to))
    }

    /// The form that was made for this right and coding; the full right's own bytes are [`Entry::body`].
    pub fn face(&self, right: Right, coding: Coding) -> Option<&Rendered> {
        self.faces.find(right, coding)
    }

    /// Keeps a form, and says whether the entry has grown by it.
    pub(super) fn keep_face(&self, right: Right, coding: Coding, shown: &Rendered) -> bool {
        self.faces.keep(right, coding, shown)
    }

    /// How often it was shown from memory, nearly.
    pub(super) fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Bytes it holds now, all its forms included.
    pub(super) fn bytes(&self) -> usize {
        std::mem::size_of::<Self>() + self.block.len() + self.faces.bytes()
    }
}
