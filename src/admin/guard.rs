//! May this request come to the admin door at all?
//! Given its head, hands back nothing, or why it looks like a web page's doing.
//! Never looks at a token: whoever is led here by a browser is refused before that.

use http::HeaderMap;
use http::header::ORIGIN;
use http::uri::{Authority, Uri};

use crate::generation::AllowedHosts;
use crate::http::host::{self, Host};

use super::reply::Refused;

/// A web page that has its name led to this machine (DNS rebinding) sends its own name as `Host`; one that asks across
/// sites sends `Origin`. No program that administers does either.
pub(super) fn check(own: &AllowedHosts, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
    if headers.contains_key(ORIGIN) {
        return Err(Refused::Origin);
    }
    let Ok(Some(named)) = host::named(headers) else { return Err(Refused::Host) };
    // The absolute form names the host once more (RFC 9112 §3.2.2).
    let all_own = is_allowed(own, &named) && uri.authority().is_none_or(|authority| is_allowed(own, authority));
    if all_own { Ok(()) } else { Err(Refused::Host) }
}

fn is_allowed(own: &AllowedHosts, named: &Authority) -> bool {
    match Host::of(named) {
        Some((host, _)) if host.is_local() => true,
        Some((Host::Address(ip), _)) => own.address.is_some_and(|own| own.is_unspecified() || own == ip),
        Some((Host::Name(name), _)) => own.public.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(own: &AllowedHosts, target: &str, headers: &[(&'static str, &str)]) -> Result<(), Refused> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        check(own, &target.parse().unwrap(), &map)
    }

    fn wide() -> AllowedHosts {
        AllowedHosts { address: Some("0.0.0.0".parse().unwrap()), public: Some("gateway.example".to_owned()) }
    }

    #[test]
    fn this_machine_and_its_own_names_may_come() {
        for host in ["localhost", "LOCALHOST:9535", "127.0.0.1:9535", "127.8.8.8", "[::1]:9535"] {
            assert_eq!(checked(&AllowedHosts::default(), "/admin/v1/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["10.1.2.3:9535", "[2001:db8::1]", "Gateway.Example:443"] {
            assert_eq!(checked(&wide(), "/admin/v1/", &[("host", host)]), Ok(()), "{host}");
            assert_eq!(
                checked(&AllowedHosts::default(), "/admin/v1/", &[("host", host)]),
                Err(Refused::Host),
                "{host}"
            );
        }
        let one = AllowedHosts { address: Some("10.1.2.3".parse().unwrap()), public: None };
        assert_eq!(checked(&one, "/", &[("host", "10.1.2.3")]), Ok(()));
        assert_eq!(checked(&one, "/", &[("host", "10.1.2.4")]), Err(Refused::Host));
    }

    #[test]
    fn a_page_that_was_led_here_may_not() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9535",
            "",
            "a b",
            "[::1].evil",
            "me@localhost",
        ] {
            for own in [AllowedHosts::default(), wide()] {
                assert_eq!(checked(&own, "/admin/v1/", &[("host", host)]), Err(Refused::Host), "{host}");
            }
        }
        assert_eq!(checked(&wide(), "/", &[]), Err(Refused::Host));
        assert_eq!(checked(&wide(), "/", &[("host", "localhost"), ("host", "localhost")]), Err(Refused::Host));
        assert_eq!(checked(&wide(), "http://evil.example/", &[("host", "localhost")]), Err(Refused::Host));
        for origin in ["null", "http://localhost", "http://127.0.0.1:9535"] {
            let headers = [("host", "localhost"), ("origin", origin)];
            assert_eq!(checked(&wide(), "/", &headers), Err(Refused::Origin));
        }
    }
}
