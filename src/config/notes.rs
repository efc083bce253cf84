//! What did the reading come upon?
//! Given dotted keys and reasons, hands back faults and warnings with their place in the file.
//! Never stops the reading: all faults are told at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::fault::{Fault, Origin, Warning};
use super::origins::Origins;
use super::tree::{Span, Spans};

/// Gathers while the tree is read.
#[derive(Debug)]
pub(super) struct Notes {
    origins: Origins,
    folder: PathBuf,
    /// False where the text is not all TOML: then a missing key says nothing.
    whole: bool,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Warning>>,
    declared_keys: RefCell<BTreeSet<String>>,
}

impl Notes {
    /// Notes on one file, whose keys stand at `places`.
    pub(super) fn new(file: Option<&Path>, text: Option<String>, places: BTreeMap<String, Spans>) -> Self {
        Self {
            origins: Origins::new(file, text, places),
            folder: file.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default(),
            whole: true,
            faults: RefCell::default(),
            warnings: RefCell::default(),
            declared_keys: RefCell::default(),
        }
    }

    /// Part of the text is no TOML.
    pub(super) fn broken(&mut self, span: Range<usize>, reason: String) {
        self.whole = false;
        let fault = self.origins.fault("", reason, Some(&Span::File(span)), false);
        self.faults.borrow_mut().push(fault);
    }

    /// Whether the whole text could be read, so that the parts can be held against each other.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Something is wrong with this key's value, or with the nearest table above it that is there.
    pub(super) fn fault(&self, key: &str, reason: impl Into<String>) {
        self.faults.borrow_mut().push(self.origins.fault(key, reason.into(), self.origins.value(key), false));
    }

    /// A key that should be there is not.
    pub(super) fn missing(&self, key: &str, reason: impl Into<String>) {
        if self.whole {
            self.fault(key, reason);
        }
    }

    /// No key is called this.
    pub(super) fn unknown(&self, key: &str, reason: String) {
        let place = self.origins.key(key);
        // What stands behind an unknown key may be a secret under a mistyped name: the line is cut there.
        self.faults.borrow_mut().push(self.origins.fault(key, reason, place, true));
    }

    /// A variable or flag that could not be put over the file.
    pub(super) fn misplaced(&self, key: &str, reason: String, place: &Span) {
        self.faults.borrow_mut().push(self.origins.fault(key, reason, Some(place), true));
    }

    /// This key is understood and has no effect.
    pub(super) fn warn(&self, key: &str, reason: impl Into<String>) {
        self.warnings.borrow_mut().push(self.origins.fault(key, reason.into(), self.origins.value(key), false));
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
        self.declared_keys.borrow_mut().insert(plain);
    }

    /// The known key that a variable's name means, if dots and underscores are taken for the same. Those of lists of tables
    /// cannot be set by variables.
    pub(super) fn near_key(&self, name: &str) -> Option<String> {
        let flat = |text: &str| text.to_ascii_lowercase().replace("__", "_").replace('.', "_");
        let wanted = flat(name);
        let declared_keys = self.declared_keys.borrow();
        let mut settable = declared_keys.iter().filter(|key| key.contains('.') && !key.contains('['));
        settable.find(|key| flat(key) == wanted).cloned()
    }

    /// A variable that sets nothing.
    pub(super) fn ignored_variable(&self, name: &str, reason: String) {
        let fault = self.origins.fault("", reason, Some(&Span::Variable(name.to_owned())), false);
        self.warnings.borrow_mut().push(fault);
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

    /// All that was gathered: faults, warnings, known keys; and where every key stands.
    pub(super) fn close(self) -> (Vec<Fault>, Vec<Warning>, BTreeSet<String>, Origins) {
        let mut faults = self.faults.into_inner();
        // What was made of a line that is no TOML is a guess; judging it would only repeat the fault.
        let line = |fault: &Fault| match fault.origin {
            Origin::File { line, .. } => line,
            _ => 0,
        };
        let broken: Vec<usize> = faults.iter().filter(|fault| fault.key.is_empty()).map(line).collect();
        faults.retain(|fault| fault.key.is_empty() || !broken.contains(&line(fault)));
        (faults, self.warnings.into_inner(), self.declared_keys.into_inner(), self.origins)
    }
}
