//! What would happen to a request, and why?
//! Given one in words, hands back what the path says of it, room by room.
//! Never takes a token from a URL, and never tells one again.

mod json;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use crate::account_api::API_KEY;
use crate::authority;
use crate::authority::form::Form;
use crate::gateway::explain::{Wanted, Who};
use crate::gateway::{Dials, Gateway};
use crate::secret::Secret;

use super::reply::{Refused, Reply};

/// Headers of one request at most.
const MOST_HEADERS: usize = 32;

/// What a good question is.
const ONE: &str =
    "Send an object with `path`, as callers write it, and maybe `method`, `headers`, and `token` or `caller`.";

/// What shapes an answer that is already chosen is not foreseen.
const NOT_JUDGED: [HeaderName; 6] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    path: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    token: Option<String>,
    caller: Option<String>,
}

/// `POST /admin/v1/explain`, and `GET` where no token is to be explained.
pub(super) async fn explain<C: Dials>(
    gateway: &Arc<Gateway<C>>,
    method: &Method,
    query: Option<&str>,
    body: &[u8],
) -> Result<Reply, Refused> {
    let asked = match *method {
        Method::GET => in_query(query.unwrap_or_default())?,
        // What was read may hold a token, so nothing of it is repeated.
        Method::POST => serde_json::from_slice(body).map_err(|_| malformed(ONE))?,
        _ => return Err(Refused::Method("GET, POST")),
    };
    let wanted = wanted(asked)?;
    if let Who::Caller(name) = &wanted.who
        && gateway.tokens().in_full(name).is_none()
    {
        return Err(Refused::Unknown(
            "The running gateway has no caller of this name in its configuration.".to_owned(),
        ));
    }
    let house = Arc::clone(gateway);
    // Every key may be looked at, and a large document be read.
    let work = move || {
        let explained = house.explain(&wanted);
        json::explained_json(&house, &wanted, &explained)
    };
    tokio::task::spawn_blocking(work).await.map(Reply::of).map_err(|_| Refused::Busy)
}

fn malformed(why: &str) -> Refused {
    Refused::Malformed(why.to_owned())
}

fn in_query(query: &str) -> Result<Asked, Refused> {
    const PARAMETERS: [&str; 3] = ["path", "method", "caller"];
    let form = Form::parse(query.as_bytes()).map_err(|_| malformed("The query is not encoded as a form is."))?;
    if form.names().any(|name| name == "token") {
        return Err(malformed(
            "A token does not stand in a URL, where logs keep it; POST it. If it was real, revoke it.",
        ));
    }
    if form.names().any(|name| !PARAMETERS.contains(&name)) {
        return Err(malformed("The query takes `path`, `method` and `caller`; POST for more."));
    }
    let one = |name: &str| form.one(name).map(str::to_owned);
    let path = one("path").ok_or_else(|| malformed("`path` is missing from the query."))?;
    Ok(Asked { path, method: one("method"), headers: BTreeMap::new(), token: None, caller: one("caller") })
}

fn wanted(asked: Asked) -> Result<Wanted, Refused> {
    let who = match (asked.token, asked.caller) {
        (None, None) => Who::Nobody,
        (Some(token), None) => Who::Token(Secret::new(token)),
        (None, Some(caller)) => Who::Caller(caller),
        (Some(_), Some(_)) => return Err(malformed("Name a `token` or a `caller`, not both.")),
    };
    let method = asked.method.as_deref().unwrap_or("GET").parse();
    let method = method.map_err(|_| malformed("`method` is no method of HTTP."))?;
    let target = asked.path.parse().map_err(|_| malformed("`path` is no target of a request."))?;
    if authority::is_for(http::Uri::path(&target)) {
        return Err(malformed("The gateway answers this path itself; what is explained are requests to the partner."));
    }
    if asked.headers.len() > MOST_HEADERS {
        return Err(malformed("`headers` are 32 at most."));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        let name: HeaderName = name.parse().map_err(|_| malformed("A name in `headers` is none of HTTP."))?;
        let value = HeaderValue::from_str(value).map_err(|_| malformed("A value in `headers` is none of HTTP."))?;
        if [AUTHORIZATION, API_KEY].contains(&name) {
            return Err(malformed("`headers` hold no credentials; put the token into `token`."));
        }
        if NOT_JUDGED.contains(&name) {
            return Err(malformed("Preconditions and ranges shape an answer that is already chosen; leave them out."));
        }
        headers.insert(name, value);
    }
    Ok(Wanted { method, target, headers, who })
}
