//! What did these very bytes mean when they were read before?
//! Given bytes, hands back what was kept of them, by keyed hash and then by comparing every byte.
//! Never grows beyond its bound, never keeps what is met but now and then, wipes what it forgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

const WAYS: usize = 4;

/// The bits of a sight that count; the others tell whose it is.
const COUNT: u64 = 0xff;

/// A table of a fixed size. Reading takes no lock, and writes nothing that workers share.
pub(super) struct SeenBytes<V> {
    hash: ahash::RandomState,
    longest: usize,
    often: u64,
    buckets: Box<[Bucket<V>]>,
    sights: Box<[AtomicU64]>,
}

/// The places of bytes whose hashes end alike, in one line of a processor's cache.
#[repr(align(64))]
struct Bucket<V> {
    /// The hash of what stands in each place.
    marks: [AtomicU64; WAYS],
    slots: [ArcSwapOption<Seen<V>>; WAYS],
}

/// Bytes of which nothing is kept, by their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown(u64);

struct Seen<V> {
    /// Among a head's fields is its token.
    bytes: Zeroizing<Box<[u8]>>,
    value: V,
}

impl<V> SeenBytes<V> {
    /// Room for `most` values, a power of two and no less than four, each of at most `longest` bytes, which are met `often`
    /// before they are kept: what is asked for now and then takes no room from what is asked for each second.
    pub(super) fn new(most: usize, longest: usize, often: u64) -> Self {
        let often = often.next_power_of_two();
        let most = most.next_power_of_two().max(WAYS);
        let bucket = |_| Bucket { marks: Default::default(), slots: Default::default() };
        let buckets = (0..most / WAYS).map(bucket).collect();
        let sights = (0..most).map(|_| AtomicU64::new(0)).collect();
        Self { hash: ahash::RandomState::new(), longest, often, buckets, sights }
    }

    /// What was kept of these bytes, as `look` sees it.
    #[inline]
    pub(super) fn find<T>(&self, bytes: &[u8], look: impl FnOnce(&V) -> T) -> Result<T, Unknown> {
        // What is never kept is not worth its hash.
        let hash = if bytes.len() <= self.longest { self.hash.hash_one(bytes) } else { return Err(Unknown(0)) };
        self.lookup(hash, bytes, look).ok_or(Unknown(hash))
    }

    #[inline]
    fn lookup<T>(&self, hash: u64, bytes: &[u8], look: impl FnOnce(&V) -> T) -> Option<T> {
        let bucket = self.bucket(hash)?;
        let way = bucket.marks.iter().position(|mark| mark.load(Ordering::Relaxed) == hash)?;
        let kept = bucket.slots.get(way)?.load();
        // The hash is keyed, so nobody outside can aim at another's place and time this comparison.
        let kept = kept.as_ref().filter(|kept| **kept.bytes == *bytes)?;
        Some(look(&kept.value))
    }

    /// Bytes that are not kept were met once more; keeps them if that was often enough and `value` has one. What has none is
    /// asked for again more and more seldom: reading it costs as much as the long way.
    pub(super) fn met(&self, Unknown(hash): Unknown, bytes: &[u8], value: impl FnOnce() -> Option<V>) {
        if bytes.len() > self.longest {
            return;
        }
        let sight = self.sights.get(hash as usize & (self.sights.len() - 1));
        let (Some(sight), Some(bucket)) = (sight, self.bucket(hash)) else { return };
        let before = sight.load(Ordering::Relaxed);
        let sights = if (before ^ hash) & !COUNT == 0 { (before & COUNT) % COUNT + 1 } else { 1 };
        sight.store((hash & !COUNT) | sights, Ordering::Relaxed);
        if sights < self.often || !sights.is_power_of_two() {
            return;
        }
        let Some(value) = value() else { return };
        let marked = |wanted: u64| bucket.marks.iter().position(|mark| mark.load(Ordering::Relaxed) == wanted);
        let way = marked(hash).or_else(|| marked(0)).unwrap_or((hash >> 60) as usize % WAYS);
        if let (Some(place), Some(mark)) = (bucket.slots.get(way), bucket.marks.get(way)) {
            place.store(Some(Arc::new(Seen { bytes: Zeroizing::new(bytes.into()), value })));
            mark.store(hash, Ordering::Relaxed);
            sight.store(0, Ordering::Relaxed);
        }
    }

