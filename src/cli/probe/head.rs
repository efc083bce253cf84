//! What of an answer's head is told?
//! Given a head and the key that was shown, hands back the headers about caching and about limits, as they may be printed.
//! Never hands back the key, or a value without end.

use std::collections::BTreeMap;

use http::header::{AGE, CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED, LOCATION, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderName};

use crate::upstream::credential::Presented;

/// `Location` is here because a redirect is the other reason why nothing is stored.
const CACHING: [HeaderName; 7] = [CACHE_CONTROL, EXPIRES, AGE, ETAG, LAST_MODIFIED, VARY, LOCATION];

/// How names of limits begin.
const LIMITS: [&str; 3] = ["ratelimit", "x-ratelimit", "x-rate-limit"];

/// So much of a header is shown.
const LONGEST: usize = 120;

/// A head.
pub(super) struct Head<'h> {
    head: &'h HeaderMap,
    key: Option<Presented>,
}

impl<'h> Head<'h> {
    pub(super) fn new(head: &'h HeaderMap, key: Option<Presented>) -> Self {
        Self { head, key }
    }

    pub(super) fn caching(&self) -> BTreeMap<String, String> {
        self.listed(CACHING.iter())
    }

    pub(super) fn limits(&self) -> BTreeMap<String, String> {
        let limits =
            |name: &&HeaderName| **name == RETRY_AFTER || LIMITS.iter().any(|begin| name.as_str().starts_with(begin));
        self.listed(self.head.keys().filter(limits))
    }

    /// All values of a header as one line.
    pub(super) fn line(&self, name: &HeaderName) -> Option<String> {
        let values: Vec<_> = self.head.get_all(name).iter().map(|value| self.printable(value.as_bytes())).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    fn listed<'n>(&self, names: impl Iterator<Item = &'n HeaderName>) -> BTreeMap<String, String> {
        names.filter_map(|name| Some((name.to_string(), self.line(name)?))).collect()
    }

    /// A value as it may be printed.
    fn printable(&self, value: &[u8]) -> String {
        let key = self.key.as_ref().map(|key| key.value().as_bytes()).filter(|key| !key.is_empty());
        if key.is_some_and(|key| value.windows(key.len()).any(|part| part == key)) {
            return "(holds the key, so it is not shown)".to_owned();
        }
        let part = value.get(..LONGEST).unwrap_or(value);
        let mut text: String =
            part.iter().map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' }).collect();
        if part.len() < value.len() {
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::secret::Secret;
    use crate::upstream::credential::{Credential, Source};

    #[test]
    fn a_value_is_printable_has_an_end_and_is_not_the_key() {
        let key = Credential::new(vec![Source::Fixed(Secret::new("swordfish".to_owned()))]).unwrap().show();
        let mut map = HeaderMap::new();
        map.insert(ETAG, HeaderValue::from_bytes(b"\"a\tb\xff\"").unwrap());
        map.insert(VARY, HeaderValue::from_static("x-swordfish-y"));
        map.insert(CACHE_CONTROL, HeaderValue::from_str(&"x".repeat(500)).unwrap());
        map.append("x-ratelimit-limit", HeaderValue::from_static("9"));
        map.append("x-ratelimit-limit", HeaderValue::from_static("10"));
        map.insert("set-cookie", HeaderValue::from_static("session=1"));
        let head = Head::new(&map, key);
        let caching = head.caching();
        assert_eq!(caching["etag"], "\"a?b?\"");
        assert!(!caching["vary"].contains("swordfish"));
        assert_eq!(caching["cache-control"].chars().count(), LONGEST + 1);
        assert_eq!(head.limits(), BTreeMap::from([("x-ratelimit-limit".to_owned(), "9, 10".to_owned())]));
    }
}
