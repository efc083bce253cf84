//! Does the reading keep its word?
//! Given texts, variables and flags, claims what comes of them.
//! Never reads the real environment.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::gcra::Rate;

mod faults;

const LEAST: &str = "[upstream]\nurl = \"https://partner.example\"\napi_key_file = \"secrets/api-key\"\n";
/// Sidecars to a hub.
const TOKEN: &str = "[upstream]\nurl = \"https://hub.example\"\nkind = \"hub\"\ntoken_file = \"secrets/token\"\n";
const EXCHANGED: &str = "[upstream]\nurl = \"https://hub.example\"\nkind = \"hub\"\n[upstream.exchange]\nsubject_token_file = \"t\"\nscope = [\"clients:read\"]\n";
const REFERENCE: &str = include_str!("../../config/reference.toml");
const LOCAL: &str = include_str!("../../config/local.toml");
const SHARED: &str = include_str!("../../config/shared.toml");
const SIDECAR: &str = include_str!("../../config/sidecar.toml");

fn given(text: &str) -> Given {
    Given { text: Some(text.to_owned()), ..Given::default() }
}

fn loaded(text: &str) -> Config {
    load(given(text)).unwrap_or_else(|faults| panic!("{faults}"))
}

fn text_faults(text: &str) -> String {
    load(given(text)).unwrap_err().to_string()
}

fn variables(set: &[(&str, &str)]) -> Given {
    let environment = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Given { environment, ..given(LEAST) }
}

fn key(first: ApiKey) -> Credential {
    Credential::Key { first, next: None }
}

/// The reference with the settings that stand in comments taken out of them.
fn uncommented() -> String {
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    REFERENCE.lines().map(bare).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_is_the_defaults() {
    assert_eq!(loaded(REFERENCE), loaded(LEAST));
    assert_eq!(loaded(REFERENCE).warnings, []);
}

#[test]
fn every_key_the_reader_knows_is_in_the_reference() {
    let (_, _, known) = read(given(&uncommented())).unwrap();
    let mut written = BTreeSet::new();
    note_keys("", &toml::Value::Table(uncommented().parse().unwrap()), &mut written);
    // The eight routes hold the same keys; the first shows them all.
    let shown = |key: &str| match key.strip_prefix("routes.").and_then(|rest| rest.split_once('.')) {
        Some((_, setting)) => format!("routes.clients.{setting}"),
        None => key.to_owned(),
    };
    let absent: Vec<_> = known.iter().filter(|key| !written.contains(&shown(key))).collect();
    assert!(absent.is_empty(), "{absent:?}");
    assert!(known.len() > 150, "{}", known.len());
}

fn note_keys(path: &str, value: &toml::Value, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys.insert(path.clone());
                note_keys(&path, value, keys);
            }
        }
        toml::Value::Array(items) => items.iter().for_each(|item| note_keys(&format!("{path}[]"), item, keys)),
        _ => {}
    }
}

#[test]
fn the_settings_shown_in_comments_read_well() {
    // Some comments show alternatives to a neighbour; their faults say so.
    let expected = ["the key lies in one place", "said twice", "this is for a hub", "no proxy is named"];
    let faults = load(given(&uncommented())).unwrap_err();
    for fault in faults.iter() {
        assert!(expected.iter().any(|reason| fault.reason.contains(reason)), "{fault}");
    }
}

#[test]
fn the_examples_load_without_fault_or_warning() {
    for text in [LOCAL, SHARED, SIDECAR] {
        assert_eq!(loaded(text).warnings, []);
    }
    assert_eq!(loaded(LOCAL).upstream.url, "http://127.0.0.1:9534/");
    assert_eq!(loaded(LOCAL).tokens.max_ttl, Duration::from_secs(3600));
    assert_eq!(loaded(LOCAL).tokens.keys_dir, None);
}

