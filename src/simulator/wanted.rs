//! What does a target ask for?
//! Given a target, hands back the endpoint, the ids and the filter in it, or nothing where it is none of the seven.
//! Never decides whether what it names exists.

use http::{HeaderValue, Uri};

use crate::account_api::{Endpoint, Ids, PREFIX};

/// What a target asks for, if it is one of the seven.
pub(super) struct Wanted<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) ids: Ids<'a>,
    /// The filter of the list of clients.
    pub(super) provider_id: Option<&'a str>,
    /// Where the target with its slash at the end is, if the slash is missing.
    pub(super) slashed: Option<HeaderValue>,
}

impl<'a> Wanted<'a> {
    /// Reads it as the partner does: an empty segment is a path of nothing.
    pub(super) fn read(uri: &'a Uri) -> Option<Self> {
        let path = uri.path();
        let below = path.strip_prefix(PREFIX)?.strip_prefix('/')?;
        let bare = below.strip_suffix('/');
        let segments: Vec<_> = bare.unwrap_or(below).split('/').collect();
        if segments.contains(&"") {
            return None;
        }
        let (endpoint, ids) = Endpoint::match_segments(&segments)?;
        let slashed = match (bare, uri.query()) {
            (Some(_), _) => None,
            (None, None) => Some(format!("{path}/")),
            (None, Some(query)) => Some(format!("{path}/?{query}")),
        };
        // Ids have nothing in them that is ever written with a percent sign.
        let provider_id =
            uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("provider_id=")));
        Some(Self { endpoint, ids, provider_id, slashed: slashed.and_then(|to| HeaderValue::try_from(to).ok()) })
    }
}
