//! What does a body say, whatever form it comes in?
//! Given an answer's head and body, hands back the bytes that its reader wants: decoded, in UTF-8, without a byte order mark.
//! Never makes more of them than it may, and leaves what it cannot read as it came, for whoever judges it.

use std::io::Read;

use bytes::{Buf, Bytes};
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::Failed;

/// So much is decoded where the answer came; what becomes larger would keep a worker from its other callers for too long.
const LARGE: usize = 128 << 10;

/// So many codings, one over the other, are taken off.
const MAX_CODINGS: usize = 3;

/// A coding that we read (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// Why there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undone {
    /// More than is wanted comes out of it.
    TooLarge,
    /// It is not of that coding, or only a part of it.
    Broken,
}

/// Takes off codings that nobody asked for, as every client of the partner's does. What is still named in the head
/// afterwards could not be taken off.
///
/// # Errors
/// [`Failed::TooLarge`] if more than `most` bytes come out.
pub async fn plain(head: &mut HeaderMap, body: Bytes, most: usize) -> Result<Bytes, Failed> {
    let body = match head.contains_key(CONTENT_ENCODING) {
        true => decoded(head, body, most).await?,
        false => body,
    };
    Ok(in_utf8(head, body))
}

async fn decoded(head: &mut HeaderMap, body: Bytes, most: usize) -> Result<Bytes, Failed> {
    let Some(codings) = codings(head) else { return Ok(body) };
    let here = inflate(&codings, &body, most.min(LARGE));
    let done = match here {
        Err(Undone::TooLarge) if most > LARGE => {
            let body = body.clone();
            let apart = tokio::task::spawn_blocking(move || inflate(&codings, &body, most)).await;
            apart.unwrap_or(Err(Undone::Broken))
        }
        here => here,
    };
    match done {
        Ok(done) => {
            head.remove(CONTENT_ENCODING);
            head.remove(CONTENT_LENGTH);
            Ok(done)
        }
        Err(Undone::TooLarge) => Err(Failed::TooLarge),
        Err(Undone::Broken) => Ok(body),
    }
}

/// The codings in the order in which they are taken off; `None` where one of them is a coding that we do not read. A word
/// that is no coding, such as `utf-8`, changes no bytes.
fn codings(head: &HeaderMap) -> Option<Vec<Coding>> {
    let lines = head.get_all(CONTENT_ENCODING).iter();
    let words = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut codings = Vec::new();
    for word in words {
        match word.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => codings.push(Coding::Gzip),
            b"deflate" => codings.push(Coding::Deflate),
            // IANA's registry of content codings.
            b"aes128gcm" | b"br" | b"compress" | b"x-compress" | b"dcb" | b"dcz" | b"exi" | b"pack200-gzip"
            | b"zstd" => {
                return None;
            }
            _ => {}
        }
    }
    codings.reverse();
    (codings.len() <= MAX_CODINGS).then_some(codings)
}

fn inflate(codings: &[Coding], body: &Bytes, most: usize) -> Result<Bytes, Undone> {
    let mut body = body.clone();
    for coding in codings {
        // RFC 9112 §6.3: an answer without a body may name a coding all the same.
        if body.is_empty() {
            break;
        }
        body = match coding {
            Coding::Gzip => gunzip(&body, most)?,
            // Many servers leave out zlib's frame (RFC 9110 §8.4.1.2).
            Coding::Deflate => match bounded(ZlibDecoder::new(&body[..]), most) {
                Err(Undone::Broken) => bounded(DeflateDecoder::new(&body[..]), most)?,
                zlib => zlib?,
            },
        };
    }
    Ok(body)
}

/// All members, one after the other (RFC 1952 §2.2); what follows them is padding.
fn gunzip(body: &[u8], most: usize) -> Result<Bytes, Undone> {
    let (mut rest, mut whole) = (body, Vec::new());
    loop {
        let mut member = GzDecoder::new(rest);
        whole = read(&mut member, whole, most)?;
        rest = member.into_inner();
        if !rest.starts_with(&[0x1f, 0x8b]) {
            return Ok(whole.into());
        }
    }
}

fn bounded(mut decoder: impl Read, most: usize) -> Result<Bytes, Undone> {
    read(&mut decoder, Vec::new(), most).map(Bytes::from)
}

