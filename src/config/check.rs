//! Do the parts agree with each other?
//! Given a configuration whose every value reads well, notes what contradicts or endangers.
//! Never looks at the machine: no file is opened, no name resolved.

use std::collections::BTreeMap;

use super::Config;
use super::callers::LONGEST_WITHOUT_STATE;
use super::notes::Notes;
use super::routes::{ExtraRoute, Projection, ROUTE_NAMES, Route, RouteMode};
use super::template;
use super::values::{is_loopback, nearest};
use crate::access::PROVIDER_QUERY;
use crate::account_api::Endpoint;
use crate::authority;
use crate::listen::Address;
use crate::token::operator;

/// Scopes that no route names.
const SPECIAL_SCOPES: [&str; 4] = ["pii:read", "write", "cache:refresh", "gateway:admin"];

/// Every check.
pub(super) fn all(config: &Config, notes: &Notes) {
    clear_text(config, notes);
    tls(config, notes);
    same_address_twice(config, notes);
    upstream(config, notes);
    ambient(config, notes);
    routes(config, notes);
    scopes(config, notes);
    lifetimes(config, notes);
    proofs(config, notes);
    lists_of_providers(config, notes);
    traces(config, notes);
    for (index, caller) in config.callers.iter().enumerate() {
        let earlier = config.callers.iter().take(index).position(|other| other.name == caller.name);
        if let Some(earlier) = earlier.filter(|_| !caller.name.is_empty()) {
            notes.fault(&format!("callers[{index}].name"), format!("callers[{earlier}] has the same name"));
        }
    }
}

/// Every route with its dotted key.
pub(super) fn all_routes(config: &Config) -> impl Iterator<Item = (String, &Route)> {
    let built_in = config.routes.iter().map(|route| (format!("routes.{}", route.name), route));
    let extra = config.extra_routes.iter().enumerate();
    built_in.chain(extra.map(|(index, extra)| (format!("extra_routes[{index}]"), &extra.route)))
}

/// Whether the dotted key is a route of the Account API's own.
fn is_documented(key: &str) -> bool {
    key.starts_with("routes.") && key != "routes.other"
}

const CLEAR_TEXT: &str = "clear text off loopback; give it a certificate (tls), or set allow_clear_text = true where something in front speaks TLS";

fn clear_text(config: &Config, notes: &Notes) {
    for (index, listener) in config.listeners.iter().enumerate() {
        if listener.address.is_local() == Some(false) && listener.tls.is_none() && !listener.allow_clear_text {
            notes.fault(&format!("listeners[{index}].address"), CLEAR_TEXT);
        }
    }
    let admin = &config.admin;
    if admin.listen.is_local() == Some(false) && admin.tls.is_none() && !admin.allow_clear_text {
        notes.fault("admin.listen", CLEAR_TEXT);
    }
    let upstream = &config.upstream;
    // Behind a proxy no host is this machine.
    let local = upstream.url.host().is_some_and(is_loopback) && upstream.proxy.is_none();
    if upstream.url.scheme_str() == Some("http") && !local && !upstream.allow_clear_text {
        let what = if upstream.credential.is_for_a_hub() { "token" } else { "key" };
        let to = if upstream.proxy.is_some() { ", the proxy included" } else { "" };
        let reason = format!("the {what} would travel in clear text{to}; use https://, or set allow_clear_text = true");
        notes.fault("upstream.url", reason);
    }
}

/// What a sidecar leaves to its hub, what a proxy needs, and what would never find room or protection.
fn upstream(config: &Config, notes: &Notes) {
    let upstream = &config.upstream;
    let server = &config.server;
    if server.buffer_bytes.is_some_and(|bytes| bytes / 4 < server.max_request_body) {
        let reason = "one caller has a quarter of it, so it is at least four times server.max_request_body";
        notes.fault("server.buffer_bytes", reason);
    }
    if upstream.budget.max_in_flight == 1 && config.callers.len() > 1 {
        let reason =
            "one slow answer holds all others up, whoever asked for it; nothing protects the other callers below 2";
        notes.warn("upstream.budget.max_in_flight", reason);
    }
    if upstream.proxy.is_none() && upstream.proxy_auth_file.is_some() && !notes.is_faulty("upstream.proxy") {
        notes.fault("upstream.proxy_auth_file", "no proxy is named; set upstream.proxy");
    }
    if !upstream.credential.is_for_a_hub() {
        return;
    }
    for (key, route) in all_routes(config) {
        if route.r#override {
            let reason = "the hub's lifetimes hold for its sidecars; set this at the hub";
            notes.fault(&format!("{key}.override"), reason);
        }
        if route.forward_authorization {
            let reason = "Authorization carries this gateway's own token to the hub; drop this";
            notes.fault(&format!("{key}.forward_authorization"), reason);
        }
    }
}

