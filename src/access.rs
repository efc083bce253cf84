//! May they?
//! Given a caller and a match, hands back the [`Grant`] with its [`Sight`], what must be known first, or what is missing.
//! Never does I/O: the same caller and match always get the same answer.

mod sight;

use std::sync::Arc;

use crate::account_api::Endpoint;
use crate::route::{Match, Resource, Route, Word};
use crate::token::Caller;
use crate::token::scope::{PERSONAL, REFRESH, ScopeNames, Scopes, WRITE};

pub use sight::{Lens, Right, Sight};

/// The query parameter that narrows the list of clients to a provider's.
pub const PROVIDER_QUERY: &str = "provider_id";

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
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// The same as a value to compare.
    pub fn right(&self) -> Right {
        self.sight.right()
    }
}

/// What is decided.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every decision is a grant, and a box would cost each hit an allocation"
)]
pub enum Decision {
    /// Yes.
    Granted(Grant),
    /// It hangs on another resource.
    Needs(Box<Question>),
}

impl Decision {
    /// The grant, if nothing else must be known.
    pub fn granted(self) -> Option<Grant> {
        match self {
            Self::Granted(grant) => Some(grant),
            Self::Needs(_) => None,
        }
    }
}

/// On which provider is this project? The list of the client's projects says so.
#[derive(Debug)]
pub struct Question {
    list: Grant,
    project: Word,
    open: Grant,
}

impl Question {
    /// The right to look into the list, for the gateway alone: nothing of it is shown to anybody.
    pub fn list(&self) -> &Grant {
        &self.list
    }

    /// The project.
    pub fn project(&self) -> &str {
        std::str::from_utf8(&self.project).unwrap_or_default()
    }

    /// Decides, now that the project's providers are known; there are none where the project is not.
    ///
    /// # Errors
    /// [`Denied::Project`], the same for a foreign project and for none.
    pub fn settle<S: AsRef<str>>(self, providers: &[Option<S>]) -> Result<Grant, Denied> {
        let bound = &self.open.caller.bounds().providers;
        let inside = |provider: &Option<S>| provider.as_ref().is_some_and(|id| bound.has(id.as_ref()));
        if !providers.is_empty() && providers.iter().all(inside) { Ok(self.open) } else { Err(Denied::Project) }
    }
}

/// Not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The scope that would open it is missing.
    Scope(String),
    /// The client is outside the bounds.
    Client,
    /// The provider is outside the bounds.
    Provider,
    /// The list of all clients is wanted by a right that may see those of some providers, and none is named.
    ProviderQuery,
    /// The project is on no provider inside the bounds, or is not at all.
    Project,
    /// Nothing narrows what is there to bounds.
    Bounded,
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
    /// [`Denied`] names the first thing that is missing: scopes first, then bounds.
    pub fn decide(&self, caller: Arc<Caller>, wanted: Match, route: &Route) -> Result<Decision, Denied> {
        let has = caller.scopes();
        let missing = |scope: &str| Err(Denied::Scope(scope.to_owned()));
        if !wanted.method().is_safe() && !has.covers(self.write) {
            return missing(WRITE);
        }
        if !has.covers(route.scope) && wanted.method().is_safe() {
            return missing(&route.scope_name);
        }
        let sees_personal = has.covers(self.personal);
        if sees_personal && caller.bounds().are_all() {
            return Ok(Decision::Granted(Grant { caller, wanted, sight: Sight::Full }));
        }
        match wanted.resource() {
            Resource::Opaque(_) if route.open_to_narrowed => {
                Ok(Decision::Granted(Grant { caller, wanted, sight: Sight::Full }))
            }
            Resource::Opaque(_) if !caller.bounds().are_all() => Err(Denied::Bounded),
            Resource::Opaque(_) => missing(PERSONAL),
            Resource::Documented { .. } => narrowed(caller, wanted, route, sees_personal),
        }
    }
}

/// One of the seven, for a right that is not the full one.
fn narrowed(caller: Arc<Caller>, wanted: Match, route: &Route, sees_personal: bool) -> Result<Decision, Denied> {
    let Resource::Documented { endpoint, ids, query } = wanted.resource() else { return Err(Denied::Bounded) };
    let (bounds, endpoint) = (caller.bounds(), *endpoint);
    let id = |nth: usize| ids.get(nth).and_then(|id| std::str::from_utf8(id).ok());
    if id(0).is_some_and(|client| !bounds.clients.has(client)) {
        return Err(Denied::Client);
    }
    match endpoint {
        Endpoint::Clients if !bounds.providers.is_all() => {
            let named = query
                .iter()
                .find(|(at, _)| route.query.get(usize::from(*at)).is_some_and(|name| name == PROVIDER_QUERY));
            let named = named.and_then(|(_, id)| std::str::from_utf8(id).ok()).ok_or(Denied::ProviderQuery)?;
            if !bounds.providers.has(named) {
                return Err(Denied::Provider);
            }
        }
        Endpoint::ProviderResources if !id(1).is_some_and(|provider| bounds.providers.has(provider)) => {
            return Err(Denied::Provider);
        }
        _ => {}
    }
    let lens = Lens::of(endpoint, sees_personal, bounds, id(1));
    // Narrowed also where nothing documented is hidden: what the partner adds may be personal.
    let sight = Sight::Narrow(lens);
    if endpoint == Endpoint::ProjectResources && !bounds.providers.is_all() {
        let (list, project) = (wanted.projects(), ids.get(1).cloned());
        let (list, project) = list.zip(project).ok_or(Denied::Project)?;
        let list = Grant { caller: Arc::clone(&caller), wanted: list, sight: Sight::Full };
        return Ok(Decision::Needs(Box::new(Question { list, project, open: Grant { caller, wanted, sight } })));
    }
    Ok(Decision::Granted(Grant { caller, wanted, sight }))
}

#[cfg(test)]
mod tests;
