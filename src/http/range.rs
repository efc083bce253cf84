//! Which part of a document is wanted?
//! Given a request's `Range` and `If-Range` and what the document is, hands back all of it, one slice of it, or none that is there.
//! Never slices across encodings: lengths, tags and positions are those of the bytes that would be sent.

use bytes::Bytes;
use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method};

use super::conditional::{Comparison, Validators, is_same};
use super::date;

/// What a `Range` asks of a document (RFC 9110 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: no range, one we may ignore, or the document changed meanwhile.
    Whole,
    /// One slice of it: 206.
    Part(Slice),
    /// Nothing that is there: 416.
    Beyond,
}

/// A satisfiable slice: `first..=last` lies inside the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    first: u64,
    last: u64,
    length: u64,
}

/// What a request wants of a document of `length` bytes that would be answered with 200. Preconditions come before it.
///
/// Several ranges are answered as a whole, which RFC 9110 §14.2 allows, and costs no multipart bodies.
pub fn wanted(method: &Method, asked: &HeaderMap, length: u64, held: Validators<'_>) -> Wanted {
    let Some(range) = asked.get(RANGE) else { return Wanted::Whole };
    if method != Method::GET || asked.get_all(RANGE).iter().count() > 1 || !is_unchanged(asked, held) {
        return Wanted::Whole;
    }
    slice(range.as_bytes(), length)
}

/// The one slice a range names. What is malformed, of another unit or several is as if it were not there.
fn slice(range: &[u8], length: u64) -> Wanted {
    let Some((unit, set)) = split(range, b'=') else { return Wanted::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Wanted::Whole;
    }
    // RFC 9110 §5.6.1.2: empty elements of a list do not count.
    let mut specs = set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return Wanted::Whole };
    let Some((first, last)) = split(spec, b'-') else { return Wanted::Whole };
    let part = |first, last| Wanted::Part(Slice { first, last, length });
    match (first, last) {
        (b"", last) => match number(last) {
            Some(0) => Wanted::Beyond,
            // Of nothing the last bytes are nothing, which no `Content-Range` can say.
            Some(suffix) if length > 0 => part(length.saturating_sub(suffix), length - 1),
            _ => Wanted::Whole,
        },
        (first, last) => {
            let last = if last.is_empty() { Some(u64::MAX) } else { number(last) };
            match (number(first), last) {
                (Some(first), Some(last)) if first > last => Wanted::Whole,
                (Some(first), Some(_)) if first >= length => Wanted::Beyond,
                (Some(first), Some(last)) => part(first, last.min(length - 1)),
                _ => Wanted::Whole,
            }
        }
    }
}

/// `If-Range` (RFC 9110 §13.1.5) needs a strong match; without the header nothing is in doubt.
fn is_unchanged(asked: &HeaderMap, held: Validators<'_>) -> bool {
    let mut lines = asked.get_all(IF_RANGE).iter();
    let (Some(line), more) = (lines.next(), lines.next()) else { return true };
    if more.is_some() {
        return false;
    }
    let said = line.as_bytes().trim_ascii();
    if said.starts_with(b"\"") || said.starts_with(b"W/") {
        return is_same(said, held.tag, Comparison::Strong);
    }
    let (Some(said), Some(modified), Some(sent)) =
        (date::parse(said), held.modified.and_then(date::parse), held.date.and_then(date::parse))
    else {
        return false;
    };
    // RFC 9110 §8.8.2.2: a date is strong only if the answer is at least a second younger.
    said == modified && sent > modified
}

impl Slice {
    /// `Content-Range` of the 206.
    pub fn content_range(&self) -> HeaderValue {
        let text = format!("bytes {}-{}/{}", self.first, self.last, self.length);
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("bytes */*"))
    }

    /// These bytes of the document, sharing its memory.
    pub fn of(&self, document: &Bytes) -> Bytes {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(document.len());
        document.slice(place(self.first)..place(self.last.saturating_add(1)))
    }
}