fn read(decoder: &mut impl Read, mut whole: Vec<u8>, most: usize) -> Result<Vec<u8>, Undone> {
    let left = (most - whole.len().min(most)) as u64;
    decoder.take(left + 1).read_to_end(&mut whole).map_err(|_| Undone::Broken)?;
    if whole.len() > most { Err(Undone::TooLarge) } else { Ok(whole) }
}

/// Without a byte order mark (RFC 8259 §8.1 lets a reader ignore it), and from UTF-16 where the mark or the type says so.
fn in_utf8(head: &mut HeaderMap, mut body: Bytes) -> Bytes {
    let (mark, from): (usize, fn([u8; 2]) -> u16) = match *body {
        [0xef, 0xbb, 0xbf, ..] => {
            body.advance(3);
            return body;
        }
        [0xff, 0xfe, ..] => (2, u16::from_le_bytes),
        [0xfe, 0xff, ..] => (2, u16::from_be_bytes),
        // Of these no JSON in UTF-8 begins with.
        [0, first, ..] if first != 0 => (0, u16::from_be_bytes),
        [first, 0, ..] if first != 0 => (0, u16::from_le_bytes),
        _ => return body,
    };
    let (pairs, []) = body.get(mark..).unwrap_or_default().as_chunks::<2>() else { return body };
    let text: Result<String, _> = char::decode_utf16(pairs.iter().map(|pair| from(*pair))).collect();
    match text {
        Ok(text) => {
            head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            text.into()
        }
        Err(_) => body,
    }
}

/// The text of a body whose type says that it is in Latin-1, or in Windows' superset of it, in UTF-8; `None` where nothing of
/// the kind is said, or it is the same in both.
pub fn from_latin1(content_type: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let mut parameters = content_type.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    let charset = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"charset=".len())?;
        name.eq_ignore_ascii_case(b"charset=").then_some(value)
    })?;
    let charset = charset.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(charset);
    const NAMES: [&[u8]; 5] = [b"iso-8859-1", b"latin1", b"latin-1", b"windows-1252", b"cp1252"];
    let named = NAMES.iter().any(|name| charset.eq_ignore_ascii_case(name));
    if !named || body.is_ascii() || std::str::from_utf8(body).is_ok() {
        return None;
    }
    Some(body.iter().map(|byte| windows_1252(*byte)).collect::<String>().into_bytes())
}

