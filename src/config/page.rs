//! How are the effective settings written down?
//! Given keys and values, hands back TOML that reads as the same settings.
//! Never knows which setting is which.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use toml::Value;

pub(crate) use crate::clock::time_text;
use crate::gcra::Rate;

/// TOML as it is being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Opens a table: `[server]`, `[[callers]]`.
    pub(super) fn head(&mut self, head: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(head);
        self.0.push('\n');
    }

    /// One setting.
    pub(super) fn line(&mut self, key: &str, value: impl Into<Value>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{key} = {}", value.into());
    }

    /// A path, if there is one.
    pub(super) fn path(&mut self, key: &str, path: Option<&Path>) {
        if let Some(path) = path {
            self.line(key, path.display().to_string());
        }
    }

    /// A list of texts.
    pub(super) fn list<T: ToString>(&mut self, key: &str, items: &[T]) {
        self.line(key, items.iter().map(T::to_string).collect::<Vec<_>>());
    }

    /// A time.
    pub(super) fn time(&mut self, key: &str, time: Duration) {
        self.line(key, time_text(time));
    }

    /// A number of bytes, in the largest unit that says it exactly.
    pub(super) fn size(&mut self, key: &str, bytes: u64) {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
            Some((name, unit)) => self.line(key, format!("{}{name}", bytes / unit)),
            None => self.line(key, format!("{bytes}B")),
        }
    }

    /// A rate, in so many digits that it reads as the same rate.
    pub(super) fn rate(&mut self, key: &str, rate: Rate) {
        let mut text = rate.to_string();
        if text.parse() != Ok(rate) {
            let seconds = rate.interval().as_secs_f64();
            text = if seconds < 1.0 { format!("{}/s", 1.0 / seconds) } else { format!("{}/h", 3600.0 / seconds) };
        }
        self.line(key, text);
    }

    /// The whole text.
    pub(super) fn close(self) -> String {
        self.0
    }
}