fn tls(config: &Config, notes: &Notes) {
    let listeners = config.listeners.iter().enumerate().map(|(index, listener)| {
        (format!("listeners[{index}]"), &listener.address, listener.tls.is_some(), listener.allow_clear_text)
    });
    let admin = &config.admin;
    let admin = ("admin".to_owned(), &admin.listen, admin.tls.is_some(), admin.allow_clear_text);
    for (key, address, private, clear_text) in listeners.chain([admin]).filter(|(_, _, private, _)| *private) {
        if private && matches!(address, Address::Unix(_)) {
            let reason = "TLS is for addresses; at a Unix socket its permissions say who may come (unix_mode)";
            notes.fault(&format!("{key}.tls"), reason);
        }
        if clear_text {
            notes.warn(&format!("{key}.allow_clear_text"), "has no effect where TLS is spoken");
        }
    }
    let all = !config.listeners.is_empty() && config.listeners.iter().all(|listener| listener.tls.is_some());
    if all && config.server.public_url.starts_with("http:") {
        let reason = "callers find https on every listener, so the issuer of their tokens should begin with https://";
        notes.warn("server.public_url", reason);
    }
}

fn same_address_twice(config: &Config, notes: &Notes) {
    let listeners = config.listeners.iter().enumerate();
    let mut doors: Vec<(String, Address)> =
        listeners.map(|(index, listener)| (format!("listeners[{index}].address"), listener.address.clone())).collect();
    doors.push(("health.listen".to_owned(), Address::Tcp(config.health.listen)));
    doors.push(("admin.listen".to_owned(), config.admin.listen.clone()));
    let mut taken: BTreeMap<Address, String> = BTreeMap::new();
    for (key, address) in doors {
        // Port 0 is a free port of the system's choice: never the same twice.
        let any = matches!(address, Address::Tcp(address) if address.port() == 0);
        if any || notes.is_faulty(&key) {
            continue;
        }
        match taken.get(&address) {
            Some(other) => notes.fault(&key, format!("{other} is the same address")),
            None => {
                taken.insert(address, key);
            }
        }
    }
    if config.listeners.is_empty() && !notes.is_faulty_within("listeners") {
        notes.fault("listeners", "at least one public listener is wanted");
    }
}

/// Rights without a token are for this machine alone, and for a caller that there is.
fn ambient(config: &Config, notes: &Notes) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some(name) = &listener.ambient else { continue };
        let key = format!("listeners[{index}].ambient");
        // Where a socket of systemd's stands is seen at the start alone, and rights without a token may come with a reload.
        if listener.address.is_local() != Some(true) {
            let reason = "requests without a token have rights here, so others must not reach it; listen on a loopback address or a Unix socket";
            notes.fault(&key, reason);
        } else if !config.callers.iter().any(|caller| caller.name == *name) && !notes.is_faulty_within("callers") {
            let names = config.callers.iter().map(|caller| caller.name.as_str());
            let hint = nearest(name, names).map(|near| format!("; did you mean `{near}`?"));
            notes.fault(&key, format!("no [[callers]] table has this name{}", hint.unwrap_or_default()));
        }
    }
}

