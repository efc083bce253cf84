//! What may a token do at its hub?
//! Given what the hub says of it, hands back a [`Right`] that can be held against the one before.
//! Never decides what follows from a difference.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// What a hub says that a token may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Right {
    scopes: BTreeSet<String>,
    /// Its bounds (RFC 9396), where any are told.
    details: Option<Value>,
    /// Routes by their names, where they are told: those it opens, and those it does not.
    open: BTreeSet<String>,
    shut: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Me {
    scopes: BTreeSet<String>,
    #[serde(default)]
    authorization_details: Option<Value>,
    #[serde(default)]
    routes: Vec<Route>,
}

#[derive(Deserialize)]
struct Route {
    name: String,
    #[serde(default)]
    open: Option<bool>,
}

impl Right {
    /// As an answer of the token endpoint says it (RFC 6749 §5.1, RFC 9396 §7): no scope is the one that was asked for.
    pub(super) fn granted(scope: Option<&str>, details: Option<Value>) -> Self {
        let scopes = scope.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        Self { scopes, details: details.filter(|told| !told.is_null()).map(sorted), ..Self::default() }
    }

    /// As `/-/me` says it; `None` of anything else.
    pub(super) fn effective(body: &[u8]) -> Option<Self> {
        let me: Me = serde_json::from_slice(body).ok()?;
        let named = |open| me.routes.iter().filter(move |it| it.open == Some(open)).map(|it| it.name.clone()).collect();
        let (open, shut) = (named(true), named(false));
        let details = me.authorization_details.filter(|told| !told.is_null()).map(sorted);
        Some(Self { scopes: me.scopes, details, open, shut })
    }

    /// Whether it is another than before. A hub that learns of a new route takes nothing away by that.
    pub(super) fn is_another(&self, before: &Self) -> bool {
        (&self.scopes, &self.details) != (&before.scopes, &before.details) || !self.shut.is_disjoint(&before.open)
    }
}

/// The same in one order: lists of bounds are sets.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(all) => {
            let mut all: Vec<Value> = all.into_iter().map(sorted).collect();
            all.sort_by_cached_key(Value::to_string);
            Value::Array(all)
        }
        Value::Object(all) => Value::Object(all.into_iter().map(|(name, value)| (name, sorted(value))).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_right_is_another_by_its_scopes_and_bounds_in_whichever_order() {
        let right = |scope: &str, clients: &[&str]| {
            Right::granted(Some(scope), Some(json!([{"type": "b", "clients": clients}])))
        };
        let before = right("a b", &["c1", "c2"]);
        assert!(!right("b  a", &["c2", "c1"]).is_another(&before));
        assert!(right("a", &["c1", "c2"]).is_another(&before));
        assert!(right("a b c", &["c1", "c2"]).is_another(&before));
        assert!(right("a b", &["c1"]).is_another(&before));
        assert!(Right::granted(Some("a b"), None).is_another(&before));
        assert!(!Right::granted(None, None).is_another(&Right::granted(None, Some(Value::Null))));
    }

    #[test]
    fn what_me_says_is_compared_and_what_it_does_not_say_is_nothing() {
        let me = |open: bool, more: &str| {
            let text = format!(
                r#"{{"scopes": ["a"], "authorization_details": [], "jti": "x", "routes": [{{"name": "r", "open": {open}}}{more}]}}"#
            );
            Right::effective(text.as_bytes()).unwrap()
        };
        assert!(me(false, "").is_another(&me(true, "")));
        assert!(!me(true, "").is_another(&me(false, "")), "another that opens is nothing taken away");
        assert!(
            !me(true, r#", {"name": "new", "open": false}, {"name": "odd", "open": null}"#).is_another(&me(true, ""))
        );
        for other in ["", "{}", "[]", "<html>", r#"{"clients": []}"#, r#"{"scopes": "a"}"#] {
            assert_eq!(Right::effective(other.as_bytes()), None, "{other}");
        }
    }
}
