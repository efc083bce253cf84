//! Which settings need a restart?
//! Given the configuration of the start and another, hands back the names of such settings that differ, and puts them back.
//! Never lets the rest wait: it is applied.

use crate::config::{Config, LONGEST_WITHOUT_STATE, Listener};

/// Puts back what a running gateway cannot change; the keys that would have changed.
pub(super) fn hold_back(config: &mut Config, started: &Config) -> Vec<&'static str> {
    let mut held = Vec::new();
    let (server, tokens, telemetry) = (&mut config.server, &mut config.tokens, &mut config.telemetry);
    keep("server.workers", &mut server.workers, &started.server.workers, &mut held);
    keep("server.max_connections", &mut server.max_connections, &started.server.max_connections, &mut held);
    let per_peer = &mut server.max_connections_per_peer;
    keep("server.max_connections_per_peer", per_peer, &started.server.max_connections_per_peer, &mut held);
    keep("server.header_timeout", &mut server.header_timeout, &started.server.header_timeout, &mut held);
    keep("server.max_header_bytes", &mut server.max_header_bytes, &started.server.max_header_bytes, &mut held);
    keep_listeners(&mut config.listeners, &started.listeners, &mut held);
    keep("health.listen", &mut config.health.listen, &started.health.listen, &mut held);
    keep("admin.listen", &mut config.admin.listen, &started.admin.listen, &mut held);
    keep("admin.tls", &mut config.admin.tls, &started.admin.tls, &mut held);
    keep("cache.max_bytes", &mut config.cache.max_bytes, &started.cache.max_bytes, &mut held);
    keep("tokens.keys_dir", &mut tokens.keys_dir, &started.tokens.keys_dir, &mut held);
    keep("tokens.key_notice", &mut tokens.key_notice, &started.tokens.key_notice, &mut held);
    keep("state.dir", &mut config.state.dir, &started.state.dir, &mut held);
    if config.state.dir.is_none() {
        // What is written on disk later does not yet hold revocations of long-lived tokens.
        tokens.max_ttl = tokens.max_ttl.min(LONGEST_WITHOUT_STATE);
    }
    keep("telemetry.log", &mut telemetry.log, &started.telemetry.log, &mut held);
    keep("telemetry.log_format", &mut telemetry.log_format, &started.telemetry.log_format, &mut held);
    keep("telemetry.otlp_endpoint", &mut telemetry.otlp_endpoint, &started.telemetry.otlp_endpoint, &mut held);
    keep("telemetry.trace_sample", &mut telemetry.trace_sample, &started.telemetry.trace_sample, &mut held);
    held
}

fn keep<T: PartialEq + Clone>(key: &'static str, now: &mut T, started: &T, held: &mut Vec<&'static str>) {
    if now != started {
        started.clone_into(now);
        held.push(key);
    }
}

/// Sockets stay as they are bound. Whose rights a request without a token has changes at once, but only on a socket that is
/// as the file says: one that waits to be narrower, or to speak TLS, gives such a request none.
fn keep_listeners(now: &mut Vec<Listener>, started: &[Listener], held: &mut Vec<&'static str>) {
    let bound = |listener: &Listener| (listener.address.clone(), listener.unix_mode, listener.tls.clone());
    let same = now.iter().map(bound).eq(started.iter().map(bound));
    if !same {
        held.push("listeners");
    }
    let of = |listener: &Listener| {
        let found = now.iter().find(|other| bound(other) == bound(listener));
        Listener { ambient: found.and_then(|found| found.ambient.clone()), ..listener.clone() }
    };
    *now = started.iter().map(of).collect();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Given, load};

    use super::*;

    fn config(more: &str) -> Config {
        let text = format!("upstream.url = \"http://127.0.0.1:1\"\nupstream.api_key_env = \"KEY\"\n{more}");
        load(Given { text: Some(text), ..Given::default() }).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn what_is_bound_stays_and_is_named_and_everything_else_is_applied() {
        let started = config("[server]\nworkers = 2");
        let mut same = started.clone();
        assert!(hold_back(&mut same, &started).is_empty() && same == started);
        let mut next = config(
            "[server]\nworkers = 3\nrequest_timeout = \"3s\"\n[health]\nlisten = \"127.0.0.1:7\"\n[cache]\nmax_bytes = \"2MiB\"\nmax_object = \"1MiB\"",
        );
        assert_eq!(hold_back(&mut next, &started), ["server.workers", "health.listen", "cache.max_bytes"]);
        assert_eq!((next.server.workers, next.health.listen), (2, started.health.listen));
        assert_eq!((next.server.request_timeout, next.cache.max_object), (Duration::from_secs(3), 1 << 20));
    }

    #[test]
    fn where_traces_go_and_how_many_takes_a_restart_and_what_the_partner_is_told_does_not() {
        let started = config("[telemetry]\notlp_endpoint = \"http://127.0.0.1:4318\"");
        let mut next = config(
            "upstream.propagate_trace = true\n[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"\ntrace_sample = 0.5",
        );
        assert_eq!(hold_back(&mut next, &started), ["telemetry.otlp_endpoint", "telemetry.trace_sample"]);
        assert!(next.telemetry == started.telemetry && next.upstream.propagate_trace);
    }

    #[test]
    fn a_state_on_disk_takes_a_restart_and_long_tokens_with_it() {
        let started = config("[state]\ndir = \"\"");
        let mut next = config("[state]\ndir = \"here\"\n[tokens]\nmax_ttl = \"30d\"");
        assert_eq!(hold_back(&mut next, &started), ["tokens.keys_dir", "state.dir"]);
        assert_eq!((next.state.dir, next.tokens.max_ttl), (None, LONGEST_WITHOUT_STATE));
    }

    #[test]
    fn a_listener_that_the_file_has_no_more_gives_nobody_rights_without_a_token() {
        let caller = "[[callers]]\nname = \"app\"\nscopes = []\nclients = [\"*\"]\nproviders = [\"*\"]\n";
        let door = |port: u16, ambient: &str| {
            format!("[[listeners]]\naddress = \"127.0.0.1:{port}\"\nambient = \"{ambient}\"\n")
        };
        let started = config(&(caller.to_owned() + &door(81, "app") + &door(82, "")));
        let mut swapped = config(&(caller.to_owned() + &door(81, "") + &door(82, "app")));
        assert!(hold_back(&mut swapped, &started).is_empty());
        let ambient = |config: &Config| config.listeners.iter().map(|one| one.ambient.clone()).collect::<Vec<_>>();
        assert_eq!(ambient(&swapped), [None, Some("app".to_owned())]);
        let mut moved = config(&(caller.to_owned() + &door(83, "app")));
        assert_eq!(hold_back(&mut moved, &started), ["listeners"]);
        assert_eq!(ambient(&moved), [None, None]);
    }

    /// It gave them at once, on the socket that was still as wide as before.
    #[test]
    fn a_socket_that_waits_to_be_narrower_gives_nobody_rights_without_a_token() {
        let caller = "[[callers]]\nname = \"app\"\nscopes = []\nclients = [\"*\"]\nproviders = [\"*\"]\n";
        let door = |more: &str| format!("{caller}[[listeners]]\naddress = \"unix:/run/gw.sock\"\n{more}");
        let started = config(&door("unix_mode = \"0666\""));
        let mut next = config(&door("unix_mode = \"0600\"\nambient = \"app\""));
        assert_eq!(hold_back(&mut next, &started), ["listeners"]);
        assert_eq!((next.listeners[0].unix_mode, next.listeners[0].ambient.as_deref()), (0o666, None));
    }
}
