//! What happened?
//! Given nothing, is filled on the path and read once at the request's end: by the log line, the counters and the trace.
//! Never holds bodies, query values or secrets; its words are closed lists.

pub mod sink;

pub mod spend;

pub mod count;

pub mod line;

pub mod trace;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use crate::clock::{Now, Tick};
use crate::quota::Admitted;
use crate::route::RouteIndex;
use crate::token::Caller;

use trace::{Fact, Facts, Traced, Tracer};

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
    pub const fn as_str(self) -> &'static str {
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
    pub admitted: Option<Admitted>,
    /// Whether its caller paid for a call to the partner, so that whatever it got was not saved.
    pub paid: AtomicBool,
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
    /// What took how long, if it is sampled.
    pub trace: Traced,
}

/// At most 64 characters, on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; 64],
    len: u8,
}

impl RequestId {
    /// The caller's, if it is 1 to 64 letters, digits, dots, hyphens or underscores.
    pub fn accepted(sent: &[u8]) -> Option<Self> {
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
    /// What is traced, if anything is.
    pub traces: Option<Arc<Tracer>>,
}

impl Ledger {
    /// The trace of a request, if it is sampled.
    #[inline]
    pub fn sample(&self, headers: &HeaderMap, now: Now) -> Traced {
        self.traces.as_ref().map_or(Traced::NONE, |traces| traces.sample(headers, now))
    }

    /// Counts the request, writes its line, and lets its trace go.
    pub fn close(&self, trail: &mut Trail, now: Tick) {
        let took = now.since(trail.began);
        self.counts.request(trail, took);
        self.lines.write(trail, took, &self.counts);
        if let (Some(traces), true) = (&self.traces, trail.trace.is_sampled()) {
            let traced = std::mem::take(&mut trail.trace);
            traces.finish(traced, || request(trail, self.counts.route(trail.route), now));
        }
    }

    /// Lets the trace of a flight go.
    pub fn landed(&self, traced: Traced, end: impl FnOnce() -> trace::End) {
        if let Some(traces) = &self.traces {
            traces.finish(traced, end);
        }
    }
}

/// What the span of a request says. Names with a dot after `http` are OpenTelemetry's, the others ours, as in log and metrics.
#[cold]
fn request(trail: &Trail, route: &str, at: Tick) -> trace::End {
    let method = match trail.method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE | Method::PATCH | Method::OPTIONS => {
            trail.method.as_str().to_owned()
        }
        // What a caller makes up is no name of a span.
        _ => "_OTHER".to_owned(),
    };
    // Without a route the method is the whole name, as OpenTelemetry has it.
    let name = trail.route.map_or_else(|| method.clone(), |_| format!("{method} {route}"));
    let id = String::from_utf8_lossy(trail.request_id.as_bytes()).into_owned();
    let mut facts: Facts = smallvec::smallvec![
        Fact::Text("http.request.method", method.into()),
        Fact::Number("http.response.status_code", i64::from(trail.status.as_u16())),
        Fact::Number("http.response.body.size", i64::try_from(trail.bytes).unwrap_or(i64::MAX)),
        Fact::Text("reseller_gateway.route", route.to_owned().into()),
        Fact::Text("reseller_gateway.outcome", trail.outcome.as_str().into()),
        Fact::Text("reseller_gateway.request_id", id.into()),
    ];
    if let Some(caller) = &trail.caller {
        facts.push(Fact::Text("reseller_gateway.caller", caller.name().to_owned().into()));
    }
    if !trail.cause.is_empty() {
        facts.push(Fact::Text("reseller_gateway.cause", Cow::Borrowed(trail.cause)));
    }
    trace::End { name, served: true, at, facts, failed: trail.status.is_server_error() }
}
