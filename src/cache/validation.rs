//! Does it still hold?
//! Given what is held and the partner's word on it, hands back the questions to ask and the updated reply (RFC 9111 §4.3).
//! Never takes from a 304 what belongs to the body that is held.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::lifetime::Exchange;
use super::reason::Detail;
use super::reply::Reply;
use super::storability;
use crate::cache::Stored;
use crate::http::conditional::opaque;
use crate::http::hop_by_hop;

/// RFC 9111 §3.2: what a newer head does not change, since it says something of the body that is held.
const OF_THE_BODY: [HeaderName; 5] =
    [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderName::from_static("content-md5")];

/// Makes a request a question about one reply (§4.3.1); `false` if it has no validator and is simply asked for anew.
/// The caller's own preconditions are taken out either way: they are judged here, on what comes.
pub fn ask_about(sent: &mut HeaderMap, reply: &Reply) -> bool {
    without_preconditions(sent);
    let (tag, modified) = (reply.tag(), reply.modified());
    let any = tag.is_some() || modified.is_some();
    sent.extend(tag.map(|tag| (IF_NONE_MATCH, tag)));
    sent.extend(modified.map(|modified| (IF_MODIFIED_SINCE, modified)));
    any
}

/// Makes a request a question whether one of these tags is the answer to it.
pub fn ask_which(sent: &mut HeaderMap, tags: &[HeaderValue]) {
    without_preconditions(sent);
    let list: Vec<&[u8]> = tags.iter().map(HeaderValue::as_bytes).collect();
    sent.extend(HeaderValue::from_bytes(&list.join(&b", "[..])).ok().map(|list| (IF_NONE_MATCH, list)));
}

/// Takes out what the caller asked on a condition, and the part it asked for.
fn without_preconditions(sent: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        sent.remove(name);
    }
}

/// Whether a request's preconditions are for the partner alone (§4.3.2).
pub fn is_for_the_partner(asked: &HeaderMap) -> bool {
    asked.contains_key(IF_MATCH) || asked.contains_key(IF_UNMODIFIED_SINCE)
}

/// Whether a request carries any precondition or asks for a part.
pub fn is_conditional(asked: &HeaderMap) -> bool {
    [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE].iter().any(|name| asked.contains_key(name))
}

/// Which of the replies asked about does a 304 mean (§4.3.4)?
/// Of several only the one it names. Of one it can mean no other, whatever tag it carries: there are servers that name
/// a compressed body's tag there, and asking again would bring the same.
pub fn meant<'a, T: AsRef<Reply>>(asked_about: &'a [T], answer: &HeaderMap) -> Option<&'a T> {
    if let [only] = asked_about {
        return Some(only);
    }
    let answer = answer.get(ETAG)?;
    asked_about
        .iter()
        .find(|reply| reply.as_ref().tag().is_some_and(|held| opaque(held.as_bytes()) == opaque(answer.as_bytes())))
}

/// A reply after a 304: the stored head with the fields of the new one (§3.2), judged as a whole anew; and why it may
/// not be kept, if it may not.
pub fn freshened(reply: &Reply, answer: &HeaderMap, sent: &HeaderMap, exchange: Exchange) -> (Reply, Option<Detail>) {
    let head = merged(&reply.head(), answer);
    match storability::judge(&Method::GET, sent, reply.status(), &with_age(&head, answer), exchange) {
        Ok(storable) => {
            let head = storability::stored_head(&head, &storable.withheld, exchange);
            (reply.with(&head, storable.life, storable.selection), None)
        }
        Err(why) => {
            let life = reply.life().ended(exchange.received.tick);
            (reply.with(&head, life, reply.selection().clone()), Some(why))
        }
    }
}

/// The age of what the 304 confirms is the 304's (§4.2.3).
fn with_age(head: &HeaderMap, answer: &HeaderMap) -> HeaderMap {
    let mut head = head.clone();
    head.remove(http::header::AGE);
    head.extend(answer.get(http::header::AGE).map(|age| (http::header::AGE, age.clone())));
    head
}

/// The stored fields, those of the new head in the place of their namesakes.
fn merged(stored: &HeaderMap, answer: &HeaderMap) -> HeaderMap {
    let mut answer = answer.clone();
    hop_by_hop::strip(&mut answer);
    OF_THE_BODY.iter().for_each(|name| drop(answer.remove(name)));
    let mut head = stored.clone();
    // RFC 9110 §6.6.1: a 304 without a date is of the moment it came, not of the stored answer's.
    head.remove(DATE);
    for name in answer.keys() {
        head.remove(name);
    }
    for (name, value) in &answer {
        head.append(name, value.clone());
    }
    head
}

/// What the answer to a HEAD says of a stored reply to a GET (§4.3.5).
#[derive(Debug)]
pub enum HeadUpdate {
    /// It is about the same body, and updates the head.
    Updated(Box<Reply>),
    /// It is about another: what is held is not used again without asking.
    Outdated(Box<Reply>),
}

/// Holds a 200 to a HEAD against a stored reply.
pub fn after_head(
    reply: &Reply,
    status: StatusCode,
    answer: &HeaderMap,
    sent: &HeaderMap,
    exchange: Exchange,
) -> Option<HeadUpdate> {
    if status != StatusCode::OK || reply.status() != StatusCode::OK {
        return None;
    }
    let length = answer.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let same = |name: &HeaderName| answer.get(name).is_none_or(|value| reply.value(name).as_ref() == Some(value));
    let same_length = length.is_none_or(|length| length == reply.body().len().to_string());
    if same_length
        && same(&ETAG)
        && same(&LAST_MODIFIED)
        && let (updated, None) = freshened(reply, answer, sent, exchange)
    {
        return Some(HeadUpdate::Updated(Box::new(updated)));
    }
    let life = reply.life().ended(exchange.received.tick);
    Some(HeadUpdate::Outdated(Box::new(reply.with(&reply.head(), life, reply.selection().clone()))))
}
