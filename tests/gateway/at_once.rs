//! Is what is answered at once the same as what is answered the long way?
//! Given one request in one piece and in two, which only the long way can take, claims that no caller can tell them apart.
//! Never trusts that a hit was answered at once: the gateway counts them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use toml::Value;

use crate::quota::{counted, limited};
use crate::support::{
    CLIENTS, CertificateAuthority, Client, Gateway, KeepAliveConnection, NO_CLIENTS, READING, Reply, Response,
    ScriptedPartner, Setup, free_port, signal, unix_now, wait_for,
};
use crate::views::{self, of};

const OTHER: &str = "/reseller/account/v1/something/else";

/// So often a head is met before it is known, and some more.
const OFTEN: usize = 6;

/// As a client with a token asks.
fn get(token: &str, target: &str) -> String {
    asked("GET", target, &format!("Authorization: Bearer {token}\r\n"))
}

fn asked(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: gateway\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n{fields}\r\n")
}

fn at_once(gateway: &Gateway) -> u64 {
    counted(gateway, "hits_at_once_total")
}

/// What a caller can compare: all but the number of the request, in any order.
fn compared(answer: &Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers = answer.headers.clone();
    headers.retain(|(name, _)| name != "x-request-id");
    headers.sort();
    (answer.status, headers, answer.text())
}

/// Asks until the answer comes at once; the last one.
fn known(gateway: &Gateway, request: &str) -> Response {
    let mut caller = KeepAliveConnection::connect(gateway.address);
    (0..OFTEN).for_each(|_| drop(caller.ask(request)));
    let before = at_once(gateway);
    let answer = gateway.seen(caller.ask(request));
    assert_eq!(at_once(gateway), before + 1, "{request} {answer:?}");
    answer
}

/// Whether one more request is answered at once.
fn is_at_once(gateway: &Gateway, request: &str) -> (bool, Response) {
    let before = at_once(gateway);
    let answer = gateway.seen(KeepAliveConnection::connect(gateway.address).ask(request));
    (at_once(gateway) > before, answer)
}

/// A partner whose answers have a date of their own, so that two answers differ in nothing but what the gateway says.
fn dated(document: &str) -> Reply {
    Reply::json(document)
        .header("date", "Sun, 06 Nov 1994 08:49:37 GMT")
        .header("last-modified", "Sun, 06 Nov 1994 08:49:36 GMT")
        .header("content-language", "en")
}

fn scene(set: impl FnOnce(Setup) -> Setup) -> (ScriptedPartner, Gateway, String) {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [dated(NO_CLIENTS)]);
    let gateway = set(Setup::before(&partner)).start();
    let token = gateway.token(&READING);
    (partner, gateway, token)
}

