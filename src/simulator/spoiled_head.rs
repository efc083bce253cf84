//! An answer whose head no grammar allows.
//! Given an answer and how its head is to be spoiled, hands back its bytes as they go out.
//! Never spoils what frames the body: the length is always right.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use serde::{Deserialize, Serialize};

/// Header lines of [`SpoiledHead::TooMany`]: more than any client reads.
const MANY: usize = 1000;

/// Header lines of a request that is answered so.
const MAX_FIELDS: usize = 100;

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpoiledHead {
    /// A control character stands in a value.
    ControlCharacter,
    /// A value goes on in the next line (RFC 9112 §5.2).
    Folded,
    /// A space stands before a colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// A carriage return stands in a value without a line feed behind it (RFC 9112 §2.2).
    BareCr,
    /// A line has no colon.
    NoColon,
    /// There are more lines than a client reads.
    TooMany,
}

impl SpoiledHead {
    fn write(self, wire: &mut Vec<u8>) {
        match self {
            Self::ControlCharacter => wire.extend_from_slice(b"x-simulated: a\x01b\r\n"),
            Self::Folded => wire.extend_from_slice(b"x-simulated: a;\r\n\tb\r\n"),
            Self::SpaceBeforeColon => wire.extend_from_slice(b"x-simulated : a\r\n"),
            Self::BareCr => wire.extend_from_slice(b"x-simulated: a\rb\r\n"),
            Self::NoColon => wire.extend_from_slice(b"a simulated line\r\n"),
            Self::TooMany => {
                for nth in 0..MANY {
                    wire.extend_from_slice(format!("x-simulated-{nth}: a\r\n").as_bytes());
                }
            }
        }
    }
}

/// A request without a body, read from its bytes; `None` of what is more or less than one. The connection stays open after
/// the answer, also where the request wants it closed.
pub(super) fn request(bytes: &[u8]) -> Option<Request<()>> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    if head.parse(bytes).ok()? != httparse::Status::Complete(bytes.len()) {
        return None;
    }
    let mut request = Request::builder().method(head.method?).uri(head.path?);
    for field in head.headers {
        request = request.header(field.name, field.value);
    }
    let request = request.body(()).ok()?;
    let has_body = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| request.headers().contains_key(name));
    (!has_body).then_some(request)
}

/// Writes the head of an answer, spoiled, and hands back the body that follows it.
pub(super) fn write(
    answer: Response<Bytes>,
    method: &Method,
    spoiled: Option<SpoiledHead>,
    wire: &mut Vec<u8>,
) -> Bytes {
    let (head, body) = answer.into_parts();
    wire.extend_from_slice(format!("HTTP/1.1 {}\r\n", head.status).as_bytes());
    // The type first: where nothing behind the spoiled line is read, a document still is one.
    let is_type = |name: &HeaderName| *name == CONTENT_TYPE;
    lines(&head.headers, is_type, wire);
    wire.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    if let Some(spoiled) = spoiled {
        spoiled.write(wire);
    }
    lines(&head.headers, |name| !is_type(name) && *name != CONTENT_LENGTH, wire);
    wire.extend_from_slice(b"\r\n");
    if *method == Method::HEAD { Bytes::new() } else { body }
}

fn lines(headers: &HeaderMap<HeaderValue>, which: impl Fn(&HeaderName) -> bool, wire: &mut Vec<u8>) {
    for (name, value) in headers.iter().filter(|(name, _)| which(name)) {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
}