#[test]
fn the_built_in_routes_stand_in_their_order_with_their_own_defaults() {
    let config = loaded(&format!("{LEAST}[routes.client_projects]\nttl = \"3m\""));
    let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ROUTE_NAMES);
    let table = [(60, 300), (60, 300), (300, 900), (180, 600), (30, 120), (30, 120), (30, 120), (0, 0)];
    for (route, (ttl, stale)) in config.routes.iter().zip(table) {
        let times = (route.ttl.as_secs(), route.stale_while_revalidate.as_secs());
        assert_eq!(times, (ttl, stale), "{}", route.name);
    }
}

#[test]
fn the_port_is_the_partners_own_unless_named() {
    for (url, read) in [
        ("https://partner.example", "https://partner.example:9534/"),
        ("https://partner.example/", "https://partner.example:9534/"),
        ("https://partner.example:443", "https://partner.example:443/"),
        ("http://[::1]", "http://[::1]:9534/"),
        ("http://localhost:1", "http://localhost:1/"),
    ] {
        let config = loaded(&format!("[upstream]\nurl = \"{url}\"\napi_key_env = \"KEY\""));
        assert_eq!(config.upstream.url, read);
    }
}

#[test]
fn a_callers_rate_without_a_burst_allows_a_second_of_it_at_once() {
    let limits = |text: &str| {
        let caller = "[[callers]]\nname = \"b\"\nclients = [\"*\"]\nproviders = [\"*\"]\n[callers.limits]\n";
        loaded(&format!("{LEAST}{caller}{text}")).callers.remove(0).limits.unwrap()
    };
    let per_second = |count: u64| Rate::Every(Duration::from_secs(1) / u32::try_from(count).unwrap());
    let none = Limits { requests: Rate::Unlimited, burst: 1, concurrent: None, upstream: Rate::Unlimited };
    assert_eq!(limits(""), none);
    assert_eq!(limits("requests = \"200/s\""), Limits { requests: per_second(200), burst: 200, ..none.clone() });
    assert_eq!(limits("requests = \"200/s\"\nburst = 7").burst, 7);
    assert_eq!(limits("requests = \"30/m\"").burst, 1);
    assert_eq!(
        limits("concurrent = 3\nupstream = \"2/s\""),
        Limits { concurrent: Some(3), upstream: per_second(2), ..none }
    );
}

#[test]
fn flags_override_variables_and_variables_the_file() {
    let mut given = variables(&[
        ("RESELLER_GATEWAY__UPSTREAM__BUDGET__RATE", "5/s"),
        ("reseller_gateway__upstream__budget__burst", "7"),
        ("RESELLER_GATEWAY__ROUTES__CLIENTS__TTL", "9s"),
        ("RESELLER_GATEWAY__TOKENS__ACCEPT_API_KEY_HEADER", "false"),
        ("RESELLER_GATEWAY__SERVER__WORKERS", "3"),
        ("OTHER", "left alone"),
    ]);
    given.text = Some(format!("{LEAST}[upstream.budget]\nrate = \"1/s\"\nburst = 1\nmax_in_flight = 3\n"));
    given.flags = vec![("server.workers".to_owned(), "4".to_owned(), "--workers".to_owned())];
    let config = load(given).unwrap();
    assert_eq!(config.upstream.budget.rate, Rate::Every(Duration::from_millis(200)));
    assert_eq!((config.upstream.budget.burst, config.upstream.budget.max_in_flight), (7, 3));
    assert_eq!(config.routes[0].ttl, Duration::from_secs(9));
    assert!(!config.tokens.accept_api_key_header);
    assert_eq!(config.server.workers, 4);
}

#[test]
fn a_configuration_may_come_from_variables_alone() {
    let given = Given {
        text: None,
        ..variables(&[
            ("RESELLER_GATEWAY__UPSTREAM__URL", "https://partner.example"),
            ("RESELLER_GATEWAY__UPSTREAM__API_KEY_ENV", "KEY"),
        ])
    };
    assert_eq!(load(given).unwrap().upstream.credential, key(ApiKey::Variable("KEY".to_owned())));
    let faults = load(Given::default()).unwrap_err().to_string();
    assert!(faults.starts_with("configuration: upstream."), "{faults}");
}

