//! Which variants are held?
//! Given a key and the request as it goes out, hands back the newest reply that fits, or the tags of those that do not.
//! Never lets an answer in that was asked for before its resource was changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};
use moka::ops::compute::Op;

use crate::cache::{Key, Slot, Store, UNCACHEABLE};
use crate::clock::Now;

use super::reply::Reply;

/// The largest number of tags that one question to the partner names.
const MOST_TAGS: usize = 8;

/// Counters of changes, shared by keys that fall on the same one: a needless refusal to store costs one call.
const STRIPES: usize = 256;

/// The replies held for one target, newest first.
#[derive(Debug, Clone, Default)]
pub struct Variants(pub(crate) Vec<Arc<Reply>>);

impl Variants {
    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|reply| reply.bytes() + size_of::<Arc<Reply>>()).sum()
    }
}

/// What is held for a request.
#[derive(Debug, Clone)]
pub enum Held {
    /// The newest reply that fits it (RFC 9111 §4.1).
    Fits(Arc<Reply>),
    /// Replies to requests that differ where it matters.
    Others(Vec<Arc<Reply>>),
    /// The partner lately gave something that may not be stored.
    Uncacheable,
    /// Nothing.
    Absent,
}

impl Held {
    /// The tags of the other variants: the partner may say that one of them is the answer here too (RFC 9110 §13.1.2).
    pub fn tags(&self) -> Vec<HeaderValue> {
        match self {
            Self::Others(others) => others.iter().filter_map(|other| other.tag()).take(MOST_TAGS).collect(),
            _ => Vec::new(),
        }
    }
}

/// How far the changes of a resource had come when its answer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition(u64);

/// Counters of changes to resources.
#[derive(Debug)]
pub struct Editions(Box<[AtomicU64]>);

impl Default for Editions {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Editions {
    fn of(&self, key: &Key) -> Option<&AtomicU64> {
        // Keyed alike in every process: who could aim at a stripe would win a call to the partner, no more.
        let hash = ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(key);
        self.0.get(hash as usize % STRIPES)
    }
}

impl Store {
    /// What is held for the request that would go out with this head?
    pub fn select(&self, key: &Key, sent: &HeaderMap, now: Now) -> Held {
        match self.slots.get(key) {
            Some(Slot::Variants(variants)) => {
                match variants.0.iter().find(|reply| reply.selection().fits(sent)) {
                    Some(reply) => Held::Fits(Arc::clone(reply)),
                    None => Held::Others(variants.0.clone()),
                }
            }
            Some(Slot::Uncacheable { until }) if now.tick < until => Held::Uncacheable,
            _ => Held::Absent,
        }
    }

    /// The edition that an answer asked for from now on will be of.
    pub fn edition(&self, key: &Key) -> Edition {
        Edition(self.editions.of(key).map_or(0, |counter| counter.load(Ordering::Acquire)))
    }

    /// Keeps a reply to the request `sent` beside the other variants; `false` if its resource was changed meanwhile.
    /// What else fitted that request gives way: the newest answer speaks for it.
    pub fn keep_reply(&self, key: &Key, sent: &HeaderMap, reply: &Arc<Reply>, edition: Edition) -> bool {
        let mut kept = false;
        let _ = self.slots.entry_by_ref(key).and_compute_with(|held| {
            if self.edition(key) != edition {
                return Op::Nop;
            }
            let mut variants = match held.map(moka::Entry::into_value) {
                Some(Slot::Variants(variants)) => variants.0.clone(),
                _ => Vec::new(),
            };
            variants.retain(|other| !other.selection().fits(sent));
            variants.truncate(self.max_variants.saturating_sub(1));
            variants.insert(0, Arc::clone(reply));
            kept = true;
            Op::Put(Slot::Variants(Arc::new(Variants(variants))))
        });
        kept
    }

    /// Puts `new` in the place of `old`, if that is still held.
    pub fn replace_reply(&self, key: &Key, old: &Arc<Reply>, new: &Arc<Reply>, edition: Edition) -> bool {
        let mut replaced = false;
        let _ = self.slots.entry_by_ref(key).and_compute_with(|held| {
            let Some(Slot::Variants(variants)) = held.map(moka::Entry::into_value) else { return Op::Nop };
            if self.edition(key) != edition {
                return Op::Nop;
            }
            let mut variants = variants.0.clone();
            for reply in &mut variants {
                if Arc::ptr_eq(reply, old) {
                    *reply = Arc::clone(new);
                    replaced = true;
                }
            }
            if replaced { Op::Put(Slot::Variants(Arc::new(Variants(variants)))) } else { Op::Nop }
        });
        replaced
    }

    /// Remembers that the partner does not want this stored, where nothing of it is held.
    pub fn remember_unstored(&self, key: &Key, now: Now) {
        let _ = self.slots.entry_by_ref(key).and_compute_with(|held| match held.map(moka::Entry::into_value) {
            Some(Slot::Variants(_) | Slot::Entry(_)) => Op::Nop,
            _ => Op::Put(Slot::Uncacheable { until: now.tick.plus(UNCACHEABLE) }),
        });
    }

    /// The resource was changed: nothing held of it is used again, and nothing asked for before is let in (RFC 9111 §4.4).
    pub fn invalidate(&self, key: &Key) {
        if let Some(counter) = self.editions.of(key) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
        // By the same lock that `keep_reply` holds, or an answer could slip in between its look and its put.
        let _ = self.slots.entry_by_ref(key).and_compute_with(|held| match held {
            Some(_) => Op::Remove,
            None => Op::Nop,
        });
    }
}
