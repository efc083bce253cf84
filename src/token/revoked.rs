//! Was this token taken back?
//! Given a token's id, caller and issue time, hands back whether a revocation speaks of it; and notes that it is in use.
//! Never touches a disk: the authority's ledger fills it at start, and before it answers a revocation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

/// Ids whose use is noted between two collections; more are not worth the memory.
const MOST_NOTED: usize = 65_536;

#[derive(Default)]
struct Known {
    /// Token id to its expiry, seconds since 1970.
    tokens: HashMap<Box<str>, u64>,
    /// Caller to the last second of which no token counts.
    callers: HashMap<Box<str>, u64>,
}

/// What was taken back. Whoever remembers a verified token compares the epoch and asks again when it moved.
#[derive(Default)]
pub struct Revoked {
    epoch: AtomicU64,
    known: RwLock<Known>,
    used: Mutex<HashMap<Box<str>, u64>>,
}

impl Revoked {
    /// Moves whenever something that was true of a token may be so no more.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Makes every remembered token be judged anew.
    pub fn advance(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Whether the token with this id, issued to `caller` at `issued` seconds, was taken back.
    pub fn refuses(&self, caller: &str, jti: &str, issued: u64) -> bool {
        let known = self.known.read();
        known.tokens.contains_key(jti) || known.callers.get(caller).is_some_and(|&last| issued <= last)
    }

    /// Takes tokens back, each until its expiry.
    pub fn revoke<'a>(&self, tokens: impl IntoIterator<Item = (&'a str, u64)>) {
        self.known.write().tokens.extend(tokens.into_iter().map(|(jti, expires)| (jti.into(), expires)));
        self.advance();
    }

    /// Takes back whatever a caller was given up to and including second `last`.
    pub fn revoke_caller(&self, caller: &str, last: u64) {
        let mut known = self.known.write();
        let held = known.callers.entry(caller.into()).or_default();
        *held = last.max(*held);
        drop(known);
        self.advance();
    }

    /// The first second of which a new token of this caller counts.
    pub fn earliest(&self, caller: &str) -> u64 {
        self.known.read().callers.get(caller).map_or(0, |last| last.saturating_add(1))
    }

    /// Forgets tokens that expired before `unix` seconds.
    pub fn forget_expired(&self, unix: u64) {
        self.known.write().tokens.retain(|_, expires| *expires >= unix);
    }

    /// How many tokens are refused by their id.
    pub fn count(&self) -> usize {
        self.known.read().tokens.len()
    }

    /// Notes that a token was used at `unix` seconds; once per epoch is enough for a coarse "last used".
    pub(super) fn note_use(&self, jti: &str, unix: u64) {
        let mut used = self.used.lock();
        if used.len() < MOST_NOTED || used.contains_key(jti) {
            used.insert(jti.into(), unix);
        }
    }

    /// Hands over what was noted since the last time.
    pub fn take_used(&self) -> Vec<(Box<str>, u64)> {
        std::mem::take(&mut *self.used.lock()).into_iter().collect()
    }
}
