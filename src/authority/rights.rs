//! What may this token do?
//! Given a caller, hands back every route with whether it opens it, by the very decision that requests get.
//! Never asks the partner, and never names a client or provider beyond the caller's bounds.

use std::sync::Arc;

use http::{Method, Uri};
use serde_json::{Value, json};

use crate::access::{Denied, PROVIDER_QUERY, Rules};
use crate::account_api::{Endpoint, PREFIX};
use crate::route::{OTHER, Routes, Target};
use crate::token::bounds::{Bound, Bounds};
use crate::token::{Caller, Tokens};

/// An identifier where nothing binds: what is asked is whether the right reaches any of its kind.
const ANY: &str = "any";

/// What is missing where it is no scope.
const BOUNDS: &str = "bounds";

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
        "authorization_details": caller.bounds().details(),
        "routes": listed.collect::<Vec<_>>(),
    })
}

fn route(index: usize, caller: &Arc<Caller>, routes: &Routes, rules: &Rules) -> Value {
    let name = routes.at(index).map_or("", |route| route.name.as_str());
    let template = template_of(index, routes, caller.bounds());
    let decided = sample(&template, caller.bounds()).and_then(|uri| {
        let target = Target::parse(&uri).ok()?;
        let wanted = routes.find(&Method::GET, &target).ok()?;
        Some(rules.decide(Arc::clone(caller), wanted, routes.at(index)?))
    });
    match decided {
        // A decision that hangs on the partner's answer is yes for some project.
        Some(Ok(_)) => json!({"name": name, "path": template, "open": true}),
        Some(Err(Denied::Scope(scope))) => json!({"name": name, "path": template, "open": false, "missing": scope}),
        Some(Err(_)) => json!({"name": name, "path": template, "open": false, "missing": BOUNDS}),
        None => json!({"name": name, "path": template, "open": null}),
    }
}

/// The list of all clients is open to some providers' where one of them is named.
fn template_of(index: usize, routes: &Routes, bounds: &Bounds) -> String {
    match Endpoint::ALL.get(index) {
        Some(Endpoint::Clients) if !bounds.providers.is_all() => {
            format!("{PREFIX}{}?{PROVIDER_QUERY}={{provider_id}}", Endpoint::Clients.template())
        }
        Some(endpoint) => format!("{PREFIX}{}", endpoint.template()),
        None if index == OTHER => format!("{PREFIX}/{{*rest}}"),
        None => routes.template_of(index).unwrap_or_default().to_owned(),
    }
}

/// The template with each name in braces filled by something inside the bounds, if there is anything.
fn sample(template: &str, bounds: &Bounds) -> Option<Uri> {
    let one = |bound: &Bound| match bound {
        Bound::All => ANY.to_owned(),
        Bound::Only(_) => bound.names().into_iter().next().unwrap_or_else(|| ANY.to_owned()),
    };
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, inside)| Some((before, inside.split_once('}')?)))
    {
        text += before;
        match name {
            "client_id" => text += &one(&bounds.clients),
            "provider_id" => text += &one(&bounds.providers),
            _ => text += ANY,
        }
        rest = after;
    }
    text += rest;
    text.parse().ok()
}
