//! Which of a request's headers bear on its answer?
//! Given a head, hands back which of them are there, in one pass: a plain hit then looks none of them up.
//! Never reads a value.

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, RANGE, VIA,
};

/// The headers that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFlags(u8);

/// One kind of header, or several.
#[derive(Debug, Clone, Copy)]
pub struct Kinds(u8);

impl Kinds {
    /// `Accept`.
    pub const ACCEPT: Self = Self(1);
    /// `Accept-Encoding`.
    pub const CODING: Self = Self(2);
    /// `Cache-Control`.
    pub const DIRECTIVES: Self = Self(4);
    /// The preconditions of RFC 9110 §13.1, without `If-Range`, which means nothing without a range.
    pub const CONDITION: Self = Self(8);
    /// `Range`.
    pub const RANGE: Self = Self(16);
    /// `X-Request-Id`.
    pub const ID: Self = Self(32);
    /// `Via`: it comes from a proxy, which may be a gateway.
    pub const VIA: Self = Self(64);
}

impl RequestFlags {
    /// None of them.
    pub const NOTHING: Self = Self(0);

    /// Reads the names of a head.
    pub fn of(head: &HeaderMap) -> Self {
        Self(head.keys().fold(0, |found, name| found | kind(name)))
    }

    /// Whether one of these is there.
    pub fn has(self, kinds: Kinds) -> bool {
        self.0 & kinds.0 != 0
    }
}

fn kind(name: &HeaderName) -> u8 {
    let kinds = match () {
        () if *name == ACCEPT => Kinds::ACCEPT,
        () if *name == ACCEPT_ENCODING => Kinds::CODING,
        () if *name == CACHE_CONTROL => Kinds::DIRECTIVES,
        () if *name == RANGE => Kinds::RANGE,
        () if [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_MATCH, IF_UNMODIFIED_SINCE].contains(name) => Kinds::CONDITION,
        () if *name == super::REQUEST_ID => Kinds::ID,
        () if *name == VIA => Kinds::VIA,
        () => Kinds(0),
    };
    kinds.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_is_found_and_others_are_not_taken_for_it() {
        let rows = [
            ("accept", Kinds::ACCEPT),
            ("accept-encoding", Kinds::CODING),
            ("cache-control", Kinds::DIRECTIVES),
            ("if-none-match", Kinds::CONDITION),
            ("if-match", Kinds::CONDITION),
            ("if-modified-since", Kinds::CONDITION),
            ("if-unmodified-since", Kinds::CONDITION),
            ("range", Kinds::RANGE),
            ("x-request-id", Kinds::ID),
            ("via", Kinds::VIA),
            ("if-range", Kinds(0)),
            ("authorization", Kinds(0)),
            ("x-reseller-api-key", Kinds(0)),
        ];
        for (name, kinds) in rows {
            let mut head = HeaderMap::new();
            head.insert(HeaderName::from_static(name), http::HeaderValue::from_static(""));
            assert_eq!(RequestFlags::of(&head), RequestFlags(kinds.0), "{name}");
        }
        let all: HeaderMap = rows
            .map(|(name, _)| (HeaderName::from_static(name), http::HeaderValue::from_static("")))
            .into_iter()
            .collect();
        assert_eq!(RequestFlags::of(&all), RequestFlags(127));
        assert_eq!(RequestFlags::of(&HeaderMap::new()), RequestFlags(0));
    }
}
