//! What is in memory, and how did it serve?
//! Given the house, hands back the store's figures and the requests by route.
//! Never shows a document.

use serde_json::{Map, Value, json};

use crate::gateway::{Dials, Gateway};

use super::reply::Reply;

/// `GET /admin/v1/cache/stats`.
pub(super) fn stats<C: Dials>(gateway: &Gateway<C>) -> Reply {
    let (entries, bytes, evictions) = gateway.store.figures();
    let routes = gateway.ledger.counts.by_route().into_iter().map(|(route, outcomes)| {
        let mut row = Map::from_iter([("route".to_owned(), Value::from(route))]);
        row.extend(outcomes.map(|(outcome, many)| (outcome.word().to_owned(), Value::from(many))));
        Value::Object(row)
    });
    Reply::of(json!({
        "entries": entries,
        "bytes": bytes,
        "max_bytes": gateway.store.max_bytes(),
        "evictions": evictions,
        "flights": gateway.flights.count(),
        "routes": routes.collect::<Vec<_>>(),
    }))
}
