//! How do refusals and answers look as HTTP?
//! Given either, hands back a response; this is the only file that chooses status codes.
//! Never sees a socket; what is formatted per request is the age, the remaining ttl and the request's id.

mod body;

mod delivery;

mod problem;

mod wire;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AGE, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderName,
    RETRY_AFTER, VARY, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use smallvec::SmallVec;

use crate::access::Denied;
use crate::cache::tag::Tag;
use crate::cache::{Coding, Entry, Stored, hub};
use crate::http::cache_status::{self, CACHE_STATUS, Member};
use crate::http::conditional::{Condition, Validators, condition};
use crate::http::range::{self, Slice, Wanted};
use crate::http::request_flags::{Kinds, RequestFlags};
use crate::http::{REQUEST_ID, problem as problem_writer, rate_limit_fields};
use crate::token::Unidentified;
use crate::trail::RequestId;

use super::refusal::Refusal;

use problem::{Problem, problem_of};

pub use body::{Body, End};
pub use delivery::Delivery;

/// Of an answer that is the partner's own: who may have it was decided by these.
pub(super) const VARY_BY_TOKEN: HeaderValue = HeaderValue::from_static("Authorization, X-Reseller-Api-Key");
const VARY_OURS: HeaderValue = HeaderValue::from_static("Authorization, X-Reseller-Api-Key, Accept-Encoding");
const TWO_TOKENS: HeaderValue = HeaderValue::from_static(r#"Bearer realm="reseller-gateway", error="invalid_request""#);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What begins the directives of a document that may be used without asking first.
const MAX_AGE: &[u8] = b"private, max-age=";

/// A stored or just fetched document, to be shown.
#[derive(Debug)]
pub struct Document {
    /// The document.
    pub entry: Arc<Entry>,
    /// Whether the right to it is the full one, so that the partner's own headers are shown.
    pub full: bool,
    /// What is sent where that is not the entry's own body: a narrowed view, or another coding; and the tag of that.
    pub view: Option<(Bytes, Tag)>,
    /// How what is sent is coded.
    pub coding: Coding,
    /// Its age.
    pub age: Duration,
    /// How it came about.
    pub delivery: Delivery,
    /// What of the request bears on it.
    pub flags: RequestFlags,
}

/// What every response carries.
#[derive(Debug)]
pub struct Signature {
    /// Our name, as it begins `Cache-Status`.
    pub name: String,
    /// Our `Via`.
    pub via: HeaderValue,
    /// What begins the `Cache-Status` of a hit.
    hit: Box<[u8]>,
    /// What every answer's head has on the wire between its date and its length.
    middle: Box<[u8]>,
    /// The head of a document without its values; a copy costs less than naming each field again.
    frame: HeaderMap,
}

/// The fields of a document whose values differ, in the order in which they are given.
const FRAME: [HeaderName; 7] = [ETAG, CACHE_CONTROL, AGE, CACHE_STATUS, REQUEST_ID, CONTENT_TYPE, DATE];

fn frame(via: &HeaderValue) -> HeaderMap {
    let mut frame: HeaderMap = FRAME.into_iter().map(|name| (name, HeaderValue::from_static(""))).collect();
    frame.insert(VARY, VARY_OURS);
    frame.insert(VIA, via.clone());
    frame
}

/// The fixed word of a refusal, as it is the cause in log and traces.
pub(super) fn cause_of_refusal(refusal: &Refusal) -> &'static str {
    cause_of(refusal, &problem_of(refusal))
}

impl Signature {
    /// A signature with this name.
    ///
    /// # Errors
    /// When the name cannot stand in a header.
    pub fn new(name: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        let via = format!("1.1 {name}");
        HeaderValue::from_str(&via)?;
        let name = cache_status::identifier(name);
        let hit = cache_status::hit(&name);
        let middle = wire::middle(&via);
        // Made once and never freed, so that no answer counts its users in memory that all workers share.
        let via = HeaderValue::from_static(via.leak());
        Ok(Self { frame: frame(&via), via, name, hit, middle })
    }

    /// How this gateway is called.
    pub fn name(&self) -> &str {
        self.name.trim_matches('"')
    }

