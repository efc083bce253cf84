//! Does the standard mode hold to the clauses it names?
//! Given heads as they may come and moments moved by hand, holds each file to its part of RFC 9111 and its kin.
//! Never waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::clock::{Now, Tick};

use super::super::lifetime::Exchange;
use super::super::storability::{self, Storable};
use super::super::{Detail, Reply};
use crate::cache::freshness::Life;

mod life;

mod second;

mod shape;

mod variants;

/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOON_MS: u64 = 784_111_777_000;
const NOON: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const MINUTE_LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
const DAY_BEFORE: &str = "Sat, 05 Nov 1994 08:49:37 GMT";

type Lines<'a> = &'a [(&'a str, &'a str)];

fn head(lines: Lines<'_>) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in lines {
        head.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(&value.chars().map(|letter| letter as u8).collect::<Vec<_>>()).unwrap(),
        );
    }
    head
}

fn tick(seconds: u64) -> Tick {
    Tick::from_nanos((1000 + seconds) * 1_000_000_000)
}

fn now(seconds: u64) -> Now {
    Now { tick: tick(seconds), unix_ms: NOON_MS + seconds * 1000 }
}

/// How long it still is fresh, or for how long it has not been.
fn left(life: &Life, now: Tick) -> Result<Duration, Duration> {
    let left = life.lifetime.saturating_sub(life.age(now));
    if left.is_zero() { Err(life.staleness(now)) } else { Ok(left) }
}

/// Asked for and come at noon.
fn at_once() -> Exchange {
    Exchange { asked: tick(0), received: now(0) }
}

fn judged(status: u16, answer: Lines<'_>) -> Result<Storable, Detail> {
    to(&[], status, answer)
}

fn to(sent: Lines<'_>, status: u16, answer: Lines<'_>) -> Result<Storable, Detail> {
    storability::judge(&Method::GET, &head(sent), StatusCode::from_u16(status).unwrap(), &head(answer), at_once())
}

/// A stored 200 to a request without headers.
fn stored(answer: Lines<'_>, body: &'static str) -> Reply {
    stored_for(&[], answer, body)
}

fn stored_for(sent: Lines<'_>, answer: Lines<'_>, body: &'static str) -> Reply {
    let storable = to(sent, 200, answer).unwrap();
    let kept = storability::stored_head(&head(answer), &storable.withheld, at_once());
    Reply::new(StatusCode::OK, &kept, Bytes::from_static(body.as_bytes()), storable.life, storable.selection)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn shared(reply: Reply) -> Arc<Reply> {
    Arc::new(reply)
}
