//! Is what is scraped well-formed, complete, and what the alerts and the dashboard are made of?
//! Given a running gateway, parses its exposition strictly, and holds `deploy/` against it.
//! Never uses the code that writes it.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{
    CLIENTS, CertificateAuthority, Gateway, NO_CLIENTS, READING, Reply, ScriptedPartner, Setup, outside,
};

const RULES: &str = include_str!("../../deploy/alerts/reseller-gateway.rules.yml");
const RULE_TESTS: &str = include_str!("../../deploy/alerts/reseller-gateway.test.yml");
const DASHBOARD: &str = include_str!("../../deploy/dashboards/reseller-gateway.json");

#[path = "../pages/table.rs"]
mod table;

type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    /// Name, labels, value.
    samples: Vec<(String, Labels, f64)>,
}

fn is_name(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// `name{a="b"} 1`, as the text format 0.0.4 has it; anything else is a failure.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(is_name(label) && !label.contains(':') && !label.starts_with("__"), "{line}");
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let closed = loop {
                match chars.next() {
                    Some((at, '"')) => break at,
                    Some((_, '\\')) => match chars.next() {
                        Some((_, 'n')) => value.push('\n'),
                        Some((_, c @ ('"' | '\\'))) => value.push(c),
                        other => panic!("no escape: {other:?} in {line}"),
                    },
                    Some((_, c)) => value.push(c),
                    None => panic!("an open quote: {line}"),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "a label twice: {line}");
            rest = &after[closed + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space: {line}"));
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

/// Every family by its name; HELP, TYPE and samples stand together, in this order, once.
fn families(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends too");
    let mut found: BTreeMap<String, Family> = BTreeMap::new();
    let mut series = BTreeSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) =
            line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("no HELP: {line}")).split_once(' ').unwrap();
        assert!(is_name(name) && !help.trim().is_empty() && !help.contains('\\'), "{line}");
        let line = lines.next().unwrap();
        let (typed, kind) =
            line.strip_prefix("# TYPE ").unwrap_or_else(|| panic!("no TYPE: {line}")).split_once(' ').unwrap();
        assert_eq!(typed, name);
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "counters, and only they, end in _total: {name}");
        let mut family = Family { kind: kind.to_owned(), help: help.to_owned(), samples: Vec::new() };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let sample = sample(line);
            let of = match kind {
                "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.0.strip_suffix(end)),
                _ => Some(sample.0.as_str()),
            };
            assert_eq!(of, Some(name), "a sample of another family: {line}");
            assert!(series.insert((sample.0.clone(), sample.1.clone())), "a series twice: {line}");
            assert!(kind == "gauge" || sample.2 >= 0.0, "{line}");
            family.samples.push(sample);
        }
        assert!(found.insert(name.to_owned(), family).is_none(), "a family twice: {name}");
    }
    found
}

/// Buckets grow, the last is +Inf and says what `_count` says, for each set of labels.
fn is_a_histogram(family: &Family) {
    let mut by_labels: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (_, labels, value) in family.samples.iter().filter(|(name, ..)| name.ends_with("_bucket")) {
        let mut labels = labels.clone();
        let bound = labels.remove("le").unwrap();
        by_labels.entry(labels).or_default().push((bound.replace("+Inf", "inf").parse().unwrap(), *value));
    }
    assert!(!by_labels.is_empty());
    for (labels, buckets) in by_labels {
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{buckets:?}");
        let last = buckets.last().unwrap();
        let count = family.samples.iter().find(|(name, of, _)| name.ends_with("_count") && *of == labels).unwrap();
        assert!(last.0.is_infinite() && last.1 == count.2, "{labels:?}");
        assert!(family.samples.iter().any(|(name, of, _)| name.ends_with("_sum") && *of == labels));
    }
}

