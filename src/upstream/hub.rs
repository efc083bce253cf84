//! What does a hub say of the gateway that asks?
//! Given an answer's status and head, hands back whether it refused the token, or this resource to it, or found a loop.
//! Never believes a bare status: a partner behind the hub, or an ingress before it, has statuses of its own.

use http::header::{VIA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::cache_status::{has_detail, strip_details};
use crate::http::list::plain_elements;

/// What a gateway calls its refusal where its own hub refused the resource to it.
pub const RIGHTS: &str = "hub-rights";

/// More gateways in a row are a mistake.
const MOST_HOPS: usize = 8;

/// As is a way that takes so many bytes to tell: it goes on with each call.
const LONGEST_WAY: usize = 1 << 10;

/// What is about us in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRejection {
    /// The token's time is over.
    Expired,
    /// The token was taken back.
    Revoked,
    /// The token is not good here, or no longer: signed by keys that are gone, or of a caller that is.
    Refused,
    /// The token is good, and does not reach this resource.
    Beyond,
    /// The request came back to where it had been.
    Loop,
}

impl AuthRejection {
    /// Whether another token may be answered otherwise.
    pub fn is_of_the_token(self) -> bool {
        matches!(self, Self::Expired | Self::Revoked | Self::Refused)
    }
}

/// Details of `Cache-Status` (RFC 9211 §2.8) by which a gateway marks what it says of a token: that its time is over, that it
/// was taken back, that it is not good, and that it does not reach this resource. What a gateway passes on is stripped of them.
const EXPIRED: [&str; 1] = ["token-expired"];
const REVOKED: [&str; 1] = ["token-revoked"];
const REFUSED: [&str; 1] = ["token-bad"];
const BEYOND: [&str; 2] = ["scope", "bounds"];

/// The detail that belongs beside a challenge of our own, where it is an answer of another door than the path.
pub fn detail_beside(challenge: &HeaderValue) -> Option<&'static str> {
    let challenge = challenge.to_str().ok().filter(|it| it.contains("error=\"invalid_token\""))?;
    let says =
        |why: &str| challenge.split("error_description=").nth(1).is_some_and(|told| told.trim_matches('"') == why);
    Some(match challenge {
        _ if says("expired") => EXPIRED[0],
        _ if says("revoked") => REVOKED[0],
        _ => REFUSED[0],
    })
}

/// What a hub says; `None` where it is somebody else that speaks. Its word has its own challenge (RFC 6750 §3) and its own
/// detail beside it; a gateway that refuses in the name of its own hub has the detail alone.
pub fn auth_rejection(status: StatusCode, head: &HeaderMap) -> Option<AuthRejection> {
    let challenges = |error: &str| {
        let mut lines = head.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        lines.any(|line| line.starts_with("Bearer realm=\"reseller-gateway\"") && line.contains(error))
    };
    match status {
        StatusCode::UNAUTHORIZED if !challenges("error=\"invalid_token\"") => None,
        StatusCode::UNAUTHORIZED if has_detail(head, &EXPIRED) => Some(AuthRejection::Expired),
        StatusCode::UNAUTHORIZED if has_detail(head, &REVOKED) => Some(AuthRejection::Revoked),
        StatusCode::UNAUTHORIZED if has_detail(head, &REFUSED) => Some(AuthRejection::Refused),
        StatusCode::FORBIDDEN if has_detail(head, &[RIGHTS]) => Some(AuthRejection::Beyond),
        // A partner's own 403 is about the resource alone.
        StatusCode::FORBIDDEN if challenges("error=\"insufficient_scope\"") && has_detail(head, &BEYOND) => {
            Some(AuthRejection::Beyond)
        }
        StatusCode::LOOP_DETECTED => Some(AuthRejection::Loop),
        _ => None,
    }
}

