//! Which host did a connection's requests name last?
//! Given a request's version and head, hands back whether it names its host well; the same bytes are looked at once.
//! Never reads the field itself: [`crate::http::host`] does.

use http::{HeaderMap, Version};
use parking_lot::Mutex;

use crate::http::host::{is_authority, is_named};

/// The host that a connection's requests named last, if it is well written: nearly all of them name the same.
#[derive(Debug, Default)]
pub(super) struct LastHost(Mutex<Box<[u8]>>);

impl LastHost {
    /// The same as [`crate::http::host::is_named_well`], where the connection has named a host before.
    pub(super) fn is_named_well(&self, version: Version, headers: &HeaderMap) -> bool {
        is_named(version, headers, |host| self.accepts(host))
    }

    fn accepts(&self, host: &[u8]) -> bool {
        let mut last = self.0.lock();
        if !host.is_empty() && **last == *host {
            return true;
        }
        let well = is_authority(host);
        if well && host.len() <= MAX_REMEMBERED {
            *last = host.into();
        }
        well
    }
}

/// The longest host that is remembered: no name in the DNS is longer, with a port.
const MAX_REMEMBERED: usize = 260;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HOST;

    use super::*;

    #[test]
    fn what_a_connection_named_before_is_judged_alike() {
        let last = LastHost::default();
        let mut head = HeaderMap::new();
        for (host, is_well) in
            [("a:1", true), ("a:1", true), ("a:x", false), ("a:1", true), ("", true), ("b", true), ("a:x", false)]
        {
            head.insert(HOST, HeaderValue::from_static(host));
            assert_eq!(last.is_named_well(Version::HTTP_11, &head), is_well, "{host:?} on one connection");
        }
    }
}
