//! What does this table say?
//! Given a key and how its value reads, hands back the value, or nothing where it is absent or faulty.
//! Never lets a key pass that nobody asked for.

use std::collections::BTreeMap;

use super::notes::Notes;
use super::tree::{Value, below};
use super::values::{self, nearest};

/// A table while it is read. Close it with [`Table::finish`].
#[derive(Debug)]
pub(super) struct Table<'n> {
    /// Where faults go.
    pub(super) notes: &'n Notes,
    path: String,
    values: BTreeMap<String, Value>,
    asked: Vec<&'static str>,
}

impl<'n> Table<'n> {
    /// The table at `path`; the root's is empty.
    pub(super) fn new(notes: &'n Notes, path: String, values: BTreeMap<String, Value>) -> Self {
        Self { notes, path, values, asked: Vec::new() }
    }

    /// The dotted key of `key` here.
    pub(super) fn at(&self, key: &str) -> String {
        below(&self.path, key)
    }

    /// Whether the key is there, well or badly written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The key's value as `read` understands it.
    pub(super) fn get<T>(&mut self, key: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        let path = self.ask(key);
        match read(self.values.get(key)?) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.notes.fault(&path, reason);
                None
            }
        }
    }

    /// The same, where the key must be there; `reason` says so.
    pub(super) fn need<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, String>,
        reason: &str,
    ) -> Option<T> {
        if !self.has(key) {
            self.notes.missing(&self.at(key), reason);
        }
        self.get(key, read)
    }

    /// A path, resolved from the file's folder.
    pub(super) fn path(&mut self, key: &'static str) -> Option<std::path::PathBuf> {
        self.get(key, values::filled).map(|path| self.notes.resolve(&path))
    }

    /// A list of texts; each that does not read well is a fault of its own.
    pub(super) fn list<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let path = self.ask(key);
        let items = match self.values.get(key)? {
            Value::List(items) => items,
            Value::Loose(_) => return self.refuse(&path, "a list stays in the file"),
            _ => return self.refuse(&path, "a list of texts is wanted, as in [\"a\", \"b\"]"),
        };
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match values::text(item).and_then(|text| read(&text)) {
                Ok(value) => values.push(value),
                Err(reason) => self.notes.fault(&format!("{path}[{index}]"), reason),
            }
        }
        Some(values)
    }

    /// The table below; an absent one reads as empty.
    pub(super) fn section(&mut self, key: &'static str) -> Table<'n> {
        let path = self.at(key);
        self.table(key).unwrap_or_else(|| Table::new(self.notes, path, BTreeMap::new()))
    }

    /// The table below, if it is there.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Table<'n>> {
        let path = self.ask(key);
        match self.values.remove(key)? {
            Value::Table(values) => Some(Table::new(self.notes, path, values)),
            _ => self.refuse(&path, "a table is wanted; name one of its keys"),
        }
    }

    /// The tables written `[[key]]`, if there are any.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Table<'n>>> {
        let path = self.ask(key);
        let Value::List(items) = self.values.remove(key)? else {
            return self.refuse(&path, format!("tables are wanted, each written [[{key}]]"));
        };
        let mut tables = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::Table(values) => tables.push(Table::new(self.notes, path, values)),
                _ => self.notes.fault(&path, "a table is wanted"),
            }
        }
        Some(tables)
    }

    /// Every key that nobody asked for is a fault.
    pub(super) fn finish(self) {
        for key in self.values.keys().filter(|key| !self.asked.contains(&key.as_str())) {
            let reason = match (self.path.as_str(), key.as_str()) {
                ("upstream", "api_key") => {
                    "the key never stands in the configuration; use api_key_file or api_key_env".to_owned()
                }
                _ => match nearest(key, self.asked.iter().copied()) {
                    Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
                    None => format!("unknown key `{key}`; known here: {}", self.asked.join(", ")),
                },
            };
            self.notes.unknown(&self.at(key), reason);
        }
    }

    fn ask(&mut self, key: &'static str) -> String {
        let path = self.at(key);
        self.notes.know(&path);
        self.asked.push(key);
        path
    }

    fn refuse<T>(&self, path: &str, reason: impl Into<String>) -> Option<T> {
        self.notes.fault(path, reason);
        None
    }
}
