//! What is wrong with this answer?
//! Given an answer and a fault, hands back the answer as the fault has it.
//! Never decides which calls a fault is for.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use serde_json::{Value, json};

use super::answers::without_body;
use super::behaviour::{Fault, Spoiled};
use super::body::Body;
use crate::clock::Clock;

/// What stands in documents that no document of the API has.
const UNKNOWN_FIELD: &str = "x_simulated";

/// The document as it is before it becomes an answer: validators are of these bytes.
pub(super) fn document(document: Bytes, fault: &Fault) -> Bytes {
    if fault.body != Some(Spoiled::UnknownFields) {
        return document;
    }
    let Ok(mut value) = serde_json::from_slice(&document) else { return document };
    add_to_objects(&mut value);
    serde_json::to_vec(&value).map_or(document, Bytes::from)
}

fn add_to_objects(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(add_to_objects);
            members.insert(UNKNOWN_FIELD.to_owned(), json!({ "note": "not documented", "list": [1, 2, 3] }));
        }
        Value::Array(items) => items.iter_mut().for_each(add_to_objects),
        _ => {}
    }
}

/// The answer as it goes out.
pub(super) fn answer(mut answer: Response<Bytes>, method: &Method, fault: &Fault, clock: Clock) -> Response<Body> {
    put(answer.headers_mut(), &fault.headers);
    if fault.body == Some(Spoiled::Truncated) {
        let half = answer.body().len() / 2;
        answer.body_mut().truncate(half);
    }
    if method == Method::HEAD {
        return without_body(answer).map(Body::whole);
    }
    answer.map(|bytes| {
        let empty = bytes.is_empty();
        let mut body = Body::whole(bytes);
        if fault.body == Some(Spoiled::Cut) {
            body = body.cut();
        }
        match fault.drip.filter(|takes| !takes.is_zero() && !empty) {
            Some(takes) => body.dripping(takes, clock),
            None => body,
        }
    })
}

/// Headers in place of those of the same names.
pub(super) fn put(headers: &mut HeaderMap, with: &HeaderMap) {
    for (name, value) in with {
        headers.insert(HeaderName::clone(name), HeaderValue::clone(value));
    }
}
