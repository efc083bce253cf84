//! How does a request of a caller go on to the partner as it is?
//! Given a head and a body, hands back the partner's answer as it comes.
//! Never lets a token of ours, another of a caller's credentials, or a connection's own headers through.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, Entry, HeaderName, LINK, LOCATION, TRANSFER_ENCODING, VIA,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::Connect;

use crate::budget::Permit;
use crate::budget::signal::is_a_limit;
use crate::clock::Tick;
use crate::dial::OutBody;
use crate::http::hop_by_hop;

use super::credential::Presented;
use super::place::Origin;
use super::{Failed, KEY, Upstream, headers, hub};

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Sends a caller's request on, with our key; its head must have been made ready. The body of the answer is still to be read.
    ///
    /// # Errors
    /// [`Failed`] if no head came before `deadline`.
    pub async fn send_on(
        &self,
        _: &Permit,
        presented: &Presented,
        mut request: Request<OutBody>,
        target: &str,
        deadline: Tick,
    ) -> Result<Response<Incoming>, Failed> {
        *request.uri_mut() = self.uri(target);
        // As it came to us (RFC 9110 §7.6.3); it goes on as what the connection to the partner speaks.
        let via = if request.version() == Version::HTTP_2 { &self.via_http2 } else { &self.via };
        *request.version_mut() = Version::HTTP_11;
        self.prove(request.headers_mut(), presented);
        request.headers_mut().append(VIA, via.clone());
        let mut answer = self.clock.until(deadline, self.send(request)).await.unwrap_or(Err(Failed::Timeout))?;
        self.clients.answered();
        // A partner that echoes what it was sent would hand our key out.
        answer.headers_mut().remove(KEY);
        answer.headers_mut().remove(AUTHORIZATION);
        frame(answer.headers_mut());
        Ok(answer)
    }
}

/// What some servers read another method or another target from than the request line has. Rights and keys are judged by
/// the request line, so nothing of this may stand beside it.
const OVERRIDES: [&str; 5] =
    ["x-http-method", "x-http-method-override", "x-method-override", "x-rewrite-url", "x-host"];

/// The same, and what a proxy before an application tells it of the request and of who sends it, by how the names begin.
const OVERRIDE_PREFIXES: [&str; 5] = ["x-forwarded-", "x-original-", "x-envoy-", "x-rewrite-", "x-script-name"];

fn misleads(name: &str) -> bool {
    OVERRIDES.contains(&name) || OVERRIDE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

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
            hop_by_hop::strip(head);
            head.get_all(AUTHORIZATION).iter().filter(foreign).cloned().collect()
        }
        false => Vec::new(),
    };
    hop_by_hop::strip_and(head, |name| {
        let folded = headers::folded(name);
        headers::is_of_the_caller(&folded) || misleads(&folded) || headers::is_another_name(name, &folded)
    });
    for value in kept {
        head.append(AUTHORIZATION, value);
    }
}

/// Takes out of an answer what belongs to the connection, and what only the gateway itself may say.
pub fn strip_connection(head: &mut HeaderMap) {
    hop_by_hop::strip(head);
    hub::strip_our_details(head);
}

/// The same, and what the partner gave to the gateway's own key and not to any caller: a session that would open
/// the partner to whoever has it, and how much of its limits is left. Where callers bring credentials of their own
/// (`forward_authorization`) these are theirs, and stay.
pub fn strip_household(head: &mut HeaderMap) {
    let of_our_key = |name: &str| matches!(name, "set-cookie" | "set-cookie2" | "www-authenticate");
    hop_by_hop::strip_and(head, |name| of_our_key(name) || is_a_limit(name));
    hub::strip_our_details(head);
}

/// A redirect that, followed through us, leads to where it came from: the partner means another scheme or port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the partner redirects to another of its own addresses")]
pub struct ToItself;

/// Places at the partner become places at us (RFC 9110 §10.2.2, §8.7; RFC 8288 for `Link`). `asked` is the request's method
/// and target.
///
/// # Errors
/// [`ToItself`] for a redirect that a caller would follow for ever.
pub fn localise(
    status: StatusCode,
    head: &mut HeaderMap,
    origin: &str,
    (method, target): (&Method, &str),
) -> Result<(), ToItself> {
    // Most answers name no place: three looks are all they cost.
    let Some(origin) = [LOCATION, CONTENT_LOCATION, LINK]
        .iter()
        .any(|name| head.contains_key(name))
        .then(|| Origin::new(origin))
        .flatten()
    else {
        return Ok(());
    };
    for name in [LOCATION, CONTENT_LOCATION] {
        replace(head, &name, |place| origin.below(place));
    }
    replace(head, &LINK, |links| local_links(links, origin));
    // Whoever is sent on after another method comes back with GET, unless the status says otherwise (RFC 9110 §15.4).
    let comes_back = matches!(*method, Method::GET | Method::HEAD) || matches!(status.as_u16(), 307 | 308);
    let place = head
        .get(LOCATION)
        .filter(|_| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) && comes_back)
        .map(HeaderValue::as_bytes);
    let place = place.and_then(|place| place.split(|byte| *byte == b'#').next());
    if place == Some(target.as_bytes()) { Err(ToItself) } else { Ok(()) }
}

