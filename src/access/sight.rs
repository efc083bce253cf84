//! What of a document does a right see?
//! Given an endpoint and bounds, hands back the lens for its documents, and a value to keep what it shows under.
//! Never sees a document.

use crate::account_api::{Endpoint, Field};
use crate::token::bounds::{Bound, Bounds};

/// What of an answer a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// The partner's bytes untouched.
    Full,
    /// What is documented, and of that what the lens lets through.
    Narrow(Lens),
}

/// What a narrowed sight hides of one document. Only what can show in it is in it, so that rights which see the same are equal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lens {
    /// Whether personal data of clients is blanked.
    pub hides_personal: bool,
    /// Whether projects whose provider is not said are blanked.
    pub hides_projects: bool,
    /// Whose rows of clients are shown.
    pub clients: Bound,
    /// Whose rows of providers are shown.
    pub providers: Bound,
    /// The one project that may be shown, of a right to projects of some providers: another may be of another provider.
    pub project: Option<String>,
}

impl Lens {
    pub(super) fn of(endpoint: Endpoint, sees_personal: bool, bounds: &Bounds, inner: Option<&str>) -> Self {
        let holds_clients = matches!(endpoint, Endpoint::Clients | Endpoint::Client);
        let (clients, providers) = match endpoint {
            _ if holds_clients => (bounds.clients.clone(), Bound::All),
            Endpoint::ProjectResources => (Bound::All, Bound::All),
            _ => (Bound::All, bounds.providers.clone()),
        };
        let hides_personal = !sees_personal && endpoint.holds_personal_data();
        let placed = endpoint == Endpoint::ProjectResources && !bounds.providers.is_all();
        let project = inner.filter(|_| placed).map(str::to_owned);
        let hides_projects = holds_clients && !bounds.providers.is_all();
        Self { hides_personal, hides_projects, clients, providers, project }
    }

    /// Whether this field is blanked, whatever it holds.
    pub fn hides(&self, field: &Field) -> bool {
        (self.hides_personal && field.is_personal()) || (self.hides_projects && field.unplaced)
    }
}

/// A sight as a value to compare and to keep answers under: equal where the same is seen of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Right {
    narrow: bool,
    hides_personal: bool,
    hides_projects: bool,
    clients: Option<[u8; 16]>,
    providers: Option<[u8; 16]>,
}

impl Sight {
    /// The same as a value to compare.
    pub(super) fn right(&self) -> Right {
        match self {
            Self::Full => Right::FULL,
            Self::Narrow(lens) => Right {
                narrow: true,
                hides_personal: lens.hides_personal,
                hides_projects: lens.hides_projects,
                clients: lens.clients.digest(),
                providers: lens.providers.digest(),
            },
        }
    }
}

impl Right {
    /// Everything.
    pub const FULL: Self =
        Self { narrow: false, hides_personal: false, hides_projects: false, clients: None, providers: None };

    /// One of many that are told apart by a number, for the tests of other rooms.
    #[cfg(test)]
    pub(crate) fn numbered(number: u8) -> Self {
        Self { narrow: true, clients: Some([number; 16]), ..Self::FULL }
    }
}
