//! Is there room for one more connection?
//! Given a peer, hands back its place until the connection ends, or why there is none; and turns for TLS handshakes.
//! Never lets one address take what is meant for all, and never counts programs of this machine against each other.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::clock::Tick;

/// Handshakes at once on all workers; some 20 kB each.
const HANDSHAKES: usize = 1024;

/// A handshake that took longer gives way where there is no room for another.
const BRISK: Duration = Duration::from_secs(1);

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// It took longer than a head may.
    Late,
    /// What came was no TLS.
    ClearText,
    /// The client showed no certificate, or one that does not count.
    ClientCertificate,
    /// The peers have nothing in common, the client did not like our certificate, or it hung up.
    Broken,
}

impl Failed {
    /// Every reason, in the order of the metric.
    pub const ALL: [Self; 4] = [Self::Late, Self::ClearText, Self::ClientCertificate, Self::Broken];

    /// Its word in the log and in the metric.
    pub fn word(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::ClearText => "clear-text",
            Self::ClientCertificate => "client-certificate",
            Self::Broken => "broken",
        }
    }
}

/// Why a connection is closed as soon as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    Full,
    Peer,
}

/// The connections of all workers.
#[derive(Debug)]
pub struct Crowd {
    open: AtomicUsize,
    peers: Mutex<HashMap<IpAddr, usize, ahash::RandomState>>,
    refused_full: AtomicU64,
    refused_peer: AtomicU64,
    turns: Semaphore,
    handshakes: Mutex<BTreeMap<u64, (Tick, CancellationToken)>>,
    next: AtomicU64,
    failed: [AtomicU64; Failed::ALL.len()],
}

/// For the metrics.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Connections open.
    pub open: usize,
    /// Closed at once: too many, all together.
    pub refused_full: u64,
    /// Closed at once: too many of their peer.
    pub refused_peer: u64,
    /// Handshakes that came to nothing, in the order of [`Failed::ALL`].
    pub failed: [u64; Failed::ALL.len()],
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            open: AtomicUsize::default(),
            peers: Mutex::default(),
            refused_full: AtomicU64::default(),
            refused_peer: AtomicU64::default(),
            turns: Semaphore::new(HANDSHAKES),
            handshakes: Mutex::default(),
            next: AtomicU64::default(),
            failed: Default::default(),
        }
    }
}

impl Crowd {
    /// A place for a connection of this peer among `most`, of which one peer may have `most_per_peer`; 0 is any number.
    pub(super) fn enter(
        self: &Arc<Self>,
        peer: SocketAddr,
        most: usize,
        most_per_peer: usize,
    ) -> Result<Place, NoRoom> {
        // Counted first: the place gives it back, whatever is decided.
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { crowd: Arc::clone(self), peer: None };
        if before >= most {
            self.refused_full.fetch_add(1, Ordering::Relaxed);
            return Err(NoRoom::Full);
        }
        let ip = network(peer.ip());
        // What runs on this machine may come through one local proxy, or be a whole pod.
        if most_per_peer == 0 || ip.is_loopback() {
            return Ok(place);
        }
        let mut peers = self.peers.lock();
        let count = peers.get(&ip).copied().unwrap_or_default();
        if count >= most_per_peer {
            drop(peers);
            self.refused_peer.fetch_add(1, Ordering::Relaxed);
            return Err(NoRoom::Peer);
        }
        peers.insert(ip, count + 1);
        drop(peers);
        place.peer = Some(ip);
        Ok(place)
    }

