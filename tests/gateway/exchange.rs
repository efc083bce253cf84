//! What is another's token worth, and what is one of ours?
//! Given foreign issuers with good and bad keys, and tokens bent in one place each, claims what is exchanged.
//! Never relies on the order of an issuer's keys.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::authority::{partner, secret, two_callers};
use crate::support::{
    CLIENTS, Gateway, Reply, Response, ScriptedPartner, Setup, TokenIssuer, unix_now, wait_for, wait_for_within,
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const CLUSTER: &str = "https://kubernetes.default.svc";
const SUBJECT: &str = "system:serviceaccount:billing:api";

pub(crate) fn exchange(gateway: &Gateway, token: &str, kind: &str, more: &[(&str, &str)]) -> Response {
    let mut form = vec![("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind)];
    form.extend_from_slice(more);
    gateway.post("/oauth/token", &[], &form)
}

fn error(answer: &Response) -> (u16, String) {
    assert_eq!(answer.expect_header("cache-control"), "no-store");
    (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

fn refused() -> (u16, String) {
    (400, "invalid_request".to_owned())
}

/// Which trusts one issuer by a file, and maps its subject to `billing`.
fn trusting(partner: &ScriptedPartner, trust: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let trust = trust.replace("FILE", folder.path().join("jwks.json").to_str().unwrap());
    let trust: toml::Table = format!("issuer = {CLUSTER:?}\n{trust}").parse().unwrap();
    let subjects = format!("subjects = [{{ issuer = {CLUSTER:?}, sub = {SUBJECT:?} }}]");
    let gateway = Setup::before(partner)
        .set("trust", vec![toml::Value::Table(trust)])
        .caller("billing", &["clients:read", "pii:read", "write"], &subjects)
        .start();
    (gateway, folder)
}

fn by_file(partner: &ScriptedPartner, set: &str) -> (Gateway, tempfile::TempDir) {
    let (gateway, folder) = trusting(partner, "jwks_file = \"FILE\"");
    std::fs::write(folder.path().join("jwks.json"), set).unwrap();
    (gateway, folder)
}

#[test]
fn a_service_accounts_token_is_exchanged_for_one_of_its_caller() {
    let partner = partner();
    let (rsa, ec) = (TokenIssuer::rsa("one"), TokenIssuer::ec("two"));
    let (gateway, _folder) = by_file(&partner, &TokenIssuer::set(&[&rsa, &ec], &[]));
    for issuer in [&rsa, &ec] {
        let theirs = issuer.token(CLUSTER, SUBJECT, |_, _| {});
        let answer = exchange(&gateway, &theirs, JWT, &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        let said = answer.json();
        assert_eq!((said["issued_token_type"].as_str(), said["token_type"].as_str()), (Some(ACCESS), Some("Bearer")));
        assert_eq!(said["scope"], "clients:read pii:read", "the reading scopes");
        let ours = gateway.keep_secret(said["access_token"].as_str().unwrap());
        gateway.get_ok(&ours, CLIENTS);
        // A client that names itself is the one that the token stands for.
        assert_eq!(exchange(&gateway, &theirs, JWT, &[("client_id", "billing"), ("scope", "write")]).status, 200);
        assert_eq!(error(&exchange(&gateway, &theirs, JWT, &[("client_id", "app")])), refused());
        assert_eq!(error(&exchange(&gateway, &theirs, JWT, &[("scope", "cache:refresh")])).1, "invalid_scope");
    }
    let rows = gateway.command(&["token", "list"]);
    let rows: Value = serde_json::from_slice(&rows.stdout).unwrap();
    assert_eq!(rows[0]["how"]["subject"]["sub"], SUBJECT);
}

#[test]
fn a_foreign_token_bent_in_one_place_is_worth_nothing() {
    let partner = partner();
    let (rsa, stranger) = (TokenIssuer::rsa("one"), TokenIssuer::rsa("one"));
    let ec = TokenIssuer::ec("two");
    let (gateway, _folder) = by_file(&partner, &TokenIssuer::set(&[&rsa, &ec], &[]));
    let bent = |bend: fn(&mut Value, &mut Value)| rsa.token(CLUSTER, SUBJECT, bend);
    let good = rsa.token(CLUSTER, SUBJECT, |_, _| {});
    let unsigned = {
        let mut parts = good.split('.').skip(1);
        format!("{}.{}.", BASE64URL_NOPAD.encode(br#"{"alg":"none","kid":"one"}"#), parts.next().unwrap())
    };
    let tokens = [
        ("alg none", unsigned),
        ("an HMAC's name", bent(|header, _| header["alg"] = json!("HS256"))),
        ("another algorithm of RSA", bent(|header, _| header["alg"] = json!("PS256"))),
        ("an algorithm of another key", bent(|header, _| header["alg"] = json!("ES256"))),
        ("another type", bent(|header, _| header["typ"] = json!("logout+jwt"))),
        (
            "a critical extension",
            bent(|header, _| {
                header["crit"] = json!(["x"]);
                header["x"] = json!(1);
            }),
        ),
        ("another key's id", bent(|header, _| header["kid"] = json!("two"))),
        ("an unknown key's id", bent(|header, _| header["kid"] = json!("three"))),
        ("an access token's type", bent(|header, _| header["typ"] = json!("at+jwt"))),
        ("no key id", bent(|header, _| drop(header.as_object_mut().unwrap().remove("kid")))),
        ("a key of its own", bent(|header, _| header["jku"] = json!("https://evil.example/keys"))),
        ("another issuer", rsa.token("https://evil.example", SUBJECT, |_, _| {})),
        ("no issuer", bent(|_, claims| drop(claims.as_object_mut().unwrap().remove("iss")))),
        ("another audience", bent(|_, claims| claims["aud"] = json!("https://kubernetes.default.svc"))),
        ("no audience", bent(|_, claims| drop(claims.as_object_mut().unwrap().remove("aud")))),
        ("expired", bent(|_, claims| claims["exp"] = json!(unix_now() - 1))),
        ("no expiry", bent(|_, claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
        ("not yet valid", bent(|_, claims| claims["nbf"] = json!(unix_now() + 120))),
        ("issued in the future", bent(|_, claims| claims["iat"] = json!(unix_now() + 120))),
        ("a subject that no caller names", rsa.token(CLUSTER, "system:serviceaccount:evil:api", |_, _| {})),
        ("no subject", bent(|_, claims| drop(claims.as_object_mut().unwrap().remove("sub")))),
        ("a stranger's key", stranger.token(CLUSTER, SUBJECT, |_, _| {})),
        (
            "a stranger's key without its id",
            stranger.token(CLUSTER, SUBJECT, |header, _| drop(header.as_object_mut().unwrap().remove("kid"))),
        ),
        ("huge", bent(|_, claims| claims["x"] = json!("x".repeat(9000)))),
    ];
    for (what, token) in &tokens {
        let answer = exchange(&gateway, token, JWT, &[]);
        let wanted = ["a key of its own", "no key id", "an access token's type"].contains(what);
        match wanted {
            // What the header offers is not looked at; the key is one that the issuer showed.
            true => assert_eq!(answer.status, 200, "{what}: {answer:?}"),
            // All look alike to strangers, but that too many failures are told to wait.
            false if answer.status == 429 => {}
            false => assert_eq!(error(&answer), refused(), "{what}"),
        }
    }
    assert_eq!(exchange(&gateway, &good, JWT, &[]).status, 200, "the good one passes among all failures");
    // Clocks differ by less than a minute.
    let ahead = bent(|_, claims| {
        claims["nbf"] = json!(unix_now() + 30);
        claims["iat"] = json!(unix_now() + 30);
    });
    assert_eq!(exchange(&gateway, &ahead, JWT, &[]).status, 200);
}

#[test]
fn what_an_exchange_must_say_is_checked() {
    let partner = partner();
    let rsa = TokenIssuer::rsa("one");
    let (gateway, _folder) = by_file(&partner, &TokenIssuer::set(&[&rsa], &[]));
    let good = rsa.token(CLUSTER, SUBJECT, |_, _| {});
    let of = |form: &[(&str, &str)]| {
        let form = [&[("grant_type", EXCHANGE)], form].concat();
        error(&gateway.post("/oauth/token", &[], &form))
    };
    assert_eq!(of(&[("subject_token", &good)]), refused(), "no type");
    assert_eq!(of(&[("subject_token_type", JWT)]), refused(), "no token");
    let typed = |kind: &str, more: &[(&str, &str)]| error(&exchange(&gateway, &good, kind, more));
    assert_eq!(typed(ACCESS, &[]), refused(), "not ours");
    assert_eq!(typed("urn:ietf:params:oauth:token-type:saml2", &[]), refused());
    assert_eq!(typed(JWT, &[("actor_token", &good)]), refused());
    assert_eq!(typed(JWT, &[("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")]), refused());
    assert_eq!(typed(JWT, &[("audience", "other")]).1, "invalid_target");
    assert_eq!(typed(JWT, &[("audience", "account-api"), ("requested_token_type", ACCESS)]).0, 200);
}

#[test]
fn a_key_set_with_a_shared_secret_in_it_lets_nobody_sign() {
    let partner = partner();
    let rsa = TokenIssuer::rsa("one");
    let oct = json!({"kty": "oct", "kid": "shared", "alg": "HS256", "k": BASE64URL_NOPAD.encode(b"known to all who read the set...")});
    let weak = json!({"kty": "RSA", "kid": "weak", "n": BASE64URL_NOPAD.encode(&[0xff; 128]), "e": "AQAB"});
    let (gateway, folder) = by_file(&partner, &TokenIssuer::set(&[&rsa], &[oct.clone(), weak, json!(7)]));
    let claims = json!({"iss": CLUSTER, "sub": SUBJECT, "aud": "reseller-gateway", "exp": unix_now() + 600});
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"known to all who read the set...");
    let message = [json!({"alg": "HS256", "kid": "shared"}), claims.clone()]
        .map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()))
        .join(".");
    let signature = BASE64URL_NOPAD.encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()).as_ref());
    assert_eq!(error(&exchange(&gateway, &format!("{message}.{signature}"), JWT, &[])), refused());
    let good = || rsa.token(CLUSTER, SUBJECT, |_, _| {});
    assert_eq!(exchange(&gateway, &good(), JWT, &[]).status, 200);
    // A set without a usable key is no reason to forget the last good one.
    std::fs::write(folder.path().join("jwks.json"), TokenIssuer::set(&[], &[oct])).unwrap();
    let other = TokenIssuer::rsa("other");
    assert_eq!(error(&exchange(&gateway, &other.token(CLUSTER, SUBJECT, |_, _| {}), JWT, &[])), refused());
    assert_eq!(exchange(&gateway, &good(), JWT, &[]).status, 200);
}

#[test]
fn a_rotated_key_of_the_issuer_is_learnt_and_a_dead_issuer_changes_nothing() {
    let partner = partner();
    let (keys, (old, new)) = (ScriptedPartner::listen(), (TokenIssuer::rsa("old"), TokenIssuer::ec("new")));
    let json = |set: String| Reply::json(set);
    keys.respond_with(
        "/jwks",
        [json(TokenIssuer::set(&[&old], &[])), json(TokenIssuer::set(&[&old, &new], &[])), Reply::status(500)],
    );
    let folder = tempfile::tempdir().unwrap();
    let bearer = folder.path().join("token");
    std::fs::write(&bearer, "the-pods-own-token\n").unwrap();
    let trust = format!("jwks_url = \"{}/jwks\"\nbearer_token_file = {bearer:?}", keys.url());
    let (gateway, _folder) = trusting(&partner, &trust);
    let of = |issuer: &TokenIssuer| exchange(&gateway, &issuer.token(CLUSTER, SUBJECT, |_, _| {}), JWT, &[]).status;
    assert_eq!((of(&old), of(&old)), (200, 200));
    assert_eq!(keys.count(), 1, "kept");
    assert_eq!(keys.calls()[0].header("authorization"), Some("Bearer the-pods-own-token"));
    // Unknown keys make it ask again, but not at a stranger's pace.
    let strangers = [(); 8].map(|()| TokenIssuer::ec("stranger"));
    for stranger in &strangers {
        assert_eq!(of(stranger), 400);
    }
    assert_eq!((of(&new), keys.count()), (400, 1), "asked less than ten seconds ago");
    wait_for_within(Duration::from_secs(20), "the new key", || (of(&new) == 200).then_some(()));
    assert_eq!(keys.count(), 2);
    assert_eq!((of(&old), of(&new)), (200, 200));
    assert!(keys.count() <= 3, "{}", keys.count());
}

/// A server that compresses for everybody had no keys for us, though every other client reads them.
#[test]
fn a_key_set_that_comes_compressed_is_read() {
    let (partner, keys, issuer) = (partner(), ScriptedPartner::listen(), TokenIssuer::ec("one"));
    let set = crate::answers::gzip(TokenIssuer::set(&[&issuer], &[]).as_bytes());
    keys.respond_with("/jwks", [Reply::json(set).header("content-encoding", "gzip")]);
    let (gateway, _folder) = trusting(&partner, &format!("jwks_url = \"{}/jwks\"", keys.url()));
    assert_eq!(exchange(&gateway, &issuer.token(CLUSTER, SUBJECT, |_, _| {}), JWT, &[]).status, 200);
}

#[test]
fn an_issuer_that_was_never_reached_is_told_apart_from_a_bad_token() {
    let partner = partner();
    let rsa = TokenIssuer::rsa("one");
    let (gateway, folder) = trusting(&partner, "jwks_file = \"FILE\"");
    let of = || exchange(&gateway, &rsa.token(CLUSTER, SUBJECT, |_, _| {}), JWT, &[]);
    let down = of();
    assert_eq!(error(&down), (503, "temporarily_unavailable".to_owned()));
    assert!(down.header("retry-after").is_some());
    std::fs::write(folder.path().join("jwks.json"), TokenIssuer::set(&[&rsa], &[])).unwrap();
    wait_for("the file to be read", || (of().status == 200).then_some(()));
}

#[test]
fn one_of_ours_is_exchanged_for_less_and_never_for_more_or_longer() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    let token = gateway.client_credentials_token("billing", &billing, "clients:read pii:read write");
    let expires = |token: &str| {
        let payload = BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()["exp"].as_u64().unwrap()
    };
    let of = |token: &str, scope: &str| exchange(&gateway, token, ACCESS, &[("scope", scope)]);
    let narrow = of(&token, "clients:read");
    assert_eq!((narrow.status, narrow.json()["scope"].as_str()), (200, Some("clients:read")), "{narrow:?}");
    assert_eq!(narrow.json()["issued_token_type"], ACCESS);
    let narrow = gateway.keep_secret(narrow.json()["access_token"].as_str().unwrap());
    assert!(expires(&narrow) <= expires(&token));
    gateway.get_ok(&narrow, CLIENTS);
    assert_eq!(of(&token, "").json()["scope"], "clients:read pii:read", "`write` only where it is named");
    assert_eq!(of(&token, "write").json()["scope"], "write");
    // More than it has, though its caller may have it.
    assert_eq!(error(&of(&narrow, "pii:read")).1, "invalid_scope");
    assert_eq!(error(&of(&narrow, "clients:read write")).1, "invalid_scope");
    assert_eq!(error(&of(&token, "resources:read")).1, "invalid_scope");
    let write = gateway.client_credentials_token("billing", &billing, "write");
    assert_eq!(error(&of(&write, "")).1, "invalid_scope", "nothing is left, which is not the same as everything");
    // Another caller's secret beside it is a contradiction.
    let form = [("client_id", "support"), ("client_secret", &*billing)];
    assert_eq!(error(&exchange(&gateway, &token, ACCESS, &form)).0, 401);
    // With the first go those that came from it; and a revoked one is exchanged no more.
    let bearer = format!("Bearer {token}");
    assert_eq!(gateway.post("/oauth/revoke", &[("authorization", &bearer)], &[("token", &token)]).status, 200);
    assert_eq!(gateway.read(&narrow, CLIENTS).status, 401);
    assert_eq!(error(&of(&token, "clients:read")), refused());
    assert_eq!(error(&of(&narrow, "clients:read")), refused());
}

#[test]
fn a_short_token_is_not_made_long_by_exchanging_it() {
    let partner = partner();
    let (_, stored) = secret();
    let gateway =
        Setup::before(&partner).caller("billing", &["clients:read"], &format!("secrets = [{stored:?}]")).start();
    let short = gateway.issue("billing", &[], &["--ttl", "3s"]);
    let short = gateway.keep_secret(String::from_utf8(short.stdout).unwrap().trim());
    let answer = exchange(&gateway, &short, ACCESS, &[]);
    assert!(answer.json()["expires_in"].as_u64().unwrap() <= 3, "{answer:?}");
    let last = gateway.keep_secret(answer.json()["access_token"].as_str().unwrap());
    gateway.get_ok(&last, CLIENTS);
    wait_for("its end", || (gateway.read(&last, CLIENTS).status == 401).then_some(()));
    assert_eq!(error(&exchange(&gateway, &last, ACCESS, &[])), refused());
}

#[test]
fn an_issuer_over_tls_is_believed_only_under_the_configured_authority() {
    let partner = partner();
    let rsa = TokenIssuer::rsa("one");
    let (pem, tls) = crate::path::authority();
    let (other, _) = crate::path::authority();
    let keys = ScriptedPartner::listen_with(tls);
    keys.respond_with("/openid/v1/jwks", [Reply::json(TokenIssuer::set(&[&rsa], &[]))]);
    let folder = tempfile::tempdir().unwrap();
    let bearer = folder.path().join("token");
    std::fs::write(&bearer, "the-pods-own-token").unwrap();
    for (pem, status) in [(&other, 503), (&pem, 200)] {
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, pem).unwrap();
        let url = format!("{}/openid/v1/jwks", keys.url());
        let trust = format!("jwks_url = {url:?}\nca_file = {ca:?}\nbearer_token_file = {bearer:?}");
        let (gateway, _folder) = trusting(&partner, &trust);
        let answer = exchange(&gateway, &rsa.token(CLUSTER, SUBJECT, |_, _| {}), JWT, &[]);
        assert_eq!(answer.status, status, "{answer:?} {}", gateway.program.stderr());
        assert!(!gateway.program.stderr().contains("the-pods-own-token"));
    }
    assert_eq!(keys.count(), 1, "nobody else sees the bearer token");
}

#[test]
fn an_issuer_that_sends_elsewhere_or_never_ends_is_not_followed() {
    let partner = partner();
    let (rsa, keys) = (TokenIssuer::rsa("one"), ScriptedPartner::listen());
    let set = TokenIssuer::set(&[&rsa], &[]);
    let huge = format!("{}{}", " ".repeat(300 << 10), set);
    for reply in [
        Reply::status(302).header("location", &format!("{}/other", keys.url())),
        Reply::json(huge),
        Reply::json("{}"),
        Reply::json(set.as_str()).truncated_at(40),
    ] {
        keys.respond_with("/jwks", [reply]);
        let (gateway, _folder) = trusting(&partner, &format!("jwks_url = \"{}/jwks\"", keys.url()));
        let answer = exchange(&gateway, &rsa.token(CLUSTER, SUBJECT, |_, _| {}), JWT, &[]);
        assert_eq!(error(&answer), (503, "temporarily_unavailable".to_owned()));
    }
}
