//! The heads of answers as they stand on the wire.
//! Given a connector, records what each call reads, and hands back the lines of its head that the grammar does not allow.
//! Never shows a line that holds the key, nor more than a piece of any.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::{BoxError, Service, ServiceExt};

use crate::dial::{Dialer, MAX_HEADERS};
use crate::upstream::credential::Presented;

/// Bytes of an answer that are recorded: more than any head that is read.
const MAX_RECORD: usize = 512 << 10;

/// Bytes of a line that are shown.
const MAX_EXCERPT: usize = 64;

/// Lines that are shown of one head.
const MAX_LINES: usize = 16;

/// What was read since the last call was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Record(Arc<Mutex<Vec<u8>>>);

impl Record {
    /// What is odd in the head of the last answer; the record is empty afterwards.
    pub(super) fn odd_lines(&self, key: Option<&Presented>) -> Vec<OddLine> {
        odd_lines(&std::mem::take(&mut *self.0.lock()), key.map(|key| key.value().as_bytes()))
    }
}

/// A connector whose connections are recorded.
#[derive(Clone)]
pub(super) struct Recording {
    dialer: Dialer,
    record: Record,
}

impl Recording {
    pub(super) fn new(dialer: Dialer, record: Record) -> Self {
        Self { dialer, record }
    }
}

impl Service<Uri> for Recording {
    type Response = TokioIo<Recorded>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.dialer.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (dialer, record) = (self.dialer.clone(), self.record.clone());
        Box::pin(async move {
            let io = TokioIo::new(dialer.oneshot(to).await?);
            Ok(TokioIo::new(Recorded { io, record }))
        })
    }
}

/// A connection that is recorded.
pub(super) struct Recorded {
    io: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    record: Record,
}

impl Connection for Recorded {
    fn connected(&self) -> Connected {
        self.io.inner().connected()
    }
}

impl AsyncRead for Recorded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let read = buf.filled().get(before..).unwrap_or_default();
        let mut record = self.record.0.lock();
        let room = MAX_RECORD.saturating_sub(record.len());
        record.extend_from_slice(read.get(..room).unwrap_or(read));
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.record.0.lock().clear();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A line of a head that the grammar does not allow (RFC 9112 §5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct OddLine {
    /// Which it is, from 1; the status line is not counted.
    pub(super) nth: usize,
    /// Its beginning, escaped.
    pub(super) line: String,
    pub(super) what: Oddity,
}

/// What is odd in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Oddity {
    ControlCharacter,
    BareCr,
    NoColon,
    BadName,
    Folded,
    SpaceBeforeColon,
    TooMany,
}

impl Oddity {
    /// What it is, and what the gateway does with it.
    pub(super) const fn describe(self) -> &'static str {
        match self {
            Self::ControlCharacter => "has a control character; the gateway drops the line",
            Self::BareCr => "has a carriage return without a line feed; the gateway cannot read the answer",
            Self::NoColon => "has no colon; the gateway drops the line",
            Self::BadName => "has a name that is none; the gateway drops the line",
            Self::Folded => "goes on with the line before it; the gateway joins the two",
            Self::SpaceBeforeColon => "has a space before the colon; the gateway drops the space",
            Self::TooMany => "is beyond the 256 lines of a head; the gateway cannot read the answer",
        }
    }
}

fn odd_lines(bytes: &[u8], key: Option<&[u8]>) -> Vec<OddLine> {
    let head = final_head(bytes);
    let mut odd = Vec::new();
    for (nth, line) in head.split(|&byte| byte == b'\n').enumerate().skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let is_last = nth == MAX_HEADERS + 1;
        let what = if is_last { Some(Oddity::TooMany) } else { oddity(line) };
        odd.extend(what.map(|what| OddLine { nth, line: printable(line, key), what }));
        if is_last || odd.len() == MAX_LINES {
            break;
        }
    }
    odd
}

