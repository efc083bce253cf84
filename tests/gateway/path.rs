//! Does a request come through as it should?
//! Given the simulator or a scripted partner, hands back what callers get and what the partner saw of them.
//! Never sends a request that a real caller could not.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    CLIENTS, Connection, Gate, Gateway, NO_CLIENTS, Program, READING, Reply, Response, ScriptedPartner, Setup, ask,
    free_port, program, signal, wait_for,
};

/// The simulator as a process of its own.
struct Simulator {
    _program: Program,
    address: std::net::SocketAddr,
}

impl Simulator {
    fn start(more: &[&str]) -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = program();
        command.args(["simulate", "--api-key", "the-real-key-of-the-partner-4711", "--listen", &address.to_string()]);
        let program = Program::start(command.args(more));
        wait_for("the simulator", || std::net::TcpStream::connect(address).ok());
        Self { _program: program, address }
    }

    fn calls(&self) -> u64 {
        ask(self.address, "GET", "/_simulator/stats", &[], b"").json()["total"].as_u64().unwrap()
    }

    fn gateway(&self) -> Gateway {
        Setup::at(&format!("http://{}", self.address)).start()
    }
}

fn scripted() -> (ScriptedPartner, Gateway, String) {
    let partner = ScriptedPartner::listen();
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    (partner, gateway, token)
}

/// What `Cache-Status` says, read as RFC 9211 wants it: (name, parameters).
fn cache_status(answer: &Response) -> (String, String) {
    let text = answer.expect_header("cache-status");
    let list: sfv::List = sfv::Parser::new(&text).parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(list.len(), 1, "{text}");
    let (name, parameters) = text.split_once(';').unwrap_or((&text, ""));
    (name.to_owned(), parameters.trim().to_owned())
}

#[test]
fn all_seven_come_through_once_and_from_memory_after_that() {
    let simulator = Simulator::start(&[]);
    let gateway = simulator.gateway();
    let token = gateway.token(&READING);
    let clients = gateway.get_ok(&token, CLIENTS).json();
    let client =
        clients["clients"].as_array().unwrap().iter().find(|client| !client["projects"].as_array().unwrap().is_empty());
    let id = client.expect("a client with projects")["id"].as_str().unwrap().to_owned();
    let of_client = |rest: &str| format!("{CLIENTS}{id}/{rest}");
    let project = gateway.get_ok(&token, &of_client("projects/")).json()["projects"][0].clone();
    let (project, provider) = (project["id"].as_str().unwrap(), project["provider"].as_str().unwrap());
    let seven = [
        (CLIENTS.to_owned(), "clients"),
        (of_client(""), "client"),
        (of_client("providers/"), "providers"),
        (of_client("projects/"), "projects"),
        (of_client("resources/"), "providers"),
        (of_client(&format!("providers/{provider}/resources/")), "provider"),
        (of_client(&format!("projects/{project}/resources/")), "project"),
    ];
    for (target, member) in &seven {
        let first = gateway.get_ok(&token, target);
        assert!(!first.json()[member].is_null(), "{target} {first:?}");
        let calls = simulator.calls();
        let second = gateway.get_ok(&token, target);
        assert_eq!(gateway.outcome(&second), "hit");
        assert_eq!(second.body, first.body);
        assert_eq!(simulator.calls(), calls, "{target}");
        // What the partner itself says is what its caller gets, byte for byte.
        let key = [("x-reseller-api-key", "the-real-key-of-the-partner-4711")];
        assert_eq!(ask(simulator.address, "GET", target, &key, b"").body, second.body);
    }
}

#[test]
fn one_resource_written_in_several_ways_is_one_entry() {
    let simulator = Simulator::start(&[]);
    let gateway = simulator.gateway();
    let token = gateway.token(&READING);
    let clients = gateway.get_ok(&token, CLIENTS).json();
    let id = clients["clients"][0]["id"].as_str().unwrap().to_owned();
    let first = gateway.get_ok(&token, &format!("{CLIENTS}{id}/"));
    let upper = id.to_ascii_uppercase();
    for target in [
        format!("{CLIENTS}{id}"),
        format!("{CLIENTS}{upper}/"),
        format!("{CLIENTS}{upper}"),
        format!("{CLIENTS}{id}/?"),
    ] {
        let other = gateway.get_ok(&token, &target);
        assert_eq!((gateway.outcome(&other).as_str(), &other.body), ("hit", &first.body), "{target}");
    }
    assert_eq!(gateway.outcome(&gateway.get_ok(&token, CLIENTS.trim_end_matches('/'))), "hit");
    assert_eq!(simulator.calls(), 2);
}

