//! Is someone fetching it?
//! Given a key, hands back the [`Obligation`] to fetch it, or a [`Pending`] place among those who wait.
//! Never knows HTTP: what lands is any value that can be copied.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

const SHARDS: usize = 16;

/// The flights under way, at most one for each key.
pub struct Flights<K, V> {
    hash: ahash::RandomState,
    shards: Arc<[Shard<K, V>; SHARDS]>,
}

type Shard<K, V> = Mutex<HashMap<K, Arc<Flight<V>>>>;

struct Flight<V> {
    landing: watch::Sender<Option<V>>,
    waiting: AtomicUsize,
    left: Notify,
}

/// What joining a flight gives.
pub enum Joined<K: Hash + Eq, V> {
    /// Nobody fetches it: you do, and may wait for yourself.
    Fetch(Obligation<K, V>, Pending<V>),
    /// Somebody does.
    Wait(Pending<V>),
}

impl<K: Hash + Eq + Clone, V: Clone> Default for Flights<K, V> {
    fn default() -> Self {
        Self { hash: ahash::RandomState::new(), shards: Arc::new(Default::default()) }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Flights<K, V> {
    /// Joins the flight of this key, starting it if there is none.
    pub fn join(&self, key: &K) -> Joined<K, V> {
        let shard = self.hash.hash_one(key) as usize % SHARDS;
        let Some(flights) = self.shards.get(shard) else { unreachable!("a remainder is smaller than its divisor") };
        match flights.lock().entry(key.clone()) {
            Entry::Occupied(flight) => Joined::Wait(Pending::of(flight.get())),
            Entry::Vacant(place) => {
                let flight = Arc::new(Flight {
                    landing: watch::Sender::new(None),
                    waiting: AtomicUsize::new(0),
                    left: Notify::new(),
                });
                place.insert(Arc::clone(&flight));
                let pending = Pending::of(&flight);
                let shards = Arc::clone(&self.shards);
                Joined::Fetch(Obligation { key: key.clone(), shard, shards, flight }, pending)
            }
        }
    }

    /// Who asks from now on for one of these keys starts anew; those who wait already get what they waited for.
    /// Hands back how many flights were left behind.
    pub fn leave_behind(&self, is_meant: impl Fn(&K) -> bool) -> usize {
        let left = self.shards.iter().map(|shard| {
            let mut flights = shard.lock();
            let before = flights.len();
            flights.retain(|key, _| !is_meant(key));
            before - flights.len()
        });
        left.sum()
    }

    /// Flights under way that can be joined.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// The duty to land a flight. Dropped without landing, it wakes all who wait with nothing.
pub struct Obligation<K: Hash + Eq, V> {
    key: K,
    shard: usize,
    shards: Arc<[Shard<K, V>; SHARDS]>,
    flight: Arc<Flight<V>>,
}

impl<K: Hash + Eq, V> Obligation<K, V> {
    /// Lands: everybody who waits wakes with a copy; who comes later starts anew.
    pub fn land(self, value: V) {
        self.flight.landing.send_replace(Some(value));
    }

    /// Returns when nobody waits any more.
    pub async fn forsaken(&self) {
        loop {
            let left = self.flight.left.notified();
            if self.flight.waiting.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl<K: Hash + Eq, V> Drop for Obligation<K, V> {
    fn drop(&mut self) {
        if let Some(flights) = self.shards.get(self.shard) {
            // One that was left behind has lost its place, maybe to another.
            let mut flights = flights.lock();
            if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
                flights.remove(&self.key);
            }
        }
        // Whoever waits and sees no value learns from this that none will come.
        self.flight.landing.send_modify(|_| {});
    }
}

/// A place among those who wait. Dropping it leaves the flight as it is.
pub struct Pending<V> {
    flight: Arc<Flight<V>>,
    landing: watch::Receiver<Option<V>>,
}

impl<V: Clone> Pending<V> {
    fn of(flight: &Arc<Flight<V>>) -> Self {
        flight.waiting.fetch_add(1, Ordering::AcqRel);
        Self { flight: Arc::clone(flight), landing: flight.landing.subscribe() }
    }

    /// What landed; `None` if the flight ended without landing.
    pub async fn landed(mut self) -> Option<V> {
        loop {
            let landed = self.landing.borrow_and_update().clone();
            if landed.is_some() || self.landing.changed().await.is_err() {
                return landed;
            }
            if self.landing.borrow().is_none() {
                return None;
            }
        }
    }
}

impl<V> Drop for Pending<V> {
    fn drop(&mut self) {
        if self.flight.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thousand_wait_for_one_fetch_and_all_wake() {
        let flights = Flights::<u32, u32>::default();
        let Joined::Fetch(obligation, first) = flights.join(&7) else { panic!("nobody was there") };
        let rest: Vec<_> = (0..999)
            .map(|_| match flights.join(&7) {
                Joined::Wait(pending) => pending,
                Joined::Fetch(..) => panic!("a second fetch"),
            })
            .collect();
        obligation.land(42);
        assert_eq!(first.landed().await, Some(42));
        for pending in rest {
            assert_eq!(pending.landed().await, Some(42));
        }
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn a_flight_that_is_dropped_wakes_all_with_nothing_and_the_next_starts_anew() {
        let flights = Flights::<u32, u32>::default();
        let Joined::Fetch(obligation, first) = flights.join(&7) else { panic!("nobody was there") };
        let waiter = tokio::spawn(first.landed());
        tokio::task::yield_now().await;
        drop(obligation);
        assert_eq!(waiter.await.unwrap(), None);
        assert!(matches!(flights.join(&7), Joined::Fetch(..)));
    }

    #[tokio::test]
    async fn a_flight_left_behind_lands_for_those_who_wait_and_leaves_its_successor_alone() {
        let flights = Flights::<u32, u32>::default();
        let Joined::Fetch(older, first) = flights.join(&7) else { panic!("nobody was there") };
        let Joined::Fetch(_other, _) = flights.join(&8) else { panic!("nobody was there") };
        assert_eq!(flights.leave_behind(|key| *key == 7), 1);
        let Joined::Fetch(newer, second) = flights.join(&7) else { panic!("joined the older one") };
        older.land(1);
        assert_eq!(first.landed().await, Some(1));
        let Joined::Wait(third) = flights.join(&7) else { panic!("the older one took its successor along") };
        newer.land(2);
        assert_eq!((second.landed().await, third.landed().await), (Some(2), Some(2)));
    }

    #[tokio::test]
    async fn a_caller_that_leaves_changes_nothing_until_the_last_has_left() {
        let flights = Flights::<u32, u32>::default();
        let Joined::Fetch(obligation, first) = flights.join(&7) else { panic!("nobody was there") };
        let Joined::Wait(second) = flights.join(&7) else { panic!("a second fetch") };
        drop(first);
        tokio::select! {
            biased;
            () = obligation.forsaken() => panic!("one still waits"),
            () = tokio::task::yield_now() => {}
        }
        drop(second);
        obligation.forsaken().await;
    }
}
