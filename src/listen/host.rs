//! Which host does a request name?
//! Given an authority as it stands in `Host` or in a target, hands back an address or a name, and the port.
//! Never resolves a name, and never guesses: what has more in it than host and port names nothing.

use std::net::{IpAddr, Ipv6Addr};

use http::uri::Authority;

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
}
