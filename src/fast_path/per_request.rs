//! What does a head say of this one request alone?
//! Given a head's fields, hands back the rest of them, which its sender says each time, and what it says but once.
//! Never takes out a line whose value could be read in two ways: such a head goes the long way.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use crate::http::REQUEST_ID;
use crate::trail::RequestId;
use crate::trail::trace::parent::TRACEPARENT;

/// The rest of the trace's context (W3C Trace Context §3.3), which nobody reads here.
const TRACESTATE: &str = "tracestate";

/// A head's fields, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PerRequest<'h> {
    /// The lines that say the same each time, with the empty one at the end.
    pub(super) rest: Cow<'h, [u8]>,
    /// The request's id.
    pub(super) id: Option<RequestId>,
    parent: Option<&'h [u8]>,
}

impl<'h> PerRequest<'h> {
    /// Where all says the same each time.
    pub(super) fn nothing_in(fields: &'h [u8]) -> Self {
        Self { rest: Cow::Borrowed(fields), id: None, parent: None }
    }

    /// Takes out the lines of one request; `None` where one of them is there twice, or has a value that is not plain, and
    /// where anything stands behind the empty line: that is no part of this head, whatever it looks like.
    pub(super) fn of(fields: &'h [u8]) -> Option<Self> {
        let mut own = Self::nothing_in(fields);
        let (mut from, mut copied) = (0, 0);
        let mut state = None;
        for end in memchr::memchr_iter(b'\n', fields) {
            let line = fields.get(from..=end)?;
            if matches!(line.first(), Some(b'\r' | b'\n')) && end + 1 < fields.len() {
                return None;
            }
            if matches!(line.first(), Some(b'x' | b'X' | b't' | b'T'))
                && let Some((name, value)) = parted(line)
                && let Some(place) = FieldKind::of(name)
            {
                let value = plain(value)?;
                let is_second = match place {
                    FieldKind::Id => own.id.replace(RequestId::accepted(value)?).is_some(),
                    FieldKind::Parent => own.parent.replace(value).is_some(),
                    FieldKind::State => state.replace(value).is_some(),
                };
                if is_second {
                    return None;
                }
                let before = fields.get(copied..from)?;
                match &mut own.rest {
                    Cow::Owned(rest) => rest.extend_from_slice(before),
                    rest => *rest = Cow::Owned(before.to_vec()),
                }
                copied = end + 1;
            }
            from = end + 1;
        }
        if let Cow::Owned(rest) = &mut own.rest {
            rest.extend_from_slice(fields.get(copied..)?);
        }
        Some(own)
    }

    /// What a trace of the request is begun with.
    pub(super) fn context(&self) -> HeaderMap {
        let parent = self.parent.and_then(|parent| HeaderValue::from_bytes(parent).ok());
        parent.into_iter().map(|parent| (TRACEPARENT, parent)).collect()
    }
}

#[derive(Clone, Copy)]
enum FieldKind {
    Id,
    Parent,
    State,
}

impl FieldKind {
    fn of(name: &[u8]) -> Option<Self> {
        match () {
            () if name.eq_ignore_ascii_case(REQUEST_ID.as_str().as_bytes()) => Some(Self::Id),
            () if name.eq_ignore_ascii_case(TRACEPARENT.as_str().as_bytes()) => Some(Self::Parent),
            () if name.eq_ignore_ascii_case(TRACESTATE.as_bytes()) => Some(Self::State),
            () => None,
        }
    }
}

/// A line's name and value (RFC 9112 §5), its end taken off.
fn parted(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(b"\r\n")?;
    let colon = memchr::memchr(b':', line)?;
    Some((line.get(..colon)?, line.get(colon + 1..)?))
}

