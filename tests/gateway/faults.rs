//! What does each fault look like to a caller, in the log, and at the partner?
//! Given one table, hands back a test per row: status, problem, the log's cause, and how many calls were spent.
//! Never lets a secret pass: every answer and everything printed is searched for the key and the tokens.

use std::net::TcpListener;

use rustls_pki_types::pem::PemObject;

use crate::support::{CLIENTS, Connection, Gateway, NO_CLIENTS, READING, Reply, Response, ScriptedPartner, Setup};

/// A partner, a gateway before it, and a token for everything.
struct Scene {
    partner: ScriptedPartner,
    gateway: Gateway,
    token: String,
}

impl Scene {
    fn with(settings: &[(&str, &str)]) -> Self {
        let partner = ScriptedPartner::listen();
        let setup = settings.iter().fold(Setup::before(&partner), |setup, (key, value)| setup.set(key, *value));
        let gateway = setup.start();
        let token = gateway.token(&READING);
        Self { partner, gateway, token }
    }

    fn read(&self, target: &str) -> Response {
        self.gateway.read(&self.token, target)
    }

    fn read_with(&self, name: &str, value: &str) -> Response {
        self.gateway.get(CLIENTS, &[("authorization", &format!("Bearer {}", self.token)), (name, value)])
    }

    fn present(&self, token: &str) -> Response {
        self.gateway.keep_secret(token);
        self.gateway.read(token, CLIENTS)
    }

    /// What the caller gets when the partner says this.
    fn when(&self, reply: Reply) -> Response {
        self.partner.respond_with(CLIENTS, [reply]);
        self.read(CLIENTS)
    }

    fn raw(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut caller = Connection::connect(self.gateway.address);
        caller.say(bytes);
        self.gateway.seen(caller.read_response(false))
    }

    /// A token that our own key signed, its header and claims changed.
    fn forged(&self, change: impl FnOnce(&mut jsonwebtoken::Header, &mut serde_json::Value)) -> String {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut header = jsonwebtoken::decode_header(&self.token).unwrap();
        let payload = self.token.split('.').nth(1).unwrap();
        let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
        let mut claims = serde_json::from_slice(&payload).unwrap();
        change(&mut header, &mut claims);
        let key = std::fs::read_dir(self.gateway.keys()).unwrap().next().unwrap().unwrap().path();
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from_pem_file(key).unwrap();
        let key = jsonwebtoken::EncodingKey::from_ed_der(der.secret_pkcs8_der());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

macro_rules! faults {
    ($($name:ident $(with [$($setting:expr),*])?: $ask:expr => $status:literal $slug:literal $cause:literal, calls $calls:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let scene = Scene::with(&[$($($setting),*)?]);
                let ask: fn(&Scene) -> Response = $ask;
                refused(&scene, &ask(&scene), ($status, $slug, $cause), $calls);
            }
        )*
    };
}

fn refused(scene: &Scene, answer: &Response, (status, slug, cause): (u16, &str, &str), calls: usize) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.expect_header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:reseller-gateway:problem:{slug}"), "{problem}");
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    assert_eq!(answer.expect_header("cache-control"), "no-store");
    let line = scene.gateway.log_line(answer);
    assert_eq!((&line["outcome"], &line["cause"], &line["status"]), (&"refused".into(), &cause.into(), &status.into()));
    assert_eq!(scene.partner.count(), calls, "calls of the partner");
    // RFC 6750 §3.1 has a challenge for each of these.
    let challenged = matches!(status, 401 | 403) || slug == "two-tokens";
    assert_eq!(answer.header("www-authenticate").is_some(), challenged);
}

