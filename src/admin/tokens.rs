//! What may an operator do with tokens, over HTTP?
//! Given a request below `/admin/v1/tokens` or `/admin/v1/callers`, issues, lists, shows or revokes.
//! Never shows a token again: it is in the answer that issued it and nowhere else.

use std::time::Duration;

use http::{Method, Uri};
use serde::Deserialize;
use serde_json::json;

use crate::authority::ledger::How;
use crate::authority::{Authority, Undone};
use crate::token::bounds::{Bound, Bounds};

use super::reply::{Refused, Reply};

const PATH: &str = "/admin/v1/tokens";
const CALLERS: &str = "/admin/v1/callers/";

/// Rows of a page where nothing else is said.
const PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueRequest {
    caller: String,
    #[serde(default)]
    scopes: Vec<String>,
    clients: Option<Vec<String>>,
    providers: Option<Vec<String>>,
    ttl_seconds: Option<u64>,
}

/// Whether a path is answered here.
pub(super) fn is_for(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) || path.starts_with(CALLERS)
}

/// Answers a request of `actor`'s.
pub(super) async fn answer(
    authority: &Authority,
    method: &Method,
    uri: &Uri,
    body: &[u8],
    actor: &str,
) -> Result<Reply, Refused> {
    let path = uri.path();
    if let Some(caller) = path.strip_prefix(CALLERS).and_then(|rest| rest.strip_suffix("/tokens")) {
        super::reply::only(method, &Method::DELETE, "DELETE")?;
        authority.revoke_all(caller, actor).await?;
        return Ok(Reply { body: json!({"caller": caller}), done: format!("all tokens of {caller} revoked") });
    }
    match (path.strip_prefix(PATH), method) {
        (Some(""), &Method::GET) => list(authority, uri).await,
        (Some(""), &Method::POST) => issue(authority, body, actor).await,
        (Some(""), _) => Err(Refused::Method("GET, POST")),
        (Some(rest), method) => {
            let jti = rest.strip_prefix('/').filter(|jti| !jti.is_empty()).ok_or(Refused::Path)?;
            match *method {
                Method::GET => Ok(Reply::of(json!(authority.find(jti).await?))),
                Method::DELETE => {
                    let many = authority.revoke_one(jti, actor).await?;
                    Ok(Reply { body: json!({"revoked": many}), done: format!("token {jti} revoked") })
                }
                _ => Err(Refused::Method("GET, DELETE")),
            }
        }
        (None, _) => Err(Refused::Path),
    }
}

async fn issue(authority: &Authority, body: &[u8], actor: &str) -> Result<Reply, Refused> {
    let wish: IssueRequest =
        serde_json::from_slice(body).map_err(|error| Refused::Malformed(format!("The body: {error}.")))?;
    let ttl = wish.ttl_seconds.map(Duration::from_secs);
    let bound = |kind: &str, names: Option<Vec<String>>| {
        let bound = names.map_or(Ok(Bound::All), |names| Bound::of(&names));
        bound.map_err(|why| Refused::Malformed(format!("The {kind}: {why}.")))
    };
    let bounds = Bounds { clients: bound("clients", wish.clients)?, providers: bound("providers", wish.providers)? };
    let how = How::Admin { by: actor.to_owned() };
    let issued = authority.issue_for(&wish.caller, wish.scopes, bounds, ttl, how).await?;
    let (claims, done) = (&issued.claims, format!("token {} issued", issued.claims.jti));
    let body = json!({
        "token": issued.token,
        "jti": claims.jti,
        "caller": claims.client_id,
        "scope": claims.scope,
        "authorization_details": issued.bounds.details(),
        "expires": claims.exp,
    });
    Ok(Reply { body, done })
}

async fn list(authority: &Authority, uri: &Uri) -> Result<Reply, Refused> {
    let wrong = |what: &str| Refused::Malformed(format!("{what}; known are caller, after and limit."));
    let (mut caller, mut after, mut limit) = (None, None, PAGE);
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').filter(|(_, value)| !value.contains(['%', '+'])) {
            Some(("caller", name)) => caller = Some(name.to_owned()),
            Some(("after", jti)) => after = Some(jti.to_owned()),
            Some(("limit", many)) => {
                limit = many.parse().map_err(|_| wrong("The limit is no number"))?;
                if limit == 0 {
                    // Pages of nothing would always say that there is more.
                    return Err(Refused::Malformed("`limit` is a number from 1; leave it out for 100.".to_owned()));
                }
            }
            _ => return Err(wrong("The query cannot be understood")),
        }
    }
    if limit == 0 {
        // With no rows there is no id to go on after: whoever turns pages would do so for ever.
        return Err(wrong("The limit is at least 1"));
    }
    let rows = authority.list(caller, after, limit).await?;
    let more = rows.len() == limit.min(1000);
    Ok(Reply::of(json!({"tokens": rows, "more": more})))
}

impl From<Undone> for Refused {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Wrong(why) => Self::Malformed(why),
            Undone::Unknown(why) => Self::Unknown(why),
            Undone::Broken(broken) => {
                tracing::error!(%broken, "the ledger failed");
                Self::Ledger
            }
        }
    }
}
