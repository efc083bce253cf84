//! A pool of bytes for what is on its way: uploads that are read before a call starts, and answers whose reader is slow.
//! Given who wants how much, hands back a lease that gives the bytes back when it is dropped, or nothing while there is no room.
//! Never holds a byte itself, and never lets one caller have more than a quarter.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::budget::lanes::Who;

/// One caller has at most this part of the pool.
const SHARE: usize = 4;

/// The pool.
pub struct Buffers {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    most: usize,
    used: usize,
    by: HashMap<Who, usize, ahash::RandomState>,
}

impl Buffers {
    /// An empty pool of `most` bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { most, ..State::default() }), freed: Notify::new() })
    }

    /// Goes by another size from here on; what is leased stays leased.
    pub fn resize(&self, most: usize) {
        self.state.lock().most = most;
        self.freed.notify_waiters();
    }

    /// A lease of nothing, to be grown.
    pub fn lease(self: &Arc<Self>, who: Who) -> Lease {
        Lease { buffers: Arc::clone(self), who, bytes: 0 }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.state.lock().used
    }

    /// Bytes that may be in use.
    pub fn most(&self) -> usize {
        self.state.lock().most
    }
}

/// Bytes of the pool, until it is dropped.
pub struct Lease {
    buffers: Arc<Buffers>,
    who: Who,
    bytes: usize,
}

impl Lease {
    /// Takes more, if there is room for it in the pool and in the caller's part of it.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let mut state = self.buffers.state.lock();
        let (used, own) = (state.used + bytes, state.by.get(&self.who).copied().unwrap_or_default() + bytes);
        if used > state.most || own > state.most / SHARE {
            return false;
        }
        state.used = used;
        state.by.insert(self.who, own);
        self.bytes += bytes;
        true
    }

    /// The same, once there is room; for ever where there never is.
    pub async fn grown(&mut self, bytes: usize) {
        let buffers = Arc::clone(&self.buffers);
        loop {
            let mut freed = std::pin::pin!(buffers.freed.notified());
            freed.as_mut().enable();
            if self.grow(bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Takes a part out of this lease, to be given back by itself.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { buffers: Arc::clone(&self.buffers), who: self.who, bytes }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.buffers.state.lock();
        state.used = state.used.saturating_sub(self.bytes);
        if let Some(own) = state.by.get_mut(&self.who) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                state.by.remove(&self.who);
            }
        }
        drop(state);
        self.buffers.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_a_quarter_and_all_callers_the_whole() {
        let buffers = Buffers::new(100);
        let mut leases: Vec<Lease> = (0..4).map(|who| buffers.lease(who)).collect();
        for lease in &mut leases {
            assert!(lease.grow(20) && !lease.grow(6) && lease.grow(5));
        }
        let mut fifth = buffers.lease(5);
        assert!(!fifth.grow(1), "the pool is full");
        let part = leases[0].split(10);
        assert_eq!(buffers.used(), 100);
        drop(part);
        assert!(fifth.grow(10) && !fifth.grow(1));
        assert!(!leases[1].grow(1), "its own part is full");
        drop((leases, fifth));
        assert_eq!(buffers.used(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_room_gets_it_when_somebody_leaves() {
        let buffers = Buffers::new(40);
        let mut first = buffers.lease(1);
        assert!(first.grow(10));
        let mut second = buffers.lease(1);
        let waiter = tokio::spawn(async move {
            second.grown(5).await;
            second
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(first);
        let second = waiter.await.unwrap();
        assert_eq!(buffers.used(), 5);
        drop(second);
    }
}