faults! {
    no_token: |scene| scene.gateway.get(CLIENTS, &[]) => 401 "token-missing" "token-missing", calls 0;
    an_empty_token: |scene| scene.gateway.get(CLIENTS, &[("authorization", "Bearer ")]) => 401 "token-missing" "token-missing", calls 0;
    another_scheme_is_no_token: |scene| scene.gateway.get(CLIENTS, &[("authorization", "Basic YXBwOnNlY3JldA==")]) => 401 "token-missing" "token-missing", calls 0;
    garbage_as_token: |scene| scene.present("garbage-that-is-no-token") => 401 "token-bad" "token-bad", calls 0;
    a_token_of_another_house: |scene| {
        let other = Scene::with(&[]);
        let token = other.token.clone();
        scene.present(&token)
    } => 401 "token-bad" "token-bad", calls 0;
    a_token_for_another_audience: |scene| scene.present(&scene.forged(|_, claims| claims["aud"] = "somebody-else".into())) => 401 "token-bad" "token-bad", calls 0;
    a_token_of_another_issuer: |scene| scene.present(&scene.forged(|_, claims| claims["iss"] = "http://127.0.0.1:1".into())) => 401 "token-bad" "token-bad", calls 0;
    a_token_of_another_type: |scene| scene.present(&scene.forged(|header, _| header.typ = Some("JWT".to_owned()))) => 401 "token-bad" "token-bad", calls 0;
    a_token_with_details_it_does_not_know: |scene| scene.present(&scene.forged(|_, claims| claims["authorization_details"] = serde_json::json!([{"type": "account-api", "regions": ["*"]}]))) => 401 "token-bad" "token-bad", calls 0;
    a_token_of_an_unknown_caller: |scene| scene.present(&scene.forged(|_, claims| claims["client_id"] = "nobody".into())) => 401 "token-bad" "token-bad", calls 0;
    a_token_without_signature: |scene| {
        let payload = scene.token.split('.').nth(1).unwrap();
        let header = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"at+jwt"}"#);
        scene.present(&format!("{header}.{payload}."))
    } => 401 "token-bad" "token-bad", calls 0;
    an_expired_token: |scene| {
        let issued = scene.gateway.issue("app", &[], &["--ttl", "1s"]);
        let token = scene.gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
        crate::support::wait_for("the token's end", || {
            let answer = scene.gateway.read(&token, "/nowhere");
            (answer.json()["type"] == "urn:reseller-gateway:problem:token-expired").then_some(())
        });
        scene.present(&token)
    } => 401 "token-expired" "token-expired", calls 0;
    two_different_tokens: |scene| scene.read_with("x-reseller-api-key", "another-token") => 400 "two-tokens" "two-tokens", calls 0;
    a_missing_scope: |scene| scene.present(&scene.gateway.token(&["resources:read"])) => 403 "scope" "scope", calls 0;

    a_dot_segment: |scene| scene.read("/reseller/account/v1/clients/../admin/") => 400 "malformed" "malformed", calls 0;
    a_single_dot: |scene| scene.read("/reseller/account/v1/./clients/") => 400 "malformed" "malformed", calls 0;
    an_empty_segment: |scene| scene.read("/reseller/account/v1//clients/") => 400 "malformed" "malformed", calls 0;
    encoded_dots: |scene| scene.read("/reseller/account/v1/clients/%2e%2e/") => 400 "malformed" "malformed", calls 0;
    an_encoded_slash: |scene| scene.read("/reseller/account/v1/clients/a%2fb/") => 400 "malformed" "malformed", calls 0;
    a_backslash: |scene| scene.read("/reseller/account/v1/clients/a%5cb/") => 400 "malformed" "malformed", calls 0;
    a_semicolon: |scene| scene.read("/reseller/account/v1/clients/a;b=c/") => 400 "malformed" "malformed", calls 0;
    a_nul: |scene| scene.read("/reseller/account/v1/clients/a%00/") => 400 "malformed" "malformed", calls 0;
    a_double_encoding: |scene| scene.read("/reseller/account/v1/clients/%2561/") => 400 "malformed" "malformed", calls 0;
    a_broken_escape: |scene| scene.read("/reseller/account/v1/clients/%zz/") => 400 "malformed" "malformed", calls 0;
    an_unknown_parameter: |scene| scene.read("/reseller/account/v1/clients/?page=2") => 400 "malformed" "malformed", calls 0;
    a_parameter_twice: |scene| scene.read("/reseller/account/v1/clients/?provider_id=a&provider_id=a") => 400 "malformed" "malformed", calls 0;
    a_parameter_twice_once_encoded: |scene| scene.read("/reseller/account/v1/clients/?provider_id=a&provider%5Fid=a") => 400 "malformed" "malformed", calls 0;
    a_parameter_of_a_bad_value: |scene| scene.read("/reseller/account/v1/clients/?provider_id=a%20b") => 400 "malformed" "malformed", calls 0;
    a_path_outside: |scene| scene.read("/somewhere/else") => 404 "no-such-route" "no-such-route", calls 0;
    the_partners_administration: |scene| scene.read("/reseller/admin/v1/keys/") => 404 "no-such-route" "no-such-route", calls 0;
    html_wanted: |scene| scene.read_with("accept", "text/html") => 406 "not-acceptable" "not-acceptable", calls 0;
    a_head_too_long: |scene| scene.raw(format!("GET {CLIENTS} HTTP/1.1\r\nhost: gw\r\nx-long: {}\r\n\r\n", "a".repeat(20 << 10))) => 431 "head-too-large" "head-too-large", calls 0;
    a_target_too_long: |scene| scene.raw(format!("GET {CLIENTS}?provider_id={} HTTP/1.1\r\nhost: gw\r\n\r\n", "a".repeat(20 << 10))) => 431 "head-too-large" "head-too-large", calls 0;
    a_head_too_long_before_its_end: |scene| scene.raw(format!("GET {CLIENTS} HTTP/1.1\r\nhost: gw\r\nx-long: {}", "a".repeat(20 << 10))) => 431 "head-too-large" "head-too-large", calls 0;
    too_many_headers: |scene| scene.raw(format!("GET {CLIENTS} HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101))) => 431 "head-too-large" "head-too-large", calls 0;

    the_partner_says_500: |scene| scene.when(Reply::status(500).body("secret internals")) => 502 "partner-failed" "partner-5xx", calls 1;
    the_partner_says_503: |scene| scene.when(Reply::status(503)) => 502 "partner-failed" "partner-5xx", calls 1;
    the_partner_says_503_and_for_how_long: |scene| scene.when(Reply::status(503).header("retry-after", "5")) => 503 "partner-limit" "partner-limit", calls 1;
    the_partner_says_401_twice: |scene| {
        scene.partner.respond_with(CLIENTS, [Reply::status(401), Reply::status(401)]);
        scene.read(CLIENTS)
    } => 502 "partner-key" "key-refused", calls 2;
    the_partner_redirects: |scene| scene.when(Reply::status(302).header("location", "/login")) => 502 "partner-broke" "redirect", calls 1;
    the_partner_says_206: |scene| scene.when(Reply::json(NO_CLIENTS).with_status(206)) => 502 "partner-broke" "unasked", calls 1;
    the_partner_says_304_unasked: |scene| scene.when(Reply::status(304)) => 502 "partner-broke" "unasked", calls 1;
    the_partner_sends_html: |scene| scene.when(Reply::status(200).header("content-type", "text/html").body("<p>hello")) => 502 "partner-broke" "not-json", calls 1;
    the_partner_sends_another_document: |scene| scene.when(Reply::json("{\"error\":1}")) => 502 "partner-broke" "not-a-document", calls 1;
    the_partner_names_another_type: |scene| scene.when(Reply::json(NO_CLIENTS).header("content-type", "application/xml")) => 502 "partner-broke" "not-json", calls 1;
    the_partner_sends_half_a_document: |scene| scene.when(Reply::json(r#"{"clients":["#)) => 502 "partner-broke" "not-json", calls 1;
    the_partner_says_that_it_compresses_and_does_not: |scene| scene.when(Reply::json(NO_CLIENTS).header("content-encoding", "gzip")) => 502 "partner-broke" "not-json", calls 1;
    the_partner_cuts_its_body: |scene| scene.when(Reply::json(NO_CLIENTS).truncated_at(5)) => 502 "partner-failed" "connection-broke", calls 1;
    the_partner_resets: |scene| scene.when(Reply::json(NO_CLIENTS).reset_at(5)) => 502 "partner-failed" "connection-broke", calls 1;
    the_partner_never_answers with [("upstream.timeout", "300ms")]: |scene| scene.when(Reply::no_response()) => 504 "deadline" "deadline", calls 1;
    the_partner_sends_too_much with [("upstream.max_response", "64KiB")]: |scene| scene.when(Reply::json(format!(r#"{{"clients":[],"x":"{}"}}"#, "a".repeat(80 << 10)))) => 502 "partner-too-large" "response-too-large", calls 1;
    not_in_memory_and_only_that_was_wanted: |scene| scene.read_with("cache-control", "only-if-cached") => 504 "only-if-cached" "only-if-cached", calls 0;
}

#[test]
fn other_methods_than_get_and_head_are_told_which_there_are() {
    let scene = Scene::with(&[]);
    let answer = scene.gateway.send("POST", CLIENTS, &[("authorization", &format!("Bearer {}", scene.token))], b"x");
    refused(&scene, &answer, (405, "method", "method"), 0);
    assert_eq!(answer.expect_header("allow"), "GET, HEAD");
}

#[test]
fn a_partner_that_says_429_is_left_alone_and_the_caller_told_for_how_long() {
    let scene = Scene::with(&[]);
    let answer = scene.when(Reply::status(429).header("retry-after", "7"));
    refused(&scene, &answer, (503, "partner-limit", "partner-limit"), 1);
    let seconds: u64 = answer.expect_header("retry-after").parse().unwrap();
    assert!((6..=7).contains(&seconds), "{seconds}");
    let again = scene.read("/reseller/account/v1/clients/another/");
    refused(&scene, &again, (503, "partner-limit", "partner-limit"), 1);
}

#[test]
fn a_partner_that_is_not_there_is_unreachable() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let partner = ScriptedPartner::listen();
    let gateway = Setup::at(&url).start();
    let token = gateway.token(&READING);
    let scene = Scene { partner, gateway, token };
    refused(&scene, &scene.read(CLIENTS), (502, "partner-unreachable", "connect"), 0);
}

#[test]
fn the_partners_word_on_a_resource_passes_to_a_full_right_and_its_status_to_others() {
    let scene = Scene::with(&[("routes.clients.negative_ttl", "0s")]);
    let narrowed = scene.gateway.token(&["clients:read"]);
    for (nth, status) in [403, 404, 410].into_iter().enumerate() {
        let said = Reply::json(r#"{"detail":"the partner's own words"}"#).with_status(status);
        let answer = scene.when(said);
        assert_eq!((answer.status, answer.text().as_str()), (status, r#"{"detail":"the partner's own words"}"#));
        assert_eq!(scene.gateway.outcome(&answer), "miss");
        let answer = scene.gateway.read(&narrowed, CLIENTS);
        assert_eq!(answer.json()["type"], "urn:reseller-gateway:problem:partner-status");
        assert_eq!(answer.status, status);
        assert!(!answer.text().contains("own words"));
        assert_eq!(scene.partner.count(), 2 * (nth + 1));
    }
}

#[test]
fn a_precondition_that_does_not_hold_is_412() {
    let scene = Scene::with(&[]);
    scene.partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let answer = scene.read_with("if-match", "\"another\"");
    refused(&scene, &answer, (412, "precondition", "precondition"), 1);
}

#[test]
fn a_body_too_large_is_refused_by_its_length_and_by_its_bytes() {
    let scene = Scene::with(&[("server.max_request_body", "1KiB")]);
    let token = scene.gateway.token(&["other:read", "pii:read", "write"]);
    let bearer = format!("Bearer {token}");
    let answer = scene.gateway.send("POST", "/reseller/account/v1/notes", &[("authorization", &bearer)], &[b'x'; 2048]);
    refused(&scene, &answer, (413, "body-too-large", "body-too-large"), 0);
    scene.partner.respond_with("/reseller/account/v1/notes", [Reply::no_response()]);
    let mut chunked = format!(
        "POST /reseller/account/v1/notes HTTP/1.1\r\nhost: gw\r\nconnection: close\r\nauthorization: {bearer}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    for _ in 0..3 {
        chunked += &format!("200\r\n{}\r\n", "x".repeat(512));
    }
    chunked += "0\r\n\r\n";
    refused(&scene, &scene.raw(chunked), (413, "body-too-large", "body-too-large"), 0);
}

#[test]
fn a_hundred_headers_and_a_head_just_below_the_limit_are_read() {
    let scene = Scene::with(&[]);
    let most =
        scene.raw(format!("GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}\r\n", "a: b\r\n".repeat(98)));
    assert_eq!(most.json()["type"], "urn:reseller-gateway:problem:token-missing");
    let head = format!(
        "POST /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 40000\r\nx-long: {}\r\n\r\n",
        "a".repeat(16 * 1024 - 200)
    );
    let long = scene.raw(head + &"\r\n".repeat(20_000));
    assert_eq!(long.json()["type"], "urn:reseller-gateway:problem:token-missing");
}
