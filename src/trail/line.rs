//! What is written of a request?
//! Given a finished trail, puts one line into a bounded buffer that another thread writes out.
//! Never waits for the disk or the terminal: a line that finds no room is dropped and counted.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::listen::Peer;

use super::count::Counts;
use super::sink::Sink;
use super::{Outcome, Trail};

/// For so long lines are gathered before they are written.
const GATHERED: Duration = Duration::from_millis(10);

/// Which requests get a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// Those refused, and those that ended in 5xx.
    Errors,
    /// None.
    Off,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// JSON, but text on a terminal.
    Auto,
    /// One JSON object.
    Json,
    /// For people.
    Text,
}

/// The access log on standard output.
pub struct Lines {
    which: Which,
    json: bool,
    sink: Sink,
    /// Whether there is a thread that writes.
    started: Arc<Mutex<bool>>,
}

impl Lines {
    /// A log to standard output, or one that keeps nothing if `which` is off.
    pub fn new(which: Which, look: Look) -> Self {
        Self { which, json: is_json(look), sink: Sink::default(), started: Arc::default() }.with_writer()
    }

    /// The same log kept in another way, in the same order: for a house that takes another's place.
    #[must_use]
    pub fn reconfigured(&self, which: Which, look: Look) -> Self {
        let (sink, started) = (self.sink.clone(), Arc::clone(&self.started));
        Self { which, json: is_json(look), sink, started }.with_writer()
    }

    /// Whoever keeps nothing needs no thread that writes.
    fn with_writer(self) -> Self {
        let mut started = self.started.lock();
        if self.which != Which::Off && !*started {
            *started = self.sink.start("log", std::io::stdout(), GATHERED).is_ok();
        }
        drop(started);
        self
    }

    /// Writes the line of a request, if it gets one.
    pub(super) fn write(&self, trail: &Trail, took: Duration, counts: &Counts) {
        let wanted = match self.which {
            Which::All => true,
            Which::Errors => trail.outcome == Outcome::Refused || trail.status.is_server_error(),
            Which::Off => false,
        };
        if !wanted {
            return;
        }
        let mut line = String::with_capacity(384);
        let _ = if self.json { json(&mut line, trail, took, counts) } else { text(&mut line, trail, took, counts) };
        self.sink.put(line.as_bytes());
    }

    /// Lines that found no room, or that were refused where they should go.
    pub fn lost(&self) -> u64 {
        self.sink.lost()
    }

    /// Writes out what is left and ends the writing thread, within this time; whether it was enough.
    pub fn flush(&self, within: Duration) -> bool {
        !*self.started.lock() || self.sink.close(within)
    }
}

fn is_json(look: Look) -> bool {
    match look {
        Look::Auto => !std::io::stdout().is_terminal(),
        other => other == Look::Json,
    }
}

/// Every value below is of a closed list, a number, or made of characters that JSON needs not escape. Put together by hand:
/// a hit pays more for the machinery of formatting than for all else that it does.
fn json(out: &mut String, trail: &Trail, took: Duration, counts: &Counts) -> std::fmt::Result {
    out.push_str(r#"{"time":""#);
    push_time(out, trail.unix_ms);
    write!(out, r#"","peer":"{}""#, Peer(trail.peer))?;
    push_text(out, "method", trail.method.as_str());
    push_text(out, "route", counts.route(trail.route));
    if let Some(caller) = &trail.caller {
        push_text(out, "caller", caller.name());
        push_text(out, "jti", caller.jti());
    }
    push_text(out, "outcome", trail.outcome.as_str());
    push_number(out, "status", trail.status.as_u16().into());
    if !trail.cause.is_empty() {
        push_text(out, "cause", trail.cause);
    }
    push_number(out, "bytes", trail.bytes);
    push_millis(out, "duration_ms", took);
    if let Some(upstream) = trail.upstream {
        push_millis(out, "upstream_ms", upstream);
    }
    if let Some(age) = trail.age {
        push_number(out, "age", age);
    }
    push_text(out, "request_id", std::str::from_utf8(trail.request_id.as_bytes()).unwrap_or_default());
    if let Some(context) = trail.trace.context() {
        write!(out, r#","trace_id":"{:032x}""#, context.trace())?;
    }
    out.push_str("}\n");
    Ok(())
}

/// RFC 3339 to the millisecond. What comes before the fraction is made once a second.
fn push_time(out: &mut String, unix_ms: u64) {
    thread_local!(static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != unix_ms / 1000 || text.is_empty() {
            *second = unix_ms / 1000;
            let time = i64::try_from(*second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
            *text = format!("{:.0}", time.unwrap_or_default());
        }
        out.push_str(text.trim_end_matches('Z'));
    });
    push_fraction(out, unix_ms % 1000);
    out.push('Z');
}

fn push_text(out: &mut String, name: &str, word: &str) {
    for part in [",\"", name, "\":\"", word, "\""] {
        out.push_str(part);
    }
}

fn push_number(out: &mut String, name: &str, number: u64) {
    for part in [",\"", name, "\":", itoa::Buffer::new().format(number)] {
        out.push_str(part);
    }
}

fn push_millis(out: &mut String, name: &str, time: Duration) {
    let micros = u64::try_from((time.as_nanos() + 500) / 1000).unwrap_or(u64::MAX);
    push_number(out, name, micros / 1000);
    push_fraction(out, micros % 1000);
}

/// Thousandths, with their point.
fn push_fraction(out: &mut String, thousandths: u64) {
    out.push_str(match thousandths {
        0..10 => ".00",
        10..100 => ".0",
        _ => ".",
    });
    out.push_str(itoa::Buffer::new().format(thousandths));
}

fn text(out: &mut String, trail: &Trail, took: Duration, counts: &Counts) -> std::fmt::Result {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(trail.unix_ms).unwrap_or_default()).unwrap_or_default();
    let caller = trail.caller.as_ref().map_or("-", |caller| caller.name());
    let (status, outcome, route) = (trail.status.as_u16(), trail.outcome.as_str(), counts.route(trail.route));
    let millis = took.as_secs_f64() * 1e3;
    let (method, cause) = (&trail.method, trail.cause);
    writeln!(out, "{time:.3}  {status} {outcome:<11} {millis:>9.3} ms  {method} {route} by {caller} {cause}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_those_of_jiff_and_of_the_standard_library(
            seconds in 0..250_000_000_000_u64,
            more in 0..3000_u64,
            nanos in 0..u64::MAX / 2,
        ) {
            for unix_ms in [seconds * 1000, seconds * 1000 + more] {
                let mut made = String::new();
                push_time(&mut made, unix_ms);
                let time = jiff::Timestamp::from_millisecond(unix_ms as i64).unwrap();
                prop_assert_eq!(made, format!("{time:.3}"));
            }
            let mut made = String::new();
            push_millis(&mut made, "t", Duration::from_nanos(nanos));
            let told: f64 = made.strip_prefix(",\"t\":").unwrap().parse().unwrap();
            prop_assert!((told - nanos as f64 / 1e6).abs() <= 0.000_51 + nanos as f64 / 1e21, "{}", made);
            prop_assert_eq!(made.split_once('.').unwrap().1.len(), 3);
        }
    }
}
