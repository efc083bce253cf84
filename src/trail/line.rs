//! What is written of a request?
//! Given a finished trail, puts one line into a bounded buffer that another thread writes out.
//! Never waits for the disk or the terminal: a line that finds no room is dropped and counted.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::listen::Peer;

use super::count::Counts;
use super::{Outcome, Trail};

const ROOM: usize = 4 << 20;

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

#[derive(Default)]
struct Buffer {
    lines: Mutex<(Vec<u8>, bool)>,
    filled: Condvar,
}

/// The access log on standard output.
pub struct Lines {
    which: Which,
    json: bool,
    buffer: Arc<Buffer>,
    writer: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl Lines {
    /// A log to standard output, or one that keeps nothing if `which` is off.
    pub fn new(which: Which, look: Look) -> Self {
        Self { which, json: is_json(look), buffer: Arc::default(), writer: Arc::default() }.with_writer()
    }

    /// The same log kept in another way, in the same order: for a house that takes another's place.
    #[must_use]
    pub fn renewed(&self, which: Which, look: Look) -> Self {
        let (buffer, writer) = (Arc::clone(&self.buffer), Arc::clone(&self.writer));
        Self { which, json: is_json(look), buffer, writer }.with_writer()
    }

    /// Whoever keeps nothing needs no thread that writes.
    fn with_writer(self) -> Self {
        let mut writer = self.writer.lock();
        if self.which != Which::Off && writer.is_none() {
            let buffer = Arc::clone(&self.buffer);
            *writer = std::thread::Builder::new().name("log".to_owned()).spawn(move || buffer.drain()).ok();
        }
        drop(writer);
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
        let mut lines = self.buffer.lines.lock();
        if lines.0.len() + line.len() > ROOM {
            counts.line_dropped();
            return;
        }
        if lines.0.is_empty() {
            self.buffer.filled.notify_one();
        }
        lines.0.extend_from_slice(line.as_bytes());
    }

    /// Writes out what is left and ends the writing thread.
    pub fn flush(&self) {
        self.buffer.lines.lock().1 = true;
        self.buffer.filled.notify_one();
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

fn is_json(look: Look) -> bool {
    match look {
        Look::Auto => !std::io::stdout().is_terminal(),
        other => other == Look::Json,
    }
}

impl Buffer {
    fn drain(&self) {
        let mut full = Vec::new();
        loop {
            let mut lines = self.lines.lock();
            while lines.0.is_empty() && !lines.1 {
                self.filled.wait(&mut lines);
            }
            let over = lines.1;
            std::mem::swap(&mut full, &mut lines.0);
            drop(lines);
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(&full).and_then(|()| out.flush());
            full.clear();
            if over {
                return;
            }
        }
    }
}

/// Every value below is of a closed list, a number, or made of characters that JSON needs not escape.
fn json(out: &mut String, trail: &Trail, took: Duration, counts: &Counts) -> std::fmt::Result {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(trail.unix_ms).unwrap_or_default()).unwrap_or_default();
    write!(
        out,
        r#"{{"time":"{time:.3}","peer":"{}","method":"{}","route":"{}""#,
        Peer(trail.peer),
        trail.method,
        counts.route(trail.route)
    )?;
    if let Some(caller) = &trail.caller {
        write!(out, r#","caller":"{}","jti":"{}""#, caller.name(), caller.jti())?;
    }
    write!(out, r#","outcome":"{}","status":{}"#, trail.outcome.word(), trail.status.as_u16())?;
    if !trail.cause.is_empty() {
        write!(out, r#","cause":"{}""#, trail.cause)?;
    }
    write!(out, r#","bytes":{},"duration_ms":{:.3}"#, trail.bytes, took.as_secs_f64() * 1e3)?;
    if let Some(upstream) = trail.upstream {
        write!(out, r#","upstream_ms":{:.3}"#, upstream.as_secs_f64() * 1e3)?;
    }
    if let Some(age) = trail.age {
        write!(out, r#","age":{age}"#)?;
    }
    let id = std::str::from_utf8(trail.request_id.as_bytes()).unwrap_or_default();
    write!(out, r#","request_id":"{id}""#)?;
    if let Some(context) = trail.trace.context() {
        write!(out, r#","trace_id":"{:032x}""#, context.trace())?;
    }
    out.write_str("}\n")
}

fn text(out: &mut String, trail: &Trail, took: Duration, counts: &Counts) -> std::fmt::Result {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(trail.unix_ms).unwrap_or_default()).unwrap_or_default();
    let caller = trail.caller.as_ref().map_or("-", |caller| caller.name());
    let (status, outcome, route) = (trail.status.as_u16(), trail.outcome.word(), counts.route(trail.route));
    let millis = took.as_secs_f64() * 1e3;
    let (method, cause) = (&trail.method, trail.cause);
    writeln!(out, "{time:.3}  {status} {outcome:<11} {millis:>9.3} ms  {method} {route} by {caller} {cause}")
}