    /// The common headers.
    pub(super) fn sign(&self, headers: &mut HeaderMap, id: &RequestId) {
        headers.append(VIA, self.via.clone());
        if let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) {
            headers.insert(REQUEST_ID, id);
        }
    }

    /// The document as a response to a request with these headers (RFC 9110 §13.2.2 for their order).
    ///
    /// # Errors
    /// [`Refusal::Precondition`].
    pub fn document(
        &self,
        document: Document,
        method: &Method,
        asked: &HeaderMap,
        id: &RequestId,
    ) -> Result<Response<Body>, Refusal> {
        let (bytes, tag) = document.view.clone().unwrap_or_else(|| (document.entry.body(), *document.entry.tag()));
        let Document { ref entry, full, coding, flags, .. } = document;
        let condition = match flags.has(Kinds::CONDITION) {
            true => validators(entry, &tag, full).map_or(Condition::Holds, |held| condition(asked, held)),
            false => Condition::Holds,
        };
        if condition == Condition::Fails {
            return Err(Refusal::Precondition);
        }
        let part = match condition == Condition::Holds && flags.has(Kinds::RANGE) {
            true => validators(entry, &tag, full).map_or(Ok(None), |held| part(method, asked, &bytes, held))?,
            false => None,
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = entry.status();
        let mut headers = self.document_head(&document, &tag, id);
        if condition == Condition::NotModified {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            headers.remove(CONTENT_TYPE);
        } else {
            if coding == Coding::Gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            if let Some(part) = part {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                headers.insert(CONTENT_RANGE, part.content_range());
                *response.body_mut() = Body::full(part.of(&bytes));
            } else if method == Method::HEAD {
                headers.insert(CONTENT_LENGTH, number(bytes.len() as u64));
            } else {
                *response.body_mut() = Body::full(bytes);
            }
        }
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// The head of a document, whichever part of it is sent.
    fn document_head(&self, document: &Document, tag: &Tag, id: &RequestId) -> HeaderMap {
        let Document { entry, full, age, delivery, flags, .. } = document;
        let mut headers = self.frame.clone();
        let values = [
            HeaderValue::from_bytes(tag.text()).unwrap_or(HeaderValue::from_static("\"\"")),
            cache_control(entry),
            number(age.as_secs()),
            self.cache_status(*delivery, Some(ttl(entry.life().lifetime, *age)), *full),
            HeaderValue::from_bytes(id.as_bytes()).unwrap_or(HeaderValue::from_static("-")),
            // The bytes of a view are ours, so their type is too.
            entry.content_type().filter(|_| *full).unwrap_or(JSON),
        ];
        // hyper dates what has no date.
        let date = entry.date().filter(|_| *full);
        let undated = date.is_none();
        headers.values_mut().zip(values.into_iter().chain(date)).for_each(|(place, value)| *place = value);
        if undated {
            headers.remove(DATE);
        }
        // Only a gateway reads it, and one says `Via`.
        if flags.has(Kinds::VIA) && entry.not_stored().is_none() {
            headers.extend(hub::windows_field(&entry.life()).map(|windows| (hub::WINDOWS, windows)));
        }
        if *full {
            headers.extend(entry.extra_headers());
        }
        headers
    }

    /// `Cache-Status` of an answer of our own, with the reason that another gateway knows it by.
    pub(super) fn detail(&self, detail: &str) -> HeaderValue {
        let mut member = Member::of(self.name.as_bytes());
        member.detail(detail);
        member.value()
    }

    /// A refusal as a problem (RFC 9457).
    pub fn refusal(
        &self,
        refusal: &Refusal,
        method: &Method,
        id: &RequestId,
        cause: &mut &'static str,
    ) -> Response<Body> {
        let problem = problem_of(refusal);
        *cause = cause_of(refusal, &problem);
        let Problem { status, slug, title, ref detail } = problem;
        let bytes = problem_writer::Problem { status, slug, title, detail }.body();
        let mut headers = HeaderMap::with_capacity(10);
        headers.insert(CONTENT_TYPE, problem_writer::MEDIA_TYPE);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(VARY, VARY_OURS);
        headers.insert(CACHE_STATUS, self.detail(problem.slug));
        match refusal {
            Refusal::Unidentified(why) => drop(headers.insert(WWW_AUTHENTICATE, challenge(*why))),
            // RFC 6750 §3.1.
            Refusal::Ambiguous => drop(headers.insert(WWW_AUTHENTICATE, TWO_TOKENS)),
            Refusal::Beyond { length } => drop(headers.insert(CONTENT_RANGE, range::beyond(*length))),
            Refusal::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"))),
            Refusal::Denied(denied) => {
                let scope = match denied {
                    Denied::Scope(scope) => format!(", scope=\"{scope}\""),
                    _ => String::new(),
                };
                let text = format!("Bearer realm=\"reseller-gateway\", error=\"insufficient_scope\"{scope}");
                headers.extend(HeaderValue::from_str(&text).map(|text| (WWW_AUTHENTICATE, text)));
            }
            _ => {}
        }
        if let Some(seconds) = retry_after(refusal) {
            headers.insert(RETRY_AFTER, number(seconds));
        }
        self.sign(&mut headers, id);
        let mut response = Response::new(Body::empty());
        if method == Method::HEAD {
            headers.insert(CONTENT_LENGTH, number(bytes.len() as u64));
        } else {
            *response.body_mut() = Body::full(bytes);
        }
        *response.status_mut() = problem.status;
        *response.headers_mut() = headers;
        response
    }
}

/// A refusal in words, for whoever wants to know of it and did not get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worded {
    /// The status.
    pub status: StatusCode,
    /// The fixed word of the log.
    pub cause: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What to do about it.
    pub detail: Cow<'static, str>,
    /// Seconds after which it is worth coming back.
    pub retry_after: Option<u64>,
}