/// What the partner says decides in standard mode, and every header goes on.
fn without_effect(key: &str, route: &Route, notes: &Notes) {
    let d = Route::with_defaults(&route.name);
    let set = [
        ("ttl", route.ttl != d.ttl),
        ("stale_while_revalidate", route.stale_while_revalidate != d.stale_while_revalidate),
        ("stale_if_error", route.stale_if_error != d.stale_if_error),
        ("negative_ttl", route.negative_ttl != d.negative_ttl),
        ("override", route.r#override != d.r#override),
        ("query", route.query != d.query),
        ("ignore_query", route.ignore_query != d.ignore_query),
        ("forward_headers", route.forward_headers != d.forward_headers),
    ];
    for (name, _) in set.iter().filter(|(_, set)| *set) {
        notes.warn(&format!("{key}.{name}"), "has no effect in mode \"standard\"");
    }
}

fn routes(config: &Config, notes: &Notes) {
    for (key, route) in all_routes(config) {
        if route.mode == RouteMode::Standard {
            without_effect(&key, route, notes);
        }
        let twice = route.ignore_query.iter().position(|name| route.query.contains(name));
        if let Some(index) = twice {
            notes.fault(&format!("{key}.ignore_query[{index}]"), "the same parameter stands in `query`");
        }
        if route.forward_authorization && route.mode == RouteMode::Api {
            let reason =
                "nothing of a caller's goes to the partner in mode \"api\"; set mode = \"standard\", or drop this";
            notes.fault(&format!("{key}.forward_authorization"), reason);
        }
        if is_documented(&key) && route.projection == Projection::NoneNeeded {
            notes.fault(
                &format!("{key}.projection"),
                "this route has a view for narrowed rights; only `other` and extra routes say this",
            );
        }
    }
    let mut taken: Vec<&str> = ROUTE_NAMES.to_vec();
    let mut paths = matchit::Router::new();
    for (index, extra) in config.extra_routes.iter().enumerate() {
        if taken.contains(&extra.name.as_str()) {
            notes.fault(&format!("extra_routes[{index}].name"), "another route has the same name");
        }
        if !extra.name.is_empty() {
            taken.push(&extra.name);
        }
        if !extra.path.is_empty() && paths.insert(extra.path.as_str(), ()).is_err() {
            notes.fault(&format!("extra_routes[{index}].path"), "another extra route has the same path");
        }
    }
    letter_cases(config, notes);
}

/// Whether the partner tells letter cases apart is not known: where it does not, another scope must not open the same.
fn letter_cases(config: &Config, notes: &Notes) {
    for (index, extra) in config.extra_routes.iter().enumerate() {
        let opens = |other: &ExtraRoute| {
            let unbound = |extra: &ExtraRoute| extra.route.projection == Projection::NoneNeeded;
            let another = extra.route.scope != other.route.scope || (unbound(other) && !unbound(extra));
            another && template::is_passed_by(&extra.path, &other.path)
        };
        if let Some((nth, other)) = config.extra_routes.iter().enumerate().find(|(_, other)| opens(other)) {
            let reason = format!(
                "in other letter case this leads to extra_routes[{nth}], {}, whose scope `{}` would open it at a partner that does not tell cases apart; give both the same scope and projection, or write paths that do not cover each other",
                other.path, other.route.scope
            );
            notes.fault(&format!("extra_routes[{index}].path"), reason);
        }
    }
}

fn scopes(config: &Config, notes: &Notes) {
    // A route whose scope could not be read would make its callers' scopes look unknown.
    if notes.is_faulty(".scope") {
        return;
    }
    let known: Vec<&str> = all_routes(config).map(|(_, route)| route.scope.as_str()).chain(SPECIAL_SCOPES).collect();
    for (index, caller) in config.callers.iter().enumerate() {
        // With a scope left out as faulty, positions here are not the file's.
        if notes.is_faulty_within(&format!("callers[{index}].scopes")) {
            continue;
        }
        for (at, scope) in caller.scopes.iter().enumerate() {
            let key = format!("callers[{index}].scopes[{at}]");
            if caller.scopes.iter().take(at).any(|other| other == scope) {
                notes.fault(&key, "the same scope stands here twice");
            } else if !known.contains(&scope.as_str()) {
                let hint = nearest(scope, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
                notes.fault(&key, format!("no route names the scope `{scope}`{}", hint.unwrap_or_default()));
            }
        }
    }
}

/// A caller that is bound to providers lists clients by naming one of them.
fn lists_of_providers(config: &Config, notes: &Notes) {
    let Some(clients) = config.routes.iter().find(|route| route.name == Endpoint::Clients.name()) else { return };
    if clients.query.iter().any(|name| name == PROVIDER_QUERY) {
        return;
    }
    for (index, caller) in config.callers.iter().enumerate() {
        if !caller.providers.is_all() && caller.scopes.contains(&clients.scope) {
            let key = format!("callers[{index}].providers");
            notes.warn(
                &key,
                format!("it can never list clients: `query` of [routes.clients] lacks \"{PROVIDER_QUERY}\""),
            );
        }
    }
}

fn lifetimes(config: &Config, notes: &Notes) {
    let tokens = &config.tokens;
    if config.state.dir.is_none() && tokens.max_ttl > LONGEST_WITHOUT_STATE {
        notes.fault(
            "tokens.max_ttl",
            "at most 1h where state.dir is \"\": revocations and keys are then only in memory",
        );
    }
    if tokens.audience == operator::AUDIENCE {
        notes.fault("tokens.audience", "this is the audience of admin tokens, which must not open the public door");
    }
    if !tokens.key_max_age.is_zero() && tokens.key_max_age <= tokens.key_notice {
        notes.fault("tokens.key_max_age", "not longer than tokens.key_notice, so that no key would ever sign for long");
    }
    if tokens.default_ttl > tokens.max_ttl {
        notes.fault("tokens.default_ttl", "longer than tokens.max_ttl");
    }
    for (index, caller) in config.callers.iter().enumerate() {
        if caller.token_ttl > tokens.max_ttl && tokens.default_ttl <= tokens.max_ttl {
            notes.fault(&format!("callers[{index}].token_ttl"), "longer than tokens.max_ttl");
        }
    }
    let breaker = &config.upstream.breaker;
    if breaker.cool_down > breaker.cool_down_max {
        notes.fault("upstream.breaker.cool_down", "longer than cool_down_max");
    }
}

/// A collector that is likely not to be reached, or to be overheard on the way.
fn traces(config: &Config, notes: &Notes) {
    let Some(endpoint) = &config.telemetry.otlp_endpoint else {
        if config.upstream.propagate_trace {
            notes
                .warn("upstream.propagate_trace", "nothing is traced, so nothing is sent; set telemetry.otlp_endpoint");
        }
        return;
    };
    let key = "telemetry.otlp_endpoint";
    if endpoint.port_u16() == Some(4317) {
        notes.warn(key, "4317 is the usual port of OTLP over gRPC; this speaks HTTP, whose usual port is 4318");
    }
    let local = endpoint.host().is_some_and(is_loopback);
    if endpoint.scheme_str() == Some("http") && !local {
        notes.warn(key, "traces travel in clear text: names of callers, routes, times and ids of requests; no tokens, keys or documents");
    }
}

/// How callers prove themselves: each proof stands for one of them, and can be checked.
fn proofs(config: &Config, notes: &Notes) {
    for (index, trust) in config.trust.iter().enumerate() {
        let twice = config.trust.iter().take(index).any(|other| other.issuer == trust.issuer);
        if twice && !trust.issuer.is_empty() {
            notes.fault(&format!("trust[{index}].issuer"), "another [[trust]] has the same issuer");
        }
        if trust.issuer == config.server.public_url {
            notes
                .fault(&format!("trust[{index}].issuer"), "this is server.public_url; its tokens are exchanged anyway");
        }
    }
    let mut secrets = BTreeMap::new();
    let mut subjects = BTreeMap::new();
    for (index, caller) in config.callers.iter().enumerate() {
        let key = format!("callers[{index}].secrets");
        if caller.secrets.len() > authority::MOST_SECRETS {
            notes.fault(&key, format!("at most {} secrets; take old ones out", authority::MOST_SECRETS));
        }
        for digest in &caller.secrets {
            if secrets.insert(digest.0, index).is_some_and(|other| other != index) {
                notes.fault(&key, "another caller has the same secret; `token secret` makes one for each");
            }
        }
        for (at, subject) in caller.subjects.iter().enumerate() {
            let key = format!("callers[{index}].subjects[{at}]");
            if subject.issuer.is_empty() || subject.sub.is_empty() {
                continue;
            }
            if !config.trust.iter().any(|trust| trust.issuer == subject.issuer) {
                notes.fault(&key, "no [[trust]] has this issuer");
            }
            if subjects.insert((&subject.issuer, &subject.sub), index).is_some() {
                notes.fault(&key, "the same subject stands for a caller already");
            }
        }
    }
}
