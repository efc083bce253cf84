//! Which key is the partner shown, or which token a hub?
//! Given where they lie, hands back the one to show now, and after a refusal another, if there is one worth trying.
//! Never prints one, and never drops a good one because a file cannot be read or holds nonsense.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use http::HeaderValue;
use parking_lot::Mutex;

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
    /// One reads at a time: what was read earlier must not be put over what was read later.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    source: Source,
    value: Option<HeaderValue>,
    /// When its file was changed, seconds since 1970.
    changed: Option<u64>,
    /// Whether the partner refused this very value.
    refused: bool,
    /// Whether it took this very value, and has not refused it since.
    taken: bool,
}

/// A key as it was shown.
#[derive(Debug, Clone)]
pub struct Shown {
    slot: usize,
    value: HeaderValue,
}

impl Shown {
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
            slots.push(Slot { source, value, changed, refused: false, taken: false });
        }
        Ok(Self { slots: Mutex::new(slots), reading: Mutex::default() })
    }

    /// The key to show now: the first that was not refused, or the first at all, so that its time may come again.
    pub fn show(&self) -> Option<Shown> {
        show(&self.slots.lock(), true)
    }

    /// The first that was not refused.
    pub fn good(&self) -> Option<Shown> {
        show(&self.slots.lock(), false)
    }

    /// The partner refused this one: reads the files again and hands back whether another is worth showing now. Where it
    /// had taken this one before, its keys have changed: what it refused then, a key that was not good yet, is.
    pub fn refused(&self, shown: &Shown) -> Refused {
        let (mut was_current, mut had_taken) = (false, false);
        {
            let mut slots = self.slots.lock();
            if let Some(slot) = slots.get_mut(shown.slot).filter(|slot| slot.value.as_ref() == Some(&shown.value)) {
                (slot.refused, was_current) = (true, true);
                had_taken = std::mem::take(&mut slot.taken);
            }
            if had_taken {
                let others = slots.iter_mut().enumerate().filter(|(nth, _)| *nth != shown.slot);
                others.for_each(|(_, other)| other.refused = false);
            }
        }
        self.reread();
        Refused { another: self.good().is_some(), was_current }
    }

    /// A hub gave this one.
    pub(super) fn put(&self, value: HeaderValue) {
        let mut slots = self.slots.lock();
        for slot in slots.iter_mut().filter(|slot| matches!(slot.source, Source::Exchanged)) {
            (slot.value, slot.refused) = (Some(value.clone()), false);
        }
    }

    /// The partner took this one: an earlier refusal of it was a mistake.
    pub fn taken(&self, shown: &Shown) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(shown.slot).filter(|slot| slot.value.as_ref() == Some(&shown.value)) {
            (slot.refused, slot.taken) = (false, true);
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
                    (slot.value, slot.refused, slot.taken, found.changed) = (Some(value), false, false, true);
                    slot.changed = changed(&slot.source);
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
        let slots = self.slots.lock();
        let shown = show(&slots, true)?;
        slots.get(shown.slot)?.changed
    }

    /// Keys that are there, and how many of them the partner refused.
    pub fn figures(&self) -> (usize, usize) {
        let slots = self.slots.lock();
        let there = slots.iter().filter(|slot| slot.value.is_some()).count();
        (there, slots.iter().filter(|slot| slot.refused).count())
    }
}

fn show(slots: &[Slot], even_refused: bool) -> Option<Shown> {
    let place = |(slot, it): (usize, &Slot)| it.value.clone().map(|value| Shown { slot, value });
    let fine = slots.iter().enumerate().filter(|(_, slot)| !slot.refused).find_map(place);
    fine.or_else(|| slots.iter().enumerate().find_map(place).filter(|_| even_refused))
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
    // Editors and `echo` end a file with a newline.
    let text = text.reveal().trim_end_matches(['\r', '\n']);
    let printable = !text.trim().is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
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
        for bad in ["", "\n", "  ", "two\nlines", "\u{e9}"] {
            assert!(Credential::new(vec![Source::Fixed(Secret::new(bad.to_owned()))]).is_err(), "{bad:?}");
        }
        let gone = Credential::new(vec![Source::File(files.0.path().join("gone"))]);
        assert!(matches!(gone, Err(BadKey::Unreadable(..))));
    }

    #[test]
    fn after_a_refusal_the_changed_file_counts_and_then_the_other_slot() {
        let files = Files::new("old");
        let credential = files.credential();
        let old = credential.show().unwrap();
        files.put("one", "new");
        assert_eq!(credential.refused(&old), Refused { another: true, was_current: true });
        assert_eq!(shown(&credential), (0, "new".to_owned()));
        let new = credential.show().unwrap();
        assert_eq!(credential.refused(&new), Refused { another: false, was_current: true }, "nothing else is there");
        assert_eq!(shown(&credential), (0, "new".to_owned()), "the first is tried again when the gate opens");
        files.put("two", "next\n");
        assert!(credential.reread().changed);
        assert_eq!(shown(&credential), (1, "next".to_owned()));
        assert_eq!(credential.figures(), (2, 1));
        credential.taken(&new);
        assert_eq!(shown(&credential), (0, "new".to_owned()));
    }

    /// A new key that lay in the other slot before its time was refused then, and never tried again when it was good.
    #[test]
    fn a_key_that_was_refused_before_its_time_is_tried_again_when_the_good_one_is_refused() {
        let files = Files::new("early");
        files.put("two", "good");
        let credential = files.credential();
        let early = credential.show().unwrap();
        assert!(credential.refused(&early).another);
        let good = credential.show().unwrap();
        credential.taken(&good);
        assert_eq!(shown(&credential), (1, "good".to_owned()));
        assert!(credential.refused(&good).another);
        assert_eq!(shown(&credential), (0, "early".to_owned()));
        // Of many calls with the one that was good, the first to be refused says so.
        assert!(credential.refused(&good).another);
        assert!(!credential.refused(&early).another, "neither is taken: once is enough");
        assert!(!credential.refused(&good).another);
    }

    #[test]
    fn a_refusal_of_a_key_that_was_replaced_meanwhile_says_nothing_of_the_new_one() {
        let files = Files::new("old");
        let credential = files.credential();
        let old = credential.show().unwrap();
        files.put("one", "new");
        credential.reread();
        assert_eq!(credential.refused(&old), Refused { another: true, was_current: false });
        assert_eq!(credential.figures(), (1, 0));
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
        assert_eq!(credential.refused(&first), Refused { another: false, was_current: true });
        assert_eq!((shown(&credential).1.as_str(), credential.figures()), ("first", (1, 1)));
        credential.put(HeaderValue::from_static("second"));
        assert_eq!(credential.refused(&first), Refused { another: true, was_current: false });
        assert_eq!((shown(&credential).1.as_str(), credential.figures()), ("second", (1, 0)));
        assert!(credential.reread().faults.is_empty());
    }

    #[test]
    fn printing_a_credential_shows_no_key() {
        let files = Files::new("swordfish");
        assert!(!format!("{:?} {:?}", files.credential(), files.credential().show()).contains("swordfish"));
    }
}