/// A gateway in which everything that can be counted without breaking it has happened.
fn busy() -> (ScriptedPartner, Gateway) {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).header("x", "1")]);
    let gone = format!("{CLIENTS}gone/");
    partner.respond_with(&gone, [Reply::status(500)]);
    let limits = "[limits]\nrequests = \"1/h\"\nburst = 1\n";
    let setup = Setup::before(&partner).set("upstream.budget.rate", "100/s").set("upstream.budget.burst", 50);
    let identity = CertificateAuthority::new().signs();
    let private = "[tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"";
    let setup = setup.extra_listener(private).file("cert.pem", &identity.cert).file("key.pem", &identity.key);
    let gateway = setup.caller("limited", &["clients:read"], limits).start();
    let token = gateway.token(&READING);
    gateway.get_ok(&token, CLIENTS);
    gateway.get_ok(&token, CLIENTS);
    assert_eq!(gateway.read(&token, &gone).status, 502);
    assert_eq!(gateway.read("bad.token.here", CLIENTS).status, 401);
    assert_eq!(gateway.read(&token, "/nowhere").status, 404);
    let limited = gateway.issue("limited", &["clients:read"], &[]);
    let limited = gateway.keep_secret(String::from_utf8(limited.stdout).unwrap().trim());
    assert_eq!([200, 429].map(|_| gateway.read(&limited, CLIENTS).status), [200, 429]);
    gateway.get("/.well-known/jwks.json", &[]);
    (partner, gateway)
}

