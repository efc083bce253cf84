//! Do we hold it?
//! Given a key and `now`, hands back what is stored: fresh, stale, expired, known to be uncacheable, or absent.
//! Never knows callers (a key has none in it), sockets or the partner.

pub mod key;

pub mod reason;

pub mod freshness;

pub mod lifetime;

pub mod vary;

pub mod storability;

pub mod hub;

mod absence;

pub mod tag;

pub mod representation;

pub mod entry;

pub mod reply;

pub mod conditions;

pub mod validation;

pub mod invalidation;

pub mod variants;

pub mod purge;

pub mod list;

pub mod peek;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::access::Right;
use crate::account_api::Endpoint;
use crate::clock::{Now, Tick};

use freshness::{Life, Stage};
use reason::Detail;

pub use entry::Entry;
pub use key::Key;
pub use reply::Reply;
pub use representation::{Coding, Rendered};

use variants::Variants;

/// How long an answer that may not be stored is remembered as such, so that nobody waits for nobody.
const UNCACHEABLE: Duration = Duration::from_secs(10);

/// What moka and the allocator spend on an entry beyond what it says of itself; measured by `benches/peers` as memory per entry.
const OVERHEAD: usize = 384;

/// The last nanosecond of [`Stored::rest`] says why something rests.
const CLAIMED: u64 = 1;

/// Bounds of the store.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// All entries together, in bytes: bodies, heads, keys, views and what the store itself needs.
    pub max_bytes: u64,
    /// The largest body that is stored.
    pub max_object: usize,
    /// Most replies of one target that differ by what the partner chooses by.
    pub max_variants: usize,
}

/// What is stored for a request.
#[derive(Debug, Clone)]
pub enum Lookup<T> {
    /// An answer that fits it, the newest (RFC 9111 §4.1), in whichever part of its life.
    Stored(Arc<T>),
    /// Answers to requests that differ where it matters.
    OtherVariants(Vec<Arc<T>>),
    /// The upstream lately said not to store it.
    Uncacheable,
    /// Nothing.
    Absent,
}

/// An answer in the store.
pub trait Stored {
    /// Its life.
    fn life(&self) -> Life;

    /// Its status.
    fn status(&self) -> StatusCode;

    /// How often it was served from memory, nearly.
    fn hit_counter(&self) -> &AtomicU32;

    /// In nanoseconds, until when it is not refreshed: [`CLAIMED`] where a refresh is under way, even where one failed.
    fn rest(&self) -> &AtomicU64;

