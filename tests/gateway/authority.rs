//! Does the token endpoint give what it should, and nothing else?
//! Given the real binary and requests as callers, strangers and attackers send them, claims what each is answered.
//! Never looks inside the process.

use data_encoding::BASE64;

use crate::support::{
    CLIENTS, Gateway, NO_CLIENTS, READING, Reply, Response, ScriptedPartner, Setup, ask, form_encoded, program,
    send_request_to_host, wait_for,
};

const TOKEN: &str = "/oauth/token";

/// A secret and how the configuration holds it, as the command prints them.
pub(crate) fn secret() -> (String, String) {
    let made = program().args(["token", "secret"]).output().unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
        line.trim().to_owned()
    };
    (line("secret"), line("stored"))
}

/// One that has no clients.
pub(crate) fn partner() -> ScriptedPartner {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    partner
}

/// A gateway with the callers `billing` and `support`, and the secrets of both.
pub(crate) fn two_callers(partner: &ScriptedPartner) -> (Gateway, String, String) {
    let ((one, stored_one), (two, stored_two)) = (secret(), secret());
    let scopes = [&READING[..], &["write", "cache:refresh", "gateway:admin"]].concat();
    let gateway = Setup::before(partner)
        .caller("billing", &scopes, &format!("secrets = [{stored_one:?}]"))
        .caller("support", &["clients:read"], &format!("secrets = [{stored_two:?}]"))
        .start();
    (gateway, one, two)
}

fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{}:{}", form_encoded(name), form_encoded(secret)).as_bytes()))
}

fn error(answer: &Response) -> String {
    assert_eq!(answer.expect_header("content-type"), "application/json", "{answer:?}");
    assert_eq!(answer.expect_header("cache-control"), "no-store", "{answer:?}");
    answer.json()["error"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

const CC: (&str, &str) = ("grant_type", "client_credentials");

#[test]
fn a_secret_is_worth_a_token_that_opens_what_its_caller_may_read() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    for (headers, form) in [
        (vec![("authorization", basic("billing", &billing))], vec![CC]),
        (vec![], vec![CC, ("client_id", "billing"), ("client_secret", &billing)]),
        (vec![("authorization", basic("billing", &billing))], vec![CC, ("client_id", "billing"), ("scope", "")]),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = gateway.post(TOKEN, &headers, &form);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            (answer.expect_header("cache-control").as_str(), answer.expect_header("pragma").as_str()),
            ("no-store", "no-cache")
        );
        let said = answer.json();
        assert_eq!((said["token_type"].as_str(), said["expires_in"].as_u64()), (Some("Bearer"), Some(3600)));
        // What only counts when it is named is not among them.
        assert_eq!(said["scope"], READING.join(" "));
        let token = gateway.keep_secret(said["access_token"].as_str().unwrap());
        gateway.get_ok(&token, CLIENTS);
    }
    let named =
        gateway.post(TOKEN, &[], &[CC, ("client_id", "billing"), ("client_secret", &billing), ("scope", "write")]);
    assert_eq!(named.json()["scope"], "write");
}

#[test]
fn what_is_asked_wrongly_is_refused_as_the_rfcs_say() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    let auth = basic("billing", &billing);
    let auth = [("authorization", auth.as_str())];
    let of = |form: &[(&str, &str)]| error(&gateway.post(TOKEN, &auth, form));
    assert_eq!(of(&[]), "invalid_request");
    assert_eq!(of(&[("grant_type", "password")]), "unsupported_grant_type");
    assert_eq!(of(&[CC, CC]), "invalid_request", "a parameter twice");
    assert_eq!(of(&[CC, ("scope", "clients:read"), ("scope", "write")]), "invalid_request");
    assert_eq!(of(&[CC, ("scope", "nothing:read")]), "invalid_scope");
    assert_eq!(of(&[CC, ("scope", "gateway:admin clients:read")]), "invalid_scope", "another audience");
    assert_eq!(of(&[CC, ("client_secret", &billing)]), "invalid_request", "two proofs");
    assert_eq!(of(&[CC, ("client_id", "support")]), "invalid_request", "two names");
    assert_eq!(of(&[CC, ("resource", "https://elsewhere.example")]), "invalid_target");
    let ours = [CC, ("audience", "account-api"), ("resource", "http://127.0.0.1:8080/")];
    assert_eq!(gateway.post(TOKEN, &auth, &ours).status, 200);
}