#[test]
fn the_exposition_is_strict_and_says_all_that_is_promised() {
    let (_partner, gateway) = busy();
    let text = gateway.metrics();
    let families = families(&text);
    families.values().filter(|family| family.kind == "histogram").for_each(is_a_histogram);
    let value = |name: &str, labels: &[(&str, &str)]| {
        let wanted: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let samples = &families.get(name).unwrap_or_else(|| panic!("no {name} in {text}")).samples;
        let found =
            samples.iter().find(|(_, labels, _)| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
        found.unwrap_or_else(|| panic!("no {name} {labels:?} in {text}")).2
    };
    let ours = |name: &str, labels: &[(&str, &str)]| value(&format!("reseller_gateway_{name}"), labels);
    assert!(ours("requests_total", &[("route", "clients"), ("outcome", "hit"), ("status", "200")]) >= 1.0);
    assert_eq!(ours("partner_calls_total", &[("route", "clients"), ("cause", "miss")]), 1.0);
    assert!(ours("calls_saved_total", &[("route", "clients"), ("kind", "hit")]) >= 1.0);
    assert!(ours("partner_calls_by_caller_total", &[("caller", "app")]) >= 1.0);
    assert!(ours("calls_saved_by_caller_total", &[("caller", "limited")]) >= 1.0);
    assert_eq!(ours("partner_answers_total", &[("result", "2xx")]), 1.0);
    assert_eq!(ours("partner_answers_total", &[("result", "5xx")]), 1.0);
    assert_eq!(ours("limited_total", &[("caller", "limited"), ("limit", "requests")]), 1.0);
    assert_eq!(ours("partner_gate_closed", &[("why", "failing"), ("routes", "documented")]), 0.0);
    assert_eq!(ours("bad_tokens_total", &[]), 1.0);
    assert!(ours("budget_left", &[]) <= ours("budget_max", &[]) && ours("budget_max", &[]) == 50.0);
    assert!(ours("cache_bytes", &[]) <= ours("cache_max_bytes", &[]));
    assert_eq!(ours("connections_max", &[]), 10_000.0);
    assert_eq!(ours("partner_calls_in_flight_max", &[]), 64.0);
    assert!(ours("partner_key_age_seconds", &[]) < 600.0 && ours("signing_key_age_seconds", &[]) < 600.0);
    assert!(ours("tls_certificate_expiry_seconds", &[]) > 86_400.0);
    assert_eq!((ours("reloads_total", &[("result", "bad")]), ours("configuration_refused", &[])), (0.0, 0.0));
    assert_eq!(ours("tls_reload_failed", &[]), 0.0);
    assert_eq!(ours("build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    for zero in ["ledger_failures_total", "log_lines_dropped_total", "schema_drift_total", "traces_dropped_total"] {
        assert_eq!(ours(zero, &[]), 0.0, "{zero}");
    }
    assert!(value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(value("process_open_fds", &[]) < value("process_max_fds", &[]));
    let (started, now) = (value("process_start_time_seconds", &[]), crate::support::unix_now() as f64);
    assert!((now - 600.0..=now + 2.0).contains(&started), "{started} {now}");
}

/// Every name of ours, or of the process, that stands in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours = words.filter(|word| word.starts_with("reseller_gateway_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

fn exprs(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == "expr" || name == "definition") {
                    Some(expr) => found.push(expr.to_owned()),
                    None => exprs(value, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| exprs(item, found)),
        _ => {}
    }
}

#[test]
fn every_metric_of_the_alerts_and_the_dashboard_is_there() {
    let (_partner, gateway) = busy();
    let families = families(&gateway.metrics());
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut on_it = Vec::new();
    exprs(&dashboard, &mut on_it);
    assert!(on_it.len() > 40, "{}", on_it.len());
    let there = |name: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let histogram = base.and_then(|base| families.get(base)).is_some_and(|family| family.kind == "histogram");
        histogram || families.contains_key(name)
    };
    let asked: BTreeSet<String> = named(RULES).into_iter().chain(named(&on_it.join("\n"))).collect();
    assert!(asked.len() > 30, "{asked:?}");
    let absent: Vec<_> = asked.iter().filter(|name| !there(name)).collect();
    assert!(absent.is_empty(), "{absent:?}");
    // A rule that asks for a label's value that nothing has never fires, and nobody sees that it does not.
    let exprs: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let asked: BTreeSet<(&str, &str)> = exprs
        .iter()
        .flat_map(|expr| expr.split(['{', ',', '}']))
        .filter_map(|part| part.split_once("=\"").map(|(label, value)| (label, value.trim_end_matches('"'))))
        .collect();
    for (label, value) in asked.into_iter().filter(|(label, _)| !label.ends_with(['~', '!'])) {
        let mut labels = families.values().flat_map(|family| &family.samples).map(|(_, labels, _)| labels);
        assert!(labels.any(|labels| labels.get(label).is_some_and(|found| found == value)), "{label}={value}");
    }
}

#[test]
fn the_pages_table_of_metrics_has_each_with_its_kind_and_help() {
    let (_partner, gateway) = busy();
    let families = families(&gateway.metrics());
    table::holds("deploy/OPERATING.md", "metrics", &["metric", "kind", "what it says"], |_| {
        let short = |name: &str| format!("`{}`", name.strip_prefix("reseller_gateway_").unwrap_or(name));
        families.iter().map(|(name, family)| vec![short(name), family.kind.clone(), family.help.clone()]).collect()
    });
}

/// Labels whose values are the operator's, the version's or the measurement's; those of all others are closed words.
const OPEN: [&str; 6] = ["route", "caller", "listener", "version", "status", "le"];

/// Only where the kernel limits the process.
const NOT_EVERYWHERE: &str = "reseller_gateway_memory_limit_bytes";

#[test]
fn every_family_keeps_its_name_kind_help_labels_and_words() {
    let (_partner, gateway) = busy();
    let mut text = String::new();
    for (name, family) in families(&gateway.metrics()).iter().filter(|(name, _)| *name != NOT_EVERYWHERE) {
        let mut words: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (label, value) in family.samples.iter().flat_map(|(_, labels, _)| labels) {
            let words = words.entry(label).or_default();
            words.extend(Some(value.as_str()).filter(|_| !OPEN.contains(&label.as_str())));
        }
        text += &format!("{name} ({}): {}\n", family.kind, family.help);
        for (label, words) in words {
            text += format!("    {label}: {}", words.into_iter().collect::<Vec<_>>().join(" ")).trim_end();
            text.push('\n');
        }
    }
    crate::golden::is_unchanged("metrics.txt", &text);
}

#[test]
#[ignore = "outside suite: needs promtool, bash and curl"]
fn promtool_takes_the_rules_their_tests_and_what_is_scraped() {
    // The script's own programs.
    for (program, package) in [("bash", "bash"), ("promtool", "prometheus"), ("curl", "curl")] {
        outside(program, package);
    }
    let (_partner, gateway) = busy();
    let check = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alerts/check");
    let checked = std::process::Command::new(check).arg(format!("http://{}", gateway.health)).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{told}");
}

#[test]
fn each_alert_says_what_to_do_first_and_is_tested_both_ways() {
    let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len());
    let texts = RULES.split("- alert: ").skip(1);
    for (alert, text) in alerts.iter().zip(texts) {
        for part in ["expr: ", "severity: ", "summary: \"", "description: \"", "First: ", "runbook_url: "] {
            assert_eq!(text.matches(part).count(), 1, "{alert}: {part}");
        }
        assert!(text.contains("$value"), "{alert}: how much");
        let page = format!("runbook_url: \"../OPERATING.md#{}\"", alert.to_lowercase());
        assert!(text.contains(&page), "{alert}: {page}");
        for test in [format!("{alert} fires"), format!("{alert} stays quiet")] {
            assert!(RULE_TESTS.lines().any(|line| line.trim() == format!("- name: {test}")), "{test}");
        }
    }
}

