//! What does this version not do yet?
//! Given a configuration, notes a fault where ignoring a setting would be unsafe.
//! Never changes a setting. What gets built loses its line here.

use super::Config;
use super::notes::Notes;
use super::partner::UpstreamKind;

/// Settings that must not be ignored, since something would be less safe than the file says.
pub(super) fn refuse(config: &Config, notes: &Notes) {
    let no = |refused: bool, key: String, what: &str| {
        if refused {
            notes.fault(&key, format!("{what} is not available in this version"));
        }
    };
    let upstream = &config.upstream;
    no(upstream.kind == UpstreamKind::Hub, "upstream.kind".to_owned(), "a hub as upstream");
}
