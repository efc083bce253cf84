//! Which key is the partner shown, or which token a hub?
//! Given where they lie, hands back the one to show now, and after a refusal another, if there is one worth trying.
//! Never prints one, and never drops a good one because a file cannot be read or holds nonsense.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use parking_lot::Mutex;

use crate::clock::Tick;
use crate::secret::Secret;

/// Where a key lies.
#[derive(Debug, Clone)]
pub enum Source {
    /// In a file, read again when it changes or its key is refused.
    File(PathBuf),
    /// It was given at the start and stays.
    Fixed(Secret),
    /// A hub gives it, and another one in time: see [`Credential::put`].
    Exchanged,
}

/// A key that no request could be made with.
#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Its text is no header's value.
    #[error("{0}: a key or token must be printable ASCII on one line, and not empty")]
    Unfit(PathBuf),
    /// The same of a key that was given.
    #[error("a key or token must be printable ASCII on one line, and not empty")]
    UnfitText,
}

/// The keys, in the order in which they are tried.
#[derive(Debug)]
pub struct Credential {
    slots: Mutex<Vec<Slot>>,
    /// The slot that is presented first: the one that was accepted after another had been refused.
    preferred: AtomicUsize,
    /// One call at a time finds out whether a refusal was meant.
    confirming: tokio::sync::Mutex<()>,
    /// Targets that are no document and were answered 401 within the last minute.
    opaque: Mutex<Vec<(u64, Tick)>>,
    opaque_alarms: AtomicU64,
    /// One reads at a time: what was read earlier must not be put over what was read later.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    source: Source,
    value: Option<HeaderValue>,
    /// When its file was changed, seconds since 1970.
    changed: Option<u64>,
    /// How often this very value was refused since any was accepted; calls under way together count once.
    refusals: u32,
    /// When it was refused last.
    refused_at: Tick,
    /// Whether it was refused when it was presented last, for an operator to see.
    rejected: bool,
    /// When it was accepted last.
    accepted_at: Option<Tick>,
    /// When the latest of the calls was sent that had it accepted.
    accepted_sent_at: Option<Tick>,
}

impl Slot {
    fn accepted_lately(&self, now: Tick) -> bool {
        self.accepted_at.is_some_and(|at| now.since(at) < LATELY)
    }
}

/// A key that was accepted so lately is good for all we know, whatever one answer says.
const LATELY: Duration = Duration::from_secs(60);

/// A key is refused when the partner has said so as often: one answer may be a hiccup.
const REFUSALS: u32 = 2;

/// So many targets that are no document ask for another login before an operator is told.
const OPAQUE_TARGETS: usize = 3;

/// A key as it was shown.
#[derive(Debug, Clone)]
pub struct Presented {
    slot: usize,
    value: HeaderValue,
}

impl Presented {
    /// For the header; marked as sensitive.
    pub fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Which slot it lay in, counted from 0.
    pub fn slot(&self) -> usize {
        self.slot
    }
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Whether another is worth showing now.
    pub another: bool,
    /// Whether what was refused was in its slot until now; one that had been replaced says nothing of its successor.
    pub was_current: bool,
}

/// What became of reading the files again.
#[derive(Debug, Default)]
pub struct Reread {
    /// Whether a key is there that was not there before.
    pub changed: bool,
    /// Files that hold no key now; what they held last is kept.
    pub faults: Vec<BadKey>,
}

impl Credential {
    /// Reads all keys. The first must be there; a further one may follow later.
    ///
    /// # Errors
    /// [`BadKey`] of the first.
    pub fn new(sources: Vec<Source>) -> Result<Self, BadKey> {
        let mut slots = Vec::with_capacity(sources.len());
        for (nth, source) in sources.into_iter().enumerate() {
            let value = match read(&source) {
                Some(Err(bad)) if nth == 0 => return Err(bad),
                read => read.and_then(Result::ok),
            };
            let changed = changed(&source);
            slots.push(Slot {
                source,
                value,
                changed,
                refusals: 0,
                refused_at: Tick::default(),
                rejected: false,
                accepted_at: None,
                accepted_sent_at: None,
            });
        }
        Ok(Self {
            slots: Mutex::new(slots),
            preferred: AtomicUsize::new(0),
            confirming: tokio::sync::Mutex::default(),
            opaque: Mutex::default(),
            opaque_alarms: AtomicU64::new(0),
            reading: Mutex::default(),
        })
    }

