//! What is wrong with this answer?
//! Given an answer and a fault, hands back the answer as the fault has it.
//! Never decides which calls a fault is for.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use serde_json::{Value, json};

use super::answers::without_body;
use super::behaviour::{Fault, Spoiled};
use super::body::Body;
use crate::clock::Clock;

/// Of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    if let Some(spoiled) = fault.body.filter(|_| !answer.body().is_empty()) {
        spoil(&mut answer, spoiled);
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

/// The body as a server writes it that has a bad day, or ways of its own.
fn spoil(answer: &mut Response<Bytes>, spoiled: Spoiled) {
    let body = std::mem::take(answer.body_mut());
    *answer.body_mut() = match spoiled {
        Spoiled::Cut | Spoiled::UnknownFields => body,
        Spoiled::Truncated => body.slice(..body.len() / 2),
        Spoiled::Error => json!({ "error": "database unavailable" }).to_string().into(),
        Spoiled::Empty => Bytes::new(),
        Spoiled::Page => {
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            Bytes::from_static(b"<html><h1>default backend</h1></html>")
        }
        Spoiled::ByteOrderMark => [BYTE_ORDER_MARK, &body].concat().into(),
        Spoiled::Gzip => {
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            let mut pressed = GzEncoder::new(Vec::new(), Compression::fast());
            // Into memory, where nothing fails.
            let written = pressed.write_all(&body).and_then(|()| pressed.finish());
            written.map_or(body, Bytes::from)
        }
    };
}

/// Headers in place of those of the same names.
pub(super) fn put(headers: &mut HeaderMap, with: &HeaderMap) {
    for (name, value) in with {
        headers.insert(HeaderName::clone(name), HeaderValue::clone(value));
    }
}
