//! Is someone fetching it?
//! Given a key, hands back the [`Leader`] to fetch it, or a [`Follower`] place among those who wait.
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
    under_way: Arc<AtomicUsize>,
    most: usize,
}

type Shard<K, V> = Mutex<HashMap<K, Arc<Flight<V>>>>;

struct Flight<V> {
    landing: watch::Sender<Option<V>>,
    waiting: AtomicUsize,
    left: Notify,
    /// Of who started it.
    rank: Rank,
    /// Of those who joined and are more urgent, or stand in another line.
    joined: Mutex<Vec<Rank>>,
    raised: Notify,
}

/// For whom a flight goes, and how urgently: where its call has to wait, it waits in the best place of all who joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rank {
    /// The smaller, the more urgent.
    pub urgency: u8,
    /// The caller, by any number that stands for it.
    pub who: u64,
}

/// Lines that one flight is told of; whoever joins after as many waits where the best of them stands.
const MAX_RANKS: usize = 64;

impl<V> Flight<V> {
    fn join(&self, rank: Rank) {
        if rank.who == self.rank.who && rank.urgency >= self.rank.urgency {
            return;
        }
        let mut joined = self.joined.lock();
        if joined.len() < MAX_RANKS && !joined.contains(&rank) {
            joined.push(rank);
            self.raised.notify_one();
        }
    }
}

/// What joining a flight gives.
pub enum Joined<K: Hash + Eq, V> {
    /// Nobody fetches it: you do, and may wait for yourself.
    Fetch(Leader<K, V>, Follower<V>),
    /// Somebody does.
    Wait(Follower<V>),
    /// Nobody does, and there are as many flights as there may be.
    Full,
}

/// A place among the flights under way, until it is dropped.
pub struct FlightSlot(Arc<AtomicUsize>);

impl Drop for FlightSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Flights<K, V> {
    /// None under way, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Self { hash: ahash::RandomState::new(), shards: Arc::new(Default::default()), under_way: Arc::default(), most }
    }

    /// The same flights under another bound.
    #[must_use]
    pub fn reconfigured(&self, most: usize) -> Self {
        let (shards, under_way) = (Arc::clone(&self.shards), Arc::clone(&self.under_way));
        Self { hash: self.hash.clone(), shards, under_way, most }
    }

    /// A place for a flight that nobody joins; `None` if there is no room.
    pub fn alone(&self) -> Option<FlightSlot> {
        let before = self.under_way.fetch_add(1, Ordering::AcqRel);
        // Dropping it gives the place back that was too many.
        Some(FlightSlot(Arc::clone(&self.under_way))).filter(|_| before < self.most)
    }

    /// Joins the flight of this key, starting it if there is none.
    pub fn join(&self, key: &K, rank: Rank) -> Joined<K, V> {
        match self.join_or(key, rank, || Ok::<_, std::convert::Infallible>(())) {
            Ok(joined) => joined,
            Err(never) => match never {},
        }
    }

    /// The same, but a flight is started only if `may` says so, which is asked only if there is none to join.
    ///
    /// # Errors
    /// What `may` said; nobody can have joined meanwhile, so nobody waits in vain.
    pub fn join_or<E>(&self, key: &K, rank: Rank, may: impl FnOnce() -> Result<(), E>) -> Result<Joined<K, V>, E> {
        let shard = self.hash.hash_one(key) as usize % SHARDS;
        let Some(flights) = self.shards.get(shard) else { unreachable!("a remainder is smaller than its divisor") };
        Ok(match flights.lock().entry(key.clone()) {
            Entry::Occupied(flight) => {
                let flight = flight.get();
                flight.join(rank);
                Joined::Wait(Follower::of(flight))
            }
            Entry::Vacant(vacant) => {
                // What finds no place does not start, so it is not asked whether it may, which costs something.
                let Some(place) = self.alone() else { return Ok(Joined::Full) };
                may()?;
                let flight = Arc::new(Flight {
                    landing: watch::Sender::new(None),
                    waiting: AtomicUsize::new(0),
                    left: Notify::new(),
                    rank,
                    joined: Mutex::default(),
                    raised: Notify::new(),
                });
                vacant.insert(Arc::clone(&flight));
                let pending = Follower::of(&flight);
                let shards = Arc::clone(&self.shards);
                Joined::Fetch(Leader { key: key.clone(), shard, shards, flight, _slot: place }, pending)
            }
        })
    }

    /// Whether somebody fetches it, for whoever does not want to join.
    pub fn has(&self, key: &K) -> bool {
        let shard = self.hash.hash_one(key) as usize % SHARDS;
        self.shards.get(shard).is_some_and(|flights| flights.lock().contains_key(key))
    }

    /// Whether there are as many as there may be.
    pub fn is_full(&self) -> bool {
        self.count() >= self.most
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

    /// Flights under way, those left behind and those that nobody joins included.
    pub fn count(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }
}