    /// It was served from memory. Not an atomic addition, which would cost a hit more than its answer is worth: of two
    /// callers at the same instant one may not be counted.
    #[inline]
    fn was_hit(&self) {
        let hits = self.hit_counter();
        hits.store(hits.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether the upstream failed over it just now, or somebody refreshes it.
    fn is_resting(&self, now: Tick) -> bool {
        now.as_nanos() < self.rest().load(Ordering::Relaxed)
    }

    /// Whether the upstream failed over it just now. A refresh under way is no failure.
    fn failed_lately(&self, now: Tick) -> bool {
        let rest = self.rest().load(Ordering::Relaxed);
        now.as_nanos() < rest && rest & CLAIMED == 0
    }

    /// No refresh is tried before then, and none is under way any more.
    fn rest_until(&self, until: Tick) {
        self.rest().store(until.as_nanos() & !CLAIMED, Ordering::Relaxed);
    }

    /// Takes the right to refresh it behind, until then; `false` if somebody has it.
    fn claim_refresh(&self, now: Tick, until: Tick) -> bool {
        let rest = self.rest().load(Ordering::Relaxed);
        let claimed = until.as_nanos() | CLAIMED;
        let claim = || self.rest().compare_exchange(rest, claimed, Ordering::Relaxed, Ordering::Relaxed);
        rest <= now.as_nanos() && claim().is_ok()
    }
}

impl<T: Stored> Lookup<T> {
    /// The fixed word for traces.
    pub fn state(&self, now: Tick) -> &'static str {
        match self {
            Self::Stored(stored) => stored.life().stage(now).as_str(),
            Self::OtherVariants(_) | Self::Absent => "absent",
            Self::Uncacheable => "uncacheable",
        }
    }
}

#[derive(Clone)]
enum Slot {
    Entry(Arc<Entry>),
    /// The replies to one target of a route in standard mode.
    Variants(Arc<Variants>),
    Uncacheable {
        until: Tick,
    },
}

impl Slot {
    /// How many answers it holds.
    fn answers(&self) -> usize {
        match self {
            Self::Entry(_) => 1,
            Self::Variants(variants) => variants.len(),
            Self::Uncacheable { .. } => 0,
        }
    }
}

/// Entries in memory, bounded in bytes, the least recently used leaving first.
pub struct Store {
    slots: Cache<Key, Slot, ahash::RandomState>,
    max_object: usize,
    max_variants: usize,
    evicted: Arc<AtomicU64>,
    purges: Arc<purge::Purges>,
    absences: Arc<absence::Absences>,
    /// What the last good document of each of the seven had at its top.
    tops: Arc<[AtomicU64; Endpoint::ALL.len()]>,
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&evicted);
        let slots = Cache::builder()
            .max_capacity(settings.max_bytes)
            .weigher(|key: &Key, slot: &Slot| {
                let entry = match slot {
                    Slot::Entry(entry) => entry.bytes(),
                    Slot::Variants(variants) => variants.bytes(),
                    Slot::Uncacheable { .. } => 0,
                };
                u32::try_from(OVERHEAD + key.len() + entry).unwrap_or(u32::MAX)
            })
            // The default policy may refuse an answer that was just paid for.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(ahash::RandomState::new());
        Self {
            slots,
            max_object: settings.max_object,
            max_variants: settings.max_variants,
            evicted,
            purges: Arc::default(),
            absences: Arc::default(),
            tops: Arc::default(),
        }
    }

    /// The same entries under other bounds of what is taken in: for a house that takes another's place. The bound of
    /// all entries together stays what it was.
    #[must_use]
    pub fn reconfigured(&self, settings: Settings) -> Self {
        Self {
            slots: self.slots.clone(),
            max_object: settings.max_object,
            max_variants: settings.max_variants,
            evicted: Arc::clone(&self.evicted),
            purges: Arc::clone(&self.purges),
            absences: Arc::clone(&self.absences),
            tops: Arc::clone(&self.tops),
        }
    }

    /// What is held under this key now?
    pub fn look(&self, key: &Key, now: Now) -> Lookup<Entry> {
        found(self.slots.get(key), now)
    }

    /// What is held under this key, if it is fresh and its end is not near.
    pub fn fresh(&self, key: &Key, now: Now) -> Option<Arc<Entry>> {
        let Some(Slot::Entry(entry)) = self.slots.get(key) else { return None };
        (entry.life().stage(now.tick) == Stage::Fresh).then_some(entry)
    }

    /// The largest body that is stored.
    pub fn max_object(&self) -> usize {
        self.max_object
    }

    /// Keeps an entry that was asked for at that moment.
    ///
    /// # Errors
    /// [`Detail`] for a body beyond `max_object`, and for a key that was purged since.
    pub fn keep(&self, key: Key, entry: Arc<Entry>, asked: Tick) -> Result<(), Detail> {
        if !self.fits(&entry) {
            return Err(Detail::TooLarge);
        }
        let insert = || self.slots.insert(key.clone(), Slot::Entry(entry));
        self.purges.unless_purged(&key, asked, insert).ok_or(Detail::Purged)
    }

    /// Whether an entry's body is within `max_object`.
    pub fn fits(&self, entry: &Entry) -> bool {
        entry.body().len() <= self.max_object
    }

    /// Remembers that the partner does not want this stored. A good entry it had before stays away too: the partner took it back.
    pub fn remember_uncacheable(&self, key: Key, now: Now, asked: Tick) {
        let until = now.tick.plus(UNCACHEABLE);
        let remember = || self.slots.insert(key.clone(), Slot::Uncacheable { until });
        let _ = self.purges.unless_purged(&key, asked, remember);
    }

    /// The entry held under this key, in whichever part of its life it is.
    pub fn stored_entry(&self, key: &Key) -> Option<Arc<Entry>> {
        match self.slots.get(key) {
            Some(Slot::Entry(entry)) => Some(entry),
            _ => None,
        }
    }

    /// A 404 came that is no word of the API, while something good is held: whether that was heard often enough to be believed.
    pub fn believes_absence(&self, key: &Key, now: Tick) -> bool {
        self.absences.is_believed(key, now)
    }

    /// Something good came.
    pub fn is_there(&self, key: &Key) {
        self.absences.forget(key);
    }

    /// What the last good document of this endpoint had at its top, as a number; 0 where none came yet.
    pub fn top_of(&self, endpoint: Endpoint) -> u64 {
        self.tops.get(endpoint as usize).map_or(0, |top| top.load(Ordering::Relaxed))
    }

    /// A good document of this endpoint had that at its top.
    pub fn had_top(&self, endpoint: Endpoint, top: u64) {
        if let Some(last) = self.tops.get(endpoint as usize) {
            last.store(top, Ordering::Relaxed);
        }
    }

    /// Whether anything is held under this key, in whatever mode.
    pub fn holds(&self, key: &Key) -> bool {
        self.slots.contains_key(key)
    }

    /// The bound of all entries together.
    pub fn max_bytes(&self) -> u64 {
        self.slots.policy().max_capacity().unwrap_or(u64::MAX)
    }

    /// Keeps a form of an entry beside it, if there is room, and counts its bytes while the entry is held.
    pub fn keep_face(&self, key: Key, entry: &Arc<Entry>, right: Right, coding: Coding, shown: &Rendered) {
        if !entry.keep_face(right, coding, shown) {
            return;
        }
        {
            // Nothing is stored meanwhile, so that putting the entry again cannot bring it back over a newer one.
            let _nobody_stores = self.purges.hold();
            let _ = self.slots.entry(key).and_compute_with(|slot| {
                match slot.map(moka::Entry::into_value) {
                    // The store weighs what is put; put again, the same entry is weighed with its new form.
                    Some(Slot::Entry(held)) if Arc::ptr_eq(&held, entry) => Op::Put(Slot::Entry(held)),
                    _ => Op::Nop,
                }
            });
        }
        // Weighed now: moka 0.12 loses the difference of a change that still waits when its slot is removed.
        self.slots.run_pending_tasks();
    }

    /// Entries, bytes as weighed, evictions so far.
    pub fn figures(&self) -> (u64, u64, u64) {
        // Writes are applied in batches; who reads the figures wants the last ones too.
        self.slots.run_pending_tasks();
        (self.slots.entry_count(), self.slots.weighted_size(), self.evicted.load(Ordering::Relaxed))
    }
}

/// What a slot is to a request for a document.
#[inline]
fn found(slot: Option<Slot>, now: Now) -> Lookup<Entry> {
    match slot {
        Some(Slot::Entry(entry)) => Lookup::Stored(entry),
        Some(Slot::Uncacheable { until }) if now.tick < until => Lookup::Uncacheable,
        // No key of one mode is one of the other.
        Some(Slot::Uncacheable { .. } | Slot::Variants(_)) | None => Lookup::Absent,
    }
}

#[cfg(test)]
mod tests;