#[test]
fn a_form_is_sent_as_a_form_within_bounds_and_never_in_the_query() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    let body = format!("grant_type=client_credentials&client_id=billing&client_secret={billing}");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let send = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        gateway.seen(ask(gateway.address, method, target, headers, body.as_bytes()))
    };
    let json = send("POST", TOKEN, &[("content-type", "application/json")], &body);
    assert_eq!((json.status, error(&json).as_str()), (400, "invalid_request"));
    let query = send("POST", "/oauth/token?client_id=billing", &[form], &body);
    assert_eq!((query.status, error(&query).as_str()), (400, "invalid_request"));
    let large = send("POST", TOKEN, &[form], &format!("{body}&x={}", "x".repeat(17 << 10)));
    assert_eq!((large.status, error(&large).as_str()), (413, "invalid_request"));
    let read = send("GET", TOKEN, &[], "");
    assert_eq!((read.status, read.expect_header("allow").as_str()), (405, "POST"));
    let charset = ("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
    assert_eq!(ask(gateway.address, "POST", TOKEN, &[charset], body.as_bytes()).status, 200);
    for path in ["/oauth/authorize", "/.well-known/openid-configuration", "/-/other", "/oauth/"] {
        assert_eq!(send("GET", path, &[], "").status, 404, "{path}");
    }
}

/// `token issue > file` ends the file in a newline. Sent as it was, the token was none: its revocation was answered 200, and
/// it lived on.
#[test]
fn a_token_from_a_file_is_the_token_without_the_newline() {
    const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    for around in ["\n", "\r\n", " \t", ""] {
        let (file, name) = (format!("{billing}{around}"), format!("{around}billing{around}"));
        let form = [CC, ("client_id", &*name), ("client_secret", &*file), ("scope", "clients:read\n")];
        let granted = gateway.post(TOKEN, &[], &form);
        assert_eq!(granted.status, 200, "{around:?}: {granted:?}");
        let token = granted.json()["access_token"].as_str().unwrap().to_owned();
        let auth = [("authorization", &*basic("billing", &file))];
        let sent = format!("{around}{token}{around}");
        let seen = gateway.post("/oauth/introspect", &auth, &[("token", &sent)]);
        assert_eq!(seen.json()["active"], true, "{around:?}");
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let form = [("grant_type", EXCHANGE), ("subject_token_type", kind), ("subject_token", &*sent)];
        assert_eq!(gateway.post(TOKEN, &[], &form).status, 200, "{around:?}");
        assert_eq!(gateway.post("/oauth/revoke", &auth, &[("token", &sent)]).status, 200);
        assert_eq!(gateway.read(&token, CLIENTS).status, 401, "{around:?}");
    }
}

#[test]
fn a_form_that_was_written_by_hand_is_read() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    let form = ("content-type", "application/x-www-form-urlencoded");
    for end in ["", "\n", "\r\n", "&scope=clients:read resources:read\n"] {
        let body = format!("grant_type=client_credentials&client_id=billing&client_secret={billing}{end}");
        let answer = ask(gateway.address, "POST", TOKEN, &[form], body.as_bytes());
        assert_eq!(answer.status, 200, "{end:?}: {answer:?}");
    }
}

