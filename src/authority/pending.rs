//! Which revocations are in force here and not on disk yet?
//! Given those that the ledger refused, keeps them until it takes them.
//! Never grows beyond its bound: a caller that has too many has all of its tokens revoked.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Tokens that wait, at most.
const MOST: usize = 10_000;

/// A token that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) jti: String,
    pub(super) expires: u64,
    pub(super) caller: String,
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Pending(Mutex<Registered>);

#[derive(Default)]
struct Registered {
    /// By id: the expiry, and whose it is.
    tokens: BTreeMap<String, (u64, String)>,
    /// By name: the last second of which no token counts.
    callers: BTreeMap<String, u64>,
    /// By id: how many are being written just now.
    under_way: BTreeMap<String, usize>,
}

impl Pending {
    /// One is being written, until [`Pending::ended`].
    pub(super) fn begun(&self, jti: &str) {
        *self.0.lock().under_way.entry(jti.to_owned()).or_default() += 1;
    }

    /// It is not being written any more.
    pub(super) fn ended(&self, jti: &str) {
        let mut known = self.0.lock();
        if let Some(times) = known.under_way.get_mut(jti) {
            *times = times.saturating_sub(1);
            if *times == 0 {
                known.under_way.remove(jti);
            }
        }
    }

    /// One more; `false`: there are too many, and nothing was noted.
    #[must_use]
    pub(super) fn add(&self, token: Waiting) -> bool {
        let mut known = self.0.lock();
        if known.tokens.len() >= MOST && !known.tokens.contains_key(&token.jti) {
            return false;
        }
        known.tokens.insert(token.jti, (token.expires, token.caller));
        true
    }

    /// All of a caller's up to and including second `last`.
    pub(super) fn add_caller(&self, caller: &str, last: u64) {
        let mut known = self.0.lock();
        let held = known.callers.entry(caller.to_owned()).or_default();
        *held = last.max(*held);
    }

    /// It is on disk.
    pub(super) fn done(&self, jti: &str) {
        self.0.lock().tokens.remove(jti);
    }

    /// The same of a caller's, as far as second `last`.
    pub(super) fn done_with(&self, caller: &str, last: u64) {
        let mut known = self.0.lock();
        if known.callers.get(caller).is_some_and(|held| *held <= last) {
            known.callers.remove(caller);
        }
    }

    /// Whether this one waits or is being written, so that it may not be on disk.
    pub(super) fn has(&self, jti: &str) -> bool {
        let known = self.0.lock();
        known.tokens.contains_key(jti) || known.under_way.contains_key(jti)
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        let known = self.0.lock();
        known.tokens.len() + known.callers.len()
    }

    /// All of them: callers and their seconds, and tokens.
    pub(super) fn all(&self) -> (Vec<(String, u64)>, Vec<Waiting>) {
        let known = self.0.lock();
        let callers = known.callers.iter().map(|(name, last)| (name.clone(), *last)).collect();
        let tokens = known.tokens.iter().map(|(jti, (expires, caller))| Waiting {
            jti: jti.clone(),
            expires: *expires,
            caller: caller.clone(),
        });
        (callers, tokens.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_one_that_waits_may_come_again() {
        let pending = Pending::default();
        let token = |nth: usize| Waiting { jti: nth.to_string(), expires: 1, caller: "billing".to_owned() };
        for nth in 0..MOST {
            assert!(pending.add(token(nth)));
        }
        assert!(!pending.add(token(MOST)) && pending.add(token(0)));
        pending.done("0");
        assert!(pending.add(token(MOST)) && !pending.has("0"));
        assert_eq!(pending.count(), MOST);
    }

    #[test]
    fn one_that_is_written_twice_at_a_time_is_under_way_until_both_are_over() {
        let pending = Pending::default();
        pending.begun("a");
        pending.begun("a");
        pending.ended("a");
        assert!(pending.has("a") && pending.count() == 0);
        pending.ended("a");
        assert!(!pending.has("a"));
    }

    #[test]
    fn a_caller_waits_until_its_last_second_is_on_disk() {
        let pending = Pending::default();
        pending.add_caller("billing", 7);
        pending.add_caller("billing", 5);
        pending.done_with("billing", 6);
        assert_eq!(pending.all().0, [("billing".to_owned(), 7)]);
        pending.done_with("billing", 7);
        assert_eq!(pending.count(), 0);
    }
}