/// Puts another value in the place of each for which there is one.
fn replace(head: &mut HeaderMap, name: &HeaderName, other: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    if let Entry::Occupied(mut values) = head.entry(name) {
        for value in values.iter_mut() {
            let local = other(value.as_bytes()).and_then(|local| HeaderValue::from_bytes(&local).ok());
            if let Some(local) = local {
                *value = local;
            }
        }
    }
}

/// The same of each `<link>` that stands outside quotation marks.
fn local_links(line: &[u8], origin: Origin<'_>) -> Option<Vec<u8>> {
    let (mut out, mut rest, mut changed) = (Vec::with_capacity(line.len()), line, false);
    let mut quoted = false;
    while let Some((&byte, after)) = rest.split_first() {
        out.push(byte);
        rest = after;
        match byte {
            b'"' => quoted = !quoted,
            // An escaped quotation mark ends nothing.
            b'\\' if quoted => {
                if let Some((&escaped, after)) = rest.split_first() {
                    out.push(escaped);
                    rest = after;
                }
            }
            b'<' if !quoted => {
                let end = rest.iter().position(|byte| *byte == b'>')?;
                let (link, after) = rest.split_at_checked(end)?;
                let local = origin.below(link);
                changed |= local.is_some();
                out.extend_from_slice(local.as_deref().unwrap_or(link));
                rest = after;
            }
            _ => {}
        }
    }
    changed.then_some(out)
}