/// What was left of the body was taken for a head, and refused with a second answer that nobody had asked for.
#[test]
fn a_body_too_large_is_refused_once_and_ends_the_connection() {
    let partner = partner();
    let (gateway, ..) = two_callers(&partner);
    let large = vec![b'a'; 250 << 10];
    let chunk = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
    let length = format!("content-length: {}", large.len());
    for path in [TOKEN, "/oauth/introspect", "/oauth/revoke"] {
        for (framing, body) in [(&*length, &large), ("transfer-encoding: chunked", &chunk)] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: gw\r\ncontent-type: application/x-www-form-urlencoded\r\n{framing}\r\n\r\n"
            );
            let mut socket = std::net::TcpStream::connect(gateway.address).unwrap();
            std::io::Write::write_all(&mut socket, &[head.as_bytes(), body].concat()).unwrap();
            let mut heard = Vec::new();
            std::io::Read::read_to_end(&mut socket, &mut heard).unwrap();
            let heard = String::from_utf8(heard).unwrap();
            assert!(heard.starts_with("HTTP/1.1 413 ") && heard.contains("\r\nconnection: close\r\n"), "{heard}");
            assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{path} {framing}: {heard}");
        }
    }
}

#[test]
fn nobody_learns_which_callers_there_are_and_the_right_secret_passes_among_any_failures() {
    let partner = partner();
    let (gateway, billing, support) = two_callers(&partner);
    let wrong = |name: &str, secret: &str| {
        let header = basic(name, secret);
        let answer = gateway.post(TOKEN, &[("authorization", &header)], &[CC]);
        let seen = (answer.status, answer.text(), answer.header("www-authenticate"));
        (answer, seen)
    };
    let (first, seen) = wrong("billing", &support);
    assert_eq!((first.status, error(&first).as_str()), (401, "invalid_client"));
    assert!(first.expect_header("www-authenticate").starts_with("Basic"));
    for (name, secret) in
        [("nobody", &*support), ("billing", "rgws_short"), ("support", &*billing), ("", ""), ("app", &*billing)]
    {
        assert_eq!(wrong(name, secret).1, seen, "{name}");
    }
    // `app` is configured without a secret, so nothing proves it.
    let limited = wait_for("a limit", || Some(wrong("nobody", "x").0).filter(|answer| answer.status == 429));
    assert!((1..=6).contains(&limited.expect_header("retry-after").parse::<u64>().unwrap()), "{limited:?}");
    assert_eq!(wrong("billing", "x").0.status, 429, "with every name alike");
    gateway.client_credentials_token("billing", &billing, "clients:read");
    gateway.client_credentials_token("support", &support, "");
    for secret in [&billing, &support] {
        assert!(
            !gateway.program.stderr().contains(secret.as_str()) && !gateway.program.stdout().contains(secret.as_str())
        );
    }
    let refused = gateway.program.stderr().lines().filter(|line| line.contains("audit: refused")).count();
    assert!(refused > 5, "each leaves a line of the audit: {}", gateway.program.stderr());
}

