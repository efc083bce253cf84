//! How does a document differ from the documented shape?
//! Given an endpoint and JSON, hands back each member that is there beyond it, is missing, or is of another type, and how often.
//! Never hands back a value, nor a name that may be one.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::account_api::{Endpoint, Field, Kind, shape};

/// One way in which documents differ from the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// No shape knows it.
    Extra,
    /// It is documented and not there.
    Missing,
    /// It is of another type than documented.
    OtherType,
}

/// A member that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) what: What,
    /// As in `clients[].email`.
    pub(super) path: String,
    /// What is documented there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) documented: Option<&'static str>,
    /// What was found there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) found: Option<&'static str>,
    /// How often.
    pub(super) times: u64,
    /// How often it could have been.
    pub(super) of: u64,
}

/// So long is a name that is shown.
const LONGEST_NAME: usize = 40;

/// What stands for a name that may be somebody's: where members are named by e-mail address or id.
const UNSHOWN: &str = "(a name that is not shown)";

/// Every difference, by path.
pub(super) fn differences(endpoint: Endpoint, document: &Value) -> Vec<Difference> {
    let mut found = Found::default();
    let top = shape(endpoint).member;
    match document {
        Value::Object(members) => found.object("", &[top], members),
        other => found.other("(document)".to_owned(), "object", other),
    }
    found.into_differences()
}

/// What a value is, or is documented to be.
type Type = Option<&'static str>;

/// A path, what is odd there, and the type that was found.
type Place = (String, What, Type);

#[derive(Default)]
struct Found {
    differences: BTreeMap<Place, (Type, u64)>,
    /// How often the values at a path were looked at.
    seen: HashMap<String, u64>,
}

impl Found {
    fn object(&mut self, path: &str, fields: &[Field], members: &Map<String, Value>) {
        *self.seen.entry(path.to_owned()).or_default() += 1;
        for field in fields {
            match members.get(field.name) {
                Some(value) => self.value(below(path, field.name), field.kind, value),
                None => self.count(below(path, field.name), What::Missing, Some(name_of(field.kind)), None),
            }
        }
        for (name, value) in members {
            if !fields.iter().any(|field| field.name == name) {
                self.count(below(path, printable(name)), What::Extra, None, Some(type_of(value)));
            }
        }
    }

    fn value(&mut self, path: String, kind: Kind, value: &Value) {
        match (kind, value) {
            (Kind::Object(fields), Value::Object(members)) => self.object(&path, fields, members),
            (Kind::Rows(fields), Value::Array(rows)) => {
                let path = path + "[]";
                for row in rows {
                    match row {
                        Value::Object(members) => self.object(&path, fields, members),
                        other => self.other(path.clone(), "object", other),
                    }
                }
            }
            (Kind::StringArray, Value::Array(items)) => {
                for item in items.iter().filter(|item| !item.is_string()) {
                    self.other(format!("{path}[]"), "string", item);
                }
            }
            (Kind::Bool, Value::Bool(_))
            | (Kind::String | Kind::NullableString, Value::String(_))
            | (Kind::NullableString, Value::Null) => {}
            (Kind::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
            _ => self.other(path, name_of(kind), value),
        }
    }

    fn other(&mut self, path: String, documented: &'static str, value: &Value) {
        self.count(path, What::OtherType, Some(documented), Some(type_of(value)));
    }

    fn count(&mut self, path: String, what: What, documented: Type, found: Type) {
        self.differences.entry((path, what, found)).or_insert((documented, 0)).1 += 1;
    }

    fn into_differences(self) -> Vec<Difference> {
        let seen = &self.seen;
        let rows = self.differences.into_iter().map(|((path, what, found), (documented, times))| {
            let parent = path.strip_suffix("[]").unwrap_or(&path).rsplit_once('.').map_or("", |(parent, _)| parent);
            let of = seen.get(parent).copied().unwrap_or(times).max(times);
            Difference { what, path, documented, found, times, of }
        });
        rows.collect()
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name as programmers write them; anything else may be a person's, or of no end.
fn printable(name: &str) -> &str {
    let word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let named = word && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    // An id without its dashes is mostly digits.
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    if named && name.len() <= LONGEST_NAME && digits <= 4 { name } else { UNSHOWN }
}

const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::String => "string",
        Kind::NullableString => "string or null",
        Kind::Integer => "integer",
        Kind::StringArray => "array of strings",
        Kind::Object(_) => "object",
        Kind::Rows(_) => "array of objects",
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences_in(endpoint: Endpoint, document: &Value) -> Vec<String> {
        let line = |it: Difference| {
            let [documented, found] = [it.documented, it.found].map(Option::unwrap_or_default);
            format!("{:?} {} {documented}/{found} {}/{}", it.what, it.path, it.times, it.of)
        };
        differences(endpoint, document).into_iter().map(line).collect()
    }

    #[test]
    fn every_difference_is_told_by_its_path_and_number() {
        let document = serde_json::json!({ "next": 1, "projects": [
            { "id": "a", "provider": "p", "name": "" },
            { "id": 7, "provider": null, "tier": "gold" },
            { "id": "b", "provider": "p", "name": "", "tier": {"x": 1} },
            "c",
        ]});
        assert_eq!(
            differences_in(Endpoint::ClientProjects, &document),
            [
                "Extra next /integer 1/1",
                "OtherType projects[] object/string 1/1",
                "OtherType projects[].id string/integer 1/3",
                "Missing projects[].name string/ 1/3",
                "OtherType projects[].provider string/null 1/3",
                "Extra projects[].tier /object 1/3",
                "Extra projects[].tier /string 1/3",
            ]
        );
    }

    #[test]
    fn what_is_as_documented_differs_in_nothing_and_what_is_no_object_in_all() {
        let project = serde_json::json!({ "projects": [{ "id": "a", "provider": "p", "name": "" }] });
        assert!(differences_in(Endpoint::ClientProjects, &project).is_empty());
        assert_eq!(
            differences_in(Endpoint::Clients, &project),
            ["Missing clients array of objects/ 1/1", "Extra projects /array 1/1"]
        );
        assert_eq!(differences_in(Endpoint::Clients, &Value::Null), ["OtherType (document) object/null 1/1"]);
    }

    #[test]
    fn names_that_may_be_somebodys_are_not_shown() {
        for name in
            ["bill@example.com", "c92f5f1ca8384d9b9eecaf738d2381ec", "514 3636", "5143636", "é", &"x".repeat(41)]
        {
            assert_eq!(printable(name), UNSHOWN, "{name}");
        }
        for name in ["is_test_account", "address_1", "iso3166", "_links"] {
            assert_eq!(printable(name), name);
        }
    }
}