/// Browsers and others read Latin-1 as this, which has letters where that has control characters that nobody sends.
fn windows_1252(byte: u8) -> char {
    const ROW: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    let at = usize::from(byte).checked_sub(0x80);
    at.and_then(|at| ROW.get(at)).copied().unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const DOC: &[u8] = br#"{"client":{"id":"c1"}}"#;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn deflate(bytes: &[u8], framed: bool) -> Vec<u8> {
        let (mut zlib, mut raw) =
            (ZlibEncoder::new(Vec::new(), Compression::fast()), DeflateEncoder::new(Vec::new(), Compression::fast()));
        zlib.write_all(bytes).unwrap();
        raw.write_all(bytes).unwrap();
        if framed { zlib.finish().unwrap() } else { raw.finish().unwrap() }
    }

    async fn read(codings: &[&str], body: impl Into<Bytes>, most: usize) -> (Result<Bytes, Failed>, HeaderMap) {
        let mut head = HeaderMap::new();
        for coding in codings {
            head.append(CONTENT_ENCODING, coding.parse().unwrap());
        }
        (plain(&mut head, body.into(), most).await, head)
    }

    /// An answer in a coding that nobody asked for, or with a word there that is none, was a 502, though every client of the
    /// partner's reads it.
    #[tokio::test]
    async fn codings_that_nobody_asked_for_are_taken_off() {
        let two = [gzip(&DOC[..5]), gzip(&DOC[5..]), b"padding".to_vec()].concat();
        let rows: [(&[&str], Vec<u8>); 16] = [
            (&["gzip"], gzip(DOC)),
            (&["X-GZip"], gzip(DOC)),
            (&["gzip"], two),
            (&["deflate"], deflate(DOC, true)),
            (&["deflate"], deflate(DOC, false)),
            (&["deflate, gzip"], gzip(&deflate(DOC, true))),
            (&["deflate", "gzip"], gzip(&deflate(DOC, false))),
            (&["identity, gzip, utf-8"], gzip(DOC)),
            (&[""], DOC.to_vec()),
            (&["identity"], DOC.to_vec()),
            (&["none"], DOC.to_vec()),
            (&["UTF-8"], DOC.to_vec()),
            (&["binary"], DOC.to_vec()),
            (&[], DOC.to_vec()),
            (&[], [b"\xef\xbb\xbf", DOC].concat()),
            (&["gzip"], gzip(&[b"\xef\xbb\xbf", DOC].concat())),
        ];
        for (codings, body) in rows {
            let (read, head) = read(codings, body, 1_000).await;
            assert_eq!(read, Ok(Bytes::from_static(DOC)), "{codings:?}");
            assert!(!head.contains_key(CONTENT_ENCODING), "{codings:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_stays_as_it_came() {
        let half = gzip(DOC)[..20].to_vec();
        let rows: [(&str, Vec<u8>); 6] = [
            ("br", DOC.to_vec()),
            ("gzip, zstd", DOC.to_vec()),
            ("gzip", DOC.to_vec()),
            ("gzip", half),
            ("deflate", DOC.to_vec()),
            ("gzip, gzip, gzip, gzip", DOC.to_vec()),
        ];
        for (coding, body) in rows {
            let (read, head) = read(&[coding], body.clone(), 1_000).await;
            assert_eq!((read, head[CONTENT_ENCODING].to_str().unwrap()), (Ok(body.into()), coding));
        }
    }

    #[tokio::test]
    async fn a_bomb_is_cut_off_at_the_largest_answer() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 1 << 20);
        let nested = gzip(&bomb);
        let deflated = deflate(&vec![b' '; 4 << 20], true);
        for (coding, body) in [("gzip", bomb), ("gzip, gzip", nested), ("deflate", deflated)] {
            assert_eq!(read(&[coding], body, 1 << 20).await.0, Err(Failed::TooLarge), "{coding}");
        }
        let members = gzip(&[b' '; 1_000]).repeat(40);
        assert_eq!(read(&["gzip"], members, 30_000).await.0, Err(Failed::TooLarge));
        let large = vec![b'7'; 3 * LARGE];
        let (whole, _) = read(&["gzip"], gzip(&large), 3 * LARGE).await;
        assert_eq!(whole.unwrap(), large, "what is just within it is read, if elsewhere");
    }

    #[tokio::test]
    async fn utf_16_becomes_utf_8() {
        let text = "{\"client\":\"é𝄞\"}";
        let pairs = |from: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(from).collect::<Vec<u8>>();
        let (le, be) = (pairs(u16::to_le_bytes), pairs(u16::to_be_bytes));
        for body in [[&[0xff, 0xfe][..], &le].concat(), [&[0xfe, 0xff][..], &be].concat(), le, be] {
            let (read, head) = read(&[], body, 1_000).await;
            assert_eq!((read.unwrap(), head[CONTENT_TYPE].as_bytes()), (Bytes::from(text), &b"application/json"[..]));
        }
        for odd in [&b"\xff\xfe{"[..], b"\xff\xfe\x00\xd8", b"", b"7", b"\x00\x00"] {
            assert_eq!(read(&[], odd, 1_000).await.0.unwrap(), odd);
        }
    }

    #[test]
    fn latin_1_is_read_where_the_type_says_so() {
        let rows: [(&str, &[u8], Option<&str>); 9] = [
            ("application/json; charset=ISO-8859-1", b"caf\xe9", Some("café")),
            ("application/json;charset=\"iso-8859-1\"", b"caf\xe9", Some("café")),
            ("application/json; x=1; Charset=latin1", b"caf\xe9", Some("café")),
            ("application/json; charset=windows-1252", b"\x80 5", Some("€ 5")),
            ("application/json; charset=ISO-8859-1", b"cafe", None),
            ("application/json; charset=ISO-8859-1", "café".as_bytes(), None),
            ("application/json; charset=utf-8", b"caf\xe9", None),
            ("application/json", b"caf\xe9", None),
            ("", b"caf\xe9", None),
        ];
        for (content_type, body, expected) in rows {
            let read = from_latin1(content_type.as_bytes(), body);
            assert_eq!(read.as_deref(), expected.map(str::as_bytes), "{content_type}");
        }
    }
}