#[test]
fn a_caller_sees_and_revokes_its_own_tokens_alone() {
    let partner = partner();
    let (gateway, billing, support) = two_callers(&partner);
    let token = gateway.client_credentials_token("billing", &billing, "clients:read pii:read");
    let (own, other) = (basic("billing", &billing), basic("support", &support));
    let ask = |path: &str, authorization: &str, token: &str| {
        gateway.post(path, &[("authorization", authorization)], &[("token", token)])
    };
    let seen = ask("/oauth/introspect", &own, &token);
    let said = seen.json();
    assert_eq!(
        (seen.status, said["active"].as_bool(), seen.expect_header("cache-control").as_str()),
        (200, Some(true), "no-store")
    );
    assert_eq!((said["client_id"].as_str(), said["sub"].as_str()), (Some("billing"), Some("billing")));
    assert_eq!((said["scope"].as_str(), said["token_type"].as_str()), (Some("clients:read pii:read"), Some("Bearer")));
    assert_eq!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap(), 3600);
    // By its own bearer too.
    assert_eq!(ask("/oauth/introspect", &format!("Bearer {token}"), &token).json()["active"], true);
    // To another it is none at all, and neither is what was never one.
    for token in [token.as_str(), "no.token.atall", &token[..token.len() - 2]] {
        assert_eq!(ask("/oauth/introspect", &other, token).text(), r#"{"active":false}"#);
        assert_eq!(ask("/oauth/revoke", &other, token).status, 200);
    }
    gateway.get_ok(&token, CLIENTS);
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let nobody = gateway.post(path, &[], &[("token", &token)]);
        assert_eq!((nobody.status, error(&nobody).as_str()), (401, "invalid_client"));
        let bad = gateway.post(path, &[("authorization", "Bearer no.token.atall")], &[("token", &token)]);
        assert_eq!((bad.status, error(&bad).as_str()), (401, "invalid_token"));
        let empty = gateway.post(path, &[("authorization", &own)], &[]);
        assert_eq!((empty.status, error(&empty).as_str()), (400, "invalid_request"));
    }
    assert_eq!(ask("/oauth/revoke", &own, &token).status, 200);
    let refused = gateway.read(&token, CLIENTS);
    assert_eq!(
        (refused.status, refused.json()["type"].as_str()),
        (401, Some("urn:reseller-gateway:problem:token-revoked"))
    );
    assert_eq!(ask("/oauth/introspect", &own, &token).text(), r#"{"active":false}"#);
    assert_eq!(ask("/oauth/revoke", &own, &token).status, 200, "twice is as good");
}

/// A name that begins with a digit is a string in `Cache-Status` (RFC 9211 §2): beside this challenge alone it stood bare, and who
/// reads strictly read nothing.
#[test]
fn a_token_that_is_refused_at_the_token_endpoint_is_told_to_gateways_by_whatever_name() {
    let partner = partner();
    let gateway = Setup::before(&partner).set("server.name", "1gw").start();
    let bad = gateway.post("/oauth/introspect", &[("authorization", "Bearer no.token.atall")], &[("token", "x")]);
    assert_eq!((bad.status, bad.expect_header("cache-status").as_str()), (401, "\"1gw\"; detail=token-bad"));
}

/// A page of nothing said that there was more, so that whoever asked for it page by page never came to an end.
#[test]
fn a_page_of_no_tokens_is_refused_with_what_to_do() {
    let (gateway, ..) = two_callers(&partner());
    gateway.token(&READING);
    let refused = gateway.admin_request("GET", "/admin/v1/tokens?limit=0", "");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("`limit` is a number from 1"), "{refused:?}");
    let page = gateway.admin_request("GET", "/admin/v1/tokens?limit=1", "").json();
    assert_eq!((page["tokens"].as_array().unwrap().len(), page["more"].as_bool()), (1, Some(true)), "{page}");
}

#[test]
fn an_admin_token_is_of_another_door() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    let admin = gateway.client_credentials_token("billing", &billing, "gateway:admin");
    let bearer = format!("Bearer {admin}");
    assert_eq!(gateway.read(&admin, CLIENTS).status, 401);
    assert_eq!(gateway.read(&admin, "/-/me").status, 401);
    let own = basic("billing", &billing);
    let introspect = || gateway.post("/oauth/introspect", &[("authorization", &own)], &[("token", &admin)]).json();
    let seen = introspect();
    assert_eq!((seen["active"].as_bool(), seen["aud"].as_str()), (Some(true), Some("gateway-admin")), "{seen}");
    assert_eq!(seen["scope"], "gateway:admin");
    let listed =
        send_request_to_host("localhost", gateway.admin, "GET", "/admin/v1/tokens", &[("authorization", &bearer)], b"");
    assert_eq!(listed.status, 200, "{listed:?}");
    let jti = listed.json()["tokens"][0]["jti"].as_str().unwrap().to_owned();
    // Revoked like any other, it opens its own door no more either.
    assert_eq!(gateway.admin_request("DELETE", &format!("/admin/v1/tokens/{jti}"), "").status, 200);
    let opens = |bearer: &str| {
        send_request_to_host("localhost", gateway.admin, "GET", "/admin/v1/", &[("authorization", bearer)], b"").status
    };
    assert_eq!(opens(&bearer), 401);
    assert_eq!(introspect()["active"], false);
    // So it does where its holder gives it back.
    let another = gateway.client_credentials_token("billing", &billing, "gateway:admin");
    let bearer = format!("Bearer {another}");
    assert_eq!(opens(&bearer), 200);
    let revoked = gateway.post("/oauth/revoke", &[("authorization", &own)], &[("token", &another)]);
    assert_eq!((revoked.status, opens(&bearer)), (200, 401));
}

