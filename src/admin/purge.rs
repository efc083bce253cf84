//! What shall be given up?
//! Given a body, hands back which keys it means and how; given those, does it to the store and to the flights.
//! Never guesses: a body that says too little, too much or something unknown is refused with what to write.

use std::sync::Arc;

use http::{Method, Uri};
use serde_json::{Map, Value, json};

use crate::cache::key::named::Which;
use crate::cache::purge::How;
use crate::gateway::{Dials, Gateway};
use crate::route::{Miss, Routes, Target, identifier};

use super::reply::{Refused, Reply};

const MEMBERS: [&str; 5] = ["path", "route", "client", "all", "soft"];
const ONE: &str = "Send one of {\"path\": \"/reseller/account/v1/clients/\"}, {\"route\": \"clients\"}, {\"client\": \"ID\"} \
                   and {\"all\": true}, and with it maybe \"soft\": true.";

/// A purge, understood.
#[derive(Debug, PartialEq, Eq)]
struct PurgeRequest {
    which: Which,
    how: How,
    /// Whether one key at most is meant.
    only: bool,
    /// What is meant, in one word and a name, for the audit line.
    named: String,
}

/// `POST /admin/v1/cache/purge`.
pub(super) async fn purge<C: Dials>(gateway: &Arc<Gateway<C>>, body: &[u8]) -> Result<Reply, Refused> {
    let wish = read(gateway.routes(), body)?;
    let house = Arc::clone(gateway);
    let work = move || {
        let now = house.clock().now();
        let purged = house.store().purge(&wish.which, wish.how, wish.only, now);
        // After the store has noted it: who begins to ask from here on asks after the purge.
        let flights = house.flights().leave_behind(|key| wish.which.means(key));
        (wish, purged, flights)
    };
    // Every key may be looked at, and there may be hundreds of thousands.
    let (wish, purged, flights) = tokio::task::spawn_blocking(work).await.map_err(|_| Refused::Busy)?;
    let how = if wish.how == How::Soft { "soft" } else { "hard" };
    Ok(Reply {
        body: json!({"purged": purged, "flights_left_behind": flights, "soft": wish.how == How::Soft}),
        done: format!("{how} purge of {}: {purged} entries, {flights} flights", wish.named),
    })
}

fn read(routes: &Routes, body: &[u8]) -> Result<PurgeRequest, Refused> {
    let refuse = |why: String| Err(Refused::Malformed(why));
    let Ok(Value::Object(said)) = serde_json::from_slice(body) else {
        return refuse(format!("The body is no JSON object. {ONE}"));
    };
    if let Some(unknown) = said.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
        let unknown: String = unknown.chars().take(32).collect();
        return refuse(format!("The member {unknown:?} is not known here. {ONE}"));
    }
    let how = match said.get("soft") {
        None | Some(Value::Bool(false)) => How::Hard,
        Some(Value::Bool(true)) => How::Soft,
        Some(_) => return refuse("`soft` is true or false.".to_owned()),
    };
    let one = |name: &str| said.contains_key(name);
    match (text(&said, "path")?, text(&said, "route")?, text(&said, "client")?, one("all")) {
        (Some(path), None, None, false) => of_path(routes, path, how),
        (None, Some(name), None, false) => {
            let which = Which::Route(super::cache::route(routes, name)?);
            Ok(PurgeRequest { which, how, only: false, named: format!("route {name}") })
        }
        (None, None, Some(id), false) => {
            let client = identifier(id).ok_or_else(|| {
                Refused::Malformed("`client` is an id: 1 to 64 letters, digits, hyphens or underscores.".to_owned())
            })?;
            Ok(PurgeRequest { which: Which::Client(client), how, only: false, named: format!("client {id}") })
        }
        (None, None, None, true) if said.get("all") == Some(&Value::Bool(true)) => {
            Ok(PurgeRequest { which: Which::All, how, only: false, named: "all".to_owned() })
        }
        (None, None, None, true) => refuse("`all` is true, or left out.".to_owned()),
        _ => refuse(ONE.to_owned()),
    }
}

fn text<'a>(said: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Refused> {
    match said.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::Malformed(format!("`{name}` is a text. {ONE}"))),
    }
}

/// The resource that a caller would get under this target.
fn of_path(routes: &Routes, path: &str, how: How) -> Result<PurgeRequest, Refused> {
    const NO_ROUTE: &str = "No route leads to this path; write it as callers do, as in /reseller/account/v1/clients/.";
    let refuse = |why: String| Refused::Malformed(why);
    let uri: Uri = path.parse().map_err(|_| refuse(NO_ROUTE.to_owned()))?;
    let unread = |why: &dyn std::fmt::Display| refuse(format!("The path cannot be read: {why}."));
    let target = Target::parse(&uri).map_err(|why| unread(&why))?;
    let wanted = routes.find(&Method::GET, &target).map_err(|miss| match miss {
        Miss::Route(_) => refuse(NO_ROUTE.to_owned()),
        Miss::Target(why) => unread(&why),
    })?;
    let route = routes.at(wanted.route()).ok_or_else(|| refuse(NO_ROUTE.to_owned()))?;
    let which = Which::resource(wanted.route(), route.edition, wanted.resource());
    let target = crate::cache::key::target_of(wanted.resource(), route);
    let path = target.split('?').next().unwrap_or_default();
    Ok(PurgeRequest { which, how, only: route.forward_headers.is_empty(), named: format!("path {path}") })
}