/// Takes out of an answer that is passed on what would be the gateway's own word of a token if the gateway said it.
pub(super) fn strip_our_details(head: &mut HeaderMap) {
    let all = || EXPIRED.iter().chain(&REVOKED).chain(&REFUSED).chain(&BEYOND).chain(&[RIGHTS]);
    strip_details(head, |told| all().any(|ours| *ours == told));
}

/// Whether a request has been at the gateway of this name, or at too many (RFC 9110 §7.6.3).
pub fn has_been(name: &str, head: &HeaderMap) -> bool {
    let long = head.get_all(VIA).iter().map(HeaderValue::len).sum::<usize>() > LONGEST_WAY;
    let mut many = 0;
    long || plain_elements(head, &VIA).any(|hop| {
        many += 1;
        // A protocol, a name, maybe a comment.
        let by = hop.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).nth(1);
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
    use http::header::HeaderName;

    use super::*;
    use crate::http::cache_status::CACHE_STATUS;

    fn head(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    /// Any 401 was the hub's word on the token: one of a partner's behind it, or of an ingress before it, dropped all that was held.
    #[test]
    fn a_hub_is_told_from_whoever_else_has_its_statuses() {
        const INVALID: &str = "Bearer realm=\"reseller-gateway\", error=\"invalid_token\"";
        const NARROW: &str = "Bearer realm=\"reseller-gateway\", error=\"insufficient_scope\", scope=\"clients:read\"";
        let rows = [
            (401, INVALID, "hub; detail=token-expired", Some(AuthRejection::Expired)),
            (401, INVALID, "hub; detail=token-revoked", Some(AuthRejection::Revoked)),
            (401, INVALID, "hub; detail=token-bad", Some(AuthRejection::Refused)),
            (401, INVALID, "hub; detail=token-bad, ingress; fwd=miss", Some(AuthRejection::Refused)),
            // The token never reached it, or somebody else speaks.
            (401, "Bearer realm=\"reseller-gateway\"", "hub; detail=token-missing", None),
            (401, INVALID, "hub; fwd=bypass; fwd-status=401", None),
            (401, INVALID, "", None),
            (401, "", "hub; detail=token-bad", None),
            (401, "Bearer error=\"invalid_token\"", "hub; detail=token-bad", None),
            (401, "Basic realm=\"reseller-gateway\"", "", None),
            (401, "", "", None),
            (403, NARROW, "hub; detail=scope", Some(AuthRejection::Beyond)),
            (403, NARROW, "hub; detail=bounds", Some(AuthRejection::Beyond)),
            (403, NARROW, "hub; fwd=bypass; fwd-status=403", None),
            (403, "", "far; hit, near; detail=hub-rights", Some(AuthRejection::Beyond)),
            (403, "", "", None),
            (403, "Basic realm=\"partner\"", "", None),
            (404, "", "near; detail=hub-rights", None),
            (508, "", "", Some(AuthRejection::Loop)),
            (200, "", "", None),
        ];
        for (status, challenge, cache_status, expected) in rows {
            let mut head = head(WWW_AUTHENTICATE, &["Negotiate", challenge]);
            head.insert(CACHE_STATUS, HeaderValue::from_static(cache_status));
            let auth_rejection = auth_rejection(StatusCode::from_u16(status).unwrap(), &head);
            assert_eq!(auth_rejection, expected, "{status} {challenge} {cache_status}");
        }
    }

    #[test]
    fn what_is_passed_on_says_nothing_in_the_gateways_name() {
        for (came, left) in [
            (&["cdn; hit"][..], &["cdn; hit"][..]),
            (&["cdn; detail=\"odd, one\""], &["cdn; detail=\"odd, one\""]),
            (&["x; detail=token-bad"], &[]),
            (
                &["cdn; hit, x; ttl=1; detail=token-expired ; fwd=miss, y; hit", "z; detail=hub-rights"],
                &["cdn; hit, y; hit"],
            ),
        ] {
            let mut all = head(CACHE_STATUS, came);
            strip_our_details(&mut all);
            assert_eq!(all, head(CACHE_STATUS, left), "{came:?}");
        }
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
