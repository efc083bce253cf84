//! Eviction: which connection gives way where there is no room for another?
//! Given all connections, hands back the one that has been idle for longest, of one peer or of all.
//! Never ends one whose request is being answered.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::watchdog::ConnectionState;
use crate::clock::Tick;

/// Connections looked at for one that may give way. Each that is not idle goes to the end of the order, so that the next
/// search begins with others.
const MAX_EXAMINED: usize = 512;

/// Connections in the order in which they give way, as far as it is known: where one stands is looked at only when its turn
/// comes, so that a request costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: HashMap<u64, Connection, ahash::RandomState>,
    order: BTreeSet<(Tick, u64)>,
    peers: HashMap<IpAddr, BTreeSet<(Tick, u64)>, ahash::RandomState>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    state: Arc<ConnectionState>,
    peer: IpAddr,
    /// It has not been idle for longer than since then.
    since: Tick,
}

impl Connections {
    /// Adds a connection; hands back its number.
    pub(super) fn insert(&mut self, peer: IpAddr, state: &Arc<ConnectionState>, now: Tick) -> u64 {
        let id = self.next;
        self.next += 1;
        self.all.insert(id, Connection { state: Arc::clone(state), peer, since: now });
        self.order.insert((now, id));
        self.peers.entry(peer).or_default().insert((now, id));
        id
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many there are of this peer.
    pub(super) fn of_peer(&self, peer: IpAddr) -> usize {
        self.peers.get(&peer).map_or(0, BTreeSet::len)
    }

    /// Takes a connection out, if it is still there.
    pub(super) fn remove(&mut self, id: u64) -> Option<Arc<ConnectionState>> {
        let Connection { state, peer, since } = self.all.remove(&id)?;
        self.order.remove(&(since, id));
        if let Some(of_peer) = self.peers.get_mut(&peer) {
            of_peer.remove(&(since, id));
            if of_peer.is_empty() {
                self.peers.remove(&peer);
            }
        }
        Some(state)
    }

    /// Lets the connection give way that has been idle for longest, of `peer` or of all; whether there was one.
    pub(super) fn evict(&mut self, peer: Option<IpAddr>, now: Tick) -> bool {
        for _ in 0..MAX_EXAMINED {
            let order = match peer {
                Some(peer) => self.peers.get(&peer),
                None => Some(&self.order),
            };
            let Some(&(since, id)) = order.and_then(BTreeSet::first) else { return false };
            let idle_since = self.all.get(&id).and_then(|connection| connection.state.idle_since(now));
            match idle_since {
                Some(idle_since) if idle_since <= since => {
                    if let Some(state) = self.remove(id) {
                        state.give_way();
                    }
                    return true;
                }
                // All have been looked at.
                None if since > now => return false,
                // Behind those that are idle from now on.
                None => self.moves(id, now.plus(Duration::from_nanos(1))),
                Some(idle_since) => self.moves(id, idle_since),
            }
        }
        false
    }

    fn moves(&mut self, id: u64, since: Tick) {
        let Some(connection) = self.all.get_mut(&id) else { return };
        let before = std::mem::replace(&mut connection.since, since);
        let of_peer = self.peers.get_mut(&connection.peer);
        for order in of_peer.into_iter().chain([&mut self.order]) {
            order.remove(&(before, id));
            order.insert((since, id));
        }
    }
}
