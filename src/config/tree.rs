//! What was said, by whom?
//! Given the file's text, variables and flags, hands back one tree of values and the place of each.
//! Never judges a value.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Tables that a variable or flag cannot reach: which of them would it mean?
const IN_THE_FILE: [&str; 4] = ["listeners", "callers", "trust", "extra_routes"];

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A TOML string.
    Text(String),
    /// A variable's or flag's text: its kind is what its key wants.
    Loose(String),
    /// A whole number; one too large for us is the largest.
    Whole(i128),
    /// A number with a point.
    Real(f64),
    /// A truth value.
    Bool(bool),
    /// A date or time of day: no key wants one.
    Date,
    /// A list, or tables written `[[…]]`.
    List(Vec<Value>),
    /// A table.
    Table(BTreeMap<String, Value>),
}

/// Where something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Span {
    /// These bytes of the file.
    File(Range<usize>),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

/// Where a key and its value stand.
#[derive(Debug, Clone)]
pub(super) struct Spans {
    pub(super) key: Span,
    pub(super) value: Span,
}

/// All that was said.
#[derive(Debug)]
pub(super) struct Tree {
    /// The values by their keys.
    pub(super) values: BTreeMap<String, Value>,
    /// The places by dotted keys, as in `callers[1].scopes[0]`.
    pub(super) spans: BTreeMap<String, Spans>,
}

impl Tree {
    /// The file's text, and what of it is no TOML.
    pub(super) fn of(text: &str) -> (Self, Vec<(Range<usize>, String)>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut tree = Self { values: BTreeMap::new(), spans: BTreeMap::new() };
        tree.values = tree.keep_table("", table.get_ref());
        let faults = errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message().to_owned())).collect();
        (tree, faults)
    }

    fn keep_table(&mut self, path: &str, table: &DeTable<'_>) -> BTreeMap<String, Value> {
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let path = below(path, key.get_ref());
            let spans = Spans { key: Span::File(key.span()), value: Span::File(value.span()) };
            self.spans.insert(path.clone(), spans);
            values.insert(key.get_ref().to_string(), self.keep(&path, value.get_ref()));
        }
        values
    }

    fn keep(&mut self, path: &str, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                Value::Whole(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
            }
            DeValue::Float(number) => Value::Real(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Value::Bool(*truth),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Table(table) => Value::Table(self.keep_table(path, table)),
            DeValue::Array(list) => {
                let mut values = Vec::new();
                for (index, value) in list.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    let span = Span::File(value.span());
                    self.spans.insert(path.clone(), Spans { key: span.clone(), value: span });
                    values.push(self.keep(&path, value.get_ref()));
                }
                Value::List(values)
            }
        }
    }

    /// Puts a variable's or flag's text over what was said before.
    ///
    /// # Errors
    /// The reason why this key cannot be set from there.
    pub(super) fn put(&mut self, key: &str, text: &str, span: &Span) -> Result<(), String> {
        let parts: Vec<&str> = key.split('.').collect();
        if parts.first().is_some_and(|first| IN_THE_FILE.contains(first)) {
            return Err("tables written [[…]] stay in the file; a variable or flag cannot set them".to_owned());
        }
        if parts.len() > 4 || parts.iter().any(|part| part.is_empty()) {
            return Err(
                "no key is named like this; write SECTION__KEY, as in RESELLER_GATEWAY__SERVER__NAME".to_owned()
            );
        }
        if let Some(Spans { value: Span::Variable(other), .. }) = self.spans.get(key)
            && matches!(span, Span::Variable(_))
        {
            return Err(format!("{other} sets the same key"));
        }
        let mut table = &mut self.values;
        let mut path = String::new();
        let Some((last, folders)) = parts.split_last() else { return Ok(()) };
        for part in folders {
            path = below(&path, part);
            let spans = Spans { key: span.clone(), value: span.clone() };
            let inner = table.entry((*part).to_owned()).or_insert_with(|| {
                self.spans.insert(path.clone(), spans);
                Value::Table(BTreeMap::new())
            });
            let Value::Table(inner) = inner else { return Err(format!("`{path}` is not a table")) };
            table = inner;
        }
        let spans = Spans { key: span.clone(), value: span.clone() };
        self.spans.insert(key.to_owned(), spans);
        if matches!(table.get(*last), Some(Value::Table(_))) {
            return Err("this is a table; name one of its keys".to_owned());
        }
        table.insert((*last).to_owned(), Value::Loose(text.to_owned()));
        Ok(())
    }
}

/// The dotted key of `key` in the table at `path`.
pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