/// The head of the last answer: those of interim ones (RFC 9110 §15.2) stand before it.
fn final_head(mut bytes: &[u8]) -> &[u8] {
    while let Some(b"1") = bytes.get(9..10).filter(|_| bytes.get(9..12) != Some(b"101")) {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
        match end.and_then(|end| bytes.get(end + 4..)) {
            Some(rest) => bytes = rest,
            None => break,
        }
    }
    bytes
}

fn oddity(line: &[u8]) -> Option<Oddity> {
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    if line.contains(&b'\r') {
        return Some(Oddity::BareCr);
    }
    if line.iter().any(is_control) {
        return Some(Oddity::ControlCharacter);
    }
    if line.first().is_some_and(is_space) {
        return Some(Oddity::Folded);
    }
    let Some(colon) = memchr::memchr(b':', line) else { return Some(Oddity::NoColon) };
    let name = line.get(..colon).unwrap_or_default();
    let trimmed = name.trim_ascii_end();
    match http::HeaderName::from_bytes(trimmed) {
        Err(_) => Some(Oddity::BadName),
        Ok(_) => (trimmed.len() < name.len()).then_some(Oddity::SpaceBeforeColon),
    }
}

fn printable(line: &[u8], key: Option<&[u8]>) -> String {
    let key = key.filter(|key| !key.is_empty());
    if key.is_some_and(|key| line.windows(key.len()).any(|part| part == key)) {
        return "(holds the key, so it is not shown)".to_owned();
    }
    let mut text = String::new();
    for byte in line {
        let escaped = byte.escape_ascii().to_string();
        if text.len() + escaped.len() > MAX_EXCERPT {
            break;
        }
        text += &escaped;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(head: &[u8]) -> Vec<(usize, String, Oddity)> {
        odd_lines(head, Some(b"swordfish")).into_iter().map(|odd| (odd.nth, odd.line, odd.what)).collect()
    }

    #[test]
    fn a_line_is_named_with_what_is_wrong_and_a_body_is_none() {
        let rows: [(&[u8], &str, Oddity); 9] = [
            (b"Set-Cookie: a=\x01b", r"Set-Cookie: a=\x01b", Oddity::ControlCharacter),
            (b"A: b\x7f", r"A: b\x7f", Oddity::ControlCharacter),
            (b"A: b\rc", r"A: b\rc", Oddity::BareCr),
            (b"Strange line", "Strange line", Oddity::NoColon),
            (b": b", ": b", Oddity::BadName),
            (b"A b: c", "A b: c", Oddity::BadName),
            (b"\tscript-src", r"\tscript-src", Oddity::Folded),
            (b"A : b", "A : b", Oddity::SpaceBeforeColon),
            (b"A : swordfish", "(holds the key, so it is not shown)", Oddity::SpaceBeforeColon),
        ];
        for (line, text, what) in rows {
            for before in [&b""[..], b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"] {
                let head = [before, b"HTTP/1.1 200 OK\r\nOk: \xc3\xa9\tb\r\n", line, b"\r\n\r\n\x01 body\r\n"].concat();
                assert_eq!(found(&head), [(2, text.to_owned(), what)], "{}", head.escape_ascii());
            }
        }
        assert_eq!(found(b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\nnone"), []);
        assert_eq!(found(b""), []);
    }

    #[test]
    fn what_is_shown_has_an_end() {
        let head = format!("HTTP/1.1 200 OK\r\nA : {}\r\n\r\n", "\u{e9}".repeat(200));
        assert!(found(head.as_bytes())[0].1.len() <= MAX_EXCERPT);
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 9));
        assert_eq!(found(head.as_bytes()), [(MAX_HEADERS + 1, "A: b".to_owned(), Oddity::TooMany)]);
        let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A : b\r\n".repeat(99));
        assert_eq!(found(head.as_bytes()).len(), MAX_LINES);
    }
}