/// The duty to land a flight. Dropped without landing, it wakes all who wait with nothing.
pub struct Leader<K: Hash + Eq, V> {
    key: K,
    shard: usize,
    shards: Arc<[Shard<K, V>; SHARDS]>,
    flight: Arc<Flight<V>>,
    _slot: FlightSlot,
}

impl<K: Hash + Eq, V> Leader<K, V> {
    /// Lands: everybody who waits wakes with a copy; who comes later starts anew.
    pub fn land(self, value: V) {
        self.flight.landing.send_replace(Some(value));
    }

    /// Returns when nobody waits any more. By then nobody can join it either: who comes now starts a flight of their own.
    pub async fn forsaken(&self) {
        loop {
            let left = self.flight.left.notified();
            if self.close(|flight| flight.waiting.load(Ordering::Acquire) == 0) {
                return;
            }
            left.await;
        }
    }

    /// Returns when somebody has joined who may stand in a better place, with all of those.
    pub async fn raised(&self) -> Vec<Rank> {
        self.flight.raised.notified().await;
        self.flight.joined.lock().clone()
    }

    /// Takes the flight off the board if `may` says so; both under the lock that joining takes.
    fn close(&self, may: impl Fn(&Flight<V>) -> bool) -> bool {
        let Some(flights) = self.shards.get(self.shard) else { return true };
        let mut flights = flights.lock();
        let close = may(&self.flight);
        // Under the same key there may be a later flight by now, which is somebody else's.
        if close && flights.get(&self.key).is_some_and(|there| Arc::ptr_eq(there, &self.flight)) {
            flights.remove(&self.key);
        }
        close
    }
}

impl<K: Hash + Eq, V> Drop for Leader<K, V> {
    fn drop(&mut self) {
        self.close(|_| true);
        // Whoever waits and sees no value learns from this that none will come.
        self.flight.landing.send_modify(|_| {});
    }
}

/// A place among those who wait. Dropping it leaves the flight as it is.
pub struct Follower<V> {
    flight: Arc<Flight<V>>,
    landing: watch::Receiver<Option<V>>,
}

