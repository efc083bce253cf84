//! How does a request of a caller go on to the partner as it is?
//! Given a head and a body, hands back the partner's answer as it comes.
//! Never lets a token of ours, another of a caller's credentials, or a connection's own headers through.

use http::header::{AUTHORIZATION, HeaderName, VIA};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::Connect;

use crate::account_api::KEY_HEADER;
use crate::clock::Tick;
use crate::dial::OutBody;

use super::{Failed, Upstream, headers};

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Sends it on; the head must have been made ready. The body of the answer is still to be read.
    ///
    /// # Errors
    /// [`Failed`] if no head came before `deadline`.
    pub async fn send_on(
        &self,
        method: &Method,
        target: &str,
        head: &HeaderMap,
        body: OutBody,
        deadline: Tick,
    ) -> Result<Response<Incoming>, Failed> {
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.uri(target);
        let sent = request.headers_mut();
        sent.clone_from(head);
        sent.insert(KEY_HEADER, self.key.clone());
        sent.append(VIA, self.via.clone());
        let mut answer = self.clock.until(deadline, self.send(request)).await.unwrap_or(Err(Failed::Timeout))?;
        // A partner that echoes what it was sent would hand our key out.
        answer.headers_mut().remove(KEY_HEADER);
        Ok(answer)
    }
}

/// Makes a caller's head ready to go on: without a connection's own headers and without credentials, but for an
/// `Authorization` of another scheme than Bearer where the route forwards those. A Bearer token is ours.
pub fn make_ready(head: &mut HeaderMap, forward_authorization: bool) {
    headers::strip_connection(head);
    let foreign = |value: &&HeaderValue| {
        let bytes = value.as_bytes().trim_ascii_start();
        let scheme = bytes.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        !scheme.eq_ignore_ascii_case(b"bearer")
    };
    let kept: Vec<HeaderValue> = match forward_authorization {
        true => head.get_all(AUTHORIZATION).iter().filter(foreign).cloned().collect(),
        false => Vec::new(),
    };
    headers::strip_for_partner(head);
    for value in kept {
        head.append(AUTHORIZATION, value);
    }
}

/// Takes out of an answer what the partner gave to the gateway's own key and not to any caller: a session that would open
/// the partner to whoever has it, and how much of its limits is left. Where callers bring credentials of their own
/// (`forward_authorization`) these are theirs, and stay.
pub fn strip_household(head: &mut HeaderMap) {
    let ours: Vec<HeaderName> = head
        .keys()
        .filter(|name| {
            matches!(name.as_str(), "set-cookie" | "set-cookie2" | "www-authenticate")
                || ["ratelimit", "x-ratelimit", "x-rate-limit"].iter().any(|start| name.as_str().starts_with(start))
        })
        .cloned()
        .collect();
    ours.iter().for_each(|name| drop(head.remove(name)));
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
