//! The tags of conditional requests (RFC 9110 §8.8.3, §13.1).
//! Given a head, hands back whether a list of tags names a held one.
//! Never judges what follows from it, and reads no dates.

use http::HeaderMap;
use http::header::HeaderName;

/// How two tags are compared (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Both strong, and the same.
    Strong,
    /// The same but for the mark of weakness.
    Weak,
}

/// Whether a list of tags is `*` or names the held one.
pub fn matches(head: &HeaderMap, list: &HeaderName, held: Option<&[u8]>, comparison: Comparison) -> bool {
    head.get_all(list).iter().any(|line| {
        let line = line.as_bytes();
        // Most lists are one tag.
        is_same(line, held, comparison) || tags(line).any(|tag| tag == b"*" || is_same(tag, held, comparison))
    })
}

/// Whether a list of tags names this one, in whatever strength.
pub fn names(head: &HeaderMap, list: &HeaderName, held: &[u8]) -> bool {
    head.get_all(list).iter().any(|line| tags(line.as_bytes()).any(|tag| opaque(tag) == opaque(held)))
}

/// A tag without its mark of weakness.
pub fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn is_same(tag: &[u8], held: Option<&[u8]>, comparison: Comparison) -> bool {
    let Some(held) = held.filter(|_| !tag.is_empty()) else { return false };
    match comparison {
        Comparison::Strong => tag == held && !tag.starts_with(b"W/"),
        Comparison::Weak => opaque(tag) == opaque(held),
    }
}

/// The elements of a list of tags; a comma inside a tag separates nothing, and a backslash there is a letter like others.
fn tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let separates = move |&byte: &u8| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    };
    line.split(separates).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_list_names_a_tag_by_the_comparison_that_is_asked_for() {
        let rows: [(&[&str], &str, bool, bool); 14] = [
            (&[], "\"a\"", false, false),
            (&[""], "\"a\"", false, false),
            (&["*"], "\"a\"", true, true),
            (&["\"a\""], "\"a\"", true, true),
            (&["W/\"a\""], "\"a\"", false, true),
            (&["\"a\""], "W/\"a\"", false, true),
            (&["W/\"a\""], "W/\"a\"", false, true),
            (&["w/\"a\""], "\"a\"", false, false),
            (&["\"b\", \"a\""], "\"a\"", true, true),
            (&["\"b\"", "\"a\""], "\"a\"", true, true),
            (&["\"b,a\""], "\"b,a\"", true, true),
            (&["\"x\", \"b,\"a\""], "\"a\"", false, false),
            (&["\"b\\\", \"a\""], "\"a\"", true, true),
            (&["a"], "\"a\"", false, false),
        ];
        for (lines, held, strong, weak) in rows {
            let mut head = HeaderMap::new();
            for line in lines {
                head.append(IF_NONE_MATCH, line.parse().unwrap());
            }
            let is = |comparison| matches(&head, &IF_NONE_MATCH, Some(held.as_bytes()), comparison);
            assert_eq!((is(Comparison::Strong), is(Comparison::Weak)), (strong, weak), "{lines:?} {held}");
            let star = lines == ["*"];
            assert_eq!(names(&head, &IF_NONE_MATCH, held.as_bytes()), weak && !star, "{lines:?} {held}");
            assert_eq!(matches(&head, &IF_NONE_MATCH, None, Comparison::Weak), star, "{lines:?}");
        }
    }
}