/// A value of visible characters, and spaces between them; what stands around it is what RFC 9110 §5.6.3 lets stand there.
fn plain(mut value: &[u8]) -> Option<&[u8]> {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value.iter().all(|byte| matches!(byte, b' '..=b'~')).then_some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_of_one_request_is_taken_out_in_any_case_and_place() {
        let id = RequestId::accepted(b"a-1");
        let parent = Some(&b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..]);
        let line = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let rows = [
            ("host: a\r\n\r\n".to_owned(), "host: a\r\n\r\n", None, None),
            ("X-Request-Id: a-1\r\nhost: a\r\n\r\n".to_owned(), "host: a\r\n\r\n", id, None),
            ("host: a\r\nx-request-id:a-1 \r\n\r\n".to_owned(), "host: a\r\n\r\n", id, None),
            (
                format!("host: a\r\nTraceparent: {line}\r\ntracestate: a=1,b=2\r\nx: y\r\n\r\n"),
                "host: a\r\nx: y\r\n\r\n",
                None,
                parent,
            ),
            (format!("x: y\r\ntraceparent:\t{line}\r\nX-REQUEST-ID: a-1\r\n\r\n"), "x: y\r\n\r\n", id, parent),
            ("tracestate: \r\n\r\n".to_owned(), "\r\n", None, None),
            (
                "x-request-id : a\r\nx-request: b\r\n\r\n".to_owned(),
                "x-request-id : a\r\nx-request: b\r\n\r\n",
                None,
                None,
            ),
        ];
        for (fields, rest, id, parent) in rows {
            let own = PerRequest::of(fields.as_bytes()).unwrap();
            assert_eq!((&*own.rest, own.id, own.parent), (rest.as_bytes(), id, parent), "{fields:?}");
        }
    }

    #[test]
    fn what_is_there_twice_or_is_not_plain_goes_the_long_way() {
        for fields in [
            "x-request-id: a\r\nx-request-id: a\r\n\r\n",
            "x-request-id: \r\n\r\n",
            "x-request-id: a b\r\n\r\n",
            "x-request-id: a\rb\r\n\r\n",
            "traceparent: a\r\nTraceparent: b\r\n\r\n",
            "traceparent: a\0\r\n\r\n",
            "traceparent:\x0ca\r\n\r\n",
            "tracestate: a\tb\r\n\r\n",
            "tracestate: a\u{e9}\r\n\r\n",
            "tracestate: a\r\ntracestate: b\r\n\r\n",
            // What came behind a head in the same read was swallowed as if it were of it.
            "host: a\r\n\r\nx-request-id: a\r\ntracestate: b\r\n",
            "host: a\r\nx-request-id: a\r\n\r\ntracestate: any bytes HTTP/1.1\r\n",
            "x-request-id: a\r\n\r\nG",
            "host: a\n\nx-request-id: a\r\n\r\n",
        ] {
            assert_eq!(PerRequest::of(fields.as_bytes()), None, "{fields:?}");
        }
        let long = format!("x-request-id: {}\r\n\r\n", "a".repeat(65));
        assert_eq!(PerRequest::of(long.as_bytes()), None);
    }

    proptest! {
        /// Put back where they were taken out, the lines make the head that it was; and nothing else is ever taken out.
        #[test]
        fn the_rest_is_all_there_is_but_those_lines(
            lines in prop::collection::vec("(host|accept|x-req|trace|X-Request-Ids|te|x): ?[ -~]{0,20}", 0..6),
            at in any::<prop::sample::Index>(),
            own in prop::option::of("(x-request-id|X-Request-Id): [a-z0-9]{1,20}"),
        ) {
            let rest = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>() + "\r\n";
            let mut all = lines.clone();
            if let Some(own) = &own {
                all.insert(at.index(lines.len() + 1), own.clone());
            }
            let fields = all.iter().map(|line| format!("{line}\r\n")).collect::<String>() + "\r\n";
            let taken = PerRequest::of(fields.as_bytes()).unwrap();
            prop_assert_eq!(&*taken.rest, rest.as_bytes());
            prop_assert_eq!(taken.id.is_some(), own.is_some());
        }
    }
}