    /// A turn for a handshake. Where there is none left, the one that took longest gives way if it is slow.
    pub(super) async fn turn(&self, now: Tick) -> Option<Turn<'_>> {
        let permit = match self.turns.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.oldest_gives_way(now);
                self.turns.acquire().await.ok()?
            }
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let given_up = CancellationToken::new();
        self.handshakes.lock().insert(id, (now, given_up.clone()));
        Some(Turn { crowd: self, id, given_up, _permit: permit })
    }

    fn oldest_gives_way(&self, now: Tick) {
        let mut handshakes = self.handshakes.lock();
        let slow = |(_, (since, _)): &(&u64, &(Tick, CancellationToken))| now.since(*since) > BRISK;
        let oldest = handshakes.first_key_value().filter(slow).map(|(id, _)| *id);
        if let Some((_, given_up)) = oldest.and_then(|id| handshakes.remove(&id)) {
            given_up.cancel();
        }
    }

    /// Counts a handshake that came to nothing.
    pub(super) fn failed(&self, why: Failed) {
        if let Some(counter) = self.failed.get(why as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For the metrics.
    pub fn figures(&self) -> Figures {
        Figures {
            open: self.open.load(Ordering::Relaxed),
            refused_full: self.refused_full.load(Ordering::Relaxed),
            refused_peer: self.refused_peer.load(Ordering::Relaxed),
            failed: std::array::from_fn(|at| self.failed.get(at).map_or(0, |count| count.load(Ordering::Relaxed))),
        }
    }
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    peer: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.open.fetch_sub(1, Ordering::Relaxed);
        let Some(peer) = self.peer else { return };
        let mut peers = self.crowd.peers.lock();
        match peers.get_mut(&peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(peers.remove(&peer)),
        }
    }
}

/// A handshake's turn, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'c> {
    crowd: &'c Crowd,
    id: u64,
    /// Cancelled where it gave way to another.
    pub(super) given_up: CancellationToken,
    _permit: SemaphorePermit<'c>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.crowd.handshakes.lock().remove(&self.id);
    }
}

/// The network that one customer has at least: an address of IPv4, 64 bits of IPv6 (RFC 6177 §2).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 4711)
    }

    #[test]
    fn one_peer_has_its_share_and_others_have_theirs() {
        let crowd = Arc::new(Crowd::default());
        let enter = |ip| crowd.enter(peer(ip), 100, 2);
        let first = enter("10.0.0.1").unwrap();
        let _second = enter("::ffff:10.0.0.1").unwrap();
        assert_eq!(enter("10.0.0.1").unwrap_err(), NoRoom::Peer);
        let _other = enter("10.0.0.2").unwrap();
        drop(first);
        let _third = enter("10.0.0.1").unwrap();
        let figures = crowd.figures();
        assert_eq!((figures.open, figures.refused_peer, figures.refused_full), (3, 1, 0));
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let crowd = Arc::new(Crowd::default());
        let _first = crowd.enter(peer("2001:db8::1"), 100, 1).unwrap();
        assert_eq!(crowd.enter(peer("2001:db8::2"), 100, 1).unwrap_err(), NoRoom::Peer);
        let _other = crowd.enter(peer("2001:db8:0:1::1"), 100, 1).unwrap();
    }

    #[test]
    fn this_machine_counts_only_towards_all() {
        let crowd = Arc::new(Crowd::default());
        let places: Vec<_> = (0..3).map(|_| crowd.enter(peer("127.0.0.1"), 4, 1).unwrap()).collect();
        let _other = crowd.enter(peer("::1"), 4, 1).unwrap();
        assert_eq!(crowd.enter(peer("::1"), 4, 1).unwrap_err(), NoRoom::Full);
        drop(places);
        assert_eq!(crowd.figures().open, 1);
        assert_eq!(crowd.figures().refused_full, 1);
    }

    #[tokio::test]
    async fn where_turns_run_out_the_slowest_gives_way_and_brisk_ones_do_not() {
        let crowd = Crowd { turns: Semaphore::new(2), ..Crowd::default() };
        let at = |seconds| Tick::default().plus(Duration::from_secs(seconds));
        let slow = crowd.turn(at(0)).await.unwrap();
        let brisk = crowd.turn(at(5)).await.unwrap();
        let third = crowd.turn(at(5));
        let mut third = std::pin::pin!(third);
        assert!(futures_now(third.as_mut()).await.is_none());
        assert!(slow.given_up.is_cancelled());
        drop(slow);
        let _third = futures_now(third.as_mut()).await.unwrap();
        // Now nobody is slow: the next waits its turn.
        let fourth = crowd.turn(at(5));
        assert!(futures_now(std::pin::pin!(fourth)).await.is_none());
        assert!(!brisk.given_up.is_cancelled());
    }

    /// What the future has come to by now.
    async fn futures_now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = &mut future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
