//! Is it a document of the API?
//! Given a type and a body, hands back what stands at the top of it, or that it is no JSON.
//! Never looks below that: what is inside is the partner's.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::account_api::{Endpoint, Field, Kind, shape};

/// What stands at the top of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top {
    /// An object with these members.
    Object(Members),
    /// Anything else.
    Other,
}

/// The members of an object, whatever their order: a number that stands for their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Members {
    names: u64,
    /// Whether the value of the documented member is of the documented kind, where it is among them.
    documented: Option<bool>,
}

impl Members {
    /// Whether it has the member that the route's documents have.
    pub fn has_the_documented(self) -> bool {
        self.documented == Some(true)
    }

    /// Whether it has that member, and something else in it than documents have.
    pub fn has_something_else_there(self) -> bool {
        self.documented == Some(false)
    }

    /// The same number for the same names; 0 is no name at all.
    pub fn names(self) -> u64 {
        self.names
    }
}

/// What stands at the top of a body, if it is JSON as a whole; `endpoint` is whose documented member is looked for.
pub fn top(endpoint: Option<Endpoint>, body: &[u8]) -> Option<Top> {
    let mut text = serde_json::Deserializer::from_slice(body);
    let top = AtTop { sought: endpoint.map(|endpoint| &shape(endpoint).member) }.deserialize(&mut text).ok()?;
    text.end().ok()?;
    Some(top)
}

/// Whether the head says `application/json` in so many bytes, and nothing of a coding: what nearly every answer does.
pub fn is_plain_json(head: &HeaderMap) -> bool {
    head.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"application/json")
        && !head.contains_key(CONTENT_ENCODING)
}

/// Whether the head says, or leaves open, that a body is JSON. `also_text` lets types through that say nothing of the bytes,
/// for who looks at these.
pub fn is_named_json(head: &HeaderMap, also_text: bool) -> bool {
    if head.contains_key(CONTENT_ENCODING) {
        return false;
    }
    let Some(value) = head.get(CONTENT_TYPE) else { return true };
    // Of a type that a proxy said once more each is the same.
    let first = value.as_bytes().split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default();
    let essence = first.trim_ascii().to_ascii_lowercase();
    match essence.as_slice() {
        b"application/json" | b"text/json" | b"application/x-json" | b"text/x-json" | b"" => true,
        b"text/plain" | b"text/html" | b"text/javascript" | b"application/javascript" => also_text,
        b"application/octet-stream" | b"binary/octet-stream" => also_text,
        other => other.ends_with(b"+json"),
    }
}

/// Reads what stands at the top; what is below is skipped, which takes no memory and no stack.
struct AtTop {
    sought: Option<&'static Field>,
}

