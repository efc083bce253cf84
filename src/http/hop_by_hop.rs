//! Fields that belong to one connection.
//! Given a head, takes them out: those that RFC 9110 §7.6.1 names, and those that `Connection` names.
//! Never touches what is said from end to end.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName};
use smallvec::SmallVec;

use super::list;

/// Whether a field of this name, in small letters, belongs to one connection, whether `Connection` names it or not
/// (RFC 9110 §7.6.1, §11.7, RFC 9111 §3.1; and the older ones that some still send).
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

/// Takes out what belongs to the connection.
pub fn strip(headers: &mut HeaderMap) {
    strip_and(headers, |_| false);
}

/// Takes out what belongs to the connection, and what is `withheld` by its name.
pub fn strip_and(headers: &mut HeaderMap, withheld: impl Fn(&str) -> bool) {
    let named = list::plain_elements(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok());
    let others = headers.keys().filter(|name| is_hop_by_hop(name.as_str()) || withheld(name.as_str())).cloned();
    let out: SmallVec<[HeaderName; 8]> = named.chain(others).collect();
    out.iter().for_each(|name| drop(headers.remove(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_goes_and_the_rest_stays() {
        let mut head = HeaderMap::new();
        let gone = ["keep-alive", "http2-settings", "te", "proxy-authenticate", "x-mine", "x-too", "upgrade"];
        for name in gone.into_iter().chain(["etag", "x-yours", "set-cookie"]) {
            head.append(HeaderName::from_static(name), "1".parse().unwrap());
        }
        for line in ["X-Mine, close", "\", x-too,no name"] {
            head.append(CONNECTION, line.parse().unwrap());
        }
        let mut withheld = head.clone();
        strip(&mut head);
        let names = |head: &HeaderMap| {
            let mut names: Vec<String> = head.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(&head), ["etag", "set-cookie", "x-yours"]);
        strip_and(&mut withheld, |name| name == "set-cookie");
        assert_eq!(names(&withheld), ["etag", "x-yours"]);
    }

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
        strip_and(&mut head, |name| name == "x-stays");
        let mut left: Vec<_> = head.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["etag", "warning"]);
    }
}
