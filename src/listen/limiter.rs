//! Is there room for one more connection?
//! Given a peer, hands back its place until the connection ends, or why there is none; and turns for TLS handshakes.
//! Never refuses a connection while an idle one can give way, and never counts programs of this machine against each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::eviction::Connections;
use super::watchdog::ConnectionState;
use crate::clock::Tick;
use crate::throttle::network;

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
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::ClearText => "clear-text",
            Self::ClientCertificate => "client-certificate",
            Self::Broken => "broken",
        }
    }
}

/// A connection is closed as soon as it came: there are as many as may be, and each of them is answered a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The connections of all workers.
#[derive(Debug)]
pub struct ConnectionLimiter {
    open: AtomicUsize,
    connections: Mutex<Connections>,
    refused: AtomicU64,
    evicted_full: AtomicU64,
    evicted_peer: AtomicU64,
    floods: AtomicU64,
    handshake_slots: Semaphore,
    handshakes: Mutex<BTreeMap<u64, (Tick, CancellationToken)>>,
    next: AtomicU64,
    failed: [AtomicU64; Failed::ALL.len()],
}

/// For the metrics.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Connections open.
    pub open: usize,
    /// Closed at once: too many, and none of them idle.
    pub refused: u64,
    /// Idle ones that gave way to others: there were too many, all together.
    pub evicted_full: u64,
    /// Idle ones that gave way to others of their peer.
    pub evicted_peer: u64,
    /// Those of HTTP/2 that were ended for a flood of frames that ask for nothing.
    pub floods: u64,
    /// Handshakes that came to nothing, in the order of [`Failed::ALL`].
    pub failed: [u64; Failed::ALL.len()],
}

impl Default for ConnectionLimiter {
    fn default() -> Self {
        Self {
            open: AtomicUsize::default(),
            connections: Mutex::default(),
            refused: AtomicU64::default(),
            evicted_full: AtomicU64::default(),
            evicted_peer: AtomicU64::default(),
            floods: AtomicU64::default(),
            handshake_slots: Semaphore::new(HANDSHAKES),
            handshakes: Mutex::default(),
            next: AtomicU64::default(),
            failed: Default::default(),
        }
    }
}

impl ConnectionLimiter {
    /// A place for a connection of this peer. Where its share, or the whole, is taken, the connection that has been idle for
    /// longest gives way: one of the same peer if there is one. A share that is busy is exceeded as long as there is room.
    pub(super) fn enter(
        self: &Arc<Self>,
        peer: SocketAddr,
        connection: &Arc<ConnectionState>,
        limits: &Limits,
        now: Tick,
    ) -> Result<ConnectionPermit, Full> {
        let peer = network(peer.ip());
        // What runs on this machine may come through one local proxy, or be a whole pod.
        let most_of_peer = match limits.per_peer {
            0 => usize::MAX,
            _ if peer.is_loopback() => usize::MAX,
            most => most,
        };
        // Who gives way is there until its worker comes to it.
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let mut place = ConnectionPermit { limiter: Arc::clone(self), id: None };
        let mut connections = self.connections.lock();
        if connections.len() >= limits.connections || open / 2 >= limits.connections {
            let has_room =
                open / 2 < limits.connections && (connections.evict(Some(peer), now) || connections.evict(None, now));
            let counter = if has_room { &self.evicted_full } else { &self.refused };
            counter.fetch_add(1, Ordering::Relaxed);
            if !has_room {
                // The place gives back what it took of the count.
                drop(connections);
                return Err(Full);
            }
        } else if connections.of_peer(peer) >= most_of_peer && connections.evict(Some(peer), now) {
            self.evicted_peer.fetch_add(1, Ordering::Relaxed);
        }
        place.id = Some(connections.insert(peer, connection, now));
        drop(connections);
        Ok(place)
    }

