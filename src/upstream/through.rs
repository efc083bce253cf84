//! How does a request of a caller go on to the partner as it is?
//! Given a head and a body, hands back the partner's answer as it comes.
//! Never lets a token of ours, another of a caller's credentials, or a connection's own headers through.

use http::header::{AUTHORIZATION, CONTENT_LOCATION, LINK, LOCATION, VIA};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::Connect;

use crate::budget::Permit;
use crate::budget::signal::is_a_limit;
use crate::clock::Tick;
use crate::dial::OutBody;

use super::credential::Shown;
use super::{Failed, KEY, Upstream, headers, hub};

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Sends a caller's request on, with our key; its head must have been made ready. The body of the answer is still to be read.
    ///
    /// # Errors
    /// [`Failed`] if no head came before `deadline`.
    pub async fn send_on(
        &self,
        _: &Permit,
        shown: &Shown,
        mut request: Request<OutBody>,
        target: &str,
        deadline: Tick,
    ) -> Result<Response<Incoming>, Failed> {
        *request.uri_mut() = self.uri(target);
        // As it came to us (RFC 9110 §7.6.3); it goes on as what the connection to the partner speaks.
        let via = if request.version() == Version::HTTP_2 { &self.via_http2 } else { &self.via };
        *request.version_mut() = Version::HTTP_11;
        self.prove(request.headers_mut(), shown);
        request.headers_mut().append(VIA, via.clone());
        let mut answer = self.clock.until(deadline, self.send(request)).await.unwrap_or(Err(Failed::Timeout))?;
        // A partner that echoes what it was sent would hand our key out.
        answer.headers_mut().remove(KEY);
        answer.headers_mut().remove(AUTHORIZATION);
        Ok(answer)
    }
}

/// What some servers read another method or another target from than the request line has. Rights and keys are judged by
/// the request line, so nothing of this may stand beside it.
const OVERRIDES: [&str; 8] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-host",
    "x-original-host",
];

/// Makes a caller's head ready to go on: without a connection's own headers and without credentials, but for an
/// `Authorization` of another scheme than Bearer where the route forwards those. A Bearer token is ours.
pub fn make_ready(head: &mut HeaderMap, forward_authorization: bool) {
    let foreign = |value: &&HeaderValue| {
        let bytes = value.as_bytes().trim_ascii_start();
        let scheme = bytes.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        !scheme.eq_ignore_ascii_case(b"bearer")
    };
    let kept: Vec<HeaderValue> = match forward_authorization {
        true => {
            // What the connection names is its own, be it this.
            headers::strip_connection(head);
            head.get_all(AUTHORIZATION).iter().filter(foreign).cloned().collect()
        }
        false => Vec::new(),
    };
    let misleads = |name: &str| OVERRIDES.contains(&name) || name.starts_with("x-forwarded-");
    headers::strip(head, |name| headers::is_of_the_caller(name) || misleads(name));
    for value in kept {
        head.append(AUTHORIZATION, value);
    }
}

/// Takes out of an answer what belongs to the connection, and what only the gateway itself may say.
pub fn strip_connection(head: &mut HeaderMap) {
    headers::strip_connection(head);
    hub::strip_our_words(head);
}

/// The same, and what the partner gave to the gateway's own key and not to any caller: a session that would open
/// the partner to whoever has it, and how much of its limits is left. Where callers bring credentials of their own
/// (`forward_authorization`) these are theirs, and stay.
pub fn strip_household(head: &mut HeaderMap) {
    let of_our_key = |name: &str| matches!(name, "set-cookie" | "set-cookie2" | "www-authenticate");
    headers::strip(head, |name| of_our_key(name) || is_a_limit(name));
    hub::strip_our_words(head);
}

/// Places at the partner become places at us (RFC 9110 §10.2.2, §8.7; RFC 8288 for `Link`).
pub fn localise(head: &mut HeaderMap, origin: &str) {
    for name in [LOCATION, CONTENT_LOCATION] {
        let Some(place) = head.get(&name).and_then(|place| place.to_str().ok()) else { continue };
        let local = place.strip_prefix(origin).filter(|rest| rest.starts_with('/'));
        if let Some(local) = local.and_then(|local| HeaderValue::from_str(local).ok()) {
            head.insert(name, local);
        }
    }
    let links: Vec<HeaderValue> = head.get_all(LINK).iter().cloned().collect();
    if links.is_empty() {
        return;
    }
    let ours = format!("<{origin}/");
    if links.iter().any(|link| link.to_str().is_ok_and(|link| link.contains(&ours))) {
        head.remove(LINK);
        for link in links {
            let local = link.to_str().ok().and_then(|link| HeaderValue::from_str(&link.replace(&ours, "</")).ok());
            head.append(LINK, local.unwrap_or(link));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut head = HeaderMap::new();
        for (name, value) in lines {
            head.append(*name, HeaderValue::from_static(value));
        }
        head
    }

    #[test]
    fn a_token_of_ours_never_goes_on_and_another_scheme_only_where_it_may() {
        let came = [
            ("authorization", "Bearer ours"),
            ("authorization", "bearer\tours"),
            ("authorization", "Basic theirs"),
            ("authorization", "Bearer"),
            ("x-reseller-api-key", "ours"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("connection", "x-hop, close"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("accept", "text/html"),
        ];
        let mut shut = head(&came);
        make_ready(&mut shut, false);
        assert_eq!(shut, head(&[("accept", "text/html")]));
        let mut open = head(&came);
        make_ready(&mut open, true);
        assert_eq!(open, head(&[("accept", "text/html"), ("authorization", "Basic theirs")]));
    }

    #[test]
    fn what_would_make_the_partner_read_another_request_stays_behind() {
        let mut came = head(&[
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/reseller/admin/"),
            ("x-forwarded-prefix", "/x"),
            ("x-forwards", "1"),
        ]);
        make_ready(&mut came, true);
        assert_eq!(came, head(&[("x-forwards", "1")]));
    }

    #[test]
    fn places_at_the_partner_become_places_here_and_others_stay() {
        let mut said = head(&[
            ("location", "http://p:1/a"),
            ("content-location", "http://p:12/a"),
            ("link", "<http://p:1/a>; rel=next, <http://q/b>"),
            ("link", "</c>"),
        ]);
        localise(&mut said, "http://p:1");
        let expected = [
            ("location", "/a"),
            ("content-location", "http://p:12/a"),
            ("link", "</a>; rel=next, <http://q/b>"),
            ("link", "</c>"),
        ];
        assert_eq!(said, head(&expected));
    }

    #[test]
    fn what_connection_names_stays_behind_even_if_it_is_a_credential() {
        let mut head = head(&[("connection", "authorization"), ("authorization", "Basic theirs")]);
        make_ready(&mut head, true);
        assert!(head.is_empty());
    }

    #[test]
    fn the_gateways_own_session_and_limits_stay_with_it() {
        let mut said = head(&[("set-cookie", "s=1"), ("ratelimit", "x"), ("x-ratelimit-left", "3"), ("etag", "\"a\"")]);
        strip_household(&mut said);
        assert_eq!(said, head(&[("etag", "\"a\"")]));
    }
}
