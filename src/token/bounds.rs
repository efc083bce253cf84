//! Which clients and providers may a right reach?
//! Given lists of identifiers or `authorization_details` (RFC 9396), hands back sets: each is all, or these.
//! Never widens: two sets are only ever joined to what is in both.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::account_api;

/// The type of our `authorization_details`.
pub const TYPE: &str = "account-api";

/// How "all" is written.
pub const ALL: &str = "*";

/// Which of one kind of object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Bound {
    /// Every one.
    #[default]
    All,
    /// These; none, where the set is empty.
    Only(Arc<Ids>),
}

/// A set of identifiers, UUIDs in lower case.
#[derive(PartialEq, Eq)]
pub struct Ids {
    sorted: Box<[Box<str>]>,
    digest: [u8; 16],
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.sorted).finish()
    }
}

/// A list that is no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBound {
    /// `*` among others.
    #[error("\"*\" is all and stands alone")]
    AllAmongOthers,
    /// Something that is no identifier.
    #[error("{0:?} is no identifier; it has 1 to 64 letters, digits, `_` or `-`")]
    Identifier(String),
}

impl Bound {
    /// The set that a list names; `["*"]` is all, an empty list is none.
    ///
    /// # Errors
    /// [`NoBound`].
    pub fn of<S: AsRef<str>>(names: &[S]) -> Result<Self, NoBound> {
        match names {
            [one] if one.as_ref() == ALL => return Ok(Self::All),
            names if names.iter().any(|name| name.as_ref() == ALL) => return Err(NoBound::AllAmongOthers),
            _ => {}
        }
        let id = |name: &S| {
            let name = name.as_ref();
            let id = account_api::identifier(name);
            id.ok_or_else(|| NoBound::Identifier(name.chars().take(64).collect())).map(String::into_boxed_str)
        };
        Ok(Self::Only(Arc::new(Ids::of(names.iter().map(id).collect::<Result<_, _>>()?))))
    }

    /// The list that names it.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec![ALL.to_owned()],
            Self::Only(ids) => ids.sorted.iter().map(|id| id.clone().into_string()).collect(),
        }
    }

    /// Whether it is everything.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether this object is in it; a UUID in any letter case.
    pub fn has(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.have(id),
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, bound) | (bound, Self::All) => bound.clone(),
            (Self::Only(ids), Self::Only(others)) => {
                let both: Vec<Box<str>> = ids.sorted.iter().filter(|id| others.have(id)).cloned().collect();
                Self::Only(Arc::new(Ids::of(both)))
            }
        }
    }

    /// An object of `other` that is not in it; [`ALL`] where `other` is everything and this is not.
    pub fn beyond<'o>(&self, other: &'o Self) -> Option<&'o str> {
        match (self, other) {
            (Self::All, _) => None,
            (Self::Only(_), Self::All) => Some(ALL),
            (Self::Only(ids), Self::Only(others)) => others.sorted.iter().map(Box::as_ref).find(|id| !ids.have(id)),
        }
    }

    /// A digest that is the same for the same set, and `None` for everything.
    pub fn digest(&self) -> Option<[u8; 16]> {
        match self {
            Self::All => None,
            Self::Only(ids) => Some(ids.digest),
        }
    }
}

impl Ids {
    fn of(mut ids: Vec<Box<str>>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        // No identifier holds a comma, so no two sets have the same text.
        let text = ids.join(",");
        let mut short = [0; 16];
        if let Some(bits) = digest(&SHA256, text.as_bytes()).as_ref().get(..16) {
            short.copy_from_slice(bits);
        }
        Self { sorted: ids.into_boxed_slice(), digest: short }
    }

    fn have(&self, id: &str) -> bool {
        let find = |id: &str| self.sorted.binary_search_by(|other| other.as_ref().cmp(id)).is_ok();
        let upper = account_api::is_uuid(id.as_bytes()) && id.bytes().any(|byte| byte.is_ascii_uppercase());
        if upper { find(&id.to_ascii_lowercase()) } else { find(id) }
    }
}

/// Both kinds together: what a caller's policy and its token are each bound to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "(Details,)", into = "(Details,)")]
pub struct Bounds {
    /// Which clients.
    pub clients: Bound,
    /// Which providers.
    pub providers: Bound,
}

/// The one object of `authorization_details` (RFC 9396 §2).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Details {
    r#type: String,
    #[serde(default = "everything")]
    clients: Vec<String>,
    #[serde(default = "everything")]
    providers: Vec<String>,
}

fn everything() -> Vec<String> {
    vec![ALL.to_owned()]
}

/// `authorization_details` that are not ours: RFC 9396 §5 calls them `invalid_authorization_details`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "authorization_details must be one object of type \"account-api\" with the lists `clients` and `providers`: {0}"
)]
pub struct NotUnderstood(String);

impl TryFrom<(Details,)> for Bounds {
    type Error = String;

    fn try_from((details,): (Details,)) -> Result<Self, String> {
        if details.r#type != TYPE {
            return Err(format!("its type is not {TYPE:?}"));
        }
        let bound = |names: &[String]| Bound::of(names).map_err(|why| why.to_string());
        Ok(Self { clients: bound(&details.clients)?, providers: bound(&details.providers)? })
    }
}

impl From<Bounds> for (Details,) {
    fn from(bounds: Bounds) -> Self {
        (Details { r#type: TYPE.to_owned(), clients: bounds.clients.names(), providers: bounds.providers.names() },)
    }
}

impl Bounds {
    /// The bounds that `authorization_details` speak of: an array of one object; a list that it lacks is all.
    ///
    /// # Errors
    /// [`NotUnderstood`] for any other type, member, form or number of objects.
    pub fn of_details(details: &Value) -> Result<Self, NotUnderstood> {
        Self::deserialize(details).map_err(|why| NotUnderstood(why.to_string()))
    }

    /// The same the other way round.
    pub fn details(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Whether nothing is out of reach.
    pub const fn are_all(&self) -> bool {
        self.clients.is_all() && self.providers.is_all()
    }

    /// What is in both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self { clients: self.clients.intersect(&other.clients), providers: self.providers.intersect(&other.providers) }
    }
}

#[cfg(test)]
mod tests;