#[test]
fn a_caller_with_nothing_to_read_is_given_no_empty_token() {
    let partner = partner();
    let (secret, stored) = secret();
    let setup = Setup::before(&partner).caller("writer", &["write"], &format!("secrets = [{stored:?}]"));
    let answer = setup.start().post(TOKEN, &[], &[CC, ("client_id", "writer"), ("client_secret", &secret)]);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_scope")), "{answer:?}");
}

#[test]
fn everybody_may_read_metadata_and_keys_and_nothing_private_is_in_them() {
    let partner = partner();
    let (gateway, _, _) = two_callers(&partner);
    let metadata = gateway.get("/.well-known/oauth-authorization-server", &[]);
    assert_eq!((metadata.status, metadata.expect_header("content-type").as_str()), (200, "application/json"));
    let said = metadata.json();
    assert_eq!(said["issuer"], "http://127.0.0.1:8080");
    assert_eq!(said["token_endpoint"], "http://127.0.0.1:8080/oauth/token");
    for (name, value) in said.as_object().unwrap() {
        assert_ne!(value.as_array().map(Vec::len), Some(0), "RFC 8414 §3.2: {name}");
    }
    assert!(said["scopes_supported"].as_array().unwrap().contains(&"clients:read".into()));
    let jwks = gateway.get("/.well-known/jwks.json", &[]);
    let keys = jwks.json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 1);
    let names: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"], "and no `d`");
    assert!(gateway.keys().join(format!("{}.pem", keys[0]["kid"].as_str().unwrap())).exists());
    assert!(gateway.send("HEAD", "/.well-known/jwks.json", &[], b"").body.is_empty());
    assert_eq!(gateway.send("POST", "/.well-known/jwks.json", &[], b"").status, 405);
    assert_eq!(gateway.outcome(&jwks), "own");
}

