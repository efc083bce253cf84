//! Was this token taken back?
//! Given a token's id, caller and issue time, hands back whether a revocation speaks of it; and notes that it is in use.
//! Never touches a disk: the authority's ledger fills it at start, and before it answers a revocation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

/// Ids whose use is noted between two collections; more are not worth the memory.
const MOST_NOTED: usize = 65_536;

#[derive(Default)]
struct Revocations {
    /// Token id to its expiry, seconds since 1970.
    tokens: HashMap<Box<str>, u64>,
    /// Caller to the last second of which no token counts.
    callers: HashMap<Box<str>, u64>,
    /// The same of everybody.
    floor: Option<u64>,
    /// The latest expiry of a token that was taken back and is not remembered any more.
    forgotten: u64,
}

/// The time of a token, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it was issued.
    pub issued: u64,
    /// When it ends.
    pub expires: u64,
}

/// What was taken back. Whoever remembers a verified token compares the epoch and asks again when it moved.
#[derive(Default)]
pub struct Revoked {
    epoch: AtomicU64,
    revocations: RwLock<Revocations>,
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

    /// Whether the token with this id, issued to `caller`, was taken back. One that expires no later than a revoked token
    /// that is forgotten is refused too: its time was over, and a wall clock that is set back brings none back.
    pub fn refuses(&self, caller: &str, jti: &str, life: Life) -> bool {
        let revocations = self.revocations.read();
        revocations.tokens.contains_key(jti)
            || revocations.callers.get(caller).is_some_and(|&last| life.issued <= last)
            || revocations.floor.is_some_and(|last| life.issued <= last)
            || life.expires <= revocations.forgotten
    }

    /// Whether it was taken back by its id.
    pub fn has(&self, jti: &str) -> bool {
        self.revocations.read().tokens.contains_key(jti)
    }

    /// Takes tokens back, each until its expiry.
    pub fn revoke<'a>(&self, tokens: impl IntoIterator<Item = (&'a str, u64)>) {
        self.revocations.write().tokens.extend(tokens.into_iter().map(|(jti, expires)| (jti.into(), expires)));
        self.advance();
    }

    /// Takes back whatever a caller was given up to and including second `last`.
    pub fn revoke_caller(&self, caller: &str, last: u64) {
        let mut revocations = self.revocations.write();
        let held = revocations.callers.entry(caller.into()).or_default();
        *held = last.max(*held);
        drop(revocations);
        self.advance();
    }

    /// Takes back whatever anybody was given up to and including second `last`.
    pub fn revoke_all(&self, last: u64) {
        let mut revocations = self.revocations.write();
        revocations.floor = revocations.floor.max(Some(last));
        drop(revocations);
        self.advance();
    }

    /// The first second of which a new token of this caller counts.
    pub fn earliest(&self, caller: &str) -> u64 {
        let revocations = self.revocations.read();
        let last = revocations.callers.get(caller).copied().max(revocations.floor);
        last.map_or(0, |last| last.saturating_add(1))
    }

    /// Forgets tokens that expired before `unix` seconds.
    pub fn forget_expired(&self, unix: u64) {
        let mut revocations = self.revocations.write();
        let Revocations { tokens, forgotten, .. } = &mut *revocations;
        tokens.retain(|_, expires| {
            let stays = *expires >= unix;
            if !stays {
                *forgotten = (*forgotten).max(*expires);
            }
            stays
        });
    }

    /// Forgets these, which are refused for another reason.
    pub fn forget<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut revocations = self.revocations.write();
        for jti in ids {
            revocations.tokens.remove(jti);
        }
    }

    /// Tokens that expire by `unix` seconds may be ones that were taken back and forgotten.
    pub fn has_forgotten(&self, unix: u64) {
        let mut revocations = self.revocations.write();
        revocations.forgotten = revocations.forgotten.max(unix);
    }

    /// How many tokens are refused by their id that expire after `unix` seconds.
    pub fn count(&self, unix: u64) -> usize {
        self.revocations.read().tokens.values().filter(|expires| **expires > unix).count()
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
