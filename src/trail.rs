//! What happened?
//! Given nothing, is filled on the path and read once at the request's end: by the log line and the counters.
//! Never holds bodies, query values or secrets; its words are closed lists.

pub mod spend;

pub mod count;

pub mod line;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::clock::Tick;
use crate::quota::Admitted;
use crate::route::RouteIndex;
use crate::token::Caller;

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// From memory, fresh.
    Hit,
    /// From memory, stale, as the route allows.
    Stale,
    /// By a call to the partner.
    Miss,
    /// By a call that somebody else had started.
    Collapsed,
    /// From memory after the partner confirmed it.
    Revalidated,
    /// Through, without the store.
    Pass,
    /// By the gateway itself: a token, metadata, keys.
    Own,
    /// Not.
    Refused,
}

impl Outcome {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 8] =
        [Self::Hit, Self::Stale, Self::Miss, Self::Collapsed, Self::Revalidated, Self::Pass, Self::Own, Self::Refused];

    /// The fixed word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Revalidated => "revalidated",
            Self::Pass => "pass",
            Self::Own => "own",
            Self::Refused => "refused",
        }
    }
}

/// The record of one request.
#[derive(Debug)]
pub struct Trail {
    /// When its head was read.
    pub began: Tick,
    /// The wall clock then, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Who connected.
    pub peer: SocketAddr,
    /// The method.
    pub method: Method,
    /// The route, once found.
    pub route: Option<RouteIndex>,
    /// The caller, once identified.
    pub caller: Option<Arc<Caller>>,
    /// Its place among its caller's requests, once admitted; given back with the record, when the answer's last byte is out.
    pub turn: Option<Admitted>,
    /// How it was answered.
    pub outcome: Outcome,
    /// The status.
    pub status: StatusCode,
    /// Why it was refused or not stored, or what went wrong behind: a fixed word.
    pub cause: &'static str,
    /// Bytes of the body that were handed on.
    pub bytes: u64,
    /// How long the partner took.
    pub upstream: Option<Duration>,
    /// The age of what was served, in seconds.
    pub age: Option<u64>,
    /// The request's id, as the caller sent it or as we made it.
    pub request_id: RequestId,
}

/// At most 64 characters, on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; 64],
    len: u8,
}

impl RequestId {
    /// The caller's, if it is 1 to 64 letters, digits, dots, hyphens or underscores.
    pub fn kept(sent: &[u8]) -> Option<Self> {
        let safe = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if sent.is_empty() || !sent.iter().all(safe) {
            return None;
        }
        let mut text = [0; 64];
        text.get_mut(..sent.len())?.copy_from_slice(sent);
        Some(Self { text, len: sent.len() as u8 })
    }

    /// Ours: a number in hexadecimal.
    pub fn made(number: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (nth, place) in text.iter_mut().take(16).enumerate() {
            *place = DIGITS.get((number >> (60 - 4 * nth) & 15) as usize).copied().unwrap_or(b'0');
        }
        Self { text, len: 16 }
    }

    /// Its text.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Where finished trails go.
pub struct Ledger {
    /// The counters.
    pub counts: count::Counts,
    /// The access log.
    pub lines: line::Lines,
}

impl Ledger {
    /// Counts the request and writes its line.
    pub fn close(&self, trail: &Trail, now: Tick) {
        let took = now.since(trail.began);
        self.counts.request(trail, took);
        self.lines.write(trail, took, &self.counts);
    }
}