#[test]
fn a_fault_of_a_variable_or_flag_names_it() {
    for (name, value, said) in [
        ("RESELLER_GATEWAY__ROUTES__CLIENTS__TTLL", "1s", "unknown key `ttll`; did you mean `ttl`?"),
        ("RESELLER_GATEWAY__ROUTES__CLIENTSS__TTL", "1s", "did you mean `clients`?"),
        ("RESELLER_GATEWAY__UPSTREEM__URL", "x", "did you mean `upstream`?"),
        ("RESELLER_GATEWAY__SERVER__WORKERS", "many", "a whole number from 0 to 1024"),
        ("RESELLER_GATEWAY__LISTENERS__0__ADDRESS", "x", "stay in the file"),
        ("RESELLER_GATEWAY__CALLERS", "x", "stay in the file"),
        ("RESELLER_GATEWAY__ROUTES__CLIENTS__QUERY", "x", "a list stays in the file"),
        ("RESELLER_GATEWAY__UPSTREAM", "x", "name one of its keys"),
        ("RESELLER_GATEWAY__HEALTH", "x", "name one of its keys"),
        ("RESELLER_GATEWAY__UPSTREAM__URL__PORT", "x", "`upstream.url` is not a table"),
        ("RESELLER_GATEWAY__", "x", "no key is named like this"),
        ("RESELLER_GATEWAY__A__B__C__D__E", "x", "no key is named like this"),
        ("RESELLER_GATEWAY__UPSTREAM__API_KEY", "swordfish", "use api_key_file or api_key_env"),
    ] {
        let faults = load(variables(&[(name, value)])).unwrap_err().to_string();
        assert!(faults.starts_with(&format!("variable {name}: ")) && faults.contains(said), "{faults}");
        assert!(!faults.contains("swordfish"));
    }
    let flags = vec![("server.wokers".to_owned(), "4".to_owned(), "--workers".to_owned())];
    let faults = load(Given { flags, ..given(LEAST) }).unwrap_err().to_string();
    assert!(
        faults.starts_with("flag --workers: server.wokers: unknown key `wokers`; did you mean `workers`?"),
        "{faults}"
    );
    let twice = [("RESELLER_GATEWAY__SERVER__NAME", "a"), ("reseller_gateway__server__name", "b")];
    assert!(load(variables(&twice)).unwrap_err().to_string().contains("sets the same key"));
}

#[test]
fn paths_start_at_the_files_folder() {
    let given = Given { file: Some("/etc/gateway/gateway.toml".into()), ..given(LEAST) };
    let config = load(given).unwrap();
    assert_eq!(config.upstream.credential, key(ApiKey::File("/etc/gateway/secrets/api-key".into())));
    assert_eq!(config.state.dir.as_deref(), Some(Path::new("/etc/gateway/state")));
    assert_eq!(config.tokens.keys_dir.as_deref(), Some(Path::new("/etc/gateway/state/keys")));
}

#[test]
fn the_admin_door_is_an_address_or_a_unix_socket() {
    let at = |text: &str| {
        let given =
            Given { file: Some("/etc/gateway/gateway.toml".into()), ..given(&format!("{LEAST}[admin]\n{text}")) };
        load(given).unwrap_or_else(|faults| panic!("{faults}")).admin.listen.to_string()
    };
    assert_eq!(at(""), "127.0.0.1:9535");
    assert_eq!(at("listen = \"localhost:1\""), "127.0.0.1:1");
    assert_eq!(at("listen = \"unix:run/admin\""), "unix:/etc/gateway/run/admin");
    assert_eq!(at("listen = \"unix:/run/admin\""), "unix:/run/admin");
    assert_eq!(at("listen = \"0.0.0.0:9535\"\nallow_clear_text = true"), "0.0.0.0:9535");
}

