//! How does a hit look on the wire?
//! Given a document that is shown whole, writes the head that [`Signature::document`] and hyper make of it, and hands back the body.
//! Never decides anything: what is written was decided before.

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, LAST_MODIFIED};

use crate::cache::{Coding, Stored};
use crate::clock::Now;
use crate::http::rate_limit_fields::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::listen::Wire;
use crate::quota::LimitHeaders;
use crate::trail::RequestId;

use super::{Document, MAX_AGE, Signature, VARY_OURS, ttl};

/// A head takes some 450 bytes; what is left holds the body of most single documents.
const HEAD_CAPACITY: usize = 2048;

/// What stands between the date and the length.
pub(super) fn middle(via: &str) -> Box<[u8]> {
    let vary = VARY_OURS;
    [b"\r\nvary: ", vary.as_bytes(), b"\r\nvia: ", via.as_bytes(), b"\r\n"].concat().into()
}

impl Signature {
    /// Writes a document that came as a hit and is asked for without conditions, ranges or wishes: the head, and the body
    /// too where there is room for it. Hands back what of the body comes after that, and how long all of it is.
    pub fn write(
        &self,
        document: Document,
        id: &RequestId,
        now: Now,
        limits: Option<LimitHeaders>,
        wire: &mut Wire,
    ) -> (Bytes, usize) {
        let Document { entry, full, view, coding, age, .. } = document;
        wire.reserve(HEAD_CAPACITY);
        let head = entry.head();
        let tag = view.as_ref().map_or(entry.tag(), |(_, tag)| tag);
        let length = view.as_ref().map_or(entry.bytes_of_body().len(), |(bytes, _)| bytes.len());
        let lifetime = entry.life().lifetime;
        say(wire, b"HTTP/1.1 200 OK\r\netag: ");
        say(wire, tag.text());
        say(wire, b"\r\ncache-control: ");
        say(wire, MAX_AGE);
        say_number(wire, lifetime.as_secs());
        say(wire, b"\r\nage: ");
        say_number(wire, age.as_secs());
        say(wire, b"\r\ncache-status: ");
        say(wire, &self.hit);
        say(wire, itoa::Buffer::new().format(ttl(lifetime, age)).as_bytes());
        say(wire, b"\r\nx-request-id: ");
        say(wire, id.as_bytes());
        say(wire, b"\r\ncontent-type: ");
        // The bytes of a view are ours, so their type is too.
        say(wire, head.content_type.filter(|_| full).unwrap_or(b"application/json"));
        say(wire, b"\r\ndate: ");
        match head.date.filter(|_| full) {
            Some(date) => say(wire, date),
            None => say(wire, httpdate::fmt_http_date(now.wall()).as_bytes()),
        }
        say(wire, &self.middle);
        if full {
            say_field(wire, CONTENT_LANGUAGE.as_str(), head.language);
            say_field(wire, LAST_MODIFIED.as_str(), head.modified);
        }
        if coding == Coding::Gzip {
            say_field(wire, CONTENT_ENCODING.as_str(), Some(b"gzip"));
        }
        if let Some(LimitHeaders { policy, standing }) = &limits {
            say_field(wire, RATE_LIMIT_POLICY.as_str(), Some(HeaderValue::as_bytes(policy)));
            say_field(wire, RATE_LIMIT.as_str(), Some(standing.as_bytes()));
        }
        say(wire, b"content-length: ");
        say_number(wire, length as u64);
        say(wire, b"\r\n\r\n");
        // Copied where that costs less than a second piece of memory for the system to look at.
        let is_small = wire.len() + length <= HEAD_CAPACITY;
        if is_small {
            say(wire, view.as_ref().map_or(entry.bytes_of_body(), |(bytes, _)| bytes));
            return (Bytes::new(), length);
        }
        (view.map_or_else(|| entry.body(), |(bytes, _)| bytes), length)
    }
}

fn say(wire: &mut Wire, text: &[u8]) {
    wire.extend_from_slice(text);
}

fn say_field(wire: &mut Wire, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        say(wire, name.as_bytes());
        say(wire, b": ");
        say(wire, value);
        say(wire, b"\r\n");
    }
}

fn say_number(wire: &mut Wire, number: u64) {
    say(wire, itoa::Buffer::new().format(number).as_bytes());
}
