//! Where does each value of a document begin and end?
//! Given the bytes of a JSON text (RFC 8259), hands back slices of them in order, without judging what they hold.
//! Never decodes, never recurses: what is hidden may be nested as deep, and be as odd, as it likes.

use std::borrow::Cow;

/// The bytes are not JSON after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// A position in a document.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    /// Steps over this byte if it is the next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        found
    }

    /// Steps over one whole value and hands back its text.
    pub(super) fn value(&mut self) -> Result<&'a [u8], Broken> {
        let length = match self.peek().ok_or(Broken)? {
            b'"' => string(self.rest).ok_or(Broken)?,
            b'{' | b'[' => nested(self.rest).ok_or(Broken)?,
            b',' | b':' | b'}' | b']' => return Err(Broken),
            _ => self
                .rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'))
                .unwrap_or(self.rest.len()),
        };
        let (value, rest) = self.rest.split_at_checked(length).ok_or(Broken)?;
        self.rest = rest;
        Ok(value)
    }

    /// Steps into an object or array by its opening byte and visits what is inside; `each` steps over one item.
    pub(super) fn items<E: From<Broken>>(
        &mut self,
        (open, close): (u8, u8),
        mut each: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.eat(open) {
            return Err(Broken.into());
        }
        if self.eat(close) {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.eat(close) {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(Broken.into());
            }
        }
    }

    /// Steps over a member's name and its colon; a name that cannot be decoded is `None`, and like no other.
    pub(super) fn name(&mut self) -> Result<Option<Cow<'a, str>>, Broken> {
        if self.peek() != Some(b'"') {
            return Err(Broken);
        }
        let name = text_of(self.value()?);
        if self.eat(b':') { Ok(name) } else { Err(Broken) }
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_over(&mut self) -> bool {
        self.peek().is_none()
    }
}

pub(super) const OBJECT: (u8, u8) = (b'{', b'}');
pub(super) const ARRAY: (u8, u8) = (b'[', b']');

/// What a string says; `None` for anything else, and for what is no Unicode.
pub(super) fn text_of(value: &[u8]) -> Option<Cow<'_, str>> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inside.contains(&b'\\') {
        return serde_json::from_slice(value).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inside).ok().map(Cow::Borrowed)
}

/// The length of the string that begins here, quotes included.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = bytes.get(at..)?;
        let mark = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        match rest.get(mark)? {
            b'"' => return Some(at + mark + 1),
            _ => at += mark + 2,
        }
    }
}

/// The length of the object or array that begins here.
fn nested(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let rest = bytes.get(at..)?;
        let mark = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
        at += mark;
        match rest.get(mark)? {
            b'"' => {
                at += string(rest.get(mark..)?)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}