/// Says once how long an answer is that goes on (RFC 9110 §8.6, RFC 9112 §6.3): two equal lengths are one, and beside a
/// chunked body none counts. `Transfer-Encoding: identity`, which RFC 7230 took back, says nothing.
fn frame(head: &mut HeaderMap) {
    if is_plain(head) == Some(false) {
        head.remove(CONTENT_LENGTH);
    } else if let Some(length) = length_of(head) {
        head.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// How much of a body belongs to an answer that says `Transfer-Encoding: identity` and a length: hyper reads it up to the
/// connection's end, which may never come.
pub(super) fn length_of_identity(head: &HeaderMap) -> Option<u64> {
    (is_plain(head) == Some(true)).then(|| length_of(head)).flatten()
}

/// Whether `Transfer-Encoding` names no coding, where it is there.
fn is_plain(head: &HeaderMap) -> Option<bool> {
    let mut codings = head.get_all(TRANSFER_ENCODING).iter().peekable();
    codings.peek()?;
    Some(codings.all(|line| line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")))
}

/// The length that an answer says once, or several times alike.
pub fn length_of(head: &HeaderMap) -> Option<u64> {
    let numbers = head.get_all(CONTENT_LENGTH).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut numbers = numbers.map(|number| std::str::from_utf8(number.trim_ascii()).ok()?.parse::<u64>().ok());
    let first = numbers.next()??;
    numbers.all(|other| other == Some(first)).then_some(first)
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

    /// Names that differ from a credential's by `_` or `.` went on: CGI, WSGI and their like read them as the same.
    #[test]
    fn what_would_make_the_partner_read_another_request_or_caller_stays_behind() {
        let misleading = [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-original-url",
            "x-original-method",
            "x-original-remote-addr",
            "x-rewrite-url",
            "x-forwarded-prefix",
            "x-forwarded-user",
            "x-envoy-original-path",
            "x-script-name",
            "x_http_method_override",
            "x_original_url",
            "x.forwarded.for",
            "x_reseller_api_key",
            "x-reseller_api-key",
            "x.reseller.api.key",
            "x-reseller-api-key-2",
            "reseller-api-key",
            "x-api-key",
            "x_api_key",
            "api-key",
            "apikey",
            "x-apikey",
            "x-auth-token",
            "x-remote-user",
            "remote-user",
            "remote_user",
            "x-auth-request-user",
            "x-goog-authenticated-user-email",
            "x-real-ip",
            "x-client-ip",
            "true-client-ip",
            "proxy_authorization",
            "cookie!",
            "content_length",
            "transfer_encoding",
        ];
        for name in misleading {
            for forward_authorization in [false, true] {
                let mut came = head(&[(name, "1")]);
                make_ready(&mut came, forward_authorization);
                assert!(came.is_empty(), "{name}");
            }
        }
        for name in [
            "x-forwards",
            "x_own",
            "x-hosts",
            "content-type",
            "content-length",
            "accept",
            "x-keys",
            "x-client-version",
            "idempotency-key",
        ] {
            let mut came = head(&[(name, "1")]);
            make_ready(&mut came, false);
            assert_eq!(came, head(&[(name, "1")]));
        }
    }

    #[test]
    fn places_at_the_partner_become_places_here_and_others_stay() {
        let mut said = head(&[
            ("location", "http://p:1/a"),
            ("content-location", "http://p:12/a"),
            ("link", "<http://p:1/a>; rel=next, <http://q/b>"),
            ("link", "</c>"),
            ("link", "<HTTP://P:1/a,b>; title=\"a \\\"<http://p:1/d>\", <//p:1?e>"),
            ("link", "<http://p:1/never ends"),
        ]);
        assert_eq!(localise(StatusCode::OK, &mut said, "http://p:1", (&Method::GET, "/a")), Ok(()));
        let expected = [
            ("location", "/a"),
            ("content-location", "http://p:12/a"),
            ("link", "</a>; rel=next, <http://q/b>"),
            ("link", "</c>"),
            ("link", "</a,b>; title=\"a \\\"<http://p:1/d>\", </?e>"),
            ("link", "<http://p:1/never ends"),
        ];
        assert_eq!(said, head(&expected));
        let mut said = HeaderMap::new();
        said.insert(LOCATION, HeaderValue::from_bytes(b"http://p:1/caf\xc3\xa9").unwrap());
        assert_eq!(localise(StatusCode::FOUND, &mut said, "http://p:1", (&Method::GET, "/a")), Ok(()));
        assert_eq!(said[LOCATION].as_bytes(), b"/caf\xc3\xa9");
    }

    /// A partner that sends its callers from http to https sent ours in a circle.
    #[test]
    fn a_redirect_to_where_it_came_from_is_none() {
        let rows = [
            (301, Method::GET, "https://p:1/a?b=c", Err(ToItself)),
            (302, Method::HEAD, "//p:1/a?b=c#d", Err(ToItself)),
            (308, Method::POST, "https://p:1/a?b=c", Err(ToItself)),
            (303, Method::POST, "https://p:1/a?b=c", Ok(())),
            (301, Method::GET, "/a?b=c", Err(ToItself)),
            (301, Method::GET, "https://p:1/a/?b=c", Ok(())),
            (301, Method::GET, "https://q:1/a?b=c", Ok(())),
            (201, Method::POST, "https://p:1/a?b=c", Ok(())),
        ];
        for (status, method, place, expected) in rows {
            let mut said = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(place))]);
            let asked = (&method, "/a?b=c");
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(localise(status, &mut said, "http://p:1", asked), expected, "{status} {method} {place}");
        }
    }

    #[test]
    fn an_answer_that_goes_on_says_its_length_once_and_in_one_way() {
        type Lines = &'static [(&'static str, &'static str)];
        let rows: [(Lines, Option<&str>); 9] = [
            (&[("content-length", "5")], Some("5")),
            (&[("content-length", "5, 5")], Some("5")),
            (&[("content-length", "5"), ("content-length", "5")], Some("5")),
            (&[("content-length", "005")], Some("5")),
            (&[("content-length", "5"), ("transfer-encoding", "chunked")], None),
            (&[("transfer-encoding", "Chunked"), ("content-length", "500")], None),
            (&[("transfer-encoding", "identity"), ("content-length", "5")], Some("5")),
            (&[("transfer-encoding", "identity, chunked"), ("content-length", "5")], None),
            (&[("x", "1")], None),
        ];
        for (lines, expected) in rows {
            let mut said = head(lines);
            frame(&mut said);
            let lengths: Vec<_> = said.get_all(CONTENT_LENGTH).iter().map(|length| length.to_str().unwrap()).collect();
            assert_eq!(lengths, expected.into_iter().collect::<Vec<_>>(), "{lines:?}");
        }
        assert_eq!(length_of_identity(&head(&[("transfer-encoding", "Identity"), ("content-length", "7")])), Some(7));
        assert_eq!(length_of_identity(&head(&[("transfer-encoding", "chunked"), ("content-length", "7")])), None);
        assert_eq!(length_of_identity(&head(&[("content-length", "7")])), None);
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
