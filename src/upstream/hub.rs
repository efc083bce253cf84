//! What does a hub say of the gateway that asks?
//! Given an answer's status and head, hands back whether it refused the token, or this resource to it, or found a loop.
//! Never reads a body: its challenge (RFC 6750 §3) is enough, and no partner's challenge passes through a hub.

use http::header::{VIA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

/// What a gateway calls its refusal where its own hub refused the resource to it.
pub const RIGHTS: &str = "hub-rights";

/// More gateways in a row are a mistake.
const MOST_HOPS: usize = 8;

/// As is a way that takes so many bytes to tell: it goes on with each call.
const LONGEST_WAY: usize = 1 << 10;

/// What is about us in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The token's time is over.
    Expired,
    /// The token is not good, or no longer.
    Refused,
    /// The token is good, and does not reach this resource.
    Beyond,
    /// The request came back to where it had been.
    Loop,
}

impl Said {
    /// Whether another token may be answered otherwise.
    pub fn is_of_the_token(self) -> bool {
        matches!(self, Self::Expired | Self::Refused)
    }
}

/// What a hub says; `None` where it is the partner that speaks.
pub fn said(status: StatusCode, head: &HeaderMap) -> Option<Said> {
    let challenge = head.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let challenges =
        |error: &str| challenge.starts_with("Bearer realm=\"reseller-gateway\"") && challenge.contains(error);
    match status {
        StatusCode::UNAUTHORIZED if challenges("error_description=\"expired\"") => Some(Said::Expired),
        StatusCode::UNAUTHORIZED => Some(Said::Refused),
        StatusCode::FORBIDDEN if hands_on(head) => Some(Said::Beyond),
        // A partner's own 403 is about the resource alone, and comes without a challenge.
        StatusCode::FORBIDDEN if challenges("error=\"insufficient_scope\"") => Some(Said::Beyond),
        StatusCode::LOOP_DETECTED => Some(Said::Loop),
        _ => None,
    }
}

/// Whether the hub has a hub of its own, which refused this.
fn hands_on(head: &HeaderMap) -> bool {
    let lines = head.get_all("cache-status").iter().filter_map(|line| line.to_str().ok());
    lines
        .into_iter()
        .any(|line| line.rsplit(';').next().is_some_and(|last| last.trim().strip_prefix("detail=") == Some(RIGHTS)))
}

/// Whether a request has been at the gateway of this name, or at too many (RFC 9110 §7.6.3).
pub fn has_been(name: &str, head: &HeaderMap) -> bool {
    let hops = head.get_all(VIA).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let long = head.get_all(VIA).iter().map(HeaderValue::len).sum::<usize>() > LONGEST_WAY;
    let mut many = 0;
    long || hops.into_iter().any(|hop| {
        many += 1;
        // A protocol, a name, maybe a comment.
        let by = hop.trim_ascii().split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).nth(1);
        many > MOST_HOPS || by.is_some_and(|by| by.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// `Via` of a call that is made because of a request with this head: where that has been, then us.
pub fn via(head: &HeaderMap, ours: &HeaderValue) -> HeaderValue {
    let lines = head.get_all(VIA).iter().map(HeaderValue::as_bytes);
    let chain: Vec<&[u8]> = lines.chain([ours.as_bytes()]).collect();
    HeaderValue::from_bytes(&chain.join(&b", "[..])).unwrap_or_else(|_| ours.clone())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn head(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_hub_is_told_from_the_partner_behind_it() {
        let rows = [
            (
                401,
                "Bearer realm=\"reseller-gateway\", error=\"invalid_token\", error_description=\"expired\"",
                Some(Said::Expired),
            ),
            (401, "Bearer realm=\"reseller-gateway\", error=\"invalid_token\"", Some(Said::Refused)),
            (401, "", Some(Said::Refused)),
            (
                403,
                "Bearer realm=\"reseller-gateway\", error=\"insufficient_scope\", scope=\"clients:read\"",
                Some(Said::Beyond),
            ),
            (403, "", None),
            (403, "Basic realm=\"partner\"", None),
            (508, "", Some(Said::Loop)),
            (200, "", None),
            (404, "", None),
        ];
        for (status, challenge, expected) in rows {
            let head = head(WWW_AUTHENTICATE, &[challenge]);
            assert_eq!(said(StatusCode::from_u16(status).unwrap(), &head), expected, "{status} {challenge}");
        }
        let of_its_hub = head(HeaderName::from_static("cache-status"), &["far; hit", "near; detail=hub-rights"]);
        assert_eq!(said(StatusCode::FORBIDDEN, &of_its_hub), Some(Said::Beyond));
        assert_eq!(said(StatusCode::NOT_FOUND, &of_its_hub), None);
    }

    #[test]
    fn a_request_that_was_here_is_known_by_its_way() {
        for (way, been) in [
            (&["1.1 gw"][..], true),
            (&["1.1 GW"], true),
            (&["1.1 a", "1.1 b , HTTP/1.1 gw (sidecar)"], true),
            (&["1.1 a,1.1  gw"], true),
            (&[], false),
            (&["1.1 gw2", "1.1 a-gw", "gw"], false),
            (&["", ",,", "1.1"], false),
            (&["1.1 a, 1.1 a, 1.1 a, 1.1 a, 1.1 a, 1.1 a, 1.1 a, 1.1 a, 1.1 a"], true),
        ] {
            assert_eq!(has_been("gw", &head(VIA, way)), been, "{way:?}");
        }
        let long =
            HeaderMap::from_iter([(VIA, HeaderValue::try_from(format!("1.1 a ({})", "x".repeat(1024))).unwrap())]);
        assert!(has_been("gw", &long));
    }

    #[test]
    fn the_way_so_far_goes_on_with_us_at_its_end() {
        let ours = HeaderValue::from_static("1.1 gw");
        assert_eq!(via(&HeaderMap::new(), &ours), "1.1 gw");
        let way = head(VIA, &["1.1 a", "1.1 b"]);
        assert_eq!(via(&way, &ours), "1.1 a, 1.1 b, 1.1 gw");
    }
}
