//! Where does a place lie that the partner names?
//! Given a link and the partner's origin, hands back the link as it is followed through us, if it leads to the partner.
//! Never changes a link to anywhere else, and never makes one that leads elsewhere than it says.

use crate::account_api::PREFIX;

/// The partner's origin, to hold links against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    /// From `scheme://host:port`.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        let Link { scheme, authority, .. } = split(text.as_bytes())?;
        let (host, port) = host_and_port(authority)?;
        Some(Self { host, port: port.or_else(|| default_port(scheme?)) })
    }

    /// The link without scheme and host, if these are the partner's, however they are written: in capitals, without the
    /// scheme or with another one, without a port or with the scheme's own.
    pub(super) fn below(self, link: &[u8]) -> Option<Vec<u8>> {
        let Link { scheme, authority, rest } = split(link)?;
        let (host, port) = host_and_port(authority)?;
        (without_dot(host).eq_ignore_ascii_case(without_dot(self.host)) && self.is_port(scheme, port, rest)).then(
            || {
                let rooted = rest.first().is_some_and(|first| is_slash(*first));
                // A second slash would make a host of what follows (RFC 3986 §4.2).
                let leads_away = rooted && rest.get(1).is_some_and(|second| is_slash(*second));
                let start: &[u8] = if leads_away { b"/." } else { b"/" };
                let start = if rooted && !leads_away { &b""[..] } else { start };
                [start, rest].concat()
            },
        )
    }

    fn is_port(self, scheme: Option<&[u8]>, port: Option<u16>, rest: &[u8]) -> bool {
        let web = |port: Option<u16>| matches!(port, Some(80 | 443));
        match port {
            Some(port) if Some(port) == self.port => true,
            // Behind what ends TLS a server knows neither its scheme nor its port, and names the default one of either.
            Some(port) => web(Some(port)) && web(self.port),
            None if scheme.and_then(default_port) == self.port || web(self.port) => true,
            // On a port of its own, without which only the API's paths are surely the same server's.
            None => rest.starts_with(PREFIX.as_bytes()),
        }
    }
}

/// A link that names a host (RFC 3986 §3).
struct Link<'a> {
    scheme: Option<&'a [u8]>,
    authority: &'a [u8],
    /// From the path on.
    rest: &'a [u8],
}

/// Takes a link that names a host apart. Browsers take a backslash for a slash.
fn split(link: &[u8]) -> Option<Link<'_>> {
    let link = link.trim_ascii();
    let (scheme, after) = match link.iter().position(|byte| *byte == b':') {
        Some(at) if link.iter().take(at).all(u8::is_ascii_alphabetic) && at > 0 => {
            let (scheme, after) = link.split_at_checked(at)?;
            (Some(scheme), after.get(1..)?)
        }
        _ => (None, link),
    };
    let web = |scheme: &[u8]| scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let slashes = after.iter().take_while(|byte| is_slash(**byte)).count();
    if slashes < 2 || !scheme.is_none_or(web) {
        return None;
    }
    let after = after.get(slashes..)?;
    let end = after.iter().position(|byte| is_slash(*byte) || *byte == b'?' || *byte == b'#').unwrap_or(after.len());
    let (authority, rest) = after.split_at_checked(end)?;
    Some(Link { scheme, authority, rest })
}

fn host_and_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host = authority.rsplit(|byte| *byte == b'@').next()?;
    let colon = host.iter().rposition(|byte| *byte == b':');
    // The colons of an address in brackets are its own.
    let colon = colon.filter(|at| !host.get(*at..).unwrap_or_default().contains(&b']'));
    let Some((host, port)) = colon.and_then(|at| host.split_at_checked(at)) else { return Some((host, None)) };
    let digits = port.get(1..)?;
    match digits {
        [] => Some((host, None)),
        digits => Some((host, Some(std::str::from_utf8(digits).ok()?.parse().ok()?))),
    }
}

fn default_port(scheme: &[u8]) -> Option<u16> {
    Some(if scheme.eq_ignore_ascii_case(b"https") { 443 } else { 80 })
}

fn without_dot(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

fn is_slash(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(origin: &str, link: &str) -> Option<String> {
        let below = Origin::new(origin).unwrap().below(link.as_bytes());
        below.map(|below| String::from_utf8(below).unwrap())
    }

    /// Only `scheme://host:port` as the configuration has it was known: every other spelling led callers past the gateway.
    #[test]
    fn a_place_of_the_partners_is_one_of_ours_however_it_is_written() {
        let rows: [(&str, &str, Option<&str>); 40] = [
            ("http://p:81", "http://p:81/a", Some("/a")),
            ("http://p:81", "HTTP://P:81/a?b#c", Some("/a?b#c")),
            ("http://p:81", "https://p:81/a", Some("/a")),
            ("http://p:81", "//p:81/a", Some("/a")),
            ("http://p:81", "//p.:81/a", Some("/a")),
            ("http://p:81", "http://user@p:81/a", Some("/a")),
            ("http://p:81", "http:\\\\p:81\\a", Some("\\a")),
            ("http://p:81", "/\\p:81/a", Some("/a")),
            ("http://p:81", "http:///p:81/a", Some("/a")),
            ("http://p:81", "http://p:81", Some("/")),
            ("http://p:81", "http://p:81?page=2", Some("/?page=2")),
            ("http://p:81", "http://p:81#c", Some("/#c")),
            ("http://p:81", " http://p:81/a ", Some("/a")),
            ("http://p:81", "http://p:81//evil.example/a", Some("/.//evil.example/a")),
            ("http://p:81", "http://p:81/\\evil.example/a", Some("/./\\evil.example/a")),
            ("http://p:81", "http://p:82/a", None),
            ("http://p:81", "http://p:80/a", None),
            ("http://p:81", "http://p/a", None),
            ("http://p:81", "http://p/reseller/account/v1/a", Some("/reseller/account/v1/a")),
            ("http://p:81", "https://p/reseller/account/v1/a", Some("/reseller/account/v1/a")),
            ("http://p:81", "http://q:81/a", None),
            ("http://p:81", "http://pp:81/a", None),
            ("http://p:81", "http://p:81.evil.example/a", None),
            ("http://p:81", "http://p:81@evil.example/a", None),
            ("http://p:81", "ftp://p:81/a", None),
            ("http://p:81", "mailto:a@p", None),
            ("http://p:81", "/a", None),
            ("http://p:81", "a//p:81/b", None),
            ("http://p:81", "", None),
            ("http://p:80", "http://p/a", Some("/a")),
            ("http://p:80", "https://p/a", Some("/a")),
            ("http://p:80", "https://p:443/a", Some("/a")),
            ("http://p:80", "http://p:/a", Some("/a")),
            ("http://p:80", "http://p:8080/a", None),
            ("https://p:443", "https://p/a", Some("/a")),
            ("https://p:443", "http://p/a", Some("/a")),
            ("https://p:443", "http://p:80/a", Some("/a")),
            ("https://[::1]:9534", "https://[::1]:9534/a", Some("/a")),
            ("https://[::1]:9534", "https://[::1]/a", None),
            ("https://[::1]:443", "https://[::1]/a", Some("/a")),
        ];
        for (origin, link, expected) in rows {
            assert_eq!(below(origin, link).as_deref(), expected, "{link} at {origin}");
        }
    }
}
