//! What is held, key by key?
//! Given where to go on and how many are wanted, hands back rows in an order that stays.
//! Never hands back a body, and never holds more rows than are wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Stored;
use crate::clock::Now;

use super::key::named::{Named, Which};
use super::{Key, Slot, Store};

/// One stored answer.
#[derive(Debug, Clone)]
pub struct Row {
    /// Under which key, in bytes: where to go on.
    pub at: Vec<u8>,
    /// What it stands for.
    pub named: Named,
    /// Its age.
    pub age: Duration,
    /// Seconds until it is stale; below 0, since when it is.
    pub ttl: i64,
    /// The partner's status.
    pub status: u16,
    /// Bytes it holds in memory.
    pub size: usize,
    /// How often it was shown from memory since it came; callers at the same instant may count as one.
    pub hits: u32,
    /// How many answers are held under this key.
    pub variants: usize,
}

impl Store {
    /// The first `most` rows of what is meant, after this key's bytes. Looks at every key, keeps `most` of them.
    pub fn list(&self, which: &Which, after: &[u8], most: usize, now: Now) -> Vec<Row> {
        let mut first: BTreeMap<Arc<Key>, Slot> = BTreeMap::new();
        for (key, slot) in &self.slots {
            let wanted = slot.answers() > 0 && key.as_bytes() > after && which.means(&key);
            let has_room = first.len() < most || first.last_key_value().is_some_and(|(last, _)| key < *last);
            if wanted && has_room {
                first.insert(key, slot);
                if first.len() > most {
                    first.pop_last();
                }
            }
        }
        first.iter().filter_map(|(key, slot)| row(key, slot, now)).collect()
    }
}

pub(super) fn row(key: &Key, slot: &Slot, now: Now) -> Option<Row> {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let (age, lifetime, status, size, hits) = match slot {
        Slot::Entry(entry) => {
            let life = entry.life();
            (life.age(now.tick), life.lifetime, entry.status(), entry.bytes(), entry.hits())
        }
        Slot::Variants(variants) => {
            let newest = variants.newest()?;
            let life = newest.life();
            (life.age(now.tick), life.lifetime, newest.status(), variants.bytes(), variants.hits())
        }
        Slot::Uncacheable { .. } => return None,
    };
    Some(Row {
        at: key.as_bytes().to_vec(),
        named: key.decode()?,
        age,
        ttl: seconds(lifetime) - seconds(age),
        status: status.as_u16(),
        size: key.len() + size,
        hits,
        variants: slot.answers(),
    })
}
