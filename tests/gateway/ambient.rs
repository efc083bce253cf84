//! Who is answered without a token, and where?
//! Given the real binary with an ambient caller on loopback and on Unix sockets, hands back claims that hold or fail.
//! Never asks from another machine: what a proxy or a web page would send is sent from here.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use toml::Table;

use crate::support::{
    CLIENTS, Gateway, NO_CLIENTS, Reply, Response, ScriptedPartner, Setup, program, send_request_to_host,
    send_request_to_socket, signal, wait_for,
};

const OTHER: &str = "/reseller/account/v1/something/else";

/// A request without a token, as curl sends it.
fn plainly(host: &str, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\n{host}User-Agent: curl/8.5.0\r\nAccept: */*\r\nConnection: close\r\n\r\n").into()
}

fn slug(answer: &Response) -> String {
    let kind = answer.json()["type"].as_str().unwrap().to_owned();
    kind.strip_prefix("urn:reseller-gateway:problem:").unwrap().to_owned()
}

/// A request over TCP as if to `localhost`.
fn ask(gateway: &Gateway, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let host = format!("localhost:{}", gateway.address.port());
    gateway.seen(send_request_to_host(&host, gateway.address, method, target, headers, body))
}

fn is_refused(gateway: &Gateway, answer: &Response) {
    assert_eq!((answer.status, slug(answer).as_str()), (403, "ambient"), "{answer:?}");
    assert_eq!(answer.expect_header("content-type"), "application/problem+json");
    let line = gateway.log_line(answer);
    assert_eq!((&line["outcome"], &line["cause"]), (&"refused".into(), &"ambient".into()));
    assert_eq!((line.get("caller"), line.get("jti")), (None, None));
}

#[test]
fn without_a_token_a_program_of_this_machine_has_the_callers_rights_over_tcp_and_unix() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let door = "address = \"unix:public.sock\"\nambient = \"app\"";
    let gateway = Setup::before(&partner).listener("ambient = \"app\"").extra_listener(door).start();
    let path = gateway.file("public.sock");
    let [tcp, own] = ["localhost", "127.0.0.1"].map(|host| {
        let host = format!("{host}:{}", gateway.address.port());
        gateway.seen(send_request_to_host(&host, gateway.address, "GET", CLIENTS, &[], b""))
    });
    let unix_now =
        ["Host: localhost\r\n", "Host: \r\n"].map(|host| send_request_to_socket(&path, &plainly(host, CLIENTS)));
    // A request of HTTP/1.1 names its host wherever it comes in (RFC 9112 §3.2), however often it comes.
    assert!((0..8).all(|_| send_request_to_socket(&path, &plainly("", CLIENTS)).status == 400));
    for answer in [&tcp, &own].into_iter().chain(&unix_now) {
        assert_eq!((answer.status, answer.text().as_str()), (200, NO_CLIENTS), "{answer:?}");
        let line = gateway.log_line(answer);
        assert_eq!((&line["caller"], &line["jti"]), (&"app".into(), &"ambient".into()));
    }
    assert_eq!(partner.count(), 1);
    assert_eq!(gateway.log_line(&unix_now[0])["peer"], "unix");
    assert!(gateway.log_line(&tcp)["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    // Who shows a token is its caller, whatever else it sends.
    let token = gateway.token(&["clients:read"]);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("origin", "https://app.example"), ("via", "1.1 proxy")];
    let shown = gateway.seen(send_request_to_host("gateway.example", gateway.address, "GET", CLIENTS, &headers, b""));
    assert_eq!(shown.status, 200);
    assert_ne!(gateway.log_line(&shown)["jti"], "ambient");
}

#[test]
fn what_a_page_or_a_proxy_may_have_sent_is_refused() {
    let partner = ScriptedPartner::listen();
    let door = "address = \"unix:public.sock\"\nambient = \"app\"";
    let gateway = Setup::before(&partner).listener("ambient = \"app\"").extra_listener(door).start();
    for header in [
        ("origin", "http://localhost:8080"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "192.0.2.1"),
        ("via", "1.1 proxy"),
    ] {
        is_refused(&gateway, &ask(&gateway, "GET", CLIENTS, &[header], b""));
        let line = format!("Host: localhost\r\n{}: {}\r\n", header.0, header.1);
        is_refused(&gateway, &send_request_to_socket(&gateway.file("public.sock"), &plainly(&line, CLIENTS)));
    }
    // DNS rebinding: the page's name leads here now.
    let port = gateway.address.port();
    for host in ["evil.example", "localhost", "localhost:1", "0.0.0.0"] {
        is_refused(&gateway, &gateway.seen(send_request_to_host(host, gateway.address, "GET", CLIENTS, &[], b"")));
    }
    let evil = format!("evil.example:{port}");
    is_refused(&gateway, &gateway.seen(send_request_to_host(&evil, gateway.address, "GET", CLIENTS, &[], b"")));
    is_refused(&gateway, &ask(&gateway, "GET", &format!("http://{evil}{CLIENTS}"), &[], b""));
    is_refused(
        &gateway,
        &send_request_to_socket(&gateway.file("public.sock"), &plainly("Host: evil.example\r\n", CLIENTS)),
    );
    assert_eq!(partner.count(), 0);
}

#[test]
fn a_bad_token_is_never_ambient_and_nothing_is_written_without_one() {
    let partner = ScriptedPartner::listen();
    let gateway = Setup::before(&partner).listener("ambient = \"app\"").start();
    for header in [
        ("authorization", "Bearer nonsense"),
        ("authorization", "Bearer "),
        ("authorization", "Basic eDp5"),
        ("authorization", ""),
        ("x-reseller-api-key", "nonsense"),
        ("x-reseller-api-key", ""),
    ] {
        let answer = ask(&gateway, "GET", CLIENTS, &[header], b"");
        assert_eq!(answer.status, 401, "{header:?}: {answer:?}");
        assert!(answer.header("www-authenticate").is_some());
        assert_eq!(gateway.log_line(&answer).get("caller"), None);
    }
    // `app` may write with a token.
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = ask(&gateway, method, OTHER, &[], b"{}");
        assert_eq!((answer.status, slug(&answer).as_str()), (403, "scope"), "{answer:?}");
        assert!(answer.text().contains("write"));
    }
    let answer = ask(&gateway, "POST", "/oauth/token", &[], b"grant_type=client_credentials");
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert_eq!(partner.count(), 0);
}

#[test]
fn only_the_listener_that_names_it_has_an_ambient_caller() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let door = "address = \"unix:public.sock\"\nambient = \"app\"";
    let gateway = Setup::before(&partner).extra_listener(door).start();
    let answer = ask(&gateway, "GET", CLIENTS, &[], b"");
    assert_eq!((answer.status, slug(&answer).as_str()), (401, "token-missing"));
    assert_eq!(
        send_request_to_socket(&gateway.file("public.sock"), &plainly("Host: localhost\r\n", CLIENTS)).status,
        200
    );
}

#[test]
fn an_ambient_caller_keeps_its_limits_and_its_bounds() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let callers: Table = "[[callers]]\nname = \"app\"\nscopes = [\"clients:read\", \"pii:read\"]\nclients = [\"c1\"]\n\
                          providers = [\"*\"]\n[callers.limits]\nrequests = \"1/m\"\nburst = 3"
        .parse()
        .unwrap();
    let gateway =
        Setup::before(&partner).set("callers", callers["callers"].clone()).listener("ambient = \"app\"").start();
    let own = ask(&gateway, "GET", CLIENTS, &[], b"");
    assert_eq!(own.status, 200, "{own:?}");
    assert_eq!(own.expect_header("ratelimit-policy"), r#""requests";q=3;w=180"#);
    let foreign = ask(&gateway, "GET", "/reseller/account/v1/clients/c2/", &[], b"");
    assert_eq!((foreign.status, slug(&foreign).as_str()), (403, "bounds"));
    // With a token or without, it is one caller with one account.
    let token = gateway.token(&["clients:read"]);
    gateway.get_ok(&token, CLIENTS);
    let beyond = ask(&gateway, "GET", CLIENTS, &[], b"");
    assert_eq!((beyond.status, slug(&beyond).as_str()), (429, "caller-requests"));
    assert_eq!(gateway.log_line(&beyond)["jti"], "ambient");
    assert_eq!(partner.count(), 1);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_public_unix_socket_has_its_mode_takes_tokens_and_is_gone_at_the_end() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = Setup::before(&partner)
        .extra_listener("address = \"unix:mine.sock\"")
        .extra_listener("address = \"unix:ours.sock\"\nunix_mode = \"0660\"")
        .start();
    let (mine, ours) = (gateway.file("mine.sock"), gateway.file("ours.sock"));
    assert_eq!((mode(&mine), mode(&ours)), (0o600, 0o660));
    let token = gateway.token(&["clients:read"]);
    for path in [&mine, &ours] {
        let bearer = format!("Host: any.example\r\nAuthorization: Bearer {token}\r\n");
        let answer = gateway.seen(send_request_to_socket(path, &plainly(&bearer, CLIENTS)));
        assert_eq!((answer.status, answer.text().as_str()), (200, NO_CLIENTS));
        assert_eq!(gateway.log_line(&answer)["peer"], "unix");
        assert_eq!(send_request_to_socket(path, &plainly("Host: localhost\r\n", CLIENTS)).status, 401);
    }
    // A second gateway leaves a socket that is in use alone.
    let config = std::fs::read_to_string(gateway.file("gateway.toml")).unwrap();
    let free = [gateway.address, gateway.health, gateway.admin];
    let second = free.iter().fold(config, |text, of| text.replace(&of.to_string(), "127.0.0.1:0"));
    std::fs::write(gateway.file("second.toml"), second).unwrap();
    let output = program().args(["serve", "--config"]).arg(gateway.file("second.toml")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("unix:") && said.contains("another gateway"), "{said}");
    assert_eq!(send_request_to_socket(&mine, &plainly("Host: localhost\r\n", CLIENTS)).status, 401);
    signal(&gateway.program, "TERM");
    assert!(gateway.program.wait_for_exit(Duration::from_secs(8)).success());
    wait_for("the end of the sockets", || (!mine.exists() && !ours.exists()).then_some(()));
}
