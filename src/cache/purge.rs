//! How is what is held given up before its time?
//! Given which keys are meant, takes them out, or ends their lifetime so that they are shown stale and asked for again.
//! Never lets an answer in that was asked for before the purge: whoever stores says when it was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use moka::ops::compute::Op;
use parking_lot::RwLock;

use crate::clock::{Now, Tick};
use crate::route::RouteIndex;

use super::key::named::Which;
use super::{Key, Slot, Store};

/// So many purges are remembered one by one. What was asked for before all of them is taken as purged.
const REMEMBERED: usize = 1024;

/// The purges there were.
///
/// Storing holds it for reading while it looks and inserts, a purge for writing while it is noted: so what is stored is either
/// seen by the purge that follows, or sees the one before.
#[derive(Debug, Default)]
pub(super) struct Purges(RwLock<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// The last ones and their moments, oldest first.
    last: VecDeque<(Tick, Which)>,
    /// The moment of the last one that is not remembered.
    forgotten: Option<Tick>,
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
    /// Runs `store` unless this key was purged at or after `asked`; `None` says that it was.
    pub(super) fn unless_purged<T>(&self, key: &Key, asked: Tick, store: impl FnOnce() -> T) -> Option<T> {
        let noted = self.0.read();
        let mut since = noted.last.iter().rev().take_while(|(at, _)| *at >= asked);
        if noted.forgotten >= Some(asked) || since.any(|(_, which)| which.means(key)) {
            return None;
        }
        Some(store())
    }

    /// Keeps everybody from storing for as long as what it hands back lives.
    pub(super) fn hold(&self) -> impl Drop + '_ {
        self.0.write()
    }

    fn note(&self, which: &Which, at: Tick) {
        let mut noted = self.0.write();
        // Two purges at once may come here in the other order; the later moment holds for both.
        let at = noted.last.back().map_or(at, |(last, _)| at.max(*last));
        if noted.last.len() == REMEMBERED {
            noted.forgotten = noted.last.pop_front().map(|(at, _)| at);
        }
        noted.last.push_back((at, which.clone()));
    }
}

impl Store {
    /// Purges what is meant and hands back how many answers that were; looks at every key unless told that `only` one can be meant.
    pub fn purge(&self, which: &Which, how: How, only: bool, now: Now) -> usize {
        self.purges.note(which, now.tick);
        // moka 0.12 loses the weight of a change that still waits when its slot is removed.
        self.slots.run_pending_tasks();
        match which {
            Which::Resource(key) if only => usize::from(self.give_up(key, how, now)),
            _ => {
                let keys = self.slots.iter().map(|(key, _)| key).filter(|key| which.means(key));
                keys.filter(|key| self.give_up(key, how, now)).count()
            }
        }
    }

    /// Takes out what no route as they are now can reach.
    pub fn give_up_outside(&self, editions: Box<[u32]>, now: Now) {
        self.purge(&Which::Outside(editions), How::Hard, false, now);
    }

    /// How many answers [`Store::give_up_outside`] would take out, by their route in the table that they were stored by;
    /// looks at every key.
    pub fn lost_outside(&self, editions: Box<[u32]>) -> BTreeMap<RouteIndex, usize> {
        let which = Which::Outside(editions);
        let mut lost = BTreeMap::new();
        for (key, slot) in self.slots.iter().filter(|(key, _)| which.means(key)) {
            if let Some(route) = key.route() {
                *lost.entry(route).or_default() += slot.answers();
            }
        }
        lost
    }

    /// Whether there was an answer to give up.
    fn give_up(&self, key: &Key, how: How, now: Now) -> bool {
        // Nothing may be stored between the look and the replacement: what came meanwhile is newer.
        let _nobody_stores = self.purges.hold();
        let mut found = false;
        let _ = self.slots.entry_by_ref(key).and_compute_with(|held| match held.map(moka::Entry::into_value) {
            Some(slot) if how == How::Hard => {
                found = slot.answers() > 0;
                Op::Remove
            }
            Some(Slot::Entry(entry)) => {
                found = true;
                Op::Put(Slot::Entry(Arc::new(entry.ended(now.tick))))
            }
            Some(Slot::Variants(variants)) if variants.len() > 0 => {
                found = true;
                Op::Put(Slot::Variants(Arc::new(variants.ended(now.tick))))
            }
            _ => Op::Nop,
        });
        found
    }
}