/// What a caller would be told.
pub(super) fn worded(refusal: &Refusal) -> Worded {
    let problem = problem_of(refusal);
    let cause = cause_of(refusal, &problem);
    let Problem { status, title, detail, .. } = problem;
    Worded { status, cause, title, detail, retry_after: retry_after(refusal) }
}

fn cause_of(refusal: &Refusal, problem: &Problem) -> &'static str {
    match refusal {
        Refusal::Partner(fault) => fault.as_str(),
        _ => problem.slug,
    }
}

fn retry_after(refusal: &Refusal) -> Option<u64> {
    match refusal {
        Refusal::Busy { retry }
        | Refusal::Closed { retry, .. }
        | Refusal::BadTokens { retry }
        | Refusal::Limited { retry, .. } => Some(rate_limit_fields::retry_after(*retry)),
        _ => None,
    }
}

/// By what the shown form of a document is known; `None` where it is not one that is there, which alone has preconditions
/// and parts. What the partner dated is the whole document.
fn validators<'a>(entry: &'a Entry, tag: &'a Tag, full: bool) -> Option<Validators<'a>> {
    let head = entry.head();
    let (modified, date) = (head.modified.filter(|_| full), head.date.filter(|_| full));
    (entry.status() == StatusCode::OK).then_some(Validators { tag: Some(tag.text()), modified, date })
}

/// The slice of a document that is wanted, if not all of it.
fn part(method: &Method, asked: &HeaderMap, bytes: &Bytes, held: Validators<'_>) -> Result<Option<Slice>, Refusal> {
    let length = bytes.len() as u64;
    match range::wanted(method, asked, length, held) {
        Wanted::Whole => Ok(None),
        Wanted::Part(slice) => Ok(Some(slice)),
        Wanted::Beyond => Err(Refusal::Beyond { length }),
    }
}

fn cache_control(entry: &Entry) -> HeaderValue {
    match entry.not_stored() {
        // What the partner keeps from us is kept from the caches of our callers, another gateway's included.
        Some(why) if why.is_the_partners_will() => return HeaderValue::from_static("no-store"),
        Some(_) => return HeaderValue::from_static("private, no-cache"),
        None if entry.life().ask_first => return HeaderValue::from_static("private, no-cache"),
        None => {}
    }
    let mut text: SmallVec<[u8; 40]> = SmallVec::from_slice(MAX_AGE);
    text.extend_from_slice(itoa::Buffer::new().format(entry.life().lifetime.as_secs()).as_bytes());
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("private, no-cache"))
}

/// What is left of a lifetime, in seconds; less than nothing where it is over.
pub(super) fn ttl(lifetime: Duration, age: Duration) -> i64 {
    lifetime.as_secs() as i64 - age.as_secs() as i64
}

fn number(number: u64) -> HeaderValue {
    match number {
        0 => HeaderValue::from_static("0"),
        number => HeaderValue::from_str(itoa::Buffer::new().format(number)).unwrap_or(HeaderValue::from_static("0")),
    }
}

/// RFC 6750 §3: without a token no error is named.
fn challenge(why: Unidentified) -> HeaderValue {
    HeaderValue::from_static(match why {
        Unidentified::Missing => r#"Bearer realm="reseller-gateway""#,
        Unidentified::Expired => {
            r#"Bearer realm="reseller-gateway", error="invalid_token", error_description="expired""#
        }
        _ => r#"Bearer realm="reseller-gateway", error="invalid_token""#,
    })
}

/// A response with a whole body in the bytes of HTTP/1.1, for a connection that hyper cannot answer on.
pub fn on_the_wire(response: Response<Body>) -> Bytes {
    let (head, body) = response.into_parts();
    problem_writer::on_the_wire(head.status, &head.headers, &body.into_bytes())
}

#[cfg(test)]
mod tests;
