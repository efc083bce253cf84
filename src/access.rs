//! May they?
//! Given a caller and a match, hands back the [`Grant`] with its [`Sight`], or what is missing.
//! Never does I/O: the same caller and match always get the same answer.

use std::sync::Arc;

use crate::route::{Match, Resource, Route};
use crate::token::Caller;
use crate::token::scope::{PERSONAL, REFRESH, ScopeNames, Scopes, WRITE};

/// What of an answer a caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sight {
    /// The partner's bytes untouched.
    Full,
    /// Everything but personal data of clients.
    WithoutPersonal,
}

/// A sight as a value to compare and to keep answers under: equal where the same is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Right {
    hides_personal: bool,
    /// The digest of the clients it is bound to.
    clients: Option<[u8; 16]>,
    /// The digest of the providers it is bound to.
    providers: Option<[u8; 16]>,
}

impl Right {
    /// Everything.
    pub const FULL: Self = Self { hides_personal: false, clients: None, providers: None };

    /// One of many that are told apart by a number, for the tests of other rooms.
    #[cfg(test)]
    pub(crate) fn numbered(number: u8) -> Self {
        Self { hides_personal: true, clients: Some([number; 16]), providers: None }
    }
}

/// The right of one caller to one resource.
#[derive(Debug)]
pub struct Grant {
    caller: Arc<Caller>,
    wanted: Match,
    sight: Sight,
}

impl Grant {
    /// Who.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What.
    pub fn wanted(&self) -> &Match {
        &self.wanted
    }

    /// How much of it.
    pub fn sight(&self) -> Sight {
        self.sight
    }

    /// The same as a value to compare.
    pub fn right(&self) -> Right {
        Right { hides_personal: self.sight == Sight::WithoutPersonal, ..Right::FULL }
    }
}

/// Not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The scope that would open it.
    pub missing: String,
}

/// The scopes that this room asks for by name.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    personal: Scopes,
    write: Scopes,
    refresh: Scopes,
}

impl Rules {
    /// The rules over these scopes.
    pub fn new(names: &ScopeNames) -> Self {
        Self { personal: names.set_of([PERSONAL]), write: names.set_of([WRITE]), refresh: names.set_of([REFRESH]) }
    }

    /// May this caller make the partner be asked where what is held is good enough for everybody else?
    pub fn may_refresh(&self, caller: &Caller) -> bool {
        caller.scopes().covers(self.refresh)
    }

    /// May this caller have that resource?
    ///
    /// # Errors
    /// [`Denied`] names the first scope that is missing.
    pub fn decide(&self, caller: Arc<Caller>, wanted: Match, route: &Route) -> Result<Grant, Denied> {
        let has = caller.scopes();
        let missing = |scope: &str| Err(Denied { missing: scope.to_owned() });
        if !wanted.method().is_safe() && !has.covers(self.write) {
            return missing(WRITE);
        }
        if !has.covers(route.scope) && wanted.method().is_safe() {
            return missing(&route.scope_name);
        }
        if has.covers(self.personal) {
            return Ok(Grant { caller, wanted, sight: Sight::Full });
        }
        let sight = match wanted.resource() {
            Resource::Seven { endpoint, .. } if endpoint.holds_personal_data() => Sight::WithoutPersonal,
            Resource::Seven { .. } => Sight::Full,
            Resource::Raw(_) if route.open_to_narrowed => Sight::Full,
            Resource::Raw(_) => return missing(PERSONAL),
        };
        Ok(Grant { caller, wanted, sight })
    }
}