    /// The key to present now: the one that was refused least since any was accepted; of several the one that served last.
    pub fn show(&self) -> Option<Presented> {
        let slots = self.slots.lock();
        let preferred = self.preferred.load(Ordering::Relaxed);
        let there = slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        let (slot, it) = there.min_by_key(|(nth, slot)| (slot.refusals, *nth != preferred, *nth))?;
        it.value.clone().map(|value| Presented { slot, value })
    }

    /// The same, of those that were not refused.
    pub fn good(&self) -> Option<Presented> {
        let shown = self.show()?;
        self.slots.lock().get(shown.slot).is_some_and(|slot| slot.refusals == 0).then_some(shown)
    }

    /// The partner refused this one in a call that began at `asked`: hands back whether one is left to try, or one that was
    /// accepted meanwhile. The files are to be read again before ([`Credential::reread`]).
    pub fn refused(&self, shown: &Presented, asked: Tick, now: Tick) -> bool {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(shown.slot).filter(|slot| slot.value.as_ref() == Some(&shown.value)) {
            // What a later call had accepted is good, and this refusal is about something else.
            let meanwhile = slot.accepted_sent_at.is_some_and(|later| later >= asked);
            slot.rejected |= !meanwhile;
            // Of many calls that were under way together the first says it all.
            if !meanwhile && (slot.refusals == 0 || asked >= slot.refused_at) {
                (slot.refusals, slot.refused_at) = (slot.refusals.saturating_add(1), now);
            }
        }
        let mut there = slots.iter().filter(|slot| slot.value.is_some());
        there.any(|slot| slot.refusals < REFUSALS && slot.value.as_ref() != Some(&shown.value))
            || slots.get(shown.slot).is_some_and(|slot| slot.value.is_some() && slot.refusals < REFUSALS)
    }

    /// The partner accepted this one in a call that began at `asked`: earlier refusals, of whichever, say nothing any more.
    pub fn taken(&self, shown: &Presented, asked: Tick, now: Tick) {
        let mut slots = self.slots.lock();
        let was_refused = slots.iter().any(|slot| slot.refusals > 0);
        let Some(slot) = slots.get_mut(shown.slot).filter(|slot| slot.value.as_ref() == Some(&shown.value)) else {
            return;
        };
        (slot.accepted_at, slot.rejected) = (Some(now), false);
        slot.accepted_sent_at = slot.accepted_sent_at.max(Some(asked));
        if was_refused {
            slots.iter_mut().for_each(|slot| slot.refusals = 0);
            self.preferred.store(shown.slot, Ordering::Relaxed);
        }
    }

    /// Whether two keys are accepted at this time, as while the partner's nodes learn of a new one.
    pub fn alternates(&self, now: Tick) -> bool {
        self.slots.lock().iter().filter(|slot| slot.accepted_lately(now)).count() > 1
    }

    /// Whether any key was accepted within the last minute.
    pub fn accepted_lately(&self, now: Tick) -> bool {
        self.slots.lock().iter().any(|slot| slot.accepted_lately(now))
    }

    /// Whether any key was accepted at `then` or later.
    pub fn accepted_since(&self, then: Tick) -> bool {
        self.slots.lock().iter().any(|slot| slot.accepted_at.is_some_and(|at| at >= then))
    }

    /// Whether a call that began after `asked` had any key accepted.
    pub fn accepted_in_call_after(&self, asked: Tick) -> bool {
        self.slots.lock().iter().any(|slot| slot.accepted_sent_at.is_some_and(|later| later >= asked))
    }

