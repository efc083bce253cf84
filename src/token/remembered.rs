//! Has this very token been verified before?
//! Given its bytes, hands back the caller it stood for, by keyed hash and then by comparing every byte.
//! Never judges expiry, never grows beyond its bound, wipes what it forgets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use zeroize::Zeroizing;

use super::Caller;

const SHARDS: usize = 16;
const PER_SHARD: usize = 1024;

struct Seen {
    token: Zeroizing<Box<[u8]>>,
    caller: Arc<Caller>,
}

type Shard = RwLock<HashMap<u64, Seen, ahash::RandomState>>;

/// That the signatures of these tokens were good, and nothing else of them: what they may do is judged anew in each
/// house, and whoever was let in before need not queue behind strangers there.
#[derive(Default)]
pub(super) struct Familiar {
    hash: ahash::RandomState,
    marks: RwLock<HashSet<u64, ahash::RandomState>>,
}

impl Familiar {
    pub(super) fn has(&self, token: &[u8]) -> bool {
        self.marks.read().contains(&self.hash.hash_one(token))
    }

    pub(super) fn forget(&self, token: &[u8]) {
        let mark = self.hash.hash_one(token);
        if self.marks.read().contains(&mark) {
            self.marks.write().remove(&mark);
        }
    }

    pub(super) fn keep(&self, token: &[u8]) {
        let mut marks = self.marks.write();
        if marks.len() >= SHARDS * PER_SHARD
            && let Some(&any) = marks.iter().next()
        {
            marks.remove(&any);
        }
        marks.insert(self.hash.hash_one(token));
    }
}

/// At most 16,384 tokens.
pub(super) struct Remembered {
    hash: ahash::RandomState,
    shards: [Shard; SHARDS],
}

impl Remembered {
    pub(super) fn new() -> Self {
        Self { hash: ahash::RandomState::new(), shards: Default::default() }
    }

    /// The caller this token stood for when it was verified.
    pub(super) fn find(&self, token: &[u8]) -> Option<Arc<Caller>> {
        let hash = self.mark(token);
        let shard = self.shard(hash)?.read();
        let seen = shard.get(&hash)?;
        // The hash is keyed, so nobody outside can aim at another's slot and time this comparison.
        (**seen.token == *token).then(|| Arc::clone(&seen.caller))
    }

    /// Remembers a verified token; a full shard forgets the expired first, then any one.
    pub(super) fn keep(&self, token: &[u8], caller: Arc<Caller>, unix: u64) {
        let hash = self.mark(token);
        let Some(shard) = self.shard(hash) else { return };
        let mut shard = shard.write();
        if shard.len() >= PER_SHARD {
            shard.retain(|_, seen| seen.caller.expires > unix);
            if shard.len() >= PER_SHARD
                && let Some(&any) = shard.keys().next()
            {
                shard.remove(&any);
            }
        }
        shard.insert(hash, Seen { token: Zeroizing::new(token.into()), caller });
    }

    /// Of each caller, by name, the token that lives longest of those that are good at `unix`: when it was issued, and when it ends.
    pub(super) fn newest(&self, unix: u64) -> BTreeMap<Arc<str>, (u64, u64)> {
        let mut newest = BTreeMap::new();
        for shard in &self.shards {
            for caller in shard.read().values().map(|seen| &seen.caller).filter(|caller| caller.expires > unix) {
                let life = newest.entry(Arc::clone(&caller.name)).or_insert((caller.issued, caller.expires));
                if caller.expires > life.1 {
                    *life = (caller.issued, caller.expires);
                }
            }
        }
        newest
    }

    /// A token ends in its signature, of which a part tells it from all others; every hit pays for this.
    fn mark(&self, token: &[u8]) -> u64 {
        self.hash.hash_one(token.last_chunk::<32>().map_or(token, |end| end.as_slice()))
    }

    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.shards.get((hash >> 60) as usize % SHARDS)
    }
}
