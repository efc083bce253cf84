//! Which part of a chosen answer does the caller want?
//! Given its preconditions and range, and what is held, hands back the [`Shape`] of the answer (RFC 9111 §4.3.2, RFC 9110 §13, §14).
//! Never judges `If-Match` and `If-Unmodified-Since`: those are the partner's to judge.

use std::ops::Range;
use std::time::SystemTime;

use http::header::{DATE, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::reply::Reply;
use crate::http::conditional::{Comparison, matches};
use crate::http::date;

/// The shape of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Whole,
    /// 304: the caller has it.
    NotModified,
    /// 206: these bytes.
    Part(Range<usize>),
    /// 416: there are no such bytes.
    Unsatisfiable,
}

/// The shape of this reply for a request with this head, in the order of RFC 9110 §13.2.2.
pub fn shape(method: &Method, asked: &HeaderMap, reply: &Reply) -> Shape {
    // RFC 9110 §13.2.1: what would not have been a success has no preconditions.
    if !reply.status().is_success() {
        return Shape::Whole;
    }
    if is_unmodified(asked, reply) {
        return Shape::NotModified;
    }
    let Some(range) = asked.get(RANGE).filter(|_| method == Method::GET && reply.status() == StatusCode::OK) else {
        return Shape::Whole;
    };
    if !asked.get(IF_RANGE).is_none_or(|condition| range_holds(condition, reply)) {
        return Shape::Whole;
    }
    match one_range(range, reply.body().len()) {
        None => Shape::Whole,
        Some(Ok(range)) => Shape::Part(range),
        Some(Err(Unsatisfiable)) => Shape::Unsatisfiable,
    }
}

fn parse(value: &HeaderValue) -> Option<SystemTime> {
    date::parse(value.as_bytes())
}

/// RFC 9110 §13.1.2 and §13.1.3; the first takes precedence.
fn is_unmodified(asked: &HeaderMap, reply: &Reply) -> bool {
    if asked.contains_key(IF_NONE_MATCH) {
        let held = reply.tag();
        return matches(asked, &IF_NONE_MATCH, held.as_ref().map(HeaderValue::as_bytes), Comparison::Weak);
    }
    let Some(since) = asked.get(IF_MODIFIED_SINCE).and_then(parse) else { return false };
    // RFC 9111 §4.3.2: without a last modification the date of the answer stands for it.
    let held = reply.modified().or_else(|| reply.value(&DATE));
    held.as_ref().and_then(parse).is_some_and(|at| at <= since)
}

/// RFC 9110 §13.1.5: a strong tag, or the exact date of a last modification that cannot have been followed by another in its second.
fn range_holds(condition: &HeaderValue, reply: &Reply) -> bool {
    let condition = condition.as_bytes().trim_ascii();
    if condition.first().is_some_and(|&first| first == b'"') {
        return reply.tag().is_some_and(|held| held.as_bytes() == condition);
    }
    let Some(held) = reply.modified().filter(|held| held.as_bytes() == condition) else { return false };
    let (at, date) = (parse(&held), reply.value(&DATE).as_ref().and_then(parse));
    at.zip(date).is_some_and(|(at, date)| at < date)
}

/// No byte of the range is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unsatisfiable;

/// RFC 9110 §14.1.2. `None` for what is no single range of bytes: several are answered with all, as a server may.
fn one_range(range: &HeaderValue, length: usize) -> Option<Result<Range<usize>, Unsatisfiable>> {
    let text = range.to_str().ok()?;
    let (unit, wanted) = text.split_once('=')?;
    let (first, last) = wanted.trim().split_once('-')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let number = |digits: &str| {
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse::<usize>().unwrap_or(usize::MAX))
    };
    let range = match (first, last) {
        ("", suffix) => length.saturating_sub(number(suffix)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            // RFC 9110 §14.1.1: an invalid set is no request for a range at all.
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some(if range.start < range.end { Ok(range) } else { Err(Unsatisfiable) })
}
