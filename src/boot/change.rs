//! What of the partner is another after a reload.
//! Given two configurations and the files that they name, says what of what is held and known goes on counting.
//! Never reads a secret.

use std::path::Path;

use crate::config::{self, Config};
use crate::route::{Mode, Route};

/// What the partner's certificate is checked by, as it was read for the connections there are.
pub(super) type Roots = Option<Vec<u8>>;

/// Reads the file of `upstream.ca_file`, to see whether it is another one.
pub(super) fn roots(upstream: &config::Upstream) -> Roots {
    upstream.ca_file.as_deref().and_then(|path: &Path| std::fs::read(path).ok())
}

/// What of the partner is another than before.
pub(super) struct Change {
    /// The partner itself: nothing that was said by the one before counts.
    pub(super) another: bool,
    /// That, or what a hub gives us: nothing that was brought before counts.
    pub(super) partner: bool,
    /// Where its keys lie.
    pub(super) keys: bool,
    /// How it is reached.
    pub(super) connections: bool,
    /// What narrowed rights see of the same document.
    views: bool,
}

impl Change {
    /// From one configuration and its roots to another.
    pub(super) fn between(was: (&Config, &Roots), is: (&Config, &Roots)) -> Self {
        let ((before, roots_before), (after, roots)) = (was, is);
        let (old, new) = (&before.upstream, &after.upstream);
        let keys = old.credential != new.credential;
        // What a hub brought was cut to the right of the token that it was shown.
        let another = old.url != new.url || old.credential.is_for_a_hub() != new.credential.is_for_a_hub();
        let partner = another || (keys && new.credential.is_for_a_hub());
        let way = |it: &config::Upstream| {
            let proxy = (it.proxy.clone(), it.proxy_auth_file.clone());
            (it.ca_file.clone(), it.connect_timeout, proxy, it.max_connection_age)
        };
        Self {
            another,
            partner,
            keys,
            connections: partner || way(old) != way(new) || roots_before != roots,
            views: before.views != after.views,
        }
    }

    /// Whether what is stored for a route means something else now: views are kept beside an entry by right alone.
    pub(super) fn means_another(&self, route: &Route) -> bool {
        self.partner || (self.views && route.mode == Mode::Api)
    }
}
