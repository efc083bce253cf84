//! Which part of a chosen answer does the caller want?
//! Given its preconditions and range, and what is held, hands back the [`Shape`] of the answer (RFC 9111 §4.3.2, RFC 9110 §13, §14).
//! Never judges `If-Match` and `If-Unmodified-Since`: those are the partner's to judge.

use http::header::{DATE, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::reply::Reply;
use crate::cache::Stored;
use crate::http::conditional::{Validators, is_unmodified};
use crate::http::range::{Wanted, wanted};

/// The shape of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// 304: the caller has it.
    NotModified,
    /// This of it.
    Of(Wanted),
}

/// The shape of this reply for a request with this head, in the order of RFC 9110 §13.2.2.
pub fn shape(method: &Method, asked: &HeaderMap, reply: &Reply) -> Shape {
    // RFC 9110 §13.2.1: what would not have been a success has no preconditions.
    let asks = [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE].iter().any(|name| asked.contains_key(name));
    if !asks || !reply.status().is_success() {
        return Shape::Of(Wanted::Whole);
    }
    let (tag, modified, date) = (reply.tag(), reply.modified(), reply.value(&DATE));
    let [tag, modified, date] = [&tag, &modified, &date].map(|value| value.as_ref().map(HeaderValue::as_bytes));
    let held = Validators { tag, modified, date };
    match () {
        () if is_unmodified(asked, held) => Shape::NotModified,
        () if reply.status() == StatusCode::OK => Shape::Of(wanted(method, asked, reply.body().len() as u64, held)),
        () => Shape::Of(Wanted::Whole),
    }
}