#[test]
fn a_head_asked_for_often_is_answered_at_once_on_any_connection_and_in_the_same_words() {
    let (partner, gateway, token) = scene(|setup| setup);
    let request = get(&token, CLIENTS);
    let whole = known(&gateway, &request);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    let before = at_once(&gateway);
    let in_two = caller.send_request_in_two(&request);
    assert_eq!(at_once(&gateway), before, "a head in two pieces is hyper's");
    assert_eq!(compared(&whole), compared(&in_two));
    assert_ne!(whole.expect_header("x-request-id"), in_two.expect_header("x-request-id"));
    // The same connection goes on at once, and so does another.
    assert_eq!(compared(&caller.ask(&request)), compared(&whole));
    assert!(is_at_once(&gateway, &request).0);
    assert_eq!(at_once(&gateway), before + 2);
    assert_eq!(partner.count(), 1);
    let rows = gateway.admin_request("GET", "/admin/v1/cache/list", "").json();
    assert!(rows.to_string().contains(&format!(r#""hits":{}"#, OFTEN + 3)), "each hit is counted once: {rows}");
    let [line, long] = [&whole, &in_two].map(|answer| {
        let mut line = gateway.log_line(answer);
        let fields = line.as_object_mut().unwrap();
        assert!(fields.remove("duration_ms").is_some() && fields.remove("time").is_some());
        assert!(fields.remove("peer").is_some() && fields.remove("request_id").is_some());
        line
    });
    assert_eq!(line, long);
    let hits = r#"reseller_gateway_requests_total{route="clients",outcome="hit",status="200"} "#;
    let metrics = gateway.metrics();
    let hits = metrics.lines().find_map(|line| line.strip_prefix(hits)).unwrap();
    assert_eq!(hits.parse::<usize>().unwrap(), OFTEN + 3, "{metrics}");
}

#[test]
fn what_is_said_of_one_request_alone_makes_no_other_head_of_it() {
    let (_partner, gateway, token) = scene(|setup| setup);
    known(&gateway, &get(&token, CLIENTS));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut caller = KeepAliveConnection::connect(gateway.address);
    for nth in 0..5 {
        let before = at_once(&gateway);
        let trace =
            format!("traceparent: 00-0af7651916cd43dd8448eb211c80319c-{nth:016x}-01\r\ntracestate: a={nth}\r\n");
        let answer = caller.ask(asked("GET", CLIENTS, &format!("{trace}{bearer}X-Request-ID: job-{nth}\r\n")));
        assert_eq!(at_once(&gateway), before + 1);
        assert_eq!(answer.expect_header("x-request-id"), format!("job-{nth}"));
        assert_eq!(gateway.log_line(&answer)["outcome"], "hit");
    }
}

/// Every kind of head, asked for so often that it would be known if it could be, gets what it gets in two pieces.
#[test]
fn no_head_gets_another_answer_for_having_been_met_before() {
    let big = format!(r#"{{"clients":[{}]}}"#, vec![r#"{"id":"c1","email":"a@example.org"}"#; 200].join(","));
    let partner = views::partner();
    partner.respond_with(CLIENTS, [dated(&big)]);
    partner.respond_with(OTHER, [Reply::json("{}")]);
    partner.respond_with(&of("gone", ""), [Reply::json("{}").with_status(404)]);
    let gateway = Setup::before(&partner)
        .caller("least", &["clients:read"], "clients = [\"c1\"]")
        .caller("blind", &["clients:read"], "")
        .start();
    let issued = |caller: &str| {
        let issued = gateway.issue(caller, &[], &[]);
        assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
        gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim())
    };
    let (full, least, blind) = (gateway.token(&READING), issued("least"), issued("blind"));
    let tag = KeepAliveConnection::connect(gateway.address).ask(get(&full, CLIENTS)).expect_header("etag");
    let bearer = format!("Authorization: Bearer {full}\r\n");
    let with = |more: &str| asked("GET", CLIENTS, &format!("{bearer}{more}\r\n"));
    let client = of("c1", "");
    let requests = [
        get(&full, CLIENTS),
        get(&full, &client),
        get(&blind, CLIENTS),
        get(&blind, &client),
        get(&least, CLIENTS),
        get(&least, &client),
        get(&least, &of("c2", "")),
        get(&least, &of("c1", "resources/")),
        get(&full, &of("gone", "")),
        get(&full, &client.replace("c1", "%631")),
        get(&full, client.trim_end_matches('/')),
        get(&full, &format!("http://gateway{client}")),
        get(&full, &format!("{CLIENTS}?provider_id=p1")),
        get(&full, &format!("{CLIENTS}?provider_id=p1&provider_id=p1")),
        get(&full, &format!("{CLIENTS}?nobody=knows")),
        get(&full, OTHER),
        get(&full, "/nowhere"),
        get(&full, "/-/me"),
        get(&full, "/.well-known/oauth-authorization-server"),
        get("bad", CLIENTS),
        asked("GET", CLIENTS, ""),
        asked("HEAD", CLIENTS, &bearer),
        asked("POST", CLIENTS, &format!("{bearer}Content-Length: 0\r\n")),
        asked("get", CLIENTS, &bearer),
        asked("GET", CLIENTS, &format!("X-Reseller-Api-Key: {full}\r\n")),
        asked("GET", CLIENTS, &format!("X-Reseller-Api-Key: {blind}\r\n{bearer}")),
        asked("GET", CLIENTS, &format!("authorization:bearer   {full} \r\n")),
        with("Authorization: Basic YTpi"),
        with("Accept-Encoding: gzip, deflate"),
        with("Accept-Encoding: identity"),
        with("Accept-Encoding: gzip;q=0"),
        with("Accept: text/html"),
        with(&format!("If-None-Match: {tag}")),
        with(&format!("If-Match: {tag}")),
        with("If-Match: \"other\""),
        with("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT"),
        with("Range: bytes=0-9"),
        with("Cache-Control: no-cache"),
        with("Cache-Control: only-if-cached"),
        with("Cache-Control: max-age=0"),
        with("X-Request-Id: mine"),
        with("X-Request-Id: not mine!"),
        with("Via: 1.1 other"),
        with("Via: 1.1 gw"),
        with("Connection: keep-alive"),
        with("Connection: close"),
        with("Connection: keep-alive, x-anything"),
        with("Content-Length: 0"),
        with("Transfer-Encoding: chunked\r\n\r\n0"),
        with("Expect: 100-continue"),
        with("Upgrade: h2c"),
        with("X-Anything: at all"),
        with("Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        get(&full, CLIENTS).replace("HTTP/1.1", "HTTP/1.0"),
        get(&full, CLIENTS).replace("GET ", "GET  "),
        get(&full, CLIENTS).replace("Host: gateway", "Host : gateway"),
        get(&full, CLIENTS).replace("Host: gateway\r\n", ""),
        get(&full, CLIENTS).replace("Host: gateway", "Host: a b"),
        with("Host: gateway"),
        get(&full, CLIENTS).replace("Accept: */*", "Accept: */*\r\n , text/html"),
        get(&full, CLIENTS).replace("\r\n", "\n"),
    ];
    let mut came_at_once = 0;
    for request in &requests {
        // Until the form that is sent lies ready; the gzip form is made behind the first answer.
        (0..3).for_each(|_| drop(KeepAliveConnection::connect(gateway.address).send_request_in_two(request)));
        if request.contains("gzip, deflate") {
            let coded = || {
                KeepAliveConnection::connect(gateway.address).send_request_in_two(request).header("content-encoding")
            };
            wait_for("the gzip form", || coded().filter(|coding| coding == "gzip"));
        }
        let mut caller = KeepAliveConnection::connect(gateway.address);
        for _ in 0..OFTEN {
            if caller.ask(request).status == 0 {
                caller = KeepAliveConnection::connect(gateway.address);
            }
        }
        let (at_once, whole) = is_at_once(&gateway, request);
        came_at_once += usize::from(at_once);
        let (mut whole, mut in_two) =
            (whole, KeepAliveConnection::connect(gateway.address).send_request_in_two(request));
        for answer in [&mut whole, &mut in_two] {
            // A second may pass between the two; dates that are ours tell no more than that.
            answer.headers.retain(|(name, value)| {
                assert!(name != "age" || value.parse::<u64>().unwrap() < 60, "{request}");
                !(name == "age" || name == "cache-status" || (name == "date" && !value.contains("1994")))
            });
        }
        assert_eq!(compared(&whole), compared(&in_two), "at once: {at_once}, {request}");
        let ids = [&whole, &in_two].map(|answer| answer.header("x-request-id").is_some_and(|id| id == "mine"));
        assert_eq!(ids, [request.contains(": mine"); 2], "{request}");
        let bears =
            ["If-", "Range", "Cache-Control", "not mine", "Via", "close", "chunked", "HTTP/1.0", "HEAD", "POST"];
        assert!(!at_once || !bears.iter().any(|word| request.contains(word)), "{request}");
    }
    assert!(came_at_once >= 12, "{came_at_once} of {}", requests.len());
}

#[test]
fn a_token_that_is_taken_back_or_over_is_refused_on_the_very_next_request() {
    let (partner, gateway, token) = scene(|setup| setup);
    let request = get(&token, CLIENTS);
    known(&gateway, &request);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    assert_eq!(caller.ask(&request).status, 200);
    let revoked = gateway.admin_request("DELETE", "/admin/v1/callers/app/tokens", "");
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let refused = gateway.seen(caller.ask(&request));
    assert_eq!((refused.status, refused.header("cache-control").as_deref()), (401, Some("no-store")));
    assert_eq!(gateway.log_line(&refused)["outcome"], "refused");
    assert_eq!(KeepAliveConnection::connect(gateway.address).ask(&request).status, 401);
    // A token that ends while it is known; one of the same second as the revocation is taken back, too.
    let then = unix_now();
    wait_for("the next second", || (unix_now() > then).then_some(()));
    let issued = gateway.issue("app", &[], &["--ttl", "3s"]);
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    let short = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
    let request = get(&short, CLIENTS);
    known(&gateway, &request);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    let over = wait_for("the end of a token", || Some(caller.ask(&request)).filter(|answer| answer.status != 200));
    assert_eq!(over.status, 401);
    assert!(over.expect_header("www-authenticate").contains("expired"), "{over:?}");
    assert_eq!(partner.count(), 1);
}

#[test]
fn what_is_purged_or_no_longer_fresh_is_not_shown_at_once() {
    let (partner, gateway, token) = scene(|setup| setup.set("routes.client.ttl", "2s"));
    partner.respond_with(&of("c1", ""), [dated(r#"{"client":{"id":"c1"}}"#), dated(r#"{"client":{"id":"c2"}}"#)]);
    let request = get(&token, CLIENTS);
    known(&gateway, &request);
    let purged = gateway.admin_request("POST", "/admin/v1/cache/purge", &json!({"all": true}).to_string());
    assert_eq!(purged.status, 200, "{purged:?}");
    let (at_once, next) = is_at_once(&gateway, &request);
    assert!(!at_once && next.expect_header("cache-status").contains("fwd="), "{next:?}");
    assert!(is_at_once(&gateway, &request).0);
    assert_eq!(partner.count(), 2);
    // The end of a lifetime: nothing older than it is called a hit.
    let request = get(&token, &of("c1", ""));
    known(&gateway, &request);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    let changed = wait_for("the next document", || {
        let answer = caller.ask(&request);
        assert!(
            answer.expect_header("age").parse::<u64>().unwrap() < 2
                || !answer.expect_header("cache-status").contains("hit; ttl=1")
        );
        answer.text().contains("c2").then_some(answer)
    });
    assert_eq!(changed.status, 200);
}

#[test]
fn a_limit_counts_what_is_answered_at_once_and_says_so() {
    let limits = limited("requests = \"1/m\"\nburst = 12");
    let (_partner, gateway, token) = scene(|setup| setup.set("callers", limits));
    let request = get(&token, CLIENTS);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    let left: Vec<String> = (0..12).map(|_| caller.ask(&request).expect_header("ratelimit")).collect();
    for (nth, left) in left.iter().enumerate() {
        assert!(left.starts_with(&format!(r#""requests";r={};"#, 11 - nth)), "{left}");
    }
    assert!(at_once(&gateway) >= 5, "{left:?}");
    let refused = gateway.seen(caller.ask(&request));
    assert_eq!(refused.status, 429, "{refused:?}");
    let told = r#"limited_total{caller="app",limit="requests"}"#;
    assert_eq!(counted(&gateway, told), 1, "a refusal is counted once");
}

#[test]
fn one_place_is_given_back_when_an_answer_is_out() {
    let limits = limited("concurrent = 1");
    let (_partner, gateway, token) = scene(|setup| setup.set("callers", limits));
    let request = get(&token, CLIENTS);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    for _ in 0..20 {
        let answer = caller.ask(&request);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(at_once(&gateway) >= 10);
}

#[test]
fn a_reload_that_narrows_is_in_force_on_a_connection_that_is_open() {
    let (partner, mut gateway, token) = scene(|setup| setup);
    let request = get(&token, CLIENTS);
    known(&gateway, &request);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    assert_eq!(caller.ask(&request).status, 200);
    let scopes = Value::from(vec![Value::from("providers:read")]);
    gateway.table["callers"][0].as_table_mut().unwrap().insert("scopes".to_owned(), scopes);
    gateway.write("gateway.toml", &gateway.table.to_string());
    assert_eq!(gateway.admin_request("POST", "/admin/v1/reload", "").status, 200);
    assert_eq!(caller.ask(&request).status, 403);
    assert_eq!(partner.count(), 1);
}

#[test]
fn a_caller_without_a_token_is_known_by_its_listener() {
    let other = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let door = format!("address = \"{other}\"");
    let (_partner, gateway, _) = scene(|setup| setup.listener("ambient = \"app\"").extra_listener(&door));
    let host = format!("Host: localhost:{}", gateway.address.port());
    let request = asked("GET", CLIENTS, "").replace("Host: gateway", &host);
    let answer = known(&gateway, &request);
    assert_eq!((answer.status, gateway.log_line(&answer)["jti"].as_str()), (200, Some("ambient")));
    // The same bytes where everybody needs a token.
    let mut caller = KeepAliveConnection::connect(other);
    for _ in 0..OFTEN {
        assert_eq!(caller.ask(&request).status, 401);
    }
    assert!(is_at_once(&gateway, &request).0);
    // What a proxy or a page sends stays refused, however often.
    for more in ["X-Forwarded-For: 192.0.2.1", "Origin: http://localhost", "Via: 1.1 proxy"] {
        let request = request.replace("\r\n\r\n", &format!("\r\n{more}\r\n\r\n"));
        let mut caller = KeepAliveConnection::connect(gateway.address);
        for _ in 0..OFTEN {
            assert_eq!(caller.ask(&request).status, 403, "{more}");
        }
    }
}

#[test]
fn a_refusal_that_leaves_a_body_unread_says_that_the_connection_ends() {
    let (_partner, gateway, token) = scene(|setup| setup);
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut caller = KeepAliveConnection::connect(gateway.address);
    let refused = caller.ask(asked("POST", CLIENTS, &format!("{bearer}Content-Length: 5\r\n")));
    assert_eq!((refused.status, refused.header("connection").as_deref()), (405, Some("close")));
    let mut caller = KeepAliveConnection::connect(gateway.address);
    let empty = caller.ask(asked("POST", CLIENTS, &format!("{bearer}Content-Length: 0\r\n")));
    assert_eq!((empty.status, empty.header("connection")), (405, None));
    assert_eq!(caller.ask(get(&token, CLIENTS)).status, 200);
}

#[test]
fn over_tls_it_is_the_same_and_a_long_list_comes_whole() {
    let long = format!(r#"{{"clients":[{}]}}"#, vec![r#"{"id":"c1","email":"a@example.org"}"#; 20_000].join(","));
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [dated(&long)]);
    partner.respond_with(&of("c1", ""), [dated(r#"{"client":{"id":"c1"}}"#)]);
    let signer = CertificateAuthority::new();
    let gateway = Setup::before(&partner).tls_listener(&signer.signs(), "").start();
    let token = gateway.token(&READING);
    let client = Client::of(&signer);
    let mut caller = KeepAliveConnection::over(client.connect(gateway.address).unwrap().0);
    for target in [CLIENTS.to_owned(), of("c1", "")] {
        let request = get(&token, &target);
        (0..OFTEN).for_each(|_| drop(caller.ask(&request)));
        let before = at_once(&gateway);
        let whole = gateway.seen(caller.ask(&request));
        assert_eq!(at_once(&gateway), before + 1);
        assert_eq!(compared(&whole), compared(&caller.send_request_in_two(&request)));
        assert_eq!(at_once(&gateway), before + 1);
        assert!(whole.whole && compared(&caller.ask(&request)) == compared(&whole));
    }
    let mut clear = KeepAliveConnection::connect(gateway.address);
    assert_ne!(clear.ask(get(&token, CLIENTS)).status, 200, "clear text at a private door");
    assert_eq!(partner.count(), 2);
}

#[test]
fn at_the_end_every_connection_is_told_to_close() {
    let (_partner, mut gateway, token) = scene(|setup| setup.set("server.drain_delay", "1s"));
    let request = get(&token, CLIENTS);
    known(&gateway, &request);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    assert_eq!(caller.ask(&request).header("connection"), None);
    signal(&gateway.program, "TERM");
    let told = wait_for("the end", || {
        let answer = caller.ask(&request);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("connection")
    });
    assert_eq!(told, "close");
    assert!(gateway.program.wait_for_exit(Duration::from_secs(5)).success());
}
