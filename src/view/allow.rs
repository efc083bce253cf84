//! Which fields beyond the schema may a narrowed right see?
//! Given paths as `clients[].is_test_account`, hands back the names that are allowed at each place of a document.
//! Never allows a whole document, a documented field again, or a place that no document has.

use std::collections::{BTreeMap, BTreeSet};

use crate::account_api::{Endpoint, Field, Kind, shape};

/// So many that a set of them is one number.
const MOST: usize = 64;

/// Names that are allowed at a place, and the places below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    names: Vec<String>,
    below: BTreeMap<&'static str, Allow>,
}

/// A path that names no field beyond the schema. The texts are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Not of the form.
    #[error(
        "a field is named as in \"clients[].is_test_account\": documented members from the top, `[]` after a list, and its own name last"
    )]
    Form,
    /// No document has that place.
    #[error("no document has `{0}`; documents begin with one of: {1}")]
    Place(String, String),
    /// Too many.
    #[error("more than 64 fields are allowed at one place")]
    TooMany,
    /// The schema has it.
    #[error("the schema has this field already; only fields it does not know are named here")]
    Documented,
}

/// Nothing is allowed.
pub(super) static NOTHING: Allow = Allow { names: Vec::new(), below: BTreeMap::new() };

impl Allow {
    /// Allows one more field.
    ///
    /// # Errors
    /// [`BadPath`].
    pub fn add(&mut self, path: &str) -> Result<(), BadPath> {
        let (place, name) = path.rsplit_once('.').ok_or(BadPath::Form)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$' | b'@');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(BadPath::Form);
        }
        let steps: Vec<&str> = place.split('.').collect();
        let tops: Vec<Field> = Endpoint::ALL.into_iter().map(|endpoint| shape(endpoint).member).collect();
        // Two documents share the name `providers`; a field that one of them has may be new to the other.
        let found: Vec<_> = tops.iter().filter_map(|top| walk(*top, &steps)).collect();
        if found.is_empty() {
            let known: Vec<String> = tops.iter().map(step_to).collect::<BTreeSet<_>>().into_iter().collect();
            return Err(BadPath::Place(place.to_owned(), known.join(", ")));
        }
        let new = found.into_iter().find(|(_, fields)| fields.iter().all(|field| field.name != name));
        let (names, _) = new.ok_or(BadPath::Documented)?;
        let names = &mut self.at(&names).names;
        if names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
        if names.len() > MOST { Err(BadPath::TooMany) } else { Ok(()) }
    }

    /// The allowed field of this name, here.
    pub(super) fn position_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// What is allowed below a documented member.
    pub(super) fn below(&self, name: &str) -> &Self {
        self.below.get(name).unwrap_or(&NOTHING)
    }

    fn at(&mut self, names: &[&'static str]) -> &mut Self {
        match names {
            [] => self,
            [first, rest @ ..] => self.below.entry(first).or_default().at(rest),
        }
    }
}

/// How a field is written as a step of a path.
fn step_to(field: &Field) -> String {
    let list = matches!(field.kind, Kind::Rows(_));
    format!("{}{}", field.name, if list { "[]" } else { "" })
}

/// The names along the path, and the fields documented at its end.
fn walk(top: Field, steps: &[&str]) -> Option<(Vec<&'static str>, &'static [Field])> {
    let (_, rest) = steps.split_first().filter(|(first, _)| step_to(&top) == **first)?;
    let (mut names, mut fields) = (vec![top.name], inside(top)?);
    for step in rest {
        let field = *fields.iter().find(|field| step_to(field) == *step)?;
        names.push(field.name);
        fields = inside(field)?;
    }
    Some((names, fields))
}

fn inside(field: Field) -> Option<&'static [Field]> {
    match field.kind {
        Kind::Object(fields) | Kind::Rows(fields) => Some(fields),
        _ => None,
    }
}
