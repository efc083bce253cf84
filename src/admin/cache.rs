//! What is in memory, and how did it serve?
//! Given the house, hands back the store's figures, the requests by route, and what is held key by key.
//! Never shows a document.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

use crate::cache::key::named::Which;
use crate::cache::key::target_of;
use crate::cache::list::Row;
use crate::gateway::{Dials, Gateway};
use crate::route::{RouteIndex, Routes};

use super::reply::{Refused, Reply};

/// Rows of one page at most.
const MOST: usize = 1000;

/// `GET /admin/v1/cache/stats`.
pub(super) fn stats<C: Dials>(gateway: &Gateway<C>) -> Reply {
    let (entries, bytes, evictions) = gateway.store().figures();
    let routes = gateway.ledger().counts.by_route().into_iter().map(|(route, outcomes)| {
        let mut row = Map::from_iter([("route".to_owned(), Value::from(route))]);
        row.extend(outcomes.map(|(outcome, many)| (outcome.as_str().to_owned(), Value::from(many))));
        Value::Object(row)
    });
    Reply::of(json!({
        "entries": entries,
        "bytes": bytes,
        "max_bytes": gateway.store().max_bytes(),
        "evictions": evictions,
        "flights": gateway.flights().count(),
        "routes": routes.collect::<Vec<_>>(),
    }))
}

/// `GET /admin/v1/cache/list?route=&limit=&after=`.
pub(super) async fn list<C: Dials>(gateway: &Arc<Gateway<C>>, query: Option<&str>) -> Result<Reply, Refused> {
    let Page { which, after, limit } = read(gateway.routes(), query.unwrap_or_default())?;
    let house = Arc::clone(gateway);
    // Every key is looked at, and there may be hundreds of thousands. One row more says whether there is another page.
    let work = move || house.store().list(&which, &after, limit + 1, house.clock().now());
    let mut rows = tokio::task::spawn_blocking(work).await.map_err(|_| Refused::Busy)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| BASE64URL_NOPAD.encode(&row.at));
    let entries: Vec<Value> = rows.iter().filter_map(|row| row_json(gateway.routes(), row)).collect();
    Ok(Reply::of(json!({"entries": entries, "next": next})))
}

fn row_json(routes: &Routes, row: &Row) -> Option<Value> {
    // What an earlier table of routes stored is out of reach, and would be shown under a wrong name here.
    let route = routes.at(row.named.route).filter(|route| route.edition == row.named.edition)?;
    let mut entry = json!({
        "key": target_of(&row.named.resource, route),
        "route": route.name,
        "status": row.status,
        "age": row.age.as_secs(),
        "ttl": row.ttl,
        "size": row.size,
        "hits": row.hits,
        "variants": row.variants,
    });
    if !row.named.headers.is_empty() {
        let headers = row.named.headers.iter().map(|(name, value)| json!([name, value])).collect();
        entry.as_object_mut()?.insert("forwarded".to_owned(), headers);
    }
    Some(entry)
}

/// Which rows are wanted.
struct Page {
    which: Which,
    after: Vec<u8>,
    limit: usize,
}

fn read(routes: &Routes, query: &str) -> Result<Page, Refused> {
    let mut page = Page { which: Which::All, after: Vec::new(), limit: 100 };
    let malformed = |why: &str| Refused::Malformed(why.to_owned());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("route", name) => page.which = Which::Route(route(routes, name)?),
            ("limit", many) => {
                let many = many.parse().ok().filter(|many| (1..=MOST).contains(many));
                page.limit = many.ok_or_else(|| malformed("`limit` is a number from 1 to 1000."))?;
            }
            ("after", at) => {
                let at = BASE64URL_NOPAD.decode(at.as_bytes());
                page.after = at.map_err(|_| malformed("`after` is the `next` of the page before."))?;
            }
            _ => return Err(malformed("The query takes `route`, `limit` and `after`.")),
        }
    }
    Ok(page)
}

/// The position of the route with this name.
pub(super) fn route(routes: &Routes, name: &str) -> Result<RouteIndex, Refused> {
    let found = routes.all().iter().position(|route| route.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = routes.all().iter().map(|route| route.name.as_str()).collect();
        Refused::Malformed(format!("No route has this name; there are: {}.", known.join(", ")))
    })
}
