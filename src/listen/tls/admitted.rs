//! Which connections were let in by which issuers?
//! Given connections as they are let in, asks those to finish that were let in before an issuer was taken out.
//! Never costs a connection anything while it lasts: nothing of this is polled.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::watchdog::ConnectionState;

/// The connections of clients that showed a certificate.
#[derive(Debug, Default)]
pub(super) struct Admitted(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Counts how often an issuer was taken out.
    epoch: u64,
    next: u64,
    states: HashMap<u64, Arc<ConnectionState>>,
}

/// By which issuers a client is let in.
#[derive(Debug)]
pub(in crate::listen) struct Admission {
    all: Arc<Admitted>,
    epoch: u64,
}

/// A connection that was let in, until it is dropped.
pub(in crate::listen) struct Entered {
    all: Arc<Admitted>,
    id: u64,
}

impl Admitted {
    /// By the issuers of now; to be asked before these are read.
    pub(super) fn admission(self: &Arc<Self>) -> Admission {
        Admission { all: Arc::clone(self), epoch: self.0.lock().epoch }
    }

    /// Asks all who are in to finish what they are at, and hands back how many they are. To be called once the issuers of
    /// now are in force.
    pub(super) fn finish_all(&self) -> usize {
        let mut state = self.0.lock();
        state.epoch += 1;
        let states = std::mem::take(&mut state.states);
        states.values().for_each(|connection| connection.finish());
        states.len()
    }
}

impl Admission {
    /// A connection is in. One whose handshake an issuer's end came in between is asked to finish at once.
    pub(in crate::listen) fn enter(&self, connection: &Arc<ConnectionState>) -> Entered {
        let mut state = self.all.0.lock();
        let id = state.next;
        state.next += 1;
        match state.epoch == self.epoch {
            true => drop(state.states.insert(id, Arc::clone(connection))),
            false => connection.finish(),
        }
        Entered { all: Arc::clone(&self.all), id }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.0.lock().states.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::watchdog::{Command, Watchdog};
    use super::*;
    use crate::clock::Tick;

    #[test]
    fn who_was_let_in_before_is_asked_to_finish_and_nobody_else() {
        let (watchdog, all) = (Watchdog::default(), Arc::new(Admitted::default()));
        let connection = || watchdog.enter(Tick::default());
        let (one, gone, late, after) = (connection(), connection(), connection(), connection());
        let before = all.admission();
        let _one = before.enter(&one);
        drop(before.enter(&gone));
        assert_eq!(all.finish_all(), 1);
        let _late = before.enter(&late);
        let _after = all.admission().enter(&after);
        let wishes = [&one, &gone, &late, &after].map(|connection| connection.command());
        assert_eq!(wishes, [Command::Finish, Command::Nothing, Command::Finish, Command::Nothing]);
        drop(_after);
        assert!(all.0.lock().states.is_empty());
    }
}