#[test]
fn head_conditions_and_the_narrowed_view_come_from_the_entry_of_get() {
    let simulator = Simulator::start(&["--etag"]);
    let gateway = simulator.gateway();
    let token = gateway.token(&READING);
    let bearer = format!("Bearer {token}");
    let got = gateway.get_ok(&token, CLIENTS);
    let head = gateway.send("HEAD", CLIENTS, &[("authorization", &bearer)], b"");
    assert_eq!((head.status, head.expect_header("content-length")), (200, got.body.len().to_string()));
    assert!(head.body.is_empty());
    let tag = got.expect_header("etag");
    let same = gateway.get(CLIENTS, &[("authorization", &bearer), ("if-none-match", &format!("\"x\", W/{tag}"))]);
    assert_eq!((same.status, same.body.len(), same.expect_header("etag")), (304, 0, tag.clone()));
    let held = gateway.get(CLIENTS, &[("authorization", &bearer), ("if-match", &tag)]);
    assert_eq!(held.status, 200);
    let narrowed = gateway.get_ok(&gateway.token(&["clients:read"]), CLIENTS);
    assert_ne!(narrowed.expect_header("etag"), tag);
    assert_eq!(narrowed.header("last-modified"), None);
    let client = &narrowed.json()["clients"][0];
    assert_eq!((&client["email"], &client["signup_ip_address"]), (&"".into(), &"".into()));
    assert!(client["client_information"].as_object().unwrap().values().all(|value| value == ""));
    assert_eq!(client["id"], got.json()["clients"][0]["id"]);
    assert_eq!(simulator.calls(), 1);
}

#[test]
fn every_answer_says_where_it_came_from() {
    let (partner, gateway, token) = scripted();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let first = gateway.get_ok(&token, CLIENTS);
    assert_eq!(cache_status(&first), ("gw".to_owned(), "fwd=uri-miss; fwd-status=200; stored; ttl=60".to_owned()));
    let second = gateway.get_ok(&token, CLIENTS);
    let (name, parameters) = cache_status(&second);
    assert!(name == "gw" && parameters.starts_with("hit; ttl="), "{parameters}");
    for answer in [&first, &second] {
        assert_eq!(answer.expect_header("cache-control"), "private, max-age=60");
        assert_eq!(answer.expect_header("vary"), "Authorization, X-Reseller-Api-Key, Accept-Encoding");
        assert_eq!(answer.expect_header("via"), "1.1 gw");
        assert!(answer.expect_header("age").parse::<u64>().unwrap() < 5);
        assert_eq!(answer.expect_header("content-type"), "application/json");
    }
    let refused = gateway.get(CLIENTS, &[]);
    assert_eq!(cache_status(&refused), ("gw".to_owned(), "detail=token-missing".to_owned()));
    assert_eq!(refused.expect_header("via"), "1.1 gw");
}

#[test]
fn a_safe_request_id_is_kept_and_any_other_replaced() {
    let (partner, gateway, token) = scripted();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let bearer = format!("Bearer {token}");
    let with = |id: &str| {
        gateway.get(CLIENTS, &[("authorization", &bearer), ("x-request-id", id)]).expect_header("x-request-id")
    };
    let long = "a".repeat(64);
    for safe in ["abc-1.2_3", &long] {
        assert_eq!(with(safe), safe);
    }
    for unsafe_ in ["with space", "quote\"", "<script>", &"a".repeat(65), "ü"] {
        let made = with(unsafe_);
        assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
}

#[test]
fn a_client_of_the_partner_moves_over_with_its_own_header() {
    let (partner, gateway, token) = scripted();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    assert_eq!(gateway.get(CLIENTS, &[("X-Reseller-Api-Key", &token)]).status, 200);
    let both = [("authorization", format!("bearer {token}")), ("x-reseller-api-key", token.clone())];
    assert_eq!(gateway.get(CLIENTS, &both.each_ref().map(|(name, value)| (*name, value.as_str()))).status, 200);
}

#[test]
fn the_partner_sees_its_key_and_nothing_of_the_caller() {
    let (partner, gateway, token) = scripted();
    let sent = "/reseller/account/v1/clients/?provider_id=024c2b6d-cbb8-4056-9d3f-8055fa86659c";
    partner.respond_with(sent, [Reply::json(NO_CLIENTS)]);
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("cookie", "session=1"),
        ("user-agent", "callers-agent"),
        ("accept", "application/json;q=0.9, */*;q=0.1"),
        ("accept-encoding", "gzip, br"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-request-id", "callers-own-id"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("if-none-match", "\"callers\""),
        ("x-anything", "1"),
    ];
    let target = "/reseller/account/v1/clients?provider%5Fid=024C2B6D-CBB8-4056-9D3F-8055FA86659C";
    assert_eq!(gateway.get(target, &headers).status, 200);
    let call = &partner.calls()[0];
    assert_eq!((call.method.as_str(), call.target.as_str()), ("GET", sent));
    let mut names: Vec<&str> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent", "via", "x-reseller-api-key"]);
    assert_eq!(call.header("x-reseller-api-key"), Some("the-real-key-of-the-partner-4711"));
    assert_eq!(call.header("accept"), Some("application/json"));
    assert_eq!(call.header("via"), Some("1.1 gw"));
    assert!(call.header("user-agent").unwrap().starts_with("reseller-gateway/"));
    assert!(partner.url().ends_with(call.header("host").unwrap()));
}