    /// A turn for a handshake. Where there is none left, the one that took longest gives way if it is slow.
    pub(super) async fn handshake_permit(&self, now: Tick) -> Option<HandshakePermit<'_>> {
        let permit = match self.handshake_slots.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                self.oldest_gives_way(now);
                self.handshake_slots.acquire().await.ok()?
            }
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let given_up = CancellationToken::new();
        self.handshakes.lock().insert(id, (now, given_up.clone()));
        Some(HandshakePermit { limiter: self, id, given_up, _permit: permit })
    }

    fn oldest_gives_way(&self, now: Tick) {
        let mut handshakes = self.handshakes.lock();
        let slow = |(_, (since, _)): &(&u64, &(Tick, CancellationToken))| now.since(*since) > BRISK;
        let oldest = handshakes.first_key_value().filter(slow).map(|(id, _)| *id);
        if let Some((_, given_up)) = oldest.and_then(|id| handshakes.remove(&id)) {
            given_up.cancel();
        }
    }

    /// Counts a connection that was ended for a flood of frames.
    pub(super) fn flooded(&self) {
        self.floods.fetch_add(1, Ordering::Relaxed);
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
            refused: self.refused.load(Ordering::Relaxed),
            evicted_full: self.evicted_full.load(Ordering::Relaxed),
            evicted_peer: self.evicted_peer.load(Ordering::Relaxed),
            floods: self.floods.load(Ordering::Relaxed),
            failed: std::array::from_fn(|at| self.failed.get(at).map_or(0, |count| count.load(Ordering::Relaxed))),
        }
    }
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    id: Option<u64>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(id) = self.id {
            self.limiter.connections.lock().remove(id);
        }
    }
}

/// A handshake's turn, given back when it is dropped.
#[derive(Debug)]
pub(super) struct HandshakePermit<'c> {
    limiter: &'c ConnectionLimiter,
    id: u64,
    /// Cancelled where it gave way to another.
    pub(super) given_up: CancellationToken,
    _permit: SemaphorePermit<'c>,
}

