//! What do a request line and a head's fields mean?
//! Given their bytes, reads them with the parsers that hyper reads them with, and hands back what the rooms make of them.
//! Never understands what it does not know: a method, a target or a field that is not listed here goes the long way each time.

use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, ORIGIN,
    REFERER, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::account_api::API_KEY;
use crate::cache::Key;
use crate::http::accept::{accepts_json, welcomes_gzip};
use crate::http::host::is_named_well;
use crate::route::{Mode, Resource, Target};
use crate::token::Recalled;
use crate::token::ambient::shows_nothing;

use crate::gateway::{Dials, Gateway};

use super::{Asked, Listener, Sender, Who};

/// Fields of which a request may have as many as hyper reads without memory of its own.
const MOST_FIELDS: usize = 100;

/// Fields that change no answer, and those whose say is kept: of whom it comes, and in which forms it may be answered.
const FIELDS: [HeaderName; 11] = [
    HOST,
    USER_AGENT,
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    AUTHORIZATION,
    API_KEY,
    CONNECTION,
    CONTENT_TYPE,
    ORIGIN,
    REFERER,
];

/// `GET`, a target that is one of the seven documents, `HTTP/1.1`; each apart by one space, as RFC 9112 §3 has it.
pub(super) fn line<C: Dials>(gateway: &Gateway<C>, line: &[u8]) -> Option<Asked> {
    let target = line.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1\r\n")?;
    let uri = Uri::try_from(target).ok().filter(|uri| uri.authority().is_none())?;
    let wanted = gateway.routes().find(&Method::GET, &Target::parse(&uri).ok()?).ok()?;
    let route = gateway.routes().at(wanted.route())?;
    let is_plain = route.stored && route.mode == Mode::Api && route.forward_headers.is_empty();
    if !is_plain || !matches!(wanted.resource(), Resource::Documented { .. }) {
        return None;
    }
    let key = Key::named(&wanted, route, &HeaderMap::new());
    Some(Asked { wanted, key })
}

/// The fields of a head up to its empty line, and nothing behind it.
pub(super) fn fields<C: Dials>(gateway: &Gateway<C>, fields: &[u8], listener: Listener<'_>) -> Option<Sender> {
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let httparse::Status::Complete((length, lines)) = httparse::parse_headers(fields, &mut room).ok()? else {
        return None;
    };
    if length != fields.len() {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok().filter(|name| FIELDS.contains(name))?;
        let value = HeaderValue::from_bytes(line.value).ok()?;
        if name == CONNECTION && !value.as_bytes().eq_ignore_ascii_case(b"keep-alive") {
            return None;
        }
        headers.append(name, value);
    }
    if !accepts_json(&headers) || !is_named_well(Version::HTTP_11, &headers) {
        return None;
    }
    let who = match listener.ambient {
        Some(ambient) if shows_nothing(&headers) => {
            ambient.judge(&Uri::from_static("/"), &headers).ok()?;
            Who::Ambient(listener.nth)
        }
        _ => match gateway.tokens().recall(&headers, gateway.clock().now()).ok()? {
            Recalled::Caller(caller) => Who::Token(Arc::clone(&caller)),
            Recalled::Unseen(_) => return None,
        },
    };
    Some(Sender { who, welcomes_gzip: welcomes_gzip(&headers) })
}