#[test]
fn a_listener_is_an_address_or_a_unix_socket_whose_path_the_system_can_hold() {
    let at = |address: &str| {
        let text = format!("{LEAST}[[listeners]]\naddress = {address:?}");
        load(Given { file: Some("/etc/gateway/gateway.toml".into()), ..given(&text) })
    };
    let of = |address: &str| at(address).unwrap_or_else(|faults| panic!("{faults}")).listeners[0].address.to_string();
    assert_eq!(of("localhost:1"), "127.0.0.1:1");
    assert_eq!(of("unix:run/public"), "unix:/etc/gateway/run/public");
    let longest = format!("unix:/{}", "a".repeat(106));
    assert_eq!(of(&longest), longest);
    let faults = at(&format!("{longest}a")).unwrap_err().to_string();
    assert!(faults.contains("at most 107 bytes"), "{faults}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = Some(folder.path().join("absent.toml"));
    let faults = load(Given { file, ..Given::default() }).unwrap_err().to_string();
    assert!(faults.contains("absent.toml:1:1: cannot be read"), "{faults}");
}

#[test]
fn a_rendered_configuration_reads_as_the_same() {
    let extra = "[[extra_routes]]\nname = \"v2\"\npath = \"/v2/{*rest}\"\nttl = \"1h30m\"\nforward_headers = [\"Accept-Language\"]\n\
                 [upstream.budget]\nrate = \"0.1234/s\"\nmax_wait = \"250ms\"\n[cache]\nmax_object = 1025\nmax_bytes = \"2GiB\"\n\
                 [[trust]]\nissuer = \"a \\\"b\\\" \\\\c\"\njwks_file = \"/keys\"\n\
                 [[trust]]\nissuer = \"i\"\njwks_url = \"http://localhost:1/keys\"\nca_file = \"c\"\naudience = \"us\"\n\
                 [[callers]]\nname = \"b\"\nscopes = [\"write\"]\nclients = [\"*\"]\nproviders = [\"*\"]\n\
                 subjects = [{ issuer = \"i\", sub = \"s\" }]\npriority = \"batch\"\n\
                 [[listeners]]\naddress = \"unix:/run/public\"\nunix_mode = \"0660\"\nambient = \"b\"\n\
                 [admin]\nlisten = \"unix:/run/a b\"\nallow_clear_text = true\n";
    let proxied = "proxy = \"http://proxy.example:3128\"\nproxy_auth_file = \"p\"\nmax_connection_age = \"0s\"\n";
    for text in [LEAST, LOCAL, SHARED, SIDECAR, REFERENCE, TOKEN, EXCHANGED, &format!("{LEAST}{proxied}{extra}")] {
        let mut before = loaded(text);
        let mut after = loaded(&before.render());
        before.warnings.clear();
        after.warnings.clear();
        assert_eq!(before, after);
    }
}

#[test]
fn secrets_are_hidden_wherever_a_configuration_shows() {
    let digest = "ab".repeat(32);
    let caller = format!(
        "name = \"b\"\nscopes = [\"clients:read\"]\nclients = [\"*\"]\nproviders = [\"p\"]\nsecrets = [\"sha256:{digest}\"]"
    );
    let config = loaded(&format!("{LEAST}[routes.clients]\nquery = []\n[[callers]]\n{caller}"));
    assert_eq!(config.callers[0].secrets, [SecretDigest([0xab; 32])]);
    assert!(config.render().contains("secrets = [\"(hidden)\"]"), "{}", config.render());
    for shown in [config.render(), format!("{config:?}"), config.warnings[0].to_string()] {
        assert!(!shown.contains(&digest) && !shown.contains("171, 171"), "{shown}");
    }
}

#[test]
fn settings_without_effect_are_warnings_with_their_place() {
    let text = format!("{LEAST}[routes.other]\nttl = \"7s\"\nforward_headers = [\"accept\"]\n");
    let warnings = loaded(&text).warnings;
    let keys: BTreeSet<_> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["routes.other.forward_headers", "routes.other.ttl"]));
    assert!(warnings.iter().any(|warning| warning.to_string().starts_with("gateway.toml:5:7: routes.other.ttl")));
}

