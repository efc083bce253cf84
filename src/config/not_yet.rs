//! What does this version not do yet?
//! Given a configuration, notes a fault where ignoring a setting would be unsafe, a warning where it merely has no effect.
//! Never changes a setting. What gets built loses its line here.

use super::callers::{Bound, Priority};
use super::inside::{Cache, Telemetry};
use super::notes::Notes;
use super::partner::{Breaker, Expect, UpstreamKind};
use super::routes::RouteMode;
use super::{Config, check};

/// Why no address is a Unix socket's.
pub(super) const UNIX_ADDRESS: &str =
    "a Unix socket is available for admin.listen only in this version; use a loopback address";

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
        no(listener.ambient.is_some(), format!("listeners[{index}].ambient"), "an ambient caller");
    }
    let upstream = &config.upstream;
    no(upstream.kind == UpstreamKind::Hub, "upstream.kind".to_owned(), "a hub as upstream");
    no(upstream.api_key_file_next.is_some(), "upstream.api_key_file_next".to_owned(), "a second key");
    no(!config.views.allow.is_empty(), "views.allow".to_owned(), "showing unknown fields in views");
    for (key, route) in check::all_routes(config) {
        let standard = route.mode == RouteMode::Standard;
        no(standard && check::is_one_of_the_seven(&key), format!("{key}.mode"), "the standard mode on this route");
        no(standard && route.store, format!("{key}.store"), "storing in standard mode");
        no(route.forward_authorization, format!("{key}.forward_authorization"), "forwarding `Authorization`");
    }
    for (index, caller) in config.callers.iter().enumerate() {
        for (key, bound) in [("clients", &caller.clients), ("providers", &caller.providers)] {
            if notes.is_faulty_within(&format!("callers[{index}].{key}")) {
                continue;
            }
            let what = "a caller bound to some of them is refused until bounds arrive with a later version; that";
            no(*bound != Bound::All, format!("callers[{index}].{key}"), what);
        }
        no(caller.limits.is_some(), format!("callers[{index}].limits"), "limits per caller");
    }
}

/// Settings that are understood, and change nothing.
pub(super) fn warn(config: &Config, notes: &Notes) {
    let (breaker, expect) = (Breaker::default(), Expect::default());
    let telemetry = Telemetry::default();
    let set = [
        ("upstream.breaker.failures", config.upstream.breaker.failures != breaker.failures),
        ("upstream.breaker.cool_down", config.upstream.breaker.cool_down != breaker.cool_down),
        ("upstream.breaker.cool_down_max", config.upstream.breaker.cool_down_max != breaker.cool_down_max),
        ("upstream.expect.clients", config.upstream.expect.clients != expect.clients),
        ("cache.max_variants", config.cache.max_variants != Cache::default().max_variants),
        ("telemetry.otlp_endpoint", config.telemetry.otlp_endpoint != telemetry.otlp_endpoint),
        ("telemetry.trace_sample", config.telemetry.trace_sample.to_bits() != telemetry.trace_sample.to_bits()),
    ];
    for (key, _) in set.iter().filter(|(_, set)| *set) {
        notes.warn(key, NO_EFFECT);
    }
    for (index, caller) in config.callers.iter().enumerate() {
        if caller.priority != Priority::Interactive {
            notes.warn(&format!("callers[{index}].priority"), NO_EFFECT);
        }
    }
}
