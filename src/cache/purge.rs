//! How is what is held given up before its time?
//! Given which keys are meant, takes them out, or ends their lifetime so that they are shown stale and asked for again.
//! Never lets an answer in that was asked for before the purge: whoever asks notes the generation, whoever stores shows it.

use std::collections::VecDeque;
use std::sync::Arc;

use moka::ops::compute::Op;
use parking_lot::RwLock;

use crate::clock::Now;

use super::key::named::Which;
use super::{Key, Slot, Store};

/// So many purges are remembered one by one. A flight that is older than all of them is taken as purged.
const REMEMBERED: usize = 1024;

/// Between which purges somebody began to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

/// The purges there were.
///
/// Storing holds it for reading while it looks and inserts, a purge for writing while it is noted: so what is stored is either
/// seen by the purge that follows, or sees the one before.
#[derive(Debug, Default)]
pub(super) struct Purges(RwLock<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// How many there were.
    count: u64,
    /// The last ones, oldest first.
    last: VecDeque<Which>,
}

/// How a purge treats what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Takes it out.
    Hard,
    /// Ends its lifetime now: its stale windows begin, and where it has none it is asked for again before it is shown.
    Soft,
}

impl Purges {
    pub(super) fn now(&self) -> Generation {
        Generation(self.0.read().count)
    }

    /// Runs `store` unless this key was purged since; `None` says that it was.
    pub(super) fn unless_purged<T>(&self, key: &Key, asked: Generation, store: impl FnOnce() -> T) -> Option<T> {
        let noted = self.0.read();
        let missed = noted.count.saturating_sub(asked.0);
        let missed = usize::try_from(missed).unwrap_or(usize::MAX);
        if missed > noted.last.len() || noted.last.iter().rev().take(missed).any(|which| which.means(key)) {
            return None;
        }
        Some(store())
    }

    fn note(&self, which: &Which) {
        let mut noted = self.0.write();
        noted.count += 1;
        if noted.last.len() == REMEMBERED {
            noted.last.pop_front();
        }
        noted.last.push_back(which.clone());
    }
}

impl Store {
    /// Between which purges we are: to be noted before the partner is asked.
    pub fn generation(&self) -> Generation {
        self.purges.now()
    }

    /// Purges what is meant and hands back how many answers that were; looks at every key unless told that `only` one can be meant.
    pub fn purge(&self, which: &Which, how: How, only: bool, now: Now) -> usize {
        self.purges.note(which);
        match which {
            Which::Resource(key) if only => usize::from(self.give_up(key, how, now)),
            _ => {
                let keys = self.slots.iter().map(|(key, _)| key).filter(|key| which.means(key));
                keys.filter(|key| self.give_up(key, how, now)).count()
            }
        }
    }

    /// Whether there was an answer to give up.
    fn give_up(&self, key: &Key, how: How, now: Now) -> bool {
        if how == How::Hard {
            return matches!(self.slots.remove(key), Some(Slot::Entry(_)));
        }
        // Nothing may be stored between the look and the replacement: what came meanwhile is newer.
        let _nobody_stores = self.purges.0.write();
        let mut found = false;
        let _ = self.slots.entry_by_ref(key).and_compute_with(|held| match held.map(moka::Entry::into_value) {
            Some(Slot::Entry(entry)) => {
                found = true;
                Op::Put(Slot::Entry(Arc::new(entry.ended(now.tick))))
            }
            _ => Op::Nop,
        });
        found
    }
}
