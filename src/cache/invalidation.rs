//! What did a request change?
//! Given an unsafe request's target and the answer to it, hands back the targets whose stored answers are no longer good (RFC 9111 §4.4).
//! Never reaches beyond the partner's origin.

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Method, StatusCode};

/// Whether an answer to such a method means that something was changed: no error, and a method not known to be safe.
pub fn changes(method: &Method, status: StatusCode) -> bool {
    !method.is_safe() && (status.is_success() || status.is_redirection())
}

/// The targets that the answer names besides the request's own, if they are of the same origin.
pub fn also_changed(origin: &str, target: &str, head: &HeaderMap) -> Vec<String> {
    let places = head.get_all(LOCATION).iter().chain(head.get_all(CONTENT_LOCATION));
    places.filter_map(|place| resolve(origin, target, place.to_str().ok()?)).collect()
}

/// RFC 3986 §5.2 for what can name a target of ours; `None` for other origins and for what has dots to resolve.
fn resolve(origin: &str, target: &str, place: &str) -> Option<String> {
    let place = place.split('#').next().unwrap_or_default();
    let same = place.get(..origin.len()).is_some_and(|start| start.eq_ignore_ascii_case(origin));
    let place = if same { place.get(origin.len()..)? } else { place };
    if place.is_empty() {
        return Some(if same { "/".to_owned() } else { target.to_owned() });
    }
    if place.starts_with('/') {
        return (!place.starts_with("//")).then(|| place.to_owned());
    }
    if same {
        return None;
    }
    // A colon before any slash begins another scheme.
    let segment = place.split(['/', '?']).next().unwrap_or_default();
    if segment.contains(':') {
        return None;
    }
    let path = target.split('?').next().unwrap_or_default();
    if place.starts_with('?') {
        return Some(format!("{path}{place}"));
    }
    let folder = path.get(..=path.rfind('/')?)?;
    Some(format!("{folder}{}", place.trim_start_matches("./")))
}
