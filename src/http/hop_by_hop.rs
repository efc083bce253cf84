//! Which headers belong to one connection?
//! Given a name or a head, says so or takes them out (RFC 9110 §7.6.1).
//! Never keeps a header that `Connection` names, whatever it is called.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName};
use smallvec::SmallVec;

/// Whether a header belongs to one connection or one proxy, whether `Connection` names it or not: those of RFC 9110 §7.6.1
/// and §11.7, and the older ones that some still send. `name` is in lower case.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Takes out what belongs to the connection, which may name more of it, and what `stays` here.
pub fn strip(headers: &mut HeaderMap, stays: impl Fn(&str) -> bool) {
    let named = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let named = named.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let ours = headers.keys().filter(|name| is_hop_by_hop(name.as_str()) || stays(name.as_str())).cloned();
    let out: SmallVec<[HeaderName; 8]> = named.chain(ours).collect();
    out.iter().for_each(|name| drop(headers.remove(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_connection_goes_with_what_it_names_and_what_stays() {
        let mut head = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Own ,, @"),
            ("connection", "x-second"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-own", "1"),
            ("x-second", "2"),
            ("x-stays", "3"),
            ("etag", "\"a\""),
            ("warning", "199 - \"x\""),
        ] {
            head.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        strip(&mut head, |name| name == "x-stays");
        let mut left: Vec<_> = head.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["etag", "warning"]);
    }
}