/// `Content-Range` of a 416: how long the document is (RFC 9110 §14.4).
pub fn beyond(length: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes */{length}")).unwrap_or(HeaderValue::from_static("bytes */*"))
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// Digits and nothing else; beyond `u64` is as good as its end.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn asked(lines: &[(http::HeaderName, &str)]) -> HeaderMap {
        let mut asked = HeaderMap::new();
        for (name, value) in lines {
            asked.append(name, value.parse().unwrap());
        }
        asked
    }

    fn part(first: u64, last: u64, length: u64) -> Wanted {
        Wanted::Part(Slice { first, last, length })
    }

    #[test]
    fn a_range_is_read_as_the_standard_says() {
        use Wanted::{Beyond, Whole};
        let rows = [
            ("bytes=0-0", part(0, 0, 10)),
            ("bytes=0-9", part(0, 9, 10)),
            ("bytes=2-4", part(2, 4, 10)),
            ("bytes=2-", part(2, 9, 10)),
            ("bytes=2-99", part(2, 9, 10)),
            ("bytes=2-99999999999999999999999999", part(2, 9, 10)),
            ("bytes=-3", part(7, 9, 10)),
            ("bytes=-10", part(0, 9, 10)),
            ("bytes=-99999999999999999999999999", part(0, 9, 10)),
            ("BYTES=1-2", part(1, 2, 10)),
            ("bytes= 1-2 , ", part(1, 2, 10)),
            ("bytes=,1-2", part(1, 2, 10)),
            ("bytes=10-", Beyond),
            ("bytes=10-12", Beyond),
            ("bytes=99999999999999999999999999-", Beyond),
            ("bytes=-0", Beyond),
            ("bytes=4-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("bytes=0-1,30-", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=,", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1-2-3", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("lines=0-1", Whole),
            ("0-1", Whole),
        ];
        for (range, expected) in rows {
            assert_eq!(wanted(&Method::GET, &asked(&[(RANGE, range)]), 10, Validators::default()), expected, "{range}");
        }
    }

    #[test]
    fn of_an_empty_document_no_slice_is_made() {
        for (range, expected) in
            [("bytes=0-", Wanted::Beyond), ("bytes=-1", Wanted::Whole), ("bytes=-0", Wanted::Beyond)]
        {
            assert_eq!(wanted(&Method::GET, &asked(&[(RANGE, range)]), 0, Validators::default()), expected, "{range}");
        }
    }

    #[test]
    fn only_one_range_of_a_get_counts() {
        let two = asked(&[(RANGE, "bytes=0-1"), (RANGE, "bytes=2-3")]);
        assert_eq!(wanted(&Method::GET, &two, 10, Validators::default()), Wanted::Whole);
        let one = asked(&[(RANGE, "bytes=0-1")]);
        for method in [Method::HEAD, Method::POST, Method::PUT] {
            assert_eq!(wanted(&method, &one, 10, Validators::default()), Wanted::Whole, "{method}");
        }
    }

    #[test]
    fn a_document_that_may_have_changed_is_sent_whole() {
        let (sun, later) = (SUN.as_bytes(), LATER.as_bytes());
        let dated = |date| Validators { tag: Some(b"\"a\""), modified: Some(sun), date };
        let (strong, weak) = (dated(Some(later)), dated(Some(sun)));
        let yes = part(0, 1, 10);
        let rows = [
            (strong, "\"a\"", yes),
            (strong, "W/\"a\"", Wanted::Whole),
            (strong, "\"b\"", Wanted::Whole),
            (strong, "a", Wanted::Whole),
            (strong, "\"a\", \"b\"", Wanted::Whole),
            (strong, SUN, yes),
            (strong, "Sunday, 06-Nov-94 08:49:37 GMT", yes),
            (strong, LATER, Wanted::Whole),
            (strong, "yesterday", Wanted::Whole),
            (weak, SUN, Wanted::Whole),
            (dated(None), SUN, Wanted::Whole),
            (Validators { tag: Some(b"W/\"a\""), ..strong }, "W/\"a\"", Wanted::Whole),
            (Validators { tag: Some(b"W/\"a\""), ..strong }, "\"a\"", Wanted::Whole),
            (Validators::default(), "\"a\"", Wanted::Whole),
            (Validators::default(), SUN, Wanted::Whole),
        ];
        for (held, said, expected) in rows {
            let asked = asked(&[(RANGE, "bytes=0-1"), (IF_RANGE, said)]);
            assert_eq!(wanted(&Method::GET, &asked, 10, held), expected, "{said} {held:?}");
        }
        let twice = asked(&[(RANGE, "bytes=0-1"), (IF_RANGE, "\"a\""), (IF_RANGE, "\"a\"")]);
        assert_eq!(wanted(&Method::GET, &twice, 10, strong), Wanted::Whole);
        assert_eq!(wanted(&Method::GET, &asked(&[(IF_RANGE, "\"a\"")]), 10, strong), Wanted::Whole);
    }

    #[test]
    fn what_is_said_of_a_slice_is_what_is_sent() {
        let document = Bytes::from_static(b"0123456789");
        let Wanted::Part(slice) = slice(b"bytes=3-5", 10) else { panic!("a slice") };
        assert_eq!(slice.content_range(), "bytes 3-5/10");
        assert_eq!(slice.of(&document), "345");
        assert_eq!(beyond(10), "bytes */10");
    }

    proptest! {
        #[test]
        fn every_slice_lies_inside(range in "bytes=[0-9]{0,20}-[0-9]{0,20}|[ -~]{0,40}", length in prop_oneof![0..20_u64, any::<u64>()]) {
            if let Wanted::Part(Slice { first, last, length: of }) = slice(range.as_bytes(), length) {
                prop_assert!(first <= last && last < length && of == length);
            }
        }
    }
}
