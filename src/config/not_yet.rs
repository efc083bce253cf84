//! What does this version not do yet?
//! Given a configuration, notes a warning where a setting has no effect.
//! Never changes a setting. What gets built loses its line here.

use super::Config;
use super::inside::Telemetry;
use super::notes::Notes;

const NO_EFFECT: &str = "has no effect in this version";

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