#[test]
fn a_token_tells_its_holder_what_it_opens() {
    let partner = partner();
    let (gateway, _, support) = two_callers(&partner);
    let token = gateway.client_credentials_token("support", &support, "");
    let me = gateway.get_ok(&token, "/-/me");
    assert_eq!(me.expect_header("cache-control"), "no-store");
    let said = me.json();
    assert_eq!((said["caller"].as_str(), said["scopes"][0].as_str()), (Some("support"), Some("clients:read")));
    let open: Vec<&str> = said["routes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|route| route["open"] == true)
        .map(|route| route["name"].as_str().unwrap())
        .collect();
    assert_eq!(open, ["clients", "client"]);
    let closed = &said["routes"][4];
    assert_eq!(
        (closed["name"].as_str(), closed["missing"].as_str()),
        (Some("client_resources"), Some("resources:read"))
    );
    assert_eq!(gateway.get("/-/me", &[]).status, 401);
    let both = [("authorization", "Bearer a.b.c"), ("x-reseller-api-key", token.as_str())];
    assert_eq!(gateway.get("/-/me", &both).status, 400);
    assert_eq!(gateway.get("/-/me", &[("x-reseller-api-key", &token)]).status, 200);
    // What it is told is what it gets.
    for route in said["routes"].as_array().unwrap().iter().filter(|route| route["open"] == false) {
        let path = route["path"].as_str().unwrap().replace("{*rest}", "x").replace(['{', '}'], "");
        assert_eq!(gateway.read(&token, &path).status, 403, "{path}");
    }
}

#[test]
fn commands_speak_to_the_running_gateway_and_to_the_ledger_when_none_runs() {
    let partner = partner();
    let (mut gateway, ..) = two_callers(&partner);
    let list = |gateway: &Gateway| -> Vec<serde_json::Value> {
        let listed = gateway.command(&["token", "list", "--caller", "support"]);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        serde_json::from_slice(&listed.stdout).unwrap()
    };
    let issue = |gateway: &Gateway| {
        let issued = gateway.issue("support", &[], &["--ttl", "30m"]);
        assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
        let text = String::from_utf8(issued.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "the token alone");
        gateway.keep_secret(text.trim())
    };
    let running = issue(&gateway);
    gateway.get_ok(&running, CLIENTS);
    let rows = list(&gateway);
    assert_eq!((rows.len(), rows[0]["revoked"].as_bool()), (1, Some(false)));
    assert!(rows[0]["how"]["admin"]["by"].as_str().unwrap().starts_with("local:uid-"), "{rows:?}");
    assert_eq!(rows[0]["expires"].as_u64().unwrap() - rows[0]["issued"].as_u64().unwrap(), 1800);
    let first = rows[0]["jti"].as_str().unwrap().to_owned();

    gateway.kill();
    let offline = issue(&gateway);
    assert_eq!(list(&gateway).len(), 2);
    let revoked = gateway.command(&["token", "revoke", &first]);
    let told = String::from_utf8_lossy(&revoked.stderr);
    assert!(revoked.status.success() && told.contains("audit: token revoked") && told.contains("local:uid-"), "{told}");
    // An id may begin with a hyphen.
    for id in ["nobody", "-nobody"] {
        let unknown = gateway.command(&["token", "revoke", id]);
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("token list"), "{unknown:?}");
    }
    gateway.restart();
    assert_eq!(gateway.read(&running, CLIENTS).status, 401, "revoked while nothing ran");
    gateway.get_ok(&offline, CLIENTS);
    assert!(gateway.command(&["token", "revoke", "--caller", "support"]).status.success());
    assert_eq!(gateway.read(&offline, CLIENTS).status, 401);
    let fresh = issue(&gateway);
    gateway.get_ok(&fresh, CLIENTS);
    gateway.wait_for_log("audit: all tokens of a caller revoked");
}

#[test]
fn a_token_is_explained_without_a_gateway() {
    let partner = partner();
    let (mut gateway, ..) = two_callers(&partner);
    let token = gateway.issue("support", &[], &[]);
    let token = gateway.keep_secret(String::from_utf8(token.stdout).unwrap().trim());
    let explain = |gateway: &Gateway, token: &str| -> serde_json::Value {
        let told = gateway.command(&["token", "inspect", token]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        assert!(!String::from_utf8_lossy(&told.stdout).contains(token));
        serde_json::from_slice(&told.stdout).unwrap()
    };
    let told = explain(&gateway, &token);
    assert_eq!((told["good"].as_bool(), told["claims"]["client_id"].as_str()), (Some(true), Some("support")));
    assert!(told["ledger"].as_str().unwrap().starts_with("not read"), "{told}");
    assert_eq!(told["opens"]["routes"][0]["open"], true);
    let bent = format!("{}AAAA", &token[..token.len() - 4]);
    assert_eq!(explain(&gateway, &bent)["why"], "bad token: signature");
    gateway.kill();
    let jti = told["claims"]["jti"].as_str().unwrap();
    assert!(gateway.command(&["token", "revoke", jti]).status.success());
    let told = explain(&gateway, &token);
    assert_eq!((told["why"].as_str(), told["ledger"].as_str()), (Some("revoked token"), Some("read")));
    let none = gateway.command(&["token", "inspect", "hello"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("this is no token"));
}
