//! What would be found under a key?
//! Given a key, hands back what a request would find there, for either mode, and the row that a list would have of it.
//! Never leaves a trace: it is no hit, and nothing stays longer for having been looked at.

use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Now;

use super::list::{Row, row};
use super::variants::selected;
use super::{Entry, Key, Lookup, Reply, Slot, Store, found};

/// What stands under one key.
pub struct Peek {
    key: Key,
    slot: Option<Slot>,
}

impl Store {
    /// Looks at every key: moka counts each `get` towards what stays, and has no other way to one entry.
    pub fn peek(&self, key: Key) -> Peek {
        let slot = self.slots.iter().find(|(known, _)| Arc::as_ref(known) == &key).map(|(_, slot)| slot);
        Peek { key, slot }
    }
}

impl Peek {
    /// Where it was looked.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The same as [`Store::look`].
    pub fn look(&self, now: Now) -> Lookup<Entry> {
        found(self.slot.clone(), now)
    }

    /// The same as [`Store::select`].
    pub fn select(&self, sent: &HeaderMap, now: Now) -> Lookup<Reply> {
        selected(self.slot.as_ref(), sent, now)
    }

    /// The row of it; `None` where no answer is held.
    pub fn row(&self, now: Now) -> Option<Row> {
        row(&self.key, self.slot.as_ref()?, now)
    }
}
