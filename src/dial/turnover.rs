//! How old may a connection be?
//! Given a connector and an age, hands back the client to use now: another one, with connections of its own, each time the age is over.
//! Never cuts a request off: the connection of one that is under way lasts until its answer is read.

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
}

impl<C: Connect + Clone> Turnover<C> {
    /// No connections yet.
    pub fn new(connector: C, age: Option<Duration>) -> Self {
        let current = (client(connector.clone()), Tick::default());
        Self { connector, age, current: Mutex::new(current) }
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

    /// Gives up the connections that wait for a request: the next one opens its own.
    pub fn reconnect(&self) {
        self.current.lock().0 = client(self.connector.clone());
    }
}