/// An alert fired for every program whose job was called something with "gateway", and a lost instance of two for none.
#[test]
fn no_alert_looks_at_other_programs_or_at_the_names_of_jobs() {
    let exprs: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    for expr in &exprs {
        assert!(!expr.contains("job=") && !expr.contains("instance="), "{expr}");
        let foreign = ["process_", "up "].iter().any(|name| expr.split('(').any(|part| part.starts_with(name)));
        assert!(!foreign || expr.contains("reseller_gateway_"), "{expr}");
    }
    for test in ["foreign processes wake nobody", "an instance that nobody looks for any more is noticed too"] {
        assert!(RULE_TESTS.contains(&format!("- name: {test}\n")), "{test}");
    }
    assert!(DASHBOARD.contains("partner_calls_by_caller_total"), "who spends is on the dashboard");
}

/// `increase()` sees nothing in the sample with which a series begins: the first failure of a kind woke nobody.
#[test]
fn what_is_known_to_be_countable_is_there_with_zero_from_the_start() {
    let partner = ScriptedPartner::listen();
    let limits = "[limits]\nrequests = \"5/s\"\n";
    let gateway = Setup::before(&partner).caller("limited", &["clients:read"], limits).start();
    let families = families(&gateway.metrics());
    let zero = |name: &str, labels: &[(&str, &str)]| {
        let wanted: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let samples = &families[&format!("reseller_gateway_{name}")].samples;
        let found = samples.iter().find(|(_, labels, _)| *labels == wanted);
        assert_eq!(found.map(|(.., value)| *value), Some(0.0), "{name} {labels:?}");
    };
    for route in ["clients", "client", "project_resources", "other", "none"] {
        for (outcome, status) in
            [("hit", "200"), ("miss", "200"), ("refused", "502"), ("refused", "503"), ("refused", "401")]
        {
            zero("requests_total", &[("route", route), ("outcome", outcome), ("status", status)]);
        }
    }
    for cause in ["miss", "revalidate", "refresh", "retry", "pass"] {
        zero("partner_calls_total", &[("route", "clients"), ("cause", cause)]);
    }
    zero("calls_saved_total", &[("route", "client"), ("kind", "hit")]);
    for result in ["2xx", "429", "5xx", "connect", "timeout"] {
        zero("partner_answers_total", &[("result", result)]);
    }
    zero("cache_details_total", &[("detail", "stale-if-error")]);
    for caller in ["app", "limited"] {
        zero("partner_calls_by_caller_total", &[("caller", caller)]);
        zero("calls_saved_by_caller_total", &[("caller", caller)]);
        zero("tokens_expiring_in_use", &[("caller", caller)]);
    }
    zero("limited_total", &[("caller", "limited"), ("limit", "requests")]);
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert!(variables.iter().any(|variable| variable["name"] == "datasource" && variable["type"] == "datasource"));
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let rows: Vec<_> =
        panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ["What callers get", "What the partner gets", "What was saved", "How near the limits are"]);
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["expr"].as_str().unwrap().contains("instance=~\"$instance\""), "{target}");
        }
    }
}
