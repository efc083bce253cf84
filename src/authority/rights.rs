//! What may this token do?
//! Given a caller, hands back every route with whether it opens it, by the very decision that requests get.
//! Never asks the partner, and never names a client or provider beyond the caller's bounds.

use std::sync::Arc;

use http::{Method, Uri};
use serde_json::{Value, json};

use crate::access::Rules;
use crate::account_api::{Endpoint, PREFIX};
use crate::route::{OTHER, Routes, Target};
use crate::token::{Caller, Tokens};

/// An identifier that stands for any: bounds are told apart from scopes elsewhere.
const ANY: &str = "any";

/// `GET /-/me`, and what `token inspect` prints.
pub fn of(caller: &Arc<Caller>, tokens: &Tokens, routes: &Routes, rules: &Rules) -> Value {
    let stamp = |unix: u64| {
        let at = i64::try_from(unix).ok().and_then(|unix| jiff::Timestamp::from_second(unix).ok());
        at.map(|at| at.to_string())
    };
    let listed = (0..routes.all().len()).map(|index| route(index, caller, routes, rules));
    json!({
        "caller": caller.name(),
        "jti": caller.jti(),
        "issued_at": stamp(caller.issued()),
        "expires_at": stamp(caller.expires()),
        "scopes": tokens.names_in(caller.scopes()),
        "routes": listed.collect::<Vec<_>>(),
    })
}

fn route(index: usize, caller: &Arc<Caller>, routes: &Routes, rules: &Rules) -> Value {
    let name = routes.at(index).map_or("", |route| route.name.as_str());
    let template = template_of(index, routes);
    let decided = sample(&template).and_then(|uri| {
        let target = Target::parse(&uri).ok()?;
        let wanted = routes.find(&Method::GET, &target).ok()?;
        Some(rules.decide(Arc::clone(caller), wanted, routes.at(index)?))
    });
    match decided {
        Some(Ok(_)) => json!({"name": name, "path": template, "open": true}),
        Some(Err(denied)) => json!({"name": name, "path": template, "open": false, "missing": denied.missing}),
        None => json!({"name": name, "path": template, "open": null}),
    }
}

fn template_of(index: usize, routes: &Routes) -> String {
    match Endpoint::ALL.get(index) {
        Some(endpoint) => format!("{PREFIX}{}", endpoint.template()),
        None if index == OTHER => format!("{PREFIX}/{{*rest}}"),
        None => routes.template_of(index).unwrap_or_default().to_owned(),
    }
}

/// The template with each name in braces filled.
fn sample(template: &str) -> Option<Uri> {
    let mut text = String::new();
    let mut inside = false;
    for letter in template.chars() {
        match letter {
            '{' => {
                inside = true;
                text.push_str(ANY);
            }
            '}' => inside = false,
            letter if !inside => text.push(letter),
            _ => {}
        }
    }
    text.parse().ok()
}
