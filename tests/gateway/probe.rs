//! Does `check --probe` tell what the partner is like?
//! Given the real binary and a simulated partner that behaves as it is ordered to, holds the report against the orders.
//! Never lets a report pass that holds a key, an id or a value of a document.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::simulator::{KEY, Simulator};
use crate::support::{CLIENTS, NO_CLIENTS, Reply, ScriptedPartner, ask, free_port, program};

const ROUTES: [&str; 7] = [
    "clients",
    "client",
    "client_providers",
    "client_projects",
    "client_resources",
    "provider_resources",
    "project_resources",
];

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }

    /// What was reported of a route.
    fn of(&self, route: &str) -> Value {
        let report = self.json();
        report["routes"].as_array().unwrap().iter().find(|told| told["route"] == route).unwrap().clone()
    }
}

fn probe_with(url: &str, key: &str, settings: &str, more: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("partner.key"), key).unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, format!("[upstream]\nurl = \"{url}\"\napi_key_file = \"partner.key\"\n{settings}")).unwrap();
    let output = program().args(["check", "--static", "--probe", "--config"]).arg(&file).args(more).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    assert!(!out.contains(key) && !err.contains(key), "the key is out: {out} {err}");
    assert!(!folder.path().join("state").exists(), "a probe keeps no state");
    Said { code: output.status.code().unwrap(), out, err }
}

fn probe(simulator: &Simulator, more: &[&str]) -> Said {
    probe_with(&format!("http://{}", simulator.address), KEY, "", more)
}