    /// Another key than this one, if there is any.
    pub fn other(&self, than: &Presented) -> Option<Presented> {
        let slots = self.slots.lock();
        let mut others = slots.iter().enumerate().filter(|(nth, _)| *nth != than.slot);
        let (slot, value) = others.find_map(|(nth, slot)| Some((nth, slot.value.clone()?)))?;
        (value != than.value).then_some(Presented { slot, value })
    }

    /// Whether a key was refused, and none was accepted since.
    pub fn is_in_doubt(&self) -> bool {
        self.slots.lock().iter().any(|slot| slot.refusals > 0)
    }

    /// Waits for those who find out whether a refusal was meant: one at a time.
    pub async fn confirm(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.confirming.lock().await
    }

    /// A target that is no document was answered 401, which says nothing of the key. Hands back whether an operator is to be
    /// told now: several of them within a minute, and none was told of for as long.
    pub fn opaque_refusal(&self, target: u64, now: Tick) -> bool {
        let mut lately = self.opaque.lock();
        lately.retain(|(other, at)| *other != target && now.since(*at) < LATELY);
        lately.push((target, now));
        let alarm = lately.len() >= OPAQUE_TARGETS;
        if alarm {
            lately.clear();
            self.opaque_alarms.fetch_add(1, Ordering::Relaxed);
        }
        alarm
    }

    /// How often several targets that are no documents were answered 401 within a minute.
    pub fn opaque_alarms(&self) -> u64 {
        self.opaque_alarms.load(Ordering::Relaxed)
    }

    /// The hub refused this token: reads the files again and hands back whether another is worth presenting now.
    pub fn token_refused(&self, shown: &Presented) -> Refused {
        let mut was_current = false;
        {
            let mut slots = self.slots.lock();
            if let Some(slot) = slots.get_mut(shown.slot).filter(|slot| slot.value.as_ref() == Some(&shown.value)) {
                (slot.refusals, slot.rejected, was_current) = (REFUSALS, true, true);
            }
        }
        self.reread();
        Refused { another: self.good().is_some(), was_current }
    }

    /// A hub gave this one.
    pub(super) fn put(&self, value: HeaderValue) {
        let mut slots = self.slots.lock();
        for slot in slots.iter_mut().filter(|slot| matches!(slot.source, Source::Exchanged)) {
            (slot.value, slot.refusals, slot.rejected) = (Some(value.clone()), 0, false);
        }
    }

    /// Reads the files again. Blocks for as long as the disk takes.
    pub fn reread(&self) -> Reread {
        let _alone = self.reading.lock();
        // Read without the other lock: a slow disk keeps no request waiting.
        let sources: Vec<Source> = self.slots.lock().iter().map(|slot| slot.source.clone()).collect();
        let read: Vec<_> = sources.iter().map(read).collect();
        let mut found = Reread::default();
        for (nth, (slot, read)) in self.slots.lock().iter_mut().zip(read).enumerate() {
            let Some(read) = read else { continue };
            match read {
                Ok(value) if slot.value.as_ref() != Some(&value) => {
                    (slot.value, slot.refusals, slot.rejected) = (Some(value), 0, false);
                    (slot.accepted_at, slot.accepted_sent_at, found.changed) = (None, None, true);
                    slot.changed = changed(&slot.source);
                    if nth == 0 {
                        // What was just put there is meant to be used; a next key may be put there before its time.
                        self.preferred.store(nth, Ordering::Relaxed);
                    }
                }
                Ok(_) => {}
                // A second key that was never there is no fault: it comes when it is time.
                Err(BadKey::Unreadable(..)) if nth > 0 && slot.value.is_none() => {}
                Err(bad) => found.faults.push(bad),
            }
        }
        found
    }

    /// When the file of the key that is shown now was changed, seconds since 1970; `None` of one that is in no file.
    pub fn changed(&self) -> Option<u64> {
        let shown = self.show()?;
        self.slots.lock().get(shown.slot)?.changed
    }