impl<'de> DeserializeSeed<'de> for AtTop {
    type Value = Top;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Top, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AtTop {
    type Value = Top;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Top, M::Error> {
        let (mut names, mut documented) = (0_u64, None);
        let hash = ahash::RandomState::with_seeds(1, 2, 3, 4);
        while let Some(Name(name)) = map.next_key::<Name<'_>>()? {
            // The order changes nothing, and no name makes none of another.
            names = names.wrapping_add(hash.hash_one(&*name) | 1);
            match self.sought.filter(|sought| sought.name == name) {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(sought) => documented = Some(map.next_value_seed(IsOf(sought.kind))?),
            }
        }
        Ok(Top::Object(Members { names, documented }))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Top, S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Top::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Top, E> {
        Ok(Top::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Top, E> {
        Ok(Top::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Top, E> {
        Ok(Top::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Top, E> {
        Ok(Top::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Top, E> {
        Ok(Top::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Top, E> {
        Ok(Top::Other)
    }
}

/// Whether the documented member's value is rows or an object, as documented.
struct IsOf(Kind);

impl<'de> DeserializeSeed<'de> for IsOf {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IsOf {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(matches!(self.0, Kind::Object(_)))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<bool, S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(matches!(self.0, Kind::Rows(_)))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// Borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'n>(#[serde(borrow)] Cow<'n, str>);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn documented(endpoint: Endpoint, text: &[u8]) -> Option<bool> {
        Some(matches!(top(Some(endpoint), text)?, Top::Object(members) if members.has_the_documented()))
    }

    /// Whatever was JSON replaced a good document, be it `{"error": …}`.
    #[test]
    fn a_document_has_the_member_that_its_route_has() {
        let rows: [(Endpoint, &[u8], Option<bool>); 24] = [
            (Endpoint::Client, br#"{"client":{}}"#, Some(true)),
            (Endpoint::Client, br#" {"v":1,"client":{"id":[1,{}]},"w":[]} "#, Some(true)),
            (Endpoint::Client, br#"{"cl\u0069ent":{}}"#, Some(true)),
            (Endpoint::Client, b"{\"client\":{\"name\":\"Ren\xe9\"}}", Some(true)),
            (Endpoint::Client, br#"{"client":[]}"#, Some(false)),
            (Endpoint::Client, br#"{"client":null}"#, Some(false)),
            (Endpoint::Client, br#"{"client":"down"}"#, Some(false)),
            (Endpoint::Client, br#"{"client":-1}"#, Some(false)),
            (Endpoint::Client, br#"{"clients":[]}"#, Some(false)),
            (Endpoint::Client, br#"{"Client":{}}"#, Some(false)),
            (Endpoint::Client, br#"{"error":{"client":{}}}"#, Some(false)),
            (Endpoint::Client, br#"[{"client":{}}]"#, Some(false)),
            (Endpoint::Client, b"{}", Some(false)),
            (Endpoint::Client, b"[]", Some(false)),
            (Endpoint::Client, b"null", Some(false)),
            (Endpoint::Client, b"\"client\"", Some(false)),
            (Endpoint::Client, b"1.5", Some(false)),
            (Endpoint::Client, b"", None),
            (Endpoint::Client, br#"{"client":{}}<!-- 0.02s -->"#, None),
            (Endpoint::Client, br#"{"client":{}"#, None),
            (Endpoint::Client, b"<html>", None),
            (Endpoint::Clients, br#"{"clients":[]}"#, Some(true)),
            (Endpoint::Clients, br#"{"clients":{}}"#, Some(false)),
            (Endpoint::ProjectResources, br#"{"project":{}}"#, Some(true)),
        ];
        for (endpoint, text, expected) in rows {
            assert_eq!(documented(endpoint, text), expected, "{endpoint:?} {}", String::from_utf8_lossy(text));
        }
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(documented(Endpoint::Client, &[b"{\"client\":{\"a\":", &deep[..], b"}}"].concat()), Some(true));
        assert_eq!(documented(Endpoint::Client, &deep), Some(false));
    }

    #[test]
    fn members_are_the_same_in_any_order() {
        let names = |text: &str| match top(None, text.as_bytes()) {
            Some(Top::Object(members)) => members.names(),
            _ => panic!("{text}"),
        };
        assert_eq!(names(r#"{"a":1,"b":2}"#), names(r#"{"b":null,"a":[]}"#));
        assert_ne!(names(r#"{"a":1,"b":2}"#), names(r#"{"a":1}"#));
        assert_ne!(names(r#"{"a":1}"#), names(r#"{"b":1}"#));
        assert_eq!((names("{}"), names(r#"{"a":{"x":1}}"#)), (0, names(r#"{"a":{"y":1}}"#)));
    }

    /// Partners that call their JSON `text/json`, name no type, or two of them, were a 502.
    #[test]
    fn types_that_partners_give_their_json_are_read() {
        let named = |lines: &[&str], also_text| {
            let lines = lines.iter().map(|line| (CONTENT_TYPE, HeaderValue::from_str(line).unwrap()));
            let mut head = HeaderMap::new();
            for (name, value) in lines {
                head.append(name, value);
            }
            is_named_json(&head, also_text)
        };
        let json: [&[&str]; 11] = [
            &[],
            &[""],
            &["application/json"],
            &["Application/JSON; charset=utf-8"],
            &["application/json;charset=ISO-8859-1"],
            &["application/json, application/json"],
            &["application/json", "application/json"],
            &["text/json"],
            &["application/x-json"],
            &["application/vnd.acme.v1+json"],
            &["application/problem+json"],
        ];
        for lines in json {
            assert!(named(lines, false), "{lines:?}");
        }
        for text in ["text/plain", "text/html; charset=utf-8", "application/octet-stream", "text/javascript"] {
            assert!(named(&[text], true) && !named(&[text], false), "{text}");
        }
        for other in ["application/xml", "image/png", "application/jsonp", "text/csv"] {
            assert!(!named(&[other], true), "{other}");
        }
        assert!(!is_named_json(&HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("br"))]), true));
    }
}