fn paths(told: &Value, what: &str) -> Vec<String> {
    let differences = told["differences"].as_array().unwrap().iter().filter(|it| it["what"] == what);
    differences.map(|it| it["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_partner_nearly_as_documented_is_understood_at_the_cost_of_seven_calls() {
    let simulator = Simulator::start(&["--etag"]);
    let said = probe(&simulator, &[]);
    assert!(said.code == 0 && !said.err.contains("error"), "{}", said.err);
    let _: toml::Table = said.out.parse().expect("standard output stays TOML");
    for route in ROUTES {
        assert!(said.out.contains(&format!("# {route}: GET /reseller/account/v1/clients/")), "{}", said.out);
    }
    // The simulator has one member more than the document, as the partner may.
    assert_eq!(said.out.matches("#   shape     as documented\n").count(), 5, "{}", said.out);
    assert!(said.out.contains("#     extra   clients[].is_test_account (bool), in 25 of 25\n"), "{}", said.out);
    assert!(said.out.contains("#     extra   client.is_test_account (bool), in 1 of 1\n"), "{}", said.out);
    assert!(
        said.out.contains("stored, fresh for 30s (the route's ttl; the partner names no lifetime)"),
        "{}",
        said.out
    );
    let stats = ask(simulator.address, "GET", "/_simulator/stats", &[], b"").json();
    assert_eq!(stats["keys"]["initial"], 7, "{stats}");
}

#[test]
fn a_report_holds_nothing_of_a_document_and_no_id() {
    let simulator = Simulator::start(&[]);
    let clients = ask(simulator.address, "GET", CLIENTS, &[("x-reseller-api-key", KEY)], b"").json();
    let said = probe(&simulator, &["--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for client in clients["clients"].as_array().unwrap() {
        for hidden in [&client["id"], &client["email"], &client["client_information"]["last_name"]] {
            let hidden = hidden.as_str().unwrap();
            assert!(hidden.is_empty() || !said.out.contains(hidden), "{hidden} in {}", said.out);
        }
    }
}

#[test]
fn fields_that_are_not_documented_are_named_by_their_paths_and_are_no_fault() {
    let simulator = Simulator::start(&[]);
    simulator.behave(&json!({ "body": "unknown-fields" }));
    let said = probe(&simulator, &["--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let clients = said.of("clients");
    let extra = paths(&clients, "extra");
    assert!(extra.iter().any(|path| path.starts_with("clients[].")), "{extra:?}");
    assert!(extra.iter().any(|path| path.starts_with("clients[].client_information.")), "{extra:?}");
    assert!(paths(&clients, "missing").is_empty());
    assert!(clients["shape"].as_str().unwrap().contains("[views] allow"), "{clients}");
}

#[test]
fn a_member_of_another_type_or_missing_is_told_and_only_the_first_is_a_fault() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(r#"{"clients":[{"id":"a","activated":"yes"}]}"#)]);
    for (path, body) in [
        ("", r#"{"client":{"id":"a"}}"#),
        ("providers/", r#"{"providers":[]}"#),
        ("projects/", r#"{"projects":[]}"#),
        ("resources/", r#"{"providers":[]}"#),
    ] {
        partner.respond_with(&format!("{CLIENTS}a/{path}"), [Reply::json(body)]);
    }
    let said = probe_with(&partner.url(), "a-key", "", &["--json"]);
    assert_eq!(said.code, 1);
    assert!(said.err.ends_with("understood: clients, provider_resources, project_resources\n"), "{}", said.err);
    assert_eq!(paths(&said.of("clients"), "other_type"), ["clients[].activated"]);
    assert!(paths(&said.of("client"), "missing").contains(&"client.email".to_owned()));
    assert_eq!(said.of("client")["understood"], true);
    assert_eq!(said.of("project_resources")["came"], "not_asked");
    assert_eq!(partner.count(), 5);
}

#[test]
fn caching_and_limits_are_told_with_what_they_mean() {
    let simulator = Simulator::start(&[]);
    for (headers, verdict) in [
        (json!({ "cache-control": "max-age=7", "vary": "Accept" }), "fresh for 7s (the partner's own lifetime"),
        (json!({ "cache-control": "no-store" }), "the partner forbids it (no-store)"),
        (json!({ "cache-control": "no-cache", "ratelimit": "\"day\";r=9;t=30" }), "confirmed by the partner at each"),
    ] {
        simulator.order("POST", "behaviour", &json!({ "headers": headers }));
        let said = probe(&simulator, &["--json"]);
        let client = said.of("client");
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(client["gateway"].as_str().unwrap().contains(verdict), "{client}");
        assert_eq!(client["caching"]["cache-control"], headers["cache-control"]);
        assert_eq!(client["limits"].get("ratelimit"), headers.get("ratelimit"));
    }
}

#[test]
fn half_a_document_and_errors_are_told_and_the_rest_is_asked_all_the_same() {
    let simulator = Simulator::start(&[]);
    for (fault, mark) in [
        (json!({ "body": "truncated" }), "not JSON, or cut off"),
        (json!({ "body": "cut" }), "connection broke"),
        (json!({ "status": 500 }), "5xx"),
        (json!({ "headers": { "content-type": "application/xml" } }), "application/json"),
    ] {
        let mut fault = fault;
        fault["route"] = json!("client");
        simulator.behave(&fault);
        let said = probe(&simulator, &["--json"]);
        assert_eq!(said.code, 1, "{fault}");
        assert!(said.err.ends_with("1 of 7 routes are not known to be understood: client\n"), "{}", said.err);
        assert!(said.of("client").to_string().contains(mark), "{fault}: {}", said.of("client"));
        assert_eq!(said.of("project_resources")["status"], 200);
    }
}

#[test]
fn a_key_that_is_refused_twice_ends_it_and_a_second_key_is_tried() {
    let simulator = Simulator::start(&[]);
    let url = format!("http://{}", simulator.address);
    let said = probe_with(&url, "not-the-key", "", &[]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("it refuses the key with 401; put the right one into "), "{}", said.err);
    let stats = ask(simulator.address, "GET", "/_simulator/stats", &[], b"").json();
    assert_eq!(stats["keys"]["refused"], 2, "{stats}");

    let second = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(second.path(), KEY).unwrap();
    let next = format!("api_key_file_next = {:?}\n", second.path());
    let said = probe_with(&url, "not-the-key", &next, &["--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!((&said.of("clients")["keys_refused"], &said.of("client")["keys_refused"]), (&json!(1), &json!(0)));
}

#[test]
fn a_partner_that_cannot_be_reached_is_told_with_the_cause() {
    let said = probe_with(&format!("http://127.0.0.1:{}", free_port()), "a-key", "", &[]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("no connection to 127.0.0.1:"), "{}", said.err);
    assert!(said.err.to_lowercase().contains("refused"), "{}", said.err);
    assert_eq!(said.out.matches("not asked").count(), 6, "{}", said.out);
}

#[test]
fn the_budget_is_kept_and_a_partner_that_wants_to_be_left_alone_is() {
    let simulator = Simulator::start(&[]);
    let start = std::time::Instant::now();
    let budget = "[upstream.budget]\nrate = \"10/s\"\nburst = 1\n";
    let said = probe_with(&format!("http://{}", simulator.address), KEY, budget, &["--json"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(start.elapsed().as_millis() >= 590, "six pauses of a tenth of a second");

    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).with_status(429).header("retry-after", "3600")]);
    let said = probe_with(&partner.url(), "a-key", "", &["--json"]);
    assert_eq!((said.code, partner.count()), (1, 1));
    let clients = said.of("clients");
    assert_eq!((&clients["status"], &clients["limits"]["retry-after"]), (&json!(429), &json!("3600")));
    assert!(clients["gateway"].as_str().unwrap().contains("left alone for 3600s"), "{clients}");

    partner.respond_with(CLIENTS, [Reply::json(r#"{"clients":[{"id":"a"}]}"#).header("ratelimit", "\"h\";r=0;t=3000")]);
    let said = probe_with(&partner.url(), "a-key", "", &["--json"]);
    assert_eq!((said.code, partner.count()), (1, 2), "nothing is left after the first call");
    assert_eq!(said.of("client")["came"], "not_asked");
    assert!(said.err.contains("the partner wants to be left alone for "), "{}", said.err);
}

#[test]
fn json_without_a_probe_is_wrong_usage() {
    let output = program().args(["check", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// A cookie with a control character in it was dropped without a word, and a line that broke the answer was not named.
#[test]
fn a_line_of_a_head_that_no_grammar_allows_is_named_with_what_becomes_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = r#"{"clients":[]}"#;
    let odd = format!(
        "Set-Cookie: a=\x01b\r\nStrange line\r\nX-A : b\r\nX-B: c;\r\n\td\r\nX-Key : {KEY}\r\nX-L : {}\r\n",
        "e".repeat(300)
    );
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{odd}Content-Length: 14\r\n\r\n{body}");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 4096];
                let Ok(read @ 1..) = stream.read(&mut piece) else { break };
                request.extend_from_slice(&piece[..read]);
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let url = format!("http://{address}");
    let text = probe_with(&url, KEY, "", &[]).out;
    for line in [
        "#   head      line 2 (Set-Cookie: a=\\x01b) has a control character; the gateway drops the line\n".to_owned(),
        "#   head      line 3 (Strange line) has no colon; the gateway drops the line\n".to_owned(),
        "#   head      line 4 (X-A : b) has a space before the colon; the gateway drops the space\n".to_owned(),
        "#   head      line 6 (\\td) goes on with the line before it; the gateway joins the two\n".to_owned(),
        "#   head      line 7 ((holds the key, so it is not shown)) has a space before the colon;".to_owned(),
        format!("#   head      line 8 (X-L : {}) has a space before the colon;", "e".repeat(58)),
    ] {
        assert!(text.contains(&line), "{line}{text}");
    }
    let told = probe_with(&url, KEY, "", &["--json"]).of("clients");
    assert_eq!(told["odd_lines"][0], json!({ "nth": 2, "line": "Set-Cookie: a=\\x01b", "what": "control-character" }));
    assert_eq!(told["status"], 200);
}
