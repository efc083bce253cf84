//! Is what we hold gone, because a page says so?
//! Given the key of something good and that a 404 came which is no word of the API, hands back whether that is to be believed.
//! Never believes the first: during a roll-out an ingress knows no route for a few seconds, and says so in a page of its own.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Tick;

use super::Key;

/// So often it is heard in a row.
const HEARINGS: u32 = 3;

/// And over so much time.
const OVER: Duration = Duration::from_secs(30);

/// Of so many keys at once; of one more the longest known makes room, and is heard anew.
const MAX_KEYS: usize = 1024;

/// Keys whose absence was said and is not believed yet.
#[derive(Debug, Default)]
pub(super) struct Absences {
    heard: Mutex<HashMap<Key, Heard, ahash::RandomState>>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    times: u32,
    first: Tick,
}

impl Absences {
    /// It was said once more: whether it was said often enough.
    pub(super) fn is_believed(&self, key: &Key, now: Tick) -> bool {
        let mut heard = self.heard.lock();
        if heard.len() >= MAX_KEYS && !heard.contains_key(key) {
            let oldest = heard.iter().min_by_key(|(_, heard)| heard.first).map(|(key, _)| key.clone());
            oldest.map(|key| heard.remove(&key));
        }
        let of_key = heard.entry(key.clone()).or_insert(Heard { times: 0, first: now });
        of_key.times += 1;
        let believed = of_key.times >= HEARINGS && now.since(of_key.first) >= OVER;
        if believed {
            heard.remove(key);
        }
        believed
    }

    /// It is there after all.
    pub(super) fn forget(&self, key: &Key) {
        let mut heard = self.heard.lock();
        if !heard.is_empty() {
            heard.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::key_of;
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn an_absence_is_believed_after_three_hearings_over_half_a_minute() {
        let key = key_of("/clients/c1/");
        let said = |moments: &[u64]| {
            let absences = Absences::default();
            moments.iter().map(|second| absences.is_believed(&key, at(*second))).collect::<Vec<_>>()
        };
        assert_eq!(said(&[0, 15, 29, 30]), [false, false, false, true]);
        assert_eq!(said(&[0, 30, 31]), [false, false, true]);
        assert_eq!(said(&[0, 5_000, 10_000]), [false, false, true]);
        assert_eq!(said(&[0, 1, 30, 31, 60, 61]), [false, false, true, false, false, true], "each time anew");
    }

    #[test]
    fn what_is_there_again_in_between_is_heard_anew_and_one_key_says_nothing_of_another() {
        let (one, other) = (key_of("/clients/c1/"), key_of("/clients/c2/"));
        let absences = Absences::default();
        for second in [0, 10] {
            assert!(!absences.is_believed(&one, at(second)) && !absences.is_believed(&other, at(second)));
        }
        absences.forget(&one);
        assert!(!absences.is_believed(&one, at(40)));
        assert!(absences.is_believed(&other, at(40)));
    }

    #[test]
    fn no_more_than_so_many_keys_are_remembered() {
        let absences = Absences::default();
        for nth in 0..2 * MAX_KEYS as u64 {
            absences.is_believed(&key_of(&format!("/clients/c{nth}/")), Tick::from_nanos(nth));
        }
        assert_eq!(absences.heard.lock().len(), MAX_KEYS);
        let first = key_of("/clients/c0/");
        assert!(!absences.heard.lock().contains_key(&first), "the longest known made room");
    }
}