impl Drop for HandshakePermit<'_> {
    fn drop(&mut self) {
        self.limiter.handshakes.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::watchdog::{Command, Watchdog};
    use super::*;

    /// A listener's connections, which only grow.
    struct Scene {
        limiter: Arc<ConnectionLimiter>,
        paces: Arc<Watchdog>,
        limits: Limits,
    }

    type Entered = Result<(ConnectionPermit, Arc<ConnectionState>), Full>;

    impl Scene {
        fn new(connections: usize, per_peer: usize) -> Self {
            let time = Duration::from_secs(75);
            let (head_time, idle_time, silent_time) = (time, time, time);
            let limits = Limits { connections, per_peer, head_bytes: 1, head_time, idle_time, silent_time };
            Self { limiter: Arc::default(), paces: Arc::default(), limits }
        }

        fn enter(&self, ip: &str, seconds: u64) -> Entered {
            let connection = self.paces.enter(at(seconds));
            let peer = SocketAddr::new(ip.parse().unwrap(), 4711);
            Ok((self.limiter.enter(peer, &connection, &self.limits, at(seconds))?, connection))
        }
    }

    fn at(seconds: u64) -> Tick {
        Tick::default().plus(Duration::from_secs(seconds))
    }

    fn gives_way(entered: &Entered) -> bool {
        entered.as_ref().is_ok_and(|(_, connection)| connection.command() == Command::GiveWay)
    }

    /// Idle connections of one peer without a token kept everybody else out, for as long as they liked.
    #[test]
    fn where_all_places_are_taken_the_longest_idle_gives_way() {
        for idle in ["10.0.0.1", "127.0.0.1", "2001:db8::1"] {
            let scene = Scene::new(3, 0);
            let held: Vec<Entered> = (0..3).map(|second| scene.enter(idle, second)).collect();
            let other = scene.enter("10.0.0.2", 5);
            assert!(other.is_ok());
            assert_eq!(held.iter().map(gives_way).collect::<Vec<_>>(), [true, false, false], "{idle}");
            let figures = scene.limiter.figures();
            assert_eq!((figures.evicted_full, figures.evicted_peer, figures.refused), (1, 0, 0));
        }
    }

    #[test]
    fn a_peer_that_comes_again_gives_way_to_itself_first() {
        let scene = Scene::new(3, 0);
        let [first, second, own] = ["10.0.0.1", "10.0.0.1", "10.0.0.2"].map(|ip| scene.enter(ip, 1));
        let again = scene.enter("10.0.0.2", 5);
        assert!(again.is_ok() && gives_way(&own));
        assert!(!gives_way(&first) && !gives_way(&second));
    }

    #[test]
    fn whose_share_is_taken_gives_way_to_itself_and_others_have_theirs() {
        let scene = Scene::new(100, 2);
        let [first, second, other] = ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"].map(|ip| scene.enter(ip, 1));
        let third = scene.enter("10.0.0.1", 2);
        assert!(third.is_ok() && gives_way(&first) && !gives_way(&second) && !gives_way(&other));
        assert_eq!(scene.limiter.figures().evicted_peer, 1);
        // An address of IPv6 is its network.
        let [one, two, three] = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(|ip| scene.enter(ip, 1));
        assert!(three.is_ok() && gives_way(&one) && !gives_way(&two));
        // This machine has no share: it has them all.
        let own: Vec<Entered> = (0..10).map(|_| scene.enter("127.0.0.1", 1)).collect();
        assert!(own.iter().all(|own| own.is_ok() && !gives_way(own)));
    }

    #[test]
    fn who_is_answered_keeps_its_place_and_a_share_alone_refuses_nobody() {
        let scene = Scene::new(4, 2);
        let busy: Vec<Entered> = (0..2).map(|_| scene.enter("10.0.0.1", 0)).collect();
        busy.iter().for_each(|entered| entered.as_ref().unwrap().1.serving());
        let beyond = scene.enter("10.0.0.1", 1);
        beyond.as_ref().unwrap().1.serving();
        let idle = scene.enter("10.0.0.2", 2);
        let last = scene.enter("10.0.0.3", 3);
        assert!(last.is_ok() && gives_way(&idle), "the only one that is idle");
        drop(idle);
        last.as_ref().unwrap().1.serving();
        assert_eq!(scene.enter("10.0.0.4", 4).map(drop).unwrap_err(), Full);
        assert!(!busy.iter().chain([&beyond, &last]).any(gives_way));
        let figures = scene.limiter.figures();
        assert_eq!((figures.open, figures.refused, figures.evicted_full), (4, 1, 1));
        // An answer that ends makes its connection idle.
        let (_, connection) = busy[1].as_ref().unwrap();
        connection.quiet();
        assert!(scene.enter("10.0.0.4", 5).is_err(), "hyper has not all of it");
        connection.answer_ended();
        let entered = scene.enter("10.0.0.4", 6);
        assert!(entered.is_ok() && gives_way(&busy[1]));
    }

    #[test]
    fn bytes_of_a_head_that_never_ends_keep_no_place() {
        let scene = Scene::new(3, 0);
        let dripping = scene.enter("10.0.0.1", 0);
        let asked = scene.enter("10.0.0.2", 0);
        let silent = scene.enter("10.0.0.3", 4);
        let (_, connection) = dripping.as_ref().unwrap();
        connection.reads_head();
        connection.moved();
        let (_, connection) = asked.as_ref().unwrap();
        connection.quiet();
        let entered = scene.enter("10.0.0.4", 5);
        assert!(entered.is_ok() && gives_way(&dripping) && !gives_way(&asked));
        let entered = scene.enter("10.0.0.5", 6);
        assert!(entered.is_ok() && gives_way(&silent), "the other was answered since the last look");
    }

    #[tokio::test]
    async fn where_turns_run_out_the_slowest_gives_way_and_brisk_ones_do_not() {
        let limiter = ConnectionLimiter { handshake_slots: Semaphore::new(2), ..ConnectionLimiter::default() };
        let at = |seconds| Tick::default().plus(Duration::from_secs(seconds));
        let slow = limiter.handshake_permit(at(0)).await.unwrap();
        let brisk = limiter.handshake_permit(at(5)).await.unwrap();
        let third = limiter.handshake_permit(at(5));
        let mut third = std::pin::pin!(third);
        assert!(futures_now(third.as_mut()).await.is_none());
        assert!(slow.given_up.is_cancelled());
        drop(slow);
        let _third = futures_now(third.as_mut()).await.unwrap();
        // Now nobody is slow: the next waits its turn.
        let fourth = limiter.handshake_permit(at(5));
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
