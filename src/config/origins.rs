//! Where does a setting stand?
//! Given a dotted key and a reason, hands back a fault with the line of the file, the variable or the flag that says it.
//! Never shows a line that may hold a secret.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::fault::{Fault, Origin, Source};
use super::tree::{Span, Spans};

/// Words that mark a line as one not to be shown.
const SECRET_NAMES: [&str; 5] = ["secret", "api_key", "apikey", "password", "bearer"];

/// The places of all keys of one configuration.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    file: String,
    text: Option<String>,
    spans: BTreeMap<String, Spans>,
}

impl Origins {
    /// Of one file, whose keys stand at `places`.
    pub(super) fn new(file: Option<&Path>, text: Option<String>, spans: BTreeMap<String, Spans>) -> Self {
        let file = file.map_or_else(|| "gateway.toml".to_owned(), |file| file.display().to_string());
        Self { file, text, spans }
    }

    /// Where the value of this key stands, or that of the nearest table above it that is there.
    pub(super) fn value(&self, key: &str) -> Option<&Span> {
        let mut key = key;
        loop {
            if let Some(spans) = self.spans.get(key) {
                return Some(&spans.value);
            }
            let end = key.rfind(['.', '['])?;
            key = key.get(..end)?;
        }
    }

    /// Where the key itself stands.
    pub(super) fn key(&self, key: &str) -> Option<&Span> {
        self.spans.get(key).map(|spans| &spans.key)
    }

    /// What is wrong with this key; `cut`: nothing of its line is shown beyond `place`.
    pub(super) fn fault(&self, key: &str, reason: String, place: Option<&Span>, cut: bool) -> Fault {
        let (origin, source) = match (place, &self.text) {
            (Some(Span::Variable(name)), _) => (Origin::Variable(name.clone()), None),
            (Some(Span::Flag(name)), _) => (Origin::Flag(name.clone()), None),
            (Some(Span::File(span)), Some(text)) => self.locate(text, span, cut),
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
    let marked = |line: &str| SECRET_NAMES.iter().any(|word| line.contains(word));
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
