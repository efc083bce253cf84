//! Who comes to the admin door?
//! Given the real binary, tokens of both doors and requests as a web page would send them, claims who is let in.
//! Never looks inside the process: what counts is answers and lines of the log.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::{
    Connection, Gateway, READING, Response, Setup, ask, program, send_request_to_host, signal, wait_for,
};

const DESK: &str = "/admin/v1/";

fn gateway() -> Gateway {
    Setup::at("http://127.0.0.1:9").start()
}

fn asked(gateway: &Gateway, host: &str, headers: &[(&str, &str)]) -> Response {
    gateway.seen(send_request_to_host(host, gateway.admin, "GET", DESK, headers, b""))
}

fn slug(answer: &Response) -> String {
    assert_eq!(answer.expect_header("content-type"), "application/problem+json", "{answer:?}");
    answer.json()["type"].as_str().unwrap().trim_start_matches("urn:reseller-gateway:problem:").to_owned()
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn each_door_takes_its_own_tokens_alone() {
    let gateway = gateway();
    let (public, admin) = (gateway.token(&READING), gateway.admin_token());
    let bearer = |token: &str| format!("Bearer {token}");
    let answer = asked(&gateway, "localhost", &[("authorization", &bearer(&admin))]);
    assert_eq!((answer.status, answer.json()["operator"].as_str()), (200, Some("local:test")), "{answer:?}");
    let refused = asked(&gateway, "localhost", &[("authorization", &bearer(&public))]);
    assert_eq!((refused.status, slug(&refused).as_str()), (401, "token-bad"));
    assert!(refused.expect_header("www-authenticate").contains("invalid_token"));
    let refused = asked(&gateway, "localhost", &[]);
    assert_eq!((refused.status, slug(&refused).as_str()), (401, "token-missing"));
    let refused = asked(&gateway, "localhost", &[("x-reseller-api-key", &admin)]);
    assert_eq!((refused.status, slug(&refused).as_str()), (401, "token-missing"));
    let refused = gateway.read(&admin, "/reseller/account/v1/clients/");
    assert_eq!((refused.status, slug(&refused).as_str()), (401, "token-bad"));
    // Neither door is behind the other.
    assert_eq!(gateway.read(&public, DESK).status, 404);
    assert_eq!(ask(gateway.health, "GET", DESK, &[("authorization", &bearer(&admin))], b"").status, 404);
}

#[test]
fn a_web_page_is_refused_before_its_token_is_looked_at_and_told_nothing_of_cors() {
    let gateway = gateway();
    let bearer = format!("Bearer {}", gateway.admin_token());
    for (host, origin, slug_wanted) in [
        ("evil.example", None, "host"),
        ("localhost.evil.example:9535", None, "host"),
        ("localhost", Some("http://evil.example"), "origin"),
        ("localhost", Some("null"), "origin"),
    ] {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = asked(&gateway, host, &headers);
        assert_eq!((answer.status, slug(&answer).as_str()), (403, slug_wanted), "{host} {origin:?}");
        assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{answer:?}");
        assert_eq!(answer.expect_header("cache-control"), "no-store");
    }
    let preflight = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
    let answer = send_request_to_host("localhost", gateway.admin, "OPTIONS", DESK, &preflight, b"");
    assert_eq!(answer.status, 403);
    assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{answer:?}");
}

#[test]
fn what_is_not_there_is_said_and_every_request_leaves_a_line_with_its_actor() {
    let gateway = Setup::at("http://127.0.0.1:9").set("telemetry.log", "error").start();
    assert_eq!(gateway.admin_request("GET", DESK, "").status, 200);
    let answer = gateway.admin_request("GET", "/admin/v1/nothing", "");
    assert_eq!((answer.status, slug(&answer).as_str()), (404, "no-such-path"));
    let answer = gateway.admin_request("DELETE", DESK, "");
    assert_eq!((answer.status, answer.expect_header("allow").as_str()), (405, "GET"));
    let answer = gateway.admin_request("GET", DESK, &"x".repeat(70_000));
    assert_eq!((answer.status, slug(&answer).as_str()), (413, "body-too-large"));
    asked(&gateway, "localhost", &[]);
    // However quiet the log is set.
    for wanted in [
        &["\"actor\":\"local:test\"", "\"path\":\"/admin/v1/\"", "\"method\":\"GET\""][..],
        &["\"actor\":\"local:test\"", "\"refused\":\"no-such-path\""],
        &["\"actor\":\"\"", "\"refused\":\"token-missing\""],
    ] {
        wait_for("an audit line", || {
            let log = gateway.program.stderr();
            log.lines()
                .any(|line| line.contains("audit:") && wanted.iter().all(|word| line.contains(word)))
                .then_some(())
        });
    }
}

#[test]
fn operators_who_dawdle_are_bounded_and_strangers_hold_no_place() {
    let gateway = gateway();
    let slow = |token: &str| {
        let mut caller = Connection::connect(gateway.admin);
        caller.say(format!(
            "GET {DESK} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\nconnection: close\r\n\r\n"
        ));
        caller
    };
    let _strangers: Vec<_> = (0..20).map(|_| slow("x")).collect();
    assert_eq!(gateway.admin_request("GET", DESK, "").status, 200);
    let token = gateway.admin_token();
    let mut operators: Vec<_> = (0..16).map(|_| slow(&token)).collect();
    let refused = wait_for("a refusal", || {
        let answer = gateway.admin_request("GET", DESK, "");
        (answer.status == 503).then_some(answer)
    });
    assert_eq!((slug(&refused).as_str(), refused.expect_header("retry-after").as_str()), ("busy", "1"));
    // One that stays silent is let go, and makes room.
    let answer = gateway.seen(operators.remove(0).read_response(false));
    assert_eq!((answer.status, slug(&answer).as_str()), (400, "malformed"));
    wait_for("room", || (gateway.admin_request("GET", DESK, "").status == 200).then_some(()));
}

#[test]
fn a_unix_socket_is_the_owners_alone_and_gone_at_the_end() {
    let mut gateway = Setup::at("http://127.0.0.1:9").admin_at("unix:admin.sock").start();
    let path = gateway.file("admin.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A second one on the same socket ends, and leaves it be.
    let config = std::fs::read_to_string(gateway.file("gateway.toml")).unwrap();
    let free = |text: String, of: std::net::SocketAddr| text.replace(&of.to_string(), "127.0.0.1:0");
    let second = free(free(config, gateway.address), gateway.health);
    std::fs::write(gateway.file("second.toml"), second).unwrap();
    let output = program().args(["serve", "--config"]).arg(gateway.file("second.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("another gateway"), "{}", said(&output));
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    signal(&gateway.program, "TERM");
    assert!(gateway.program.wait_for_exit(Duration::from_secs(8)).success());
    assert!(!path.exists());
}

#[test]
fn commands_prove_themselves_by_the_keys_over_tcp_and_unix_sockets() {
    for listen in [None, Some("unix:admin.sock")] {
        let setup = Setup::at("http://127.0.0.1:9");
        let gateway = match listen {
            None => setup.start(),
            Some(listen) => setup.admin_at(listen).start(),
        };
        let output = gateway.command(&["cache", "stats"]);
        assert!(output.status.success(), "{}", said(&output));
        let stats: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(stats["entries"], 0, "{stats}");
        let peer = if listen.is_some() { r#""peer":"unix""# } else { r#""peer":"127.0.0.1:"# };
        wait_for("the audit line", || gateway.program.stderr().contains(peer).then_some(()));
    }
}

#[test]
fn a_command_says_why_no_gateway_can_be_asked() {
    let mut gateway = Setup::at("http://127.0.0.1:9").start();
    let refused = |output: std::process::Output, why: &str| {
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(why), "{}", said(&output));
    };
    let config = std::fs::read_to_string(gateway.file("gateway.toml")).unwrap();
    std::fs::create_dir(gateway.file("other")).unwrap();
    let with = |text: String| {
        std::fs::write(gateway.file("other.toml"), text).unwrap();
        program().args(["cache", "stats", "--config"]).arg(gateway.file("other.toml")).output().unwrap()
    };
    refused(with(format!("{config}\n[state]\ndir = \"\"\n[tokens]\nmax_ttl = \"1h\"\n")), "set state.dir");
    refused(with(format!("{config}\n[state]\ndir = \"other\"\n")), "no signing key is there yet");
    let foreign = gateway.file("foreign");
    let made = reseller_gateway::token::ring::Ring::open(&foreign.join("keys"), Duration::ZERO);
    assert!(made.is_ok());
    refused(with(format!("{config}\n[state]\ndir = \"foreign\"\n")), "does not take tokens of these keys");
    signal(&gateway.program, "INT");
    gateway.program.wait_for_exit(Duration::from_secs(8));
    refused(gateway.command(&["cache", "stats"]), "no gateway answers");
}

#[test]
fn keys_in_memory_are_said_at_start_to_be_out_of_reach() {
    let gateway = Setup::at("http://127.0.0.1:9").set("state.dir", "").set("tokens.max_ttl", "1h").start();
    gateway.wait_for_log("no command can reach the admin listener");
}
