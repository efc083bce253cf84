//! How is an explanation told?
//! Given what the rooms said, hands back one JSON object, its words those of the log and the metrics.
//! Never holds a token, a document, or a value of somebody else's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::access::{Lens, Sight};
use crate::budget::Prospect;
use crate::clock::Tick;
use crate::gateway::explain::{Explained, StoredState, Wanted, Who};
use crate::gateway::{Dials, Gateway};
use crate::quota;
use crate::route::{Mode, Route};
use crate::token::Caller;

pub(super) fn explained_json<C: Dials>(gateway: &Gateway<C>, wanted: &Wanted, explained: &Explained) -> Value {
    let route = explained.route.and_then(|route| gateway.routes().at(route));
    let verdict = &explained.verdict;
    json!({
        "verdict": {
            "says": verdict.says,
            "outcome": verdict.outcome.map(crate::trail::Outcome::as_str),
            "status": verdict.status.map(|status| status.as_u16()),
            "cause": Some(verdict.cause).filter(|cause| !cause.is_empty()),
            "call": verdict.call.as_str(),
            "retry_after": verdict.retry_after,
        },
        "target": {
            "method": wanted.method.as_str(),
            "sent": wanted.target.to_string(),
            "asked_as": explained.asked_as,
        },
        "route": route.map(of_route),
        "caller": explained.caller.as_deref().map(|caller| of_caller(gateway, wanted, explained, caller)),
        "right": explained.caller.as_deref().map(|caller| of_right(explained, route, caller)),
        "entry": of_entry(explained, route),
        "flight": explained.flight,
        "partner": of_partner(gateway, explained.partner),
    })
}

fn of_route(route: &Route) -> Value {
    let mode = match route.mode {
        Mode::Api => "api",
        Mode::Standard { .. } => "standard",
    };
    json!({"name": route.name, "mode": mode, "store": route.stored, "scope": route.scope_name})
}

fn of_caller<C: Dials>(gateway: &Gateway<C>, wanted: &Wanted, explained: &Explained, caller: &Caller) -> Value {
    let by_token = matches!(wanted.who, Who::Token(_));
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let limits = |quota::LimitHeaders { policy, standing }: &quota::LimitHeaders| json!({"policy": text(policy), "left": text(standing)});
    json!({
        "name": caller.name(),
        "by": if by_token { "token" } else { "policy" },
        "jti": by_token.then(|| caller.jti()),
        "expires_in": by_token.then(|| caller.expires().saturating_sub(gateway.clock().now().unix())),
        "scopes": gateway.tokens().names_in(caller.scopes()),
        "clients": caller.bounds().clients.names(),
        "providers": caller.bounds().providers.names(),
        "limits": explained.limits.as_ref().map(limits),
    })
}

fn of_right(explained: &Explained, route: Option<&Route>, caller: &Caller) -> Value {
    let sight = explained.grant.as_ref().map(|grant| grant.sight());
    json!({
        "granted": sight.is_some(),
        "has_scope": route.map(|route| caller.scopes().covers(route.scope)),
        "sight": sight.map(|sight| if *sight == Sight::Full { "full" } else { "narrowed" }),
        "withheld": match sight {
            Some(Sight::Narrow(lens)) => withheld(lens),
            _ => Vec::new(),
        },
    })
}

/// What a lens takes out, for people.
fn withheld(lens: &Lens) -> Vec<&'static str> {
    let all = [
        (!lens.clients.is_all(), "clients outside the bounds"),
        (!lens.providers.is_all(), "providers outside the bounds, and what is theirs"),
        (lens.project.is_some(), "the document, should it be another project's"),
        (lens.hides_projects, "projects and the default project of clients"),
        (lens.hides_personal, "personal data of clients (no pii:read)"),
        (true, "fields that no documented shape has, but for [views] allow"),
    ];
    all.into_iter().filter_map(|(is, what)| is.then_some(what)).collect()
}

fn of_entry(explained: &Explained, route: Option<&Route>) -> Value {
    let Some(route) = route else { return Value::Null };
    let Some(StoredState { state, row, while_revalidate, if_error }) = &explained.stored else {
        return json!({"state": "not-stored"});
    };
    let left = |time: &Option<Duration>| time.map(|time| time.as_secs());
    let mut entry = json!({"state": state.as_str(), "key": explained.asked_as});
    if let (Some(row), Some(entry)) = (row, entry.as_object_mut()) {
        let forwarded = route.forward_headers.iter().map(|name| name.as_str());
        entry.extend([
            ("status".to_owned(), json!(row.status)),
            ("age".to_owned(), json!(row.age.as_secs())),
            ("ttl".to_owned(), json!(row.ttl)),
            ("while_revalidate_left".to_owned(), json!(left(while_revalidate))),
            ("if_error_left".to_owned(), json!(left(if_error))),
            ("size".to_owned(), json!(row.size)),
            ("hits".to_owned(), json!(row.hits)),
            ("variants".to_owned(), json!(row.variants)),
            ("keyed_by".to_owned(), forwarded.collect()),
        ]);
    }
    entry
}

fn of_partner<C: Dials>(gateway: &Gateway<C>, ahead: Prospect) -> Value {
    let now = gateway.clock().tick();
    let seconds = |until: Tick| until.since(now).as_secs_f64().ceil() as u64;
    let (state, wait, why) = match ahead {
        Prospect::Call { probe: false } => ("open", None, None),
        Prospect::Call { probe: true } => ("probe", None, None),
        Prospect::Waits { until } => ("queue", until.map(seconds), None),
        Prospect::Closed { until, reason } => ("closed", Some(seconds(until)), Some(reason.as_str())),
    };
    let figures = gateway.calls().budget().figures(now);
    let (keys, refused) = gateway.calls().upstream().credential().figures();
    json!({
        "now": state,
        "for_seconds": wait,
        "why": why,
        "budget_left": figures.left,
        "in_flight": figures.in_flight,
        "queued": figures.queued,
        "keys": keys,
        "keys_refused": refused,
    })
}
