//! Field values that are lists.
//! Given a line or a head, hands back its elements, trimmed, in order (RFC 9110 §5.6.1).
//! Never drops an empty element: what it means is for the reader to say.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// The elements of all lines of a field whose elements are tokens or numbers: a quote begins nothing there that could hide
/// one.
pub fn plain_elements<'a>(head: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = head.get_all(name).iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// The elements of a line; a comma inside a quoted string separates nothing (RFC 9110 §5.6.4).
pub fn elements(line: &[u8]) -> Elements<'_> {
    Elements { rest: Some(line) }
}

/// See [`elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (element, after) = rest.split_at_checked(top_level_comma(rest)).unwrap_or((rest, b""));
        self.rest = after.split_first().map(|(_, after)| after);
        Some(element.trim_ascii())
    }
}

/// Where the first comma outside quotes is; the length if there is none.
fn top_level_comma(text: &[u8]) -> usize {
    // Most elements have no quotes.
    let first = text.iter().position(|&byte| byte == b',' || byte == b'"').unwrap_or(text.len());
    if text.get(first) != Some(&b'"') {
        return first;
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate().skip(first) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_hides_no_token() {
        let mut head = HeaderMap::new();
        for line in ["a ,\"b", " c\",,d"] {
            head.append(http::header::VIA, line.parse().unwrap());
        }
        let found: Vec<&[u8]> = plain_elements(&head, &http::header::VIA).collect();
        assert_eq!(found, [&b"a"[..], b"\"b", b"c\"", b"", b"d"]);
        assert_eq!(plain_elements(&head, &http::header::TE).count(), 0);
    }

    #[test]
    fn a_comma_inside_quotes_separates_nothing() {
        let rows: [(&str, &[&str]); 8] = [
            ("", &[""]),
            ("a", &["a"]),
            (" a ,b", &["a", "b"]),
            ("a,,b,", &["a", "", "b", ""]),
            (r#"a="x,y",b"#, &[r#"a="x,y""#, "b"]),
            (r#"a="x\",y",b"#, &[r#"a="x\",y""#, "b"]),
            (r#"a="x,b"#, &[r#"a="x,b"#]),
            (r"a\,b", &[r"a\", "b"]),
        ];
        for (line, expected) in rows {
            let found: Vec<&[u8]> = elements(line.as_bytes()).collect();
            assert_eq!(found, expected.iter().map(|text| text.as_bytes()).collect::<Vec<_>>(), "{line}");
        }
    }
}
