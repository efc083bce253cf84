//! How old may a connection be?
//! Given a connector and an age, hands back the client to use now: another one, with connections of its own, each time the age is over.
//! Never cuts a request off: the connection of one that is under way lasts until its answer is read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use parking_lot::Mutex;

use crate::clock::Tick;

use super::{OutBody, chance, client};

/// One pool of connections after the other.
///
/// A name is looked up when a connection is opened, so a partner that moves is followed only as connections end. hyper's pool
/// knows how long one was idle and not how old it is; a pool that is given up whole needs no clock in each of them.
pub struct Turnover<C> {
    connector: C,
    /// `None`: for ever.
    age: Option<Duration>,
    current: Mutex<(Client<C, OutBody>, Tick)>,
    /// Whether a connection may wait for another request.
    answered: AtomicBool,
}

impl<C: Connect + Clone> Turnover<C> {
    /// No connections yet.
    pub fn new(connector: C, age: Option<Duration>) -> Self {
        let current = (client(connector.clone()), Tick::default());
        Self { connector, age, current: Mutex::new(current), answered: AtomicBool::new(false) }
    }

    /// The client to use at `now`.
    pub fn at(&self, now: Tick) -> Client<C, OutBody> {
        let Some(age) = self.age else { return self.current.lock().0.clone() };
        let mut current = self.current.lock();
        if now >= current.1 {
            // Up to a quarter less, so that many gateways do not come back to the partner together.
            *current = (client(self.connector.clone()), now.plus(age - age.mul_f64(chance() / 4.0)));
        }
        current.0.clone()
    }

    /// A request was answered: its connection may wait for another one.
    pub fn answered(&self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Gives up the connections that wait for a request, so that the next one opens its own. Hands back whether there can have
    /// been any.
    pub fn reconnect(&self) -> bool {
        let any = self.answered.swap(false, Ordering::Relaxed);
        if any {
            self.current.lock().0 = client(self.connector.clone());
        }
        any
    }
}
