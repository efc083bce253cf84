//! How is a target read?
//! Given what stood in the request line, hands back its segments and query, each decoded once.
//! Never normalises away what is dangerous: dots, double encodings and hidden slashes are refused.

use std::borrow::Cow;

use http::Uri;
use smallvec::SmallVec;

use crate::account_api::is_uuid;

use super::Word;

/// Why a target cannot be read. The texts are for callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    #[error(
        "a percent escape in the target is broken; it takes two hexadecimal digits, and all together must be UTF-8"
    )]
    Escape,
    /// Something decoded to a percent sign, so that whoever decodes again would read something else.
    #[error(
        "the target is percent-encoded twice, or holds a percent sign (%25); encode it once, without percent signs"
    )]
    Twice,
    /// `.`, `..` or an empty segment.
    #[error("the path has an empty or dot segment; send the path without it")]
    Segment,
    /// A character that some would read as something else.
    #[error("the path holds a character that is not allowed there (backslash, semicolon, control, encoded slash)")]
    Character,
    /// The target is not a path: `*` or an authority.
    #[error("the target must be a path that begins with a slash")]
    Form,
    /// An unknown parameter.
    #[error(
        "the query parameter {parameter:?} is not known on this route; to pass it on, add it to `query` of {table}, to drop it, to `ignore_query`"
    )]
    Parameter {
        /// Its name, cut short.
        parameter: String,
        /// The table of the configuration that the route stands in.
        table: String,
    },
    /// A parameter given more than once.
    #[error("the query parameter {0:?} is given more than once; send one (`query` of the route lists those it takes)")]
    Repeated(String),
    /// An identifier in the path that the partner can have given to nothing.
    #[error(
        "the identifier {0:?} in the path must be 1 to 64 letters, digits, hyphens or underscores; nothing has this one"
    )]
    Identifier(String),
    /// A value that cannot be one.
    #[error("the value of the query parameter {0:?} must be 1 to 64 letters, digits, hyphens or underscores")]
    Value(String),
}

/// A target, read.
#[derive(Debug)]
pub struct Target<'a> {
    sent: &'a str,
    path: Cow<'a, str>,
    query: Option<&'a str>,
    /// Where each segment begins and ends in `path`.
    segments: SmallVec<[(u32, u32); 10]>,
}

impl<'a> Target<'a> {
    /// Reads a request's target (RFC 9112 §3.2); of the absolute form only path and query count.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(uri: &'a Uri) -> Result<Self, Malformed> {
        let sent = uri.path_and_query().map_or("", |target| target.as_str());
        let raw = uri.path();
        if !raw.starts_with('/') {
            return Err(Malformed::Form);
        }
        let path = decode(raw)?;
        if path.bytes().fold(false, |odd, byte| odd | is_refused(byte)) {
            return Err(Malformed::Character);
        }
        let mut segments = SmallVec::new();
        let mut begin = 1;
        for at in memchr::memchr_iter(b'/', path.as_bytes()).skip(1) {
            segments.push(segment(&path, begin, at)?);
            begin = at + 1;
        }
        // Only the last may be empty: that is the trailing slash.
        if begin < path.len() {
            segments.push(segment(&path, begin, path.len())?);
        }
        Ok(Self { sent, path, query: uri.query(), segments })
    }

    /// Path and query as they came.
    pub fn as_sent(&self) -> &str {
        self.sent
    }

    /// The decoded path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The segments below a prefix of whole segments; `None` if it is not below it.
    pub(super) fn below(&self, prefix: &str) -> Option<SmallVec<[&str; 8]>> {
        let rest = self.path.strip_prefix(prefix)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let deep = memchr::memchr_iter(b'/', prefix.as_bytes()).count();
        Some(self.segments.iter().skip(deep).filter_map(|&(a, b)| self.path.get(a as usize..b as usize)).collect())
    }

    /// The parameters a route takes, decoded, by their position in `known`.
    pub(super) fn query_of(
        &self,
        known: &[String],
        ignored: &[String],
        table: impl FnOnce() -> String,
    ) -> Result<SmallVec<[(u8, Word); 1]>, Malformed> {
        let mut found: SmallVec<[(u8, Word); 1]> = SmallVec::new();
        let mut given: SmallVec<[u8; 4]> = SmallVec::new();
        for pair in self.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let Some(at) = known.iter().position(|known| *known == name) else {
                if ignored.iter().any(|ignored| *ignored == name) {
                    continue;
                }
                return Err(Malformed::Parameter { parameter: shortened(&name), table: table() });
            };
            let at = at as u8;
            if given.contains(&at) {
                return Err(Malformed::Repeated(shortened(&name)));
            }
            given.push(at);
            // As forms send what was not filled in: it chooses nothing.
            if value.is_empty() {
                continue;
            }
            found.push((at, identifier(&value).ok_or_else(|| Malformed::Value(shortened(&name)))?));
        }
        found.sort_unstable_by_key(|(at, _)| *at);
        Ok(found)
    }
}

/// Backslash, semicolon and control characters: what some would read as a separator, an end or nothing.
fn is_refused(byte: u8) -> bool {
    // Not short-circuited, so that many bytes are judged at a time.
    (byte == b'\\') | (byte == b';') | (byte < 0x20) | (byte == 0x7f)
}

fn segment(path: &str, begin: usize, end: usize) -> Result<(u32, u32), Malformed> {
    match path.get(begin..end) {
        None | Some("" | "." | "..") => Err(Malformed::Segment),
        Some(_) => Ok((begin as u32, end as u32)),
    }
}

pub(super) fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

/// An identifier of the partner, UUIDs in lower case; `None` for anything else.
pub(super) fn identifier(text: &str) -> Option<Word> {
    let found = text.bytes().fold(0, |found, byte| found | CLASSES.get(usize::from(byte)).copied().unwrap_or(ODD));
    if text.is_empty() || text.len() > 64 || found & ODD != 0 {
        return None;
    }
    let mut word = Word::from_slice(text.as_bytes());
    if found & UPPER != 0 && is_uuid(&word) {
        word.make_ascii_lowercase();
    }
    Some(word)
}

const UPPER: u8 = 1;
const ODD: u8 = 2;

/// What each byte is within an identifier: one look per byte, as every hit pays for it.
static CLASSES: [u8; 256] = {
    let mut classes = [ODD; 256];
    let mut byte = 0;
    while byte < 128 {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        if byte as u8 == b'_' || byte as u8 == b'-' || (byte as u8).is_ascii_alphanumeric() {
            classes[byte] = if (byte as u8).is_ascii_uppercase() { UPPER } else { 0 };
        }
        byte += 1;
    }
    classes
};

/// Percent-decodes once (RFC 3986 §2.1), refusing what would decode to a separator or to another escape.
fn decode(text: &str) -> Result<Cow<'_, str>, Malformed> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit().ok_or(Malformed::Escape)?, digit().ok_or(Malformed::Escape)?);
        match (high * 16 + low) as u8 {
            b'/' | b'\\' | b';' | 0..=0x1f | 0x7f => return Err(Malformed::Character),
            b'%' => return Err(Malformed::Twice),
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| Malformed::Escape)
}
