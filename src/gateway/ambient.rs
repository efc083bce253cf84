//! May this request be answered without a token?
//! Given its target and headers, hands back nothing, or that a web page or a proxy may be behind it.
//! Never looks at a token: whoever shows one is judged by it.

use http::HeaderMap;
use http::Uri;
use http::header::{FORWARDED, HeaderName, ORIGIN, VIA};
use http::uri::Authority;

use crate::http::host::{self, Host, NotAHost};

use super::refusal::Refusal;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What begins the names of headers that proxies add: whoever asks through one may be anywhere.
const X_FORWARDED: &str = "x-forwarded";

/// The caller whose rights a request without any token has on one listener.
#[derive(Debug, Clone)]
pub struct Ambient {
    caller: String,
    port: Option<u16>,
    /// The port of a Host without one.
    usual: u16,
}

impl Ambient {
    /// The caller of this name, on a loopback listener with this port, or on a Unix socket.
    pub fn new(caller: String, port: Option<u16>, tls: bool) -> Self {
        Self { caller, port, usual: if tls { 443 } else { 80 } }
    }

    /// The caller's name in the configuration.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// Lets in what only a program of this machine sends.
    ///
    /// # Errors
    /// [`Refusal::Ambient`], whatever it was.
    pub fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let page =
            headers.contains_key(ORIGIN) || headers.get_all(SEC_FETCH_SITE).iter().any(|site| !is_same_site(site));
        let proxy = headers.keys().any(is_of_proxies);
        // The absolute form names the host once more (RFC 9112 §3.2.2).
        let local = self.host_is_local(headers) && uri.authority().is_none_or(|named| self.is_local(named));
        if page || proxy || !local { Err(Refusal::Ambient) } else { Ok(()) }
    }

    /// A web page that has its name led to this machine (DNS rebinding) sends its own name.
    fn host_is_local(&self, headers: &HeaderMap) -> bool {
        match host::named(headers) {
            // A path has no name, so programs that ask there may send none; no browser can ask there.
            Ok(None) => self.port.is_none(),
            Ok(Some(named)) => self.is_local(&named),
            Err(NotAHost) => false,
        }
    }

    fn is_local(&self, named: &Authority) -> bool {
        let Some((host, port)) = Host::of(named) else { return false };
        host.is_local() && self.port.is_none_or(|own| port.unwrap_or(self.usual) == own)
    }
}

/// Whether a browser says that no page, or a page of this very listener, led here (W3C Fetch Metadata §2.3).
fn is_same_site(site: &http::HeaderValue) -> bool {
    matches!(site.as_bytes(), b"none" | b"same-origin")
}

fn is_of_proxies(name: &HeaderName) -> bool {
    *name == FORWARDED || *name == VIA || *name == X_REAL_IP || name.as_str().starts_with(X_FORWARDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: (&str, &str) = ("host", "localhost:8080");

    fn judged(port: Option<u16>, target: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let judged = Ambient::new("app".to_owned(), port, false).judge(&target.parse().unwrap(), &map);
        assert!(judged == Ok(()) || judged == Err(Refusal::Ambient));
        judged.is_ok()
    }

    #[test]
    fn a_host_is_local_with_the_listeners_port_and_on_a_unix_socket_with_any_or_none() {
        for (host, on_8080, on_80, on_unix) in [
            ("localhost:8080", true, false, true),
            ("LOCALHOST:8080", true, false, true),
            ("127.0.0.1:8080", true, false, true),
            ("127.8.8.8:8080", true, false, true),
            ("[::1]:8080", true, false, true),
            ("localhost", false, true, true),
            ("127.0.0.1:80", false, true, true),
            ("localhost:8081", false, false, true),
            ("", false, false, true),
            ("evil.example", false, false, false),
            ("evil.example:8080", false, false, false),
            ("localhost.evil.example:8080", false, false, false),
            ("127.0.0.1.evil.example:8080", false, false, false),
            ("0.0.0.0:8080", false, false, false),
            ("[::]:8080", false, false, false),
            ("10.1.2.3:8080", false, false, false),
            ("127.1:8080", false, false, false),
            ("2130706433:8080", false, false, false),
            ("localhost.:8080", false, false, false),
            ("me@localhost:8080", false, false, false),
            ("[::1].evil:8080", false, false, false),
            ("localhost:8080, localhost:8080", false, false, false),
            ("a b", false, false, false),
        ] {
            let headers = [("host", host)];
            assert_eq!(judged(Some(8080), "/a", &headers), on_8080, "{host:?} on port 8080");
            assert_eq!(judged(Some(80), "/a", &headers), on_80, "{host:?} on port 80");
            assert_eq!(judged(None, "/a", &headers), on_unix, "{host:?} on a path");
        }
        assert!(!judged(Some(80), "/a", &[]));
        assert!(judged(None, "/a", &[]));
        for port in [Some(8080), None] {
            assert!(!judged(port, "/a", &[LOCAL, LOCAL]));
            assert!(judged(port, "http://127.0.0.1:8080/a", &[LOCAL]));
            assert!(!judged(port, "http://evil.example/a", &[LOCAL]));
            assert!(!judged(port, "http://evil.example:8080/a", &[LOCAL]));
        }
    }

    #[test]
    fn what_pages_and_proxies_send_is_refused_and_nothing_else() {
        for (name, value, may) in [
            ("origin", "null", false),
            ("origin", "http://localhost:8080", false),
            ("origin", "", false),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "", false),
            ("sec-fetch-site", "None", false),
            ("sec-fetch-site", "tomorrow", false),
            ("forwarded", "for=192.0.2.1", false),
            ("forwarded", "", false),
            ("x-forwarded-for", "127.0.0.1", false),
            ("x-forwarded-host", "localhost", false),
            ("x-forwarded-proto", "https", false),
            ("x-forwarded-anything", "", false),
            ("x-forwarded", "for=127.0.0.1", false),
            ("x-real-ip", "192.0.2.1", false),
            ("via", "1.1 proxy", false),
            ("user-agent", "curl/8.5.0", true),
            ("accept", "*/*", true),
            ("referer", "http://localhost:3000/", true),
            ("x-request-id", "a", true),
        ] {
            for port in [Some(8080), None] {
                assert_eq!(judged(port, "/a", &[LOCAL, (name, value)]), may, "{name}: {value}");
            }
        }
        let both = [LOCAL, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert!(!judged(Some(8080), "/a", &both));
    }
}
