//! Who asks where nobody shows a token?
//! Given a caller's name, hands back the [`Caller`] that its policy makes, less what only a token may carry.
//! Never looks at where the request came from: who calls this has judged that.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::scope::{self, ScopeNames, Scopes};
use super::{API_KEY, Caller, Policy, Tokens, Unidentified};

/// What stands in place of a token's id.
pub const ID: &str = "ambient";

/// Scopes that a caller has by a token alone.
const BY_TOKEN: [&str; 2] = [scope::WRITE, scope::ADMIN];

/// Whether nothing is shown that could be meant as a token, not even a bad one.
pub fn shows_nothing(headers: &HeaderMap) -> bool {
    !headers.contains_key(AUTHORIZATION) && !headers.contains_key(API_KEY)
}

/// The scopes that a policy gives without a token.
pub(super) fn scopes_of(policy: &Policy, names: &ScopeNames) -> Scopes {
    let scopes = policy.scopes.iter().map(String::as_str);
    names.set_of(scopes.filter(|scope| !BY_TOKEN.contains(scope)))
}

impl Tokens {
    /// The caller of this name, without a token.
    ///
    /// # Errors
    /// [`Unidentified::UnknownCaller`].
    pub fn ambient(&self, caller: &str) -> Result<Arc<Caller>, Unidentified> {
        let allowed = self.policies.get(caller).ok_or(Unidentified::UnknownCaller)?;
        Ok(Arc::clone(&allowed.ambient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::bounds::{Bound, Bounds};
    use crate::token::ring::Ring;
    use crate::token::{Priority, Settings};

    #[test]
    fn an_ambient_caller_has_its_policy_but_never_writes_or_administers() {
        let bounds = Bounds {
            clients: Bound::of(&["c1".to_owned()]).unwrap(),
            providers: Bound::of(&["*".to_owned()]).unwrap(),
        };
        let policy = |name: &str, scopes: &[&str]| Policy {
            name: name.to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            bounds: bounds.clone(),
            priority: Priority::Batch,
        };
        let callers = vec![
            policy("other", &["clients:read"]),
            policy("app", &["clients:read", scope::PERSONAL, scope::REFRESH, scope::WRITE, scope::ADMIN]),
        ];
        let settings = Settings {
            issuer: "http://127.0.0.1:8080".to_owned(),
            audience: "account-api".to_owned(),
            accept_api_key_header: true,
            callers,
        };
        // A route may be named after what only a token carries.
        let names = Arc::new(ScopeNames::new(["clients:read", "projects:read", scope::ADMIN]).unwrap());
        let tokens = Tokens::new(settings, Arc::new(Ring::in_memory().unwrap()), Arc::clone(&names));
        let caller = tokens.ambient("app").unwrap();
        assert_eq!((caller.name(), caller.jti(), caller.index()), ("app", ID, 1));
        assert_eq!((caller.bounds(), caller.priority()), (&bounds, Priority::Batch));
        assert_eq!(caller.scopes(), names.set_of(["clients:read", scope::PERSONAL, scope::REFRESH]));
        assert_eq!(tokens.ambient("nobody").unwrap_err(), Unidentified::UnknownCaller);
    }

    #[test]
    fn whatever_may_be_meant_as_a_token_is_something() {
        let shown = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            !shows_nothing(&headers)
        };
        for value in ["Bearer x", "Bearer ", "Basic eDp5", ""] {
            assert!(shown("authorization", value), "{value:?}");
        }
        assert!(shown("x-reseller-api-key", "x") && shown("x-reseller-api-key", ""));
        assert!(!shown("accept", "*/*") && shows_nothing(&HeaderMap::new()));
    }
}
