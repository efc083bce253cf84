//! What may a token do?
//! Given scope names, hands back sets of them that a hit can compare in one instruction.
//! Never decides anything; a scope exists because a route, or the short list here, names it.

/// May see personal data of clients.
pub const PERSONAL: &str = "pii:read";

/// May use unsafe methods where a route passes them on.
pub const WRITE: &str = "write";

/// May make the partner be asked where what is held would do.
pub const REFRESH: &str = "cache:refresh";

/// May administer; only a token of its own audience carries it.
pub const ADMIN: &str = "gateway:admin";

/// Scopes that are granted only when they are named.
const ASKED_FOR: [&str; 3] = [WRITE, REFRESH, ADMIN];

/// Whether a token asked for without scopes gets this one.
pub fn is_given_unasked(scope: &str) -> bool {
    !ASKED_FOR.contains(&scope)
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u64);

impl Scopes {
    /// Those in both.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every scope of `wanted` is in it.
    pub const fn covers(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// The scopes that exist, at most 64.
#[derive(Debug, Clone)]
pub struct ScopeNames(Vec<String>);

/// More scopes than a set can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("routes name more than 64 different scopes")]
pub struct TooMany;

impl ScopeNames {
    /// The built-in scopes and those that routes name.
    ///
    /// # Errors
    /// [`TooMany`] beyond 64.
    pub fn new<'a>(named_by_routes: impl IntoIterator<Item = &'a str>) -> Result<Self, TooMany> {
        let mut names: Vec<String> = ASKED_FOR.iter().chain([&PERSONAL]).map(|&name| name.to_owned()).collect();
        for name in named_by_routes {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        if names.len() > 64 { Err(TooMany) } else { Ok(Self(names)) }
    }

    /// The set of those of `wanted` that exist; a name nobody asks for opens nothing, so it is left out.
    pub fn set_of<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Scopes {
        let bits = wanted.into_iter().filter_map(|name| self.0.iter().position(|known| known == name));
        Scopes(bits.fold(0, |set, bit| set | 1 << bit))
    }

    /// The names in a set, for messages.
    pub fn names_in(&self, set: Scopes) -> impl Iterator<Item = &str> {
        self.0.iter().enumerate().filter(move |(bit, _)| set.0 >> bit & 1 == 1).map(|(_, name)| name.as_str())
    }
}