impl<V: Clone> Follower<V> {
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

impl<V> Drop for Follower<V> {
    fn drop(&mut self) {
        if self.flight.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(urgency: u8) -> Rank {
        Rank { urgency, who: 0 }
    }

    #[tokio::test]
    async fn a_thousand_wait_for_one_fetch_and_all_wake() {
        let flights = Flights::<u32, u32>::new(1000);
        let Joined::Fetch(leader, first) = flights.join(&7, rank(0)) else { panic!("nobody was there") };
        let rest: Vec<_> = (0..999)
            .map(|_| match flights.join(&7, rank(0)) {
                Joined::Wait(pending) => pending,
                Joined::Fetch(..) | Joined::Full => panic!("a second fetch"),
            })
            .collect();
        leader.land(42);
        assert_eq!(first.landed().await, Some(42));
        for pending in rest {
            assert_eq!(pending.landed().await, Some(42));
        }
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn a_flight_that_is_dropped_wakes_all_with_nothing_and_the_next_starts_anew() {
        let flights = Flights::<u32, u32>::new(1000);
        let Joined::Fetch(leader, first) = flights.join(&7, rank(0)) else { panic!("nobody was there") };
        let waiter = tokio::spawn(first.landed());
        tokio::task::yield_now().await;
        drop(leader);
        assert_eq!(waiter.await.unwrap(), None);
        assert!(matches!(flights.join(&7, rank(0)), Joined::Fetch(..)));
    }

    #[tokio::test]
    async fn no_more_are_under_way_than_there_may_be_and_joining_is_always_possible() {
        let flights = Flights::<u32, u32>::new(2);
        let Joined::Fetch(first, _) = flights.join(&1, rank(0)) else { panic!("nobody was there") };
        let alone = flights.alone().unwrap();
        assert!(matches!(flights.join(&2, rank(0)), Joined::Full));
        assert!(flights.alone().is_none());
        assert!(matches!(flights.join(&1, rank(0)), Joined::Wait(_)));
        assert_eq!(flights.count(), 2);
        drop(alone);
        let Joined::Fetch(second, _) = flights.join(&2, rank(0)) else { panic!("one has ended") };
        flights.leave_behind(|_| true);
        assert!(matches!(flights.join(&3, rank(0)), Joined::Full), "what was left behind is still under way");
        drop((first, second));
        assert_eq!(flights.count(), 0);
    }

    #[tokio::test]
    async fn a_flight_left_behind_lands_for_those_who_wait_and_leaves_its_successor_alone() {
        let flights = Flights::<u32, u32>::new(1000);
        let Joined::Fetch(older, first) = flights.join(&7, rank(0)) else { panic!("nobody was there") };
        let Joined::Fetch(_other, _) = flights.join(&8, rank(0)) else { panic!("nobody was there") };
        assert_eq!(flights.leave_behind(|key| *key == 7), 1);
        let Joined::Fetch(newer, second) = flights.join(&7, rank(0)) else { panic!("joined the older one") };
        older.land(1);
        assert_eq!(first.landed().await, Some(1));
        let Joined::Wait(third) = flights.join(&7, rank(0)) else { panic!("the older one took its successor along") };
        newer.land(2);
        assert_eq!((second.landed().await, third.landed().await), (Some(2), Some(2)));
    }

    #[tokio::test]
    async fn a_caller_that_leaves_changes_nothing_until_the_last_has_left() {
        let flights = Flights::<u32, u32>::new(1000);
        let Joined::Fetch(leader, first) = flights.join(&7, rank(0)) else { panic!("nobody was there") };
        let Joined::Wait(second) = flights.join(&7, rank(0)) else { panic!("a second fetch") };
        drop(first);
        tokio::select! {
            biased;
            () = leader.forsaken() => panic!("one still waits"),
            () = tokio::task::yield_now() => {}
        }
        drop(second);
        leader.forsaken().await;
    }

    /// A caller that joined between the last one's leaving and the flight's end got nothing, shown as a failed partner.
    #[tokio::test]
    async fn who_comes_after_a_forsaken_flight_starts_anew_and_the_old_end_leaves_the_new_flight_alone() {
        let flights = Flights::<u32, u32>::new(1000);
        let Joined::Fetch(leader, first) = flights.join(&7, rank(0)) else { panic!("nobody was there") };
        drop(first);
        leader.forsaken().await;
        let Joined::Fetch(later, second) = flights.join(&7, rank(0)) else {
            panic!("joined a flight that nobody will land")
        };
        drop(leader);
        let Joined::Wait(third) = flights.join(&7, rank(0)) else { panic!("the new flight was taken off the board") };
        later.land(1);
        assert_eq!((second.landed().await, third.landed().await), (Some(1), Some(1)));
    }

    #[tokio::test]
    async fn who_joins_before_it_is_noticed_that_all_left_keeps_the_flight_going() {
        let flights = Flights::<u32, u32>::new(1000);
        let Joined::Fetch(leader, first) = flights.join(&7, rank(0)) else { panic!("nobody was there") };
        drop(first);
        let Joined::Wait(second) = flights.join(&7, rank(0)) else { panic!("a second fetch") };
        tokio::select! {
            biased;
            () = leader.forsaken() => panic!("one still waits"),
            () = tokio::task::yield_now() => {}
        }
        leader.land(1);
        assert_eq!(second.landed().await, Some(1));
    }

    #[tokio::test]
    async fn who_may_not_start_a_flight_may_join_one() {
        let flights = Flights::<u32, u32>::new(1000);
        assert_eq!(flights.join_or(&7, rank(0), || Err("not now")).err(), Some("not now"));
        assert_eq!(flights.count(), 0);
        let Joined::Fetch(leader, _) = flights.join(&7, rank(0)) else { panic!("nobody was there") };
        let Ok(Joined::Wait(pending)) = flights.join_or(&7, rank(0), || Err("asked in vain")) else {
            panic!("a flight")
        };
        leader.land(1);
        assert_eq!(pending.landed().await, Some(1));
    }

    #[tokio::test]
    async fn a_flight_learns_when_somebody_more_urgent_waits_for_it() {
        let flights = Flights::<u32, u32>::new(1000);
        let Joined::Fetch(leader, _first) = flights.join(&7, rank(2)) else { panic!("nobody was there") };
        let (Joined::Wait(_second), Joined::Wait(_third)) = (flights.join(&7, rank(2)), flights.join(&7, rank(0)))
        else {
            panic!("a second fetch")
        };
        assert_eq!(leader.raised().await, [rank(0)]);
    }

    /// Whoever joined a flight waited in the line of who had started it.
    #[tokio::test]
    async fn a_flight_learns_of_each_line_that_it_may_stand_in_once() {
        let flights = Flights::<u32, u32>::new(1000);
        let of = |who| Rank { urgency: 0, who };
        let Joined::Fetch(leader, _first) = flights.join(&7, of(1)) else { panic!("nobody was there") };
        for who in [1, 2, 2, 3, 1, 2] {
            assert!(matches!(flights.join(&7, of(who)), Joined::Wait(_)));
        }
        assert_eq!(leader.raised().await, [of(2), of(3)]);
        for who in 0..1000 {
            assert!(matches!(flights.join(&7, of(who)), Joined::Wait(_)));
        }
        assert_eq!(leader.raised().await.len(), MAX_RANKS);
    }
}
