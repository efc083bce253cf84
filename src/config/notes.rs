//! What did the reading come upon?
//! Given dotted keys and reasons, hands back faults and warnings with their place in the file.
//! Never stops the reading: all faults are told at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Origin, Source, Warning};
use super::tree::{Place, Places};

/// Words that mark a line as one not to be shown.
const SECRET_WORDS: [&str; 5] = ["secret", "api_key", "apikey", "password", "bearer"];

/// Gathers while the tree is read.
#[derive(Debug)]
pub(super) struct Notes {
    file: String,
    text: Option<String>,
    folder: PathBuf,
    places: BTreeMap<String, Places>,
    /// False where the text is not all TOML: then a missing key says nothing.
    whole: bool,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Warning>>,
    known: RefCell<BTreeSet<String>>,
}

impl Notes {
    /// Notes on one file, whose keys stand at `places`.
    pub(super) fn new(file: Option<&Path>, text: Option<String>, places: BTreeMap<String, Places>) -> Self {
        Self {
            file: file.map_or_else(|| "gateway.toml".to_owned(), |file| file.display().to_string()),
            text,
            folder: file.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default(),
            places,
            whole: true,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// Part of the text is no TOML.
    pub(super) fn broken(&mut self, span: Range<usize>, reason: String) {
        self.whole = false;
        let fault = self.told("", reason, Some(&Place::File(span)), false);
        self.faults.borrow_mut().push(fault);
    }

    /// Whether the whole text could be read, so that the parts can be held against each other.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Something is wrong with this key's value, or with the nearest table above it that is there.
    pub(super) fn fault(&self, key: &str, reason: impl Into<String>) {
        self.faults.borrow_mut().push(self.told(key, reason.into(), self.place(key), false));
    }

    /// A key that should be there is not.
    pub(super) fn missing(&self, key: &str, reason: impl Into<String>) {
        if self.whole {
            self.fault(key, reason);
        }
    }

    /// No key is called this.
    pub(super) fn unknown(&self, key: &str, reason: String) {
        let place = self.places.get(key).map(|places| &places.key);
        // What stands behind an unknown key may be a secret under a mistyped name: the line is cut there.
        self.faults.borrow_mut().push(self.told(key, reason, place, true));
    }

    /// A variable or flag that could not be put over the file.
    pub(super) fn misplaced(&self, key: &str, reason: String, place: &Place) {
        self.faults.borrow_mut().push(self.told(key, reason, Some(place), true));
    }

    /// This key is understood and has no effect.
    pub(super) fn warn(&self, key: &str, reason: impl Into<String>) {
        self.warnings.borrow_mut().push(self.told(key, reason.into(), self.place(key), false));
    }

    /// The reader knows this key.
    pub(super) fn know(&self, key: &str) {
        let mut plain = String::new();
        let mut inside = false;
        for letter in key.chars() {
            inside = inside && letter != ']';
            if !inside {
                plain.push(letter);
            }
            inside = inside || letter == '[';
        }
        self.known.borrow_mut().insert(plain);
    }

    /// A path of the file, from the file's own folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Whether a fault was told of a key that ends like this.
    pub(super) fn is_faulty(&self, end: &str) -> bool {
        self.faults.borrow().iter().any(|fault| fault.key.ends_with(end))
    }

    /// Whether a fault was told of this key or of one below it.
    pub(super) fn is_faulty_within(&self, start: &str) -> bool {
        self.faults.borrow().iter().any(|fault| {
            fault.key.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// All that was gathered: faults, warnings, known keys.
    pub(super) fn close(self) -> (Vec<Fault>, Vec<Warning>, BTreeSet<String>) {
        let mut faults = self.faults.into_inner();
        // What was made of a line that is no TOML is a guess; judging it would only repeat the fault.
        let line = |fault: &Fault| match fault.origin {
            Origin::File { line, .. } => line,
            _ => 0,
        };
        let broken: Vec<usize> = faults.iter().filter(|fault| fault.key.is_empty()).map(line).collect();
        faults.retain(|fault| fault.key.is_empty() || !broken.contains(&line(fault)));
        (faults, self.warnings.into_inner(), self.known.into_inner())
    }

    fn place(&self, key: &str) -> Option<&Place> {
        let mut key = key;
        loop {
            if let Some(places) = self.places.get(key) {
                return Some(&places.value);
            }
            let end = key.rfind(['.', '['])?;
            key = key.get(..end)?;
        }
    }

    fn told(&self, key: &str, reason: String, place: Option<&Place>, cut: bool) -> Fault {
        let (origin, source) = match (place, &self.text) {
            (Some(Place::Variable(name)), _) => (Origin::Variable(name.clone()), None),
            (Some(Place::Flag(name)), _) => (Origin::Flag(name.clone()), None),
            (Some(Place::File(span)), Some(text)) => self.locate(text, span, cut),
            (None, Some(_)) => (Origin::File { name: self.file.clone(), line: 1, column: 1 }, None),
            (_, None) => (Origin::Nowhere, None),
        };
        Fault { origin, key: key.to_owned(), reason, source }
    }

    fn locate(&self, text: &str, span: &Range<usize>, cut: bool) -> (Origin, Option<Source>) {
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let (before, after) = text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = after.find('\n').map_or(text.len(), |newline| start + newline);
        let number = before.matches('\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let origin = Origin::File { name: self.file.clone(), line: number, column };
        let end = text.floor_char_boundary(span.end.min(line_end)).max(start);
        let line = text.get(line_start..if cut { end } else { line_end }).unwrap_or_default().trim_end();
        let from = (start - line_start).min(line.len());
        let to = (end - line_start).clamp(from, line.len());
        let shown = !may_hold_a_secret(text, line_start, line_end);
        (origin, shown.then(|| Source { line: line.to_owned(), from, to }))
    }
}

/// Whether the line, or the key whose value it continues, may be about a secret.
fn may_hold_a_secret(text: &str, line_start: usize, line_end: usize) -> bool {
    let line = text.get(line_start..line_end).unwrap_or_default().to_ascii_lowercase();
    let marked = |line: &str| SECRET_WORDS.iter().any(|word| line.contains(word));
    let user_in_address = line.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
    let continued = text.get(..line_start).unwrap_or_default().lines().rev();
    let key = continued.map(str::trim_start).find(|line| line.starts_with(is_key) && line.contains('='));
    let continues = !(line.trim_start().starts_with(is_key) && line.contains('='));
    marked(&line)
        || user_in_address
        || (continues && !line.starts_with('[') && key.is_some_and(|key| marked(&key.to_ascii_lowercase())))
}

fn is_key(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}
