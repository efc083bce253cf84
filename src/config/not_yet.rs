//! What does this version not do yet?
//! Given a configuration, notes a fault where ignoring a setting would be unsafe, a warning where it merely has no effect.
//! Never changes a setting. What gets built loses its line here.

use super::Config;
use super::inside::Telemetry;
use super::notes::Notes;

const NO_EFFECT: &str = "has no effect in this version";

/// Settings that must not be ignored, since something would be less safe than the file says.
pub(super) fn refuse(config: &Config, notes: &Notes) {
    let no = |refused: bool, key: String, what: &str| {
        if refused {
            notes.fault(&key, format!("{what} is not available in this version"));
        }
    };
    for (index, listener) in config.listeners.iter().enumerate() {
        no(listener.tls.is_some(), format!("listeners[{index}].tls"), "TLS on a listener");
    }
}

/// Settings that are understood, and change nothing.
pub(super) fn warn(config: &Config, notes: &Notes) {
    let telemetry = Telemetry::default();
    let set = [
        ("telemetry.otlp_endpoint", config.telemetry.otlp_endpoint != telemetry.otlp_endpoint),
        ("telemetry.trace_sample", config.telemetry.trace_sample.to_bits() != telemetry.trace_sample.to_bits()),
    ];
    for (key, _) in set.iter().filter(|(_, set)| *set) {
        notes.warn(key, NO_EFFECT);
    }
}