const OTHER: &str = "/reseller/account/v1/other-thing?x=1&x=2";

#[test]
fn what_is_none_of_the_seven_passes_with_credentials_exchanged_and_is_not_stored() {
    let (partner, gateway, _) = scripted();
    let said = Reply::status(202)
        .header("content-type", "text/plain")
        .header("set-cookie", "session=1")
        .header("x-ratelimit-remaining", "3")
        .header("x-kept", "yes")
        .header("location", &format!("{}/reseller/account/v1/there", partner.url()))
        .body("as it is");
    partner.respond_with(OTHER, [said]);
    let token = gateway.token(&["other:read", "pii:read"]);
    for calls in 1..=2 {
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("accept", "text/html".to_owned()),
            ("cookie", "a=b".to_owned()),
        ];
        let answer = gateway.get(OTHER, &headers.each_ref().map(|(name, value)| (*name, value.as_str())));
        assert_eq!((answer.status, answer.text().as_str()), (202, "as it is"));
        assert_eq!(
            (answer.expect_header("x-kept"), answer.expect_header("location")),
            ("yes".to_owned(), "/reseller/account/v1/there".to_owned())
        );
        assert_eq!((answer.header("set-cookie"), answer.header("x-ratelimit-remaining")), (None, None));
        assert_eq!(cache_status(&answer).1, "fwd=bypass; fwd-status=202");
        assert_eq!(gateway.outcome(&answer), "pass");
        assert_eq!(partner.count(), calls);
    }
    let call = &partner.calls()[0];
    assert_eq!((call.target.as_str(), call.header("accept"), call.header("cookie")), (OTHER, Some("text/html"), None));
    assert_eq!(call.header("authorization"), None);
    assert_eq!(call.header("x-reseller-api-key"), Some("the-real-key-of-the-partner-4711"));
    // Nothing narrows such an answer, so who may not see personal data may not see it.
    let narrowed = gateway.token(&["other:read"]);
    assert_eq!(gateway.read(&narrowed, OTHER).status, 403);
    assert_eq!(gateway.send("POST", OTHER, &[("authorization", &format!("Bearer {token}"))], b"x").status, 403);
    assert_eq!(partner.count(), 2);
}

#[test]
fn a_body_is_read_whole_before_the_partner_is_asked() {
    let (partner, gateway, _) = scripted();
    partner.respond_with(OTHER, [Reply::json("{}").with_status(201), Reply::json("{}").with_status(201)]);
    let token = gateway.token(&["write", "pii:read", "other:read"]);
    let mut caller = Connection::connect(gateway.address);
    caller.say(format!(
        "POST {OTHER} HTTP/1.1\r\nhost: gw\r\nconnection: close\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    ));
    let other = gateway.read(&token, OTHER);
    assert_eq!(other.status, 201, "it waits for nobody's body");
    assert_eq!(partner.count(), 1, "the body is not whole yet");
    caller.say("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(gateway.seen(caller.read_response(false)).status, 201);
    let call = &partner.calls()[1];
    assert_eq!((call.method.as_str(), call.body.as_slice()), ("POST", b"firstsecond".as_slice()));
}

#[test]
fn trace_never_reaches_the_partner() {
    let (partner, gateway, _) = scripted();
    let token = gateway.token(&["other:read", "pii:read", "write", "clients:read"]);
    for target in [CLIENTS, OTHER] {
        let answer = gateway.send("TRACE", target, &[("authorization", &format!("Bearer {token}"))], b"");
        assert_eq!(answer.json()["type"], "urn:reseller-gateway:problem:method");
        assert_eq!(answer.status, 405);
    }
    assert_eq!(partner.count(), 0);
}

/// A certificate authority in PEM, and a server's settings with a certificate of its.
pub(crate) fn authority() -> (String, Arc<rustls::ServerConfig>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            rustls_pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der()).into(),
        )
        .unwrap();
    (authority.pem(), Arc::new(tls))
}

#[test]
fn a_partner_over_tls_is_asked_if_its_authority_is_the_configured_one() {
    let (pem, tls) = authority();
    let partner = ScriptedPartner::listen_with(tls);
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    let gateway = Setup::before(&partner).set("upstream.ca_file", file.path().to_str().unwrap()).start();
    gateway.get_ok(&gateway.token(&READING), CLIENTS);
    assert_eq!(partner.calls()[0].header("x-reseller-api-key"), Some("the-real-key-of-the-partner-4711"));
}

#[test]
fn a_partner_of_an_unknown_authority_never_sees_the_key() {
    let (_, tls) = authority();
    let (other, _) = authority();
    let partner = ScriptedPartner::listen_with(tls);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(other.as_bytes()).unwrap();
    for setup in
        [Setup::before(&partner), Setup::before(&partner).set("upstream.ca_file", file.path().to_str().unwrap())]
    {
        let gateway = setup.set("upstream.retry.attempts", 2).start();
        let answer = gateway.read(&gateway.token(&READING), CLIENTS);
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (502, &"urn:reseller-gateway:problem:partner-certificate".into())
        );
        assert!(gateway.metrics().contains("reseller_gateway_partner_answers_total{result=\"certificate\"} 1\n"));
    }
    assert_eq!(partner.count(), 0);
}

