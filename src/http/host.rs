//! Which host does a request name?
//! Given an authority as it stands in `Host` or in a target, hands back an address or a name, and the port.
//! Never resolves a name, and never guesses: what has more in it than host and port names nothing.

use std::net::{IpAddr, Ipv6Addr};

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Version};

/// A host as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// By its address.
    Address(IpAddr),
    /// By a name.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// The host and the port of an authority; `None` where anything else stands there, a user or a tail behind a bracket.
    pub fn of(named: &'a Authority) -> Option<(Self, Option<u16>)> {
        let (host, port) = (named.host(), named.port_u16());
        let whole = match (named.as_str().strip_prefix(host)?, port) {
            ("", None) => true,
            (rest, Some(port)) => rest.strip_prefix(':').is_some_and(|digits| digits == port.to_string()),
            _ => false,
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare {
            Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => host.parse::<IpAddr>().ok(),
        };
        whole.then(|| (address.map_or(Self::Name(host), Self::Address), port))
    }

    /// Whether it is this machine by its nature: `localhost`, or a loopback address.
    pub fn is_local(self) -> bool {
        match self {
            Self::Address(address) => address.is_loopback(),
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// A `Host` that is given more than once, or is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAHost;

/// The authority that `Host` names; `None` where it is absent or empty.
///
/// # Errors
/// [`NotAHost`].
pub fn named(headers: &HeaderMap) -> Result<Option<Authority>, NotAHost> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) if host.is_empty() => Ok(None),
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()).map(Some).ok_or(NotAHost),
        (Some(_), Some(_)) => Err(NotAHost),
    }
}

/// Whether a request names its host as RFC 9112 §3.2 wants it: once, as a host may be written, and from HTTP/1.1 on at all.
pub fn is_named_well(version: Version, headers: &HeaderMap) -> bool {
    is_named(version, headers, is_authority)
}

/// The same, where something else says whether it is well written.
#[inline]
pub fn is_named(version: Version, headers: &HeaderMap, is_well_written: impl FnOnce(&[u8]) -> bool) -> bool {
    // Most clients name it first, and no field twice: then nothing has to be looked up.
    if headers.len() == headers.keys_len()
        && let Some((name, host)) = headers.iter().next()
        && name == HOST
    {
        return is_well_written(host.as_bytes());
    }
    let mut named = headers.get_all(HOST).iter();
    match (named.next(), named.next()) {
        (Some(host), None) => is_well_written(host.as_bytes()),
        (None, _) => version < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Letters, digits, and what else names are made of.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse an index beyond the end")]
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'.' | b'-' | b'_');
        byte += 1;
    }
    plain
};

/// `uri-host [ ":" port ]` (RFC 3986 §3.2.2): an address in brackets, or a name, which may be empty; no user, no path.
pub fn is_authority(host: &[u8]) -> bool {
    if let Some(inside) = host.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', inside) else { return false };
        let (address, rest) = inside.split_at(end);
        let is_address = std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
        return is_address && is_port(rest.get(1..).unwrap_or_default());
    }
    // Most names have nothing in them that has to be looked at twice.
    let plain = |byte: &u8| PLAIN.get(usize::from(*byte)).copied().unwrap_or_default();
    let simple = host.iter().take_while(|byte| plain(byte)).count();
    let mut rest = host.get(simple..).unwrap_or_default();
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (byte, _) if plain(byte) => after,
            (b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=', _) => after,
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            (b':', _) => return is_port(rest),
            _ => return false,
        };
    }
    true
}

/// Nothing, or a colon and a port; a port without digits is the scheme's own.
fn is_port(text: &[u8]) -> bool {
    match text.split_first() {
        None => true,
        Some((b':', digits)) => {
            let number = digits.iter().try_fold(0_u32, |number, digit| {
                let more = number.saturating_mul(10).saturating_add(u32::from(digit.wrapping_sub(b'0')));
                digit.is_ascii_digit().then_some(more)
            });
            number.is_some_and(|number| number <= u32::from(u16::MAX))
        }
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_its_port_are_all_that_may_stand_there() {
        let of = |text: &str| {
            let named = text.parse::<Authority>().ok()?;
            Host::of(&named).map(|(host, port)| (host.is_local(), port))
        };
        for (text, found) in [
            ("localhost", Some((true, None))),
            ("LocalHost:80", Some((true, Some(80)))),
            ("127.9.9.9:1", Some((true, Some(1)))),
            ("[::1]", Some((true, None))),
            ("[::1]:65535", Some((true, Some(65535)))),
            ("0.0.0.0:80", Some((false, Some(80)))),
            ("127.1", Some((false, None))),
            ("localhost.", Some((false, None))),
            ("a.localhost", Some((false, None))),
            ("10.0.0.1", Some((false, None))),
            ("localhost:", None),
            ("localhost:080", None),
            ("localhost:99999", None),
            ("me@localhost", None),
            ("[::1].evil", None),
            ("", None),
        ] {
            assert_eq!(of(text), found, "{text:?}");
        }
    }

    /// Two hosts, none and a malformed one were answered as if the first of them had been all there was.
    #[test]
    fn a_request_names_one_host_and_names_it_well() {
        let well = |version, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| (HOST, http::HeaderValue::from_bytes(host.as_bytes()).unwrap()));
            is_named_well(version, &hosts.collect())
        };
        for host in [
            "a",
            "a.example:8080",
            "127.0.0.1",
            "[::1]",
            "[2001:db8::1]:443",
            "my_service",
            "xn--bcher-kva.example.",
            "a%20b",
            "localhost:",
            "a:080",
            "",
        ] {
            assert!(well(Version::HTTP_11, &[host]), "{host:?}");
        }
        for host in [
            "a b",
            "a/b",
            "http://a",
            "me@a",
            "a:b",
            "a:1:2",
            "a:99999",
            "a:-1",
            "[::1",
            "[::1]x",
            "[a]",
            "::1",
            "a, b",
            "a%2",
            "a%zz",
            "a?b",
            "a#b",
            "a\\b",
            "\"a\"",
            "<a>",
            "b\u{fc}cher",
        ] {
            assert!(!well(Version::HTTP_11, &[host]), "{host:?}");
            assert!(!well(Version::HTTP_10, &[host]), "{host:?}");
        }
        assert!(!well(Version::HTTP_11, &[]) && !well(Version::HTTP_2, &[]));
        assert!(well(Version::HTTP_10, &[]), "HTTP/1.0 has no Host");
        for hosts in [["a", "b"], ["a", "a"]] {
            assert!(!well(Version::HTTP_11, &hosts) && !well(Version::HTTP_10, &hosts));
        }
    }
}