    /// Forgets what was kept of these bytes.
    #[cold]
    pub(super) fn forget(&self, bytes: &[u8]) {
        let hash = self.hash.hash_one(bytes);
        let Some(bucket) = self.bucket(hash) else { return };
        for (mark, place) in bucket.marks.iter().zip(&bucket.slots) {
            if mark.load(Ordering::Relaxed) == hash {
                mark.store(0, Ordering::Relaxed);
                place.store(None);
            }
        }
    }

    #[inline]
    fn bucket(&self, hash: u64) -> Option<&Bucket<V>> {
        // Other bits than those that choose a place and a sight.
        self.buckets.get((hash >> 20) as usize & (self.buckets.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFTEN: u64 = 4;

    fn met(known: &SeenBytes<u32>, bytes: &[u8], value: impl FnOnce() -> Option<u32>) {
        let unknown = known.find(bytes, |_| ()).unwrap_err();
        known.met(unknown, bytes, value);
    }

    fn keep(known: &SeenBytes<u32>, bytes: &[u8], value: u32) {
        for _ in 0..OFTEN {
            met(known, bytes, || Some(value));
        }
    }

    fn kept(known: &SeenBytes<u32>, bytes: &[u8]) -> Option<u32> {
        known.find(bytes, |&value| value).ok()
    }

    #[test]
    fn what_is_met_often_is_kept_until_it_is_forgotten() {
        let known = SeenBytes::new(64, 100, OFTEN);
        for _ in 1..OFTEN {
            met(&known, b"a", || Some(1));
            assert_eq!(kept(&known, b"a"), None);
        }
        met(&known, b"a", || Some(1));
        assert_eq!((kept(&known, b"a"), kept(&known, b"b")), (Some(1), None));
        known.forget(b"b");
        assert_eq!(kept(&known, b"a"), Some(1));
        known.forget(b"a");
        assert_eq!(kept(&known, b"a"), None);
    }

    #[test]
    fn what_has_no_value_or_is_too_long_is_not_kept() {
        let known = SeenBytes::new(64, 3, OFTEN);
        (0..OFTEN).for_each(|_| met(&known, b"ab", || None));
        keep(&known, b"abcd", 1);
        keep(&known, b"abc", 2);
        assert_eq!([&b"ab"[..], b"abcd", b"abc"].map(|bytes| kept(&known, bytes)), [None, None, Some(2)]);
    }

    #[test]
    fn what_has_no_value_is_asked_for_more_and_more_seldom_and_kept_once_it_has_one() {
        let known = SeenBytes::new(64, 100, OFTEN);
        let mut asked = 0;
        for _ in 0..1020 {
            met(&known, b"a", || {
                asked += 1;
                None
            });
        }
        assert_eq!(asked, 24, "six times in 255");
        (0..OFTEN).for_each(|_| met(&known, b"a", || Some(1)));
        assert_eq!(kept(&known, b"a"), Some(1));
    }

    #[test]
    fn a_table_that_is_full_gives_a_place_to_what_is_met_now_and_never_one_value_for_another() {
        let known = SeenBytes::new(16, 100, OFTEN);
        for many in 0..1000_u32 {
            let bytes = many.to_be_bytes();
            keep(&known, &bytes, many);
            assert_eq!(kept(&known, &bytes), Some(many));
        }
        let found: Vec<u32> = (0..1000_u32).filter(|many| kept(&known, &many.to_be_bytes()).is_some()).collect();
        assert!(found.len() <= 16, "{found:?}");
        assert!(found.iter().all(|many| kept(&known, &many.to_be_bytes()) == Some(*many)));
    }

    #[test]
    fn what_is_met_once_keeps_nobody_out() {
        let known = SeenBytes::new(4, 100, OFTEN);
        keep(&known, b"often", 1);
        (0..10_000_u32).for_each(|many| met(&known, &many.to_be_bytes(), || Some(many)));
        assert_eq!(kept(&known, b"often"), Some(1));
    }
}
