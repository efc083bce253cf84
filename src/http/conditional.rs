//! Preconditions (RFC 9110 §13), and the tags that they name (§8.8.3).
//! Given a request's head and what is known of a document, hands back what its preconditions come to.
//! Never reads a method or a status: only what would be a success has preconditions, and `If-None-Match` here is of a GET or HEAD.

use http::HeaderMap;
use http::header::{HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};

use super::date;

/// By what a document is known (RFC 9110 §8.8).
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'a> {
    /// Its entity tag with its quotes, as it would be sent.
    pub tag: Option<&'a [u8]>,
    /// Its `Last-Modified`.
    pub modified: Option<&'a [u8]>,
    /// Its `Date`.
    pub date: Option<&'a [u8]>,
}

/// What the preconditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// There are none, or they hold.
    Holds,
    /// The asker has it: 304.
    NotModified,
    /// 412.
    Fails,
}

/// All preconditions but `If-Range`, in the order of RFC 9110 §13.2.2.
pub fn condition(asked: &HeaderMap, held: Validators<'_>) -> Condition {
    match () {
        () if fails(asked, held) => Condition::Fails,
        () if is_unmodified(asked, held) => Condition::NotModified,
        () => Condition::Holds,
    }
}

/// §13.1.1 and, where that is not there, §13.1.4.
fn fails(asked: &HeaderMap, held: Validators<'_>) -> bool {
    if asked.contains_key(IF_MATCH) {
        return !matches(asked, &IF_MATCH, held.tag, Comparison::Strong);
    }
    let until = date::of_one(asked, &IF_UNMODIFIED_SINCE);
    until.is_some_and(|until| held.modified.and_then(date::parse).is_some_and(|at| at > until))
}

/// §13.1.2 and, where that is not there, §13.1.3: the two that a cache judges also of what it holds of somebody else's.
pub fn is_unmodified(asked: &HeaderMap, held: Validators<'_>) -> bool {
    if asked.contains_key(IF_NONE_MATCH) {
        return matches(asked, &IF_NONE_MATCH, held.tag, Comparison::Weak);
    }
    let since = date::of_one(asked, &IF_MODIFIED_SINCE);
    // RFC 9111 §4.3.2: without a last modification the date of the answer stands for it.
    since.is_some_and(|since| held.modified.or(held.date).and_then(date::parse).is_some_and(|at| at <= since))
}

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

/// Whether a tag is the held one.
pub fn is_same(tag: &[u8], held: Option<&[u8]>, comparison: Comparison) -> bool {
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
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SUN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn head(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, value) in lines {
            head.append(name, value.parse().unwrap());
        }
        head
    }

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

    #[test]
    fn preconditions_are_judged_in_their_order() {
        use Condition::{Fails, Holds, NotModified};
        let own = "\"x\"".to_owned();
        let weak = format!("W/{own}");
        let list = format!("\"a\", W/\"b\" ,{own}");
        let weak_list = format!("\"a\", {weak}");
        let bare = own.trim_matches('"').to_owned();
        let rows: [(&[(HeaderName, &str)], Condition); 32] = [
            (&[], Holds),
            (&[(IF_NONE_MATCH, &own)], NotModified),
            (&[(IF_NONE_MATCH, &weak)], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, &list)], NotModified),
            (&[(IF_NONE_MATCH, &weak_list)], NotModified),
            (&[(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, &own)], NotModified),
            (&[(IF_NONE_MATCH, "\"a\"")], Holds),
            (&[(IF_NONE_MATCH, &bare)], Holds),
            (&[(IF_NONE_MATCH, "")], Holds),
            (&[(IF_MATCH, &own)], Holds),
            (&[(IF_MATCH, "*")], Holds),
            (&[(IF_MATCH, &list)], Holds),
            (&[(IF_MATCH, &weak)], Fails),
            (&[(IF_MATCH, "\"a\"")], Fails),
            (&[(IF_MATCH, "\"a\""), (IF_NONE_MATCH, &own)], Fails),
            (&[(IF_MATCH, &own), (IF_NONE_MATCH, &own)], NotModified),
            (&[(IF_MODIFIED_SINCE, SUN)], NotModified),
            (&[(IF_MODIFIED_SINCE, AFTER)], NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Holds),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Holds),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Fails),
            (&[(IF_UNMODIFIED_SINCE, SUN)], Holds),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Holds),
            // More than one value is as good as none (RFC 9110 §13.1.3, §13.1.4).
            (&[(IF_MODIFIED_SINCE, AFTER), (IF_MODIFIED_SINCE, AFTER)], Holds),
            (&[(IF_UNMODIFIED_SINCE, BEFORE), (IF_UNMODIFIED_SINCE, BEFORE)], Holds),
            (&[(IF_MODIFIED_SINCE, "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[(IF_UNMODIFIED_SINCE, BEFORE), (IF_NONE_MATCH, "*")], Fails),
            (&[(IF_MATCH, ""), (IF_UNMODIFIED_SINCE, AFTER)], Fails),
            (&[(IF_NONE_MATCH, ""), (IF_MODIFIED_SINCE, AFTER)], Holds),
            // A tag is the better word: dates beside it are not looked at.
            (&[(IF_NONE_MATCH, "\"a\""), (IF_MODIFIED_SINCE, AFTER)], Holds),
            (&[(IF_MATCH, &own), (IF_UNMODIFIED_SINCE, BEFORE)], Holds),
        ];
        let held =
            Validators { tag: Some(own.as_bytes()), modified: Some(SUN.as_bytes()), date: Some(AFTER.as_bytes()) };
        for (lines, expected) in rows {
            assert_eq!(condition(&head(lines), held), expected, "{lines:?}");
        }
    }

    #[test]
    fn without_a_last_modification_the_date_stands_for_it_where_nothing_fails_by_it() {
        let dated = Validators { date: Some(SUN.as_bytes()), ..Validators::default() };
        let rows = [
            (IF_MODIFIED_SINCE, SUN, Condition::NotModified),
            (IF_MODIFIED_SINCE, BEFORE, Condition::Holds),
            (IF_UNMODIFIED_SINCE, BEFORE, Condition::Holds),
        ];
        for (name, at, expected) in rows {
            let asked = head(&[(name, at)]);
            assert_eq!(condition(&asked, dated), expected, "{asked:?}");
            assert_eq!(condition(&asked, Validators::default()), Condition::Holds, "{asked:?} of what has no date");
        }
    }
}