#[test]
fn what_would_be_overheard_not_reached_or_not_sent_of_traces_is_a_warning() {
    let warned = |more: &str| {
        let warnings = loaded(&format!("{LEAST}{more}")).warnings;
        warnings.iter().map(|warning| warning.to_string()).collect::<Vec<_>>().join("\n")
    };
    let endpoint = |uri: &str| format!("[telemetry]\notlp_endpoint = \"{uri}\"\n");
    assert_eq!(warned(&endpoint("http://127.0.0.1:4318")), "");
    assert_eq!(warned(&endpoint("https://collector.example")), "");
    assert!(warned(&endpoint("http://collector.example:4318")).contains("clear text"));
    assert!(warned(&endpoint("https://collector.example:4317")).contains("gRPC"));
    assert!(warned("propagate_trace = true\n").contains("upstream.propagate_trace: nothing is traced"));
    assert_eq!(warned(&format!("propagate_trace = true\n{}", endpoint("http://[::1]:4318"))), "");
}

#[test]
fn the_path_of_traces_is_appended_to_the_collectors_address_unless_it_stands_there() {
    for (given, sent) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://c.example/otlp", "https://c.example/otlp/v1/traces"),
        ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
        ("https://c.example/v1/traces", "https://c.example/v1/traces"),
        ("https://c.example/v1/traces/", "https://c.example/v1/traces"),
    ] {
        let config = loaded(&format!("{LEAST}[telemetry]\notlp_endpoint = \"{given}\"\n"));
        assert_eq!(config.telemetry.traces_go_to().unwrap(), sent, "{given}");
    }
    assert_eq!(loaded(LEAST).telemetry.traces_go_to(), None);
}

#[test]
fn a_caller_s_bounds_are_sets_and_one_that_can_list_nothing_is_warned_of() {
    let text = |query: &str| {
        format!(
            "{LEAST}[routes.clients]\nquery = [{query}]\n[[callers]]\nname = \"b\"\nscopes = [\"clients:read\"]\n\
             clients = []\nproviders = [\"024C2B6D-CBB8-4056-9D3F-8055FA86659C\", \"b\"]\n"
        )
    };
    let config = loaded(&text("\"provider_id\""));
    let caller = &config.callers[0];
    assert_eq!(caller.clients.names(), Vec::<String>::new());
    assert_eq!(caller.providers.names(), ["024c2b6d-cbb8-4056-9d3f-8055fa86659c", "b"]);
    assert_eq!((config.warnings.len(), loaded(&config.render()).callers), (0, config.callers));
    let warned = loaded(&text("")).warnings;
    assert!(matches!(&warned[..], [one] if one.key == "callers[0].providers" && one.reason.contains("provider_id")));
}

proptest! {
    #[test]
    fn no_text_ends_the_process(text in "[ -~\n\t\r\u{0}\u{e9}\u{1f980}]{0,200}") {
        if let Err(faults) = load(given(&text)) {
            prop_assert!(!faults.to_string().is_empty());
        }
    }

    #[test]
    fn no_broken_piece_of_the_reference_ends_the_process(
        from in 0usize..12_000, length in 0usize..400, with in "[\\[\\]{}=\"'\n#.,a-z0-9\u{e9}]{0,6}",
    ) {
        let text = uncommented();
        let start = text.floor_char_boundary(from.min(text.len()));
        let end = text.floor_char_boundary((start + length).min(text.len()));
        let broken = format!("{}{with}{}", &text[..start], &text[end..]);
        if let Err(faults) = load(given(&broken)) {
            prop_assert!(!faults.render(true).is_empty());
        }
    }

    #[test]
    fn no_variable_ends_the_process(name in "[A-Za-z_\u{e9}]{0,30}", value in "\\PC{0,20}") {
        let _ = load(variables(&[(&format!("RESELLER_GATEWAY__{name}"), &value)]));
    }

    #[test]
    fn a_rendered_rate_reads_as_the_same(count in 1u32..1_000_000, parts in 1u32..1000, unit in "[smh]") {
        let count = f64::from(count) / f64::from(parts);
        prop_assume!(count <= 1_000_000.0);
        let config = loaded(&format!("{LEAST}[upstream.budget]\nrate = \"{count}/{unit}\""));
        let again = loaded(&config.render());
        let (before, after) = (config.upstream.budget.rate.interval(), again.upstream.budget.rate.interval());
        prop_assert!(before.abs_diff(after) <= Duration::from_nanos(1));
    }
}