#[test]
fn a_request_under_way_is_finished_before_the_end() {
    let (partner, mut gateway, token) = scripted();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    let caller = gateway.call(&token, CLIENTS);
    partner.wait_for_calls(1);
    signal(&gateway.program, "TERM");
    wait_for("the door to close", || std::net::TcpStream::connect(gateway.address).is_err().then_some(()));
    gate.open();
    let answer = caller.read_response(false);
    assert_eq!((answer.status, answer.text().as_str()), (200, NO_CLIENTS));
    assert!(gateway.program.wait_for_exit(Duration::from_secs(5)).success());
    // The log is flushed: the line of the last request is there.
    assert_eq!(gateway.outcome(&answer), "miss");
}

#[test]
fn a_faulty_file_is_shown_with_its_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.toml");
    std::fs::write(&file, "[server]\nnaem = \"gw\"\n\n[upstream]\nurl = \"http://127.0.0.1:9534\"\napi_key_env = \"K\"\ntimeout = \"soon\"\n").unwrap();
    for command in ["check", "serve"] {
        let ended = program().args([command, "--config"]).arg(&file).output().unwrap();
        assert_eq!(ended.status.code(), Some(2));
        let said = String::from_utf8(ended.stderr).unwrap();
        for part in ["broken.toml:2:", "server.naem", "`name`", "broken.toml:7:", "upstream.timeout"] {
            assert!(said.contains(part), "no {part} in: {said}");
        }
    }
}

#[test]
fn the_demo_prints_what_to_paste_and_ends_when_told() {
    let mut demo = Program::start(program().arg("demo"));
    wait_for("the demo's page", || {
        (demo.stdout().contains("\n. /") && demo.stdout().contains("partner calls")).then_some(())
    });
    let page = demo.stdout();
    let sourced = page.lines().find_map(|line| line.strip_prefix(". ")).unwrap().to_owned();
    let exports = std::fs::read_to_string(&sourced).unwrap();
    assert!(exports.matches("export ").count() == 5 && !page.contains("eyJ"), "tokens lie in the file: {page}");
    // Every command finds it by what is sourced.
    for line in
        ["token list", "explain clients/ --caller support", "cache list", "spend", "check", "keys list", "reload"]
    {
        let words = format!(". {sourced}; exec \"$0\" {line}");
        let mut shell = std::process::Command::new("sh");
        let ended = shell.args(["-c", &words, env!("CARGO_BIN_EXE_reseller-gateway")]).output().unwrap();
        assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    }
    // What it shows of one entry through two rights is really less for the one that is bound.
    let [whole, part] = ["BILLING", "REGION"].map(|name| {
        let token = exports.split(&format!("export {name}=")).nth(1).unwrap().lines().next().unwrap().to_owned();
        let line =
            page.lines().find(|line| line.contains(&format!("${name}\"")) && line.ends_with("/providers/")).unwrap();
        let (address, target) = line.split("http://").nth(1).unwrap().split_once('/').unwrap();
        let bearer = format!("Bearer {token}");
        let answer = ask(address.parse().unwrap(), "GET", &format!("/{target}"), &[("authorization", &bearer)], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["providers"].as_array().unwrap().clone()
    });
    assert!(whole.len() > 1 && part.len() == 1 && whole.contains(&part[0]), "{whole:?} {part:?}");
    assert!(demo.try_wait().is_none());
    signal(&demo, "INT");
    assert!(demo.wait_for_exit(Duration::from_secs(3)).success(), "{}", demo.stderr());
    assert!(!std::path::Path::new(&sourced).parent().unwrap().exists(), "nothing is left behind");
}