    /// Keys that are there, and how many of them the partner refused.
    pub fn figures(&self) -> (usize, usize) {
        let slots = self.slots.lock();
        let there = slots.iter().filter(|slot| slot.value.is_some()).count();
        (there, slots.iter().filter(|slot| slot.rejected).count())
    }
}

fn changed(source: &Source) -> Option<u64> {
    let Source::File(path) = source else { return None };
    let changed = std::fs::metadata(path).and_then(|about| about.modified()).ok()?;
    changed.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// What lies there now; `None` where nothing ever does.
fn read(source: &Source) -> Option<Result<HeaderValue, BadKey>> {
    let (text, unfit) = match source {
        Source::Fixed(secret) => (secret.clone(), BadKey::UnfitText),
        Source::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => (Secret::new(text), BadKey::Unfit(path.clone())),
            Err(error) => return Some(Err(BadKey::Unreadable(path.clone(), error))),
        },
        Source::Exchanged => return None,
    };
    Some(fit(&text).ok_or(unfit))
}

/// The text as a header's value, if it can be one.
pub(super) fn fit(text: &Secret) -> Option<HeaderValue> {
    // Editors and `echo` end a file with a newline, and some begin it with a byte order mark. White space around a header's
    // value is not part of it (RFC 9110 §5.5).
    let text = text.reveal().trim_start_matches('\u{feff}').trim_matches(|c: char| c.is_ascii_whitespace());
    let printable = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let mut value = HeaderValue::from_str(text).ok().filter(|_| printable)?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(first: &str) -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.put("one", first);
            files
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn credential(&self) -> Credential {
            let file = |name| Source::File(self.0.path().join(name));
            Credential::new(vec![file("one"), file("two")]).unwrap()
        }
    }

    fn shown(credential: &Credential) -> (usize, String) {
        let shown = credential.show().unwrap();
        (shown.slot(), shown.value().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_newline_at_the_end_is_not_the_keys_and_what_cannot_be_a_header_is_refused() {
        let files = Files::new("key-1\r\n");
        assert_eq!(shown(&files.credential()), (0, "key-1".to_owned()));
        for text in ["\u{feff}key-1\r\n", "\n  key-1  \n\n", "\tkey-1"] {
            assert_eq!(shown(&Files::new(text).credential()), (0, "key-1".to_owned()), "{text:?}");
        }
        for bad in ["", "\n", "  ", "\u{feff}", "two\nlines", "\u{e9}"] {
            assert!(Credential::new(vec![Source::Fixed(Secret::new(bad.to_owned()))]).is_err(), "{bad:?}");
        }
        let gone = Credential::new(vec![Source::File(files.0.path().join("gone"))]);
        assert!(matches!(gone, Err(BadKey::Unreadable(..))));
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_key_is_refused_when_the_partner_said_so_twice_and_every_slot_has_its_turn() {
        let files = Files::new("one");
        files.put("two", "next");
        let credential = files.credential();
        let mut presented = Vec::new();
        for second in 0..4 {
            let key = credential.show().unwrap();
            presented.push(key.slot());
            assert_eq!(credential.refused(&key, at(second), at(second)), second < 3, "{second}");
        }
        assert_eq!(presented, [0, 1, 0, 1]);
        assert_eq!(credential.figures(), (2, 2));
        let first = credential.show().unwrap();
        credential.taken(&first, at(9), at(9));
        assert!(!credential.is_in_doubt());
        assert_eq!(credential.figures(), (2, 1), "what was said of the other one still stands");
    }

    /// Of thirty calls under way, the second to be refused made the refusal final.
    #[test]
    fn calls_that_were_under_way_together_are_one_refusal() {
        let credential = Files::new("one").credential();
        let key = credential.show().unwrap();
        for _ in 0..30 {
            assert!(credential.refused(&key, at(0), at(1)));
        }
        assert!(!credential.refused(&key, at(1), at(2)), "it was asked again");
    }

    #[test]
    fn the_key_that_served_last_is_presented_first_until_another_file_is_there() {
        let files = Files::new("old");
        files.put("two", "new");
        let credential = files.credential();
        let old = credential.show().unwrap();
        credential.taken(&old, at(0), at(0));
        assert!(credential.refused(&old, at(1), at(1)));
        let new = credential.show().unwrap();
        assert_eq!((new.slot(), credential.alternates(at(1))), (1, false));
        credential.taken(&new, at(1), at(1));
        assert!(credential.alternates(at(2)) && credential.accepted_lately(at(2)));
        assert_eq!(shown(&credential), (1, "new".to_owned()));
        assert!(!credential.alternates(at(60)), "the old one was accepted a minute ago");
        files.put("one", "newer");
        assert!(credential.reread().changed);
        assert_eq!(shown(&credential), (0, "newer".to_owned()));
        assert!(credential.accepted_since(at(1)) && !credential.accepted_since(at(2)));
    }

    #[test]
    fn a_next_key_that_is_put_there_before_its_time_waits_for_it() {
        let files = Files::new("one");
        let credential = files.credential();
        files.put("two", "next");
        assert!(credential.reread().changed);
        assert_eq!(shown(&credential), (0, "one".to_owned()));
    }

    #[test]
    fn a_refusal_of_a_key_that_was_replaced_meanwhile_says_nothing_of_the_new_one() {
        let files = Files::new("old");
        let credential = files.credential();
        let old = credential.show().unwrap();
        files.put("one", "new");
        credential.reread();
        assert!(credential.refused(&old, at(0), at(0)) && credential.refused(&old, at(1), at(1)));
        assert_eq!(credential.figures(), (1, 0));
    }

    #[test]
    fn three_targets_that_want_another_login_within_a_minute_are_one_alarm() {
        let credential = Files::new("one").credential();
        let rows =
            [(1, 0, false), (1, 1, false), (1, 2, false), (2, 3, false), (3, 64, false), (4, 65, false), (5, 66, true)];
        for (target, second, alarm) in rows {
            assert_eq!(credential.opaque_refusal(target, at(second)), alarm, "{target} at {second}");
        }
        assert_eq!(credential.opaque_alarms(), 1);
    }

    #[test]
    fn a_file_that_vanishes_or_holds_nonsense_leaves_the_last_good_key() {
        let files = Files::new("good");
        let credential = files.credential();
        for bad in ["", "two\nlines"] {
            files.put("one", bad);
            let reread = credential.reread();
            assert!(!reread.changed && reread.faults.len() == 1);
            assert_eq!(shown(&credential), (0, "good".to_owned()));
        }
        std::fs::remove_file(files.0.path().join("one")).unwrap();
        assert_eq!(credential.reread().faults.len(), 1);
        assert_eq!(shown(&credential), (0, "good".to_owned()));
    }

    #[test]
    fn a_token_that_a_hub_gives_is_absent_at_first_and_no_file_replaces_it() {
        let credential = Credential::new(vec![Source::Exchanged]).unwrap();
        assert!(credential.show().is_none() && credential.good().is_none());
        credential.put(HeaderValue::from_static("first"));
        let first = credential.show().unwrap();
        assert_eq!(credential.token_refused(&first), Refused { another: false, was_current: true });
        assert_eq!((shown(&credential).1.as_str(), credential.figures()), ("first", (1, 1)));
        credential.put(HeaderValue::from_static("second"));
        assert_eq!(credential.token_refused(&first), Refused { another: true, was_current: false });
        assert_eq!((shown(&credential).1.as_str(), credential.figures()), ("second", (1, 0)));
        assert!(credential.reread().faults.is_empty());
    }

    #[test]
    fn printing_a_credential_shows_no_key() {
        let files = Files::new("swordfish");
        assert!(!format!("{:?} {:?}", files.credential(), files.credential().show()).contains("swordfish"));
    }
}
