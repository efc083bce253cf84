//! Who gets in, and who does not?
//! Given tokens as an attacker or a caller would send them, holds the door to its answers.
//! Never opens a socket, and moves time by hand.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::scope::{PERSONAL, WRITE};
use super::*;
use crate::clock::Tick;

const API_KEY: &str = "x-reseller-api-key";

const ISSUER: &str = "http://127.0.0.1:8080";
const AUDIENCE: &str = "account-api";
const NOON: u64 = 1_800_000_000;

fn at(unix: u64) -> Now {
    Now { tick: Tick::from_nanos(0), unix_ms: unix * 1000 }
}

fn names() -> Arc<ScopeNames> {
    Arc::new(ScopeNames::new(["clients:read", "resources:read"]).unwrap())
}

fn settings() -> Settings {
    let policy = |name: &str, scopes: &[&str]| Policy {
        name: name.to_owned(),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        bounds: Bounds::default(),
        priority: Priority::default(),
    };
    Settings {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        accept_api_key_header: true,
        callers: vec![
            policy("billing", &["clients:read", PERSONAL, WRITE, "cache:refresh"]),
            policy("support", &["clients:read", "resources:read"]),
        ],
    }
}

fn door(ring: &Arc<Ring>) -> Tokens {
    // Another test of this process may have been first; either way one is installed.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    Tokens::new(settings(), Arc::clone(ring), names())
}

fn ring() -> Arc<Ring> {
    Arc::new(Ring::in_memory().unwrap())
}

fn issued(door: &Tokens, scopes: &[&str]) -> String {
    let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
    let wish =
        TokenSpec { caller: "billing".to_owned(), scopes, bounds: Bounds::default(), ttl: Duration::from_secs(3600) };
    door.issue(&wish, at(NOON)).unwrap().token
}

fn authorized(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn identified(door: &Tokens, token: &str) -> Result<Arc<Caller>, Unidentified> {
    door.identify(&authorized(token), at(NOON))
}

/// The header and claims of a token of ours, to be bent.
fn good() -> (Value, Value) {
    let header = json!({"typ": "at+jwt", "alg": "EdDSA"});
    let claims = json!({
        "iss": ISSUER, "sub": "billing", "aud": AUDIENCE, "exp": NOON + 3600, "iat": NOON, "jti": "j1",
        "client_id": "billing", "scope": "clients:read",
    });
    (header, claims)
}

/// Signed with the ring's own key, whatever header and claims say.
fn forged(ring: &Ring, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &ring.signer(NOON).unwrap().signing, Algorithm::EdDSA).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn a_token_bent_in_one_place_is_refused_for_that_place() {
    use Unidentified::{Bad, Expired, UnknownCaller};
    type Bend = fn(&mut Value, &mut Value);
    let rows: [(&str, Bend, Unidentified); 19] = [
        ("typ of an ordinary JWT", |header, _| header["typ"] = json!("JWT"), Bad("type")),
        ("no typ", |header, _| drop(header.as_object_mut().unwrap().remove("typ")), Bad("type")),
        ("unknown kid", |header, _| header["kid"] = json!("another"), Bad("key id")),
        ("kid like a path", |header, _| header["kid"] = json!("../../etc/passwd"), Bad("key id")),
        ("missing kid", |header, _| drop(header.as_object_mut().unwrap().remove("kid")), Bad("key id")),
        ("crit", |header, _| header["crit"] = json!(["exp"]), Bad("critical extension")),
        ("crit nobody knows", |header, _| header["crit"] = json!(["b64"]), Bad("critical extension")),
        ("alg in other letters", |header, _| header["alg"] = json!("eddsa"), Bad("not a JWT")),
        ("expired", |_, claims| claims["exp"] = json!(NOON - 1), Expired),
        ("expiring this second", |_, claims| claims["exp"] = json!(NOON), Expired),
        ("issued in the future", |_, claims| claims["iat"] = json!(NOON + 61), Bad("issued in the future")),
        ("other audience", |_, claims| claims["aud"] = json!("gateway-admin"), Bad("audience")),
        ("audience among several", |_, claims| claims["aud"] = json!([AUDIENCE, "x"]), Bad("signature")),
        ("other issuer", |_, claims| claims["iss"] = json!("http://127.0.0.1:8081"), Bad("issuer")),
        ("without exp", |_, claims| drop(claims.as_object_mut().unwrap().remove("exp")), Bad("signature")),
        ("exp before 1970", |_, claims| claims["exp"] = json!(-1), Bad("signature")),
        ("no details", |_, claims| claims["authorization_details"] = json!([]), Bad("authorization_details")),
        (
            "other details",
            |_, claims| claims["authorization_details"] = json!([{"type": "other"}]),
            Bad("authorization_details"),
        ),
        ("caller not configured", |_, claims| claims["client_id"] = json!("nobody"), UnknownCaller),
    ];
    let ring = ring();
    let door = door(&ring);
    let (mut header, claims) = good();
    header["kid"] = json!(ring.signer(NOON).unwrap().kid);
    assert_eq!(identified(&door, &forged(&ring, &header, &claims)).unwrap().name(), "billing");
    for (row, bend, refusal) in rows {
        let (mut header, mut claims) = (header.clone(), claims.clone());
        bend(&mut header, &mut claims);
        assert_eq!(identified(&door, &forged(&ring, &header, &claims)).unwrap_err(), refusal, "{row}");
    }
}

#[test]
fn another_machines_clock_may_be_a_minute_ahead() {
    let ring = ring();
    let (mut header, mut claims) = good();
    header["kid"] = json!(ring.signer(NOON).unwrap().kid);
    claims["iat"] = json!(NOON + 60);
    assert!(identified(&door(&ring), &forged(&ring, &header, &claims)).is_ok());
}

#[test]
fn a_token_not_signed_by_our_key_is_refused() {
    let ring = ring();
    let door = door(&ring);
    let kid = ring.signer(NOON).unwrap().kid.clone();
    let (_, claims) = good();
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());

    let unsigned = |alg: &str| {
        let header = json!({"typ": "at+jwt", "alg": alg, "kid": kid});
        format!("{}.{}.", part(&header), part(&claims))
    };
    assert_eq!(identified(&door, &unsigned("none")).unwrap_err(), Unidentified::Bad("not a JWT"));
    assert_eq!(identified(&door, &unsigned("None")).unwrap_err(), Unidentified::Bad("not a JWT"));
    assert_eq!(identified(&door, &unsigned("EdDSA")).unwrap_err(), Unidentified::Bad("signature"));

    // The classic confusion: an HMAC with the public key, which everybody may know, as its secret.
    let key = Ed25519KeyPair::generate().unwrap();
    let public = key.public_key().as_ref().to_vec();
    let confusing = Ring::of(vec![key]);
    let mut header = Header::new(Algorithm::HS256);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(confusing.signer(NOON).unwrap().kid.clone());
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&public)).unwrap();
    let open = Tokens::new(settings(), Arc::new(confusing), names());
    assert_eq!(identified(&open, &token).unwrap_err(), Unidentified::Bad("algorithm"));

    // Another key's signature under our key's id.
    let other = Ring::in_memory().unwrap();
    let header = json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid});
    assert_eq!(identified(&door, &forged(&other, &header, &claims)).unwrap_err(), Unidentified::Bad("signature"));

    // Our signature under other claims.
    let token = issued(&door, &[]);
    let mut parts: Vec<&str> = token.split('.').collect();
    let richer = part(&json!({
        "iss": ISSUER, "sub": "billing", "aud": AUDIENCE, "exp": NOON * 2, "iat": NOON, "jti": "j1",
        "client_id": "billing", "scope": "write",
    }));
    parts[1] = &richer;
    assert_eq!(identified(&door, &parts.join(".")).unwrap_err(), Unidentified::Bad("signature"));
}

#[test]
fn what_is_no_token_is_refused() {
    let door = door(&ring());
    let token = issued(&door, &[]);
    let long = format!("{token}{}", "A".repeat(LONGEST + 1 - token.len()));
    let dots = ".".repeat(LONGEST);
    let rows = [
        (long.as_bytes(), Unidentified::Bad("too long")),
        (dots.as_bytes(), Unidentified::Bad("not a JWT")),
        (b"\xff\xfe\xfd", Unidentified::Bad("not text")),
        (b"a", Unidentified::Bad("not a JWT")),
        (b"a.b.c", Unidentified::Bad("not a JWT")),
        (b"..", Unidentified::Bad("not a JWT")),
        (&token.as_bytes()[..token.len() / 2], Unidentified::Bad("not a JWT")),
    ];
    for (presented, refusal) in rows {
        let mut map = HeaderMap::new();
        map.insert(API_KEY, HeaderValue::from_bytes(presented).unwrap());
        let refused = door.identify(&map, at(NOON)).unwrap_err();
        assert_eq!(refused, refusal, "{:?}", String::from_utf8_lossy(presented));
    }
}

#[test]
fn a_token_comes_in_either_header_or_alike_in_both() {
    let door = door(&ring());
    let (a, b) = (issued(&door, &[]), issued(&door, &[]));
    let with = |scheme: &str, token: &str| format!("{scheme}{token}");
    type Lines = Vec<(&'static str, String)>;
    let rows: [(&str, Lines, Result<(), Unidentified>); 14] = [
        ("bearer", vec![("authorization", with("Bearer ", &a))], Ok(())),
        ("small letters", vec![("authorization", with("bearer ", &a))], Ok(())),
        ("capitals", vec![("authorization", with("BEARER ", &a))], Ok(())),
        ("two spaces", vec![("authorization", with("Bearer  ", &a))], Ok(())),
        ("api key", vec![(API_KEY, a.clone())], Ok(())),
        ("alike in both", vec![("authorization", with("Bearer ", &a)), (API_KEY, a.clone())], Ok(())),
        ("differing", vec![("authorization", with("Bearer ", &a)), (API_KEY, b.clone())], Err(Unidentified::Ambiguous)),
        ("two keys", vec![(API_KEY, a.clone()), (API_KEY, b.clone())], Err(Unidentified::Ambiguous)),
        (
            "two bearers",
            vec![("authorization", with("Bearer ", &a)), ("authorization", with("Bearer ", &b))],
            Err(Unidentified::Ambiguous),
        ),
        ("basic alone", vec![("authorization", "Basic YTpi".to_owned())], Err(Unidentified::Missing)),
        ("basic beside a key", vec![("authorization", "Basic YTpi".to_owned()), (API_KEY, a.clone())], Ok(())),
        ("no scheme", vec![("authorization", a.clone())], Err(Unidentified::Missing)),
        ("empty", vec![(API_KEY, String::new())], Err(Unidentified::Missing)),
        ("nothing", vec![], Err(Unidentified::Missing)),
    ];
    for (row, lines, expected) in rows {
        let mut map = HeaderMap::new();
        for (name, value) in &lines {
            map.append(*name, value.parse().unwrap());
        }
        assert_eq!(door.identify(&map, at(NOON)).map(drop), expected, "{row}");
    }
}

#[test]
fn the_api_key_header_is_not_looked_at_where_it_is_not_accepted() {
    let ring = ring();
    let open = door(&ring);
    let (a, b) = (issued(&open, &[]), issued(&open, &[]));
    let closed = Tokens::new(Settings { accept_api_key_header: false, ..settings() }, ring, names());
    let alone = headers(&[(API_KEY, &a)]);
    assert_eq!(closed.identify(&alone, at(NOON)).unwrap_err(), Unidentified::Missing);
    let beside = headers(&[("authorization", &format!("Bearer {b}")), (API_KEY, &a)]);
    assert!(closed.identify(&beside, at(NOON)).is_ok());
}

#[test]
fn a_remembered_token_still_expires_in_its_second() {
    let door = door(&ring());
    let map = authorized(&issued(&door, &[]));
    let first = door.identify(&map, at(NOON)).unwrap();
    let again = door.identify(&map, at(NOON + 3599)).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "remembered");
    assert_eq!(door.identify(&map, at(NOON + 3600)).unwrap_err(), Unidentified::Expired);
    assert_eq!(door.identify(&map, at(u64::MAX / 1000)).unwrap_err(), Unidentified::Expired);
}

#[test]
fn a_token_that_failed_is_not_remembered() {
    let ring = ring();
    let door = door(&ring);
    let map = authorized(&issued(&door, &[]));
    assert_eq!(door.identify(&map, at(NOON - 61)).unwrap_err(), Unidentified::Bad("issued in the future"));
    assert!(door.identify(&map, at(NOON)).is_ok());
}

#[test]
fn more_tokens_than_are_remembered_are_still_told_apart() {
    let remembered = Remembered::new();
    let caller = |nth: u32| {
        let name = Arc::from(nth.to_string());
        Arc::new(Caller {
            name,
            jti: "j".into(),
            kid: "k".into(),
            scopes: Scopes::default(),
            bounds: Bounds::default(),
            issued: 0,
            expires: u64::from(nth),
            checked: AtomicU64::new(0),
            seat: Seat::default(),
        })
    };
    for nth in 0..20_000_u32 {
        remembered.keep(&nth.to_be_bytes(), caller(nth), 0);
    }
    let found = (0..20_000_u32).filter_map(|nth| Some((nth, remembered.find(&nth.to_be_bytes())?)));
    let found: Vec<_> = found.inspect(|(nth, caller)| assert_eq!(caller.name(), nth.to_string())).collect();
    assert!(found.len() <= 16_384, "{}", found.len());
    assert!(found.len() > 8_000, "{}", found.len());
}

#[test]
fn the_right_is_what_token_and_policy_have_in_common() {
    let ring = ring();
    let wide = door(&ring);
    let token = issued(&wide, &["clients:read", PERSONAL]);
    let names = names();
    let set = |scopes: &[&str]| names.set_of(scopes.iter().copied());
    assert_eq!(identified(&wide, &token).unwrap().scopes(), set(&["clients:read", PERSONAL]));

    let mut narrowed = settings();
    narrowed.callers[0].scopes = vec!["clients:read".to_owned(), "resources:read".to_owned()];
    let narrow = Tokens::new(narrowed, Arc::clone(&ring), Arc::clone(&names));
    assert_eq!(identified(&narrow, &token).unwrap().scopes(), set(&["clients:read"]));

    let mut removed = settings();
    removed.callers.remove(0);
    let gone = Tokens::new(removed, ring, names);
    assert_eq!(identified(&gone, &token).unwrap_err(), Unidentified::UnknownCaller);
}

#[test]
fn only_what_the_policy_allows_is_issued() {
    let door = door(&ring());
    let issue = |caller: &str, scopes: &[&str]| {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        door.issue(
            &TokenSpec { caller: caller.to_owned(), scopes, bounds: Bounds::default(), ttl: Duration::from_secs(60) },
            at(NOON),
        )
        .map(|issued| issued.token)
    };
    assert!(matches!(issue("nobody", &[]), Err(NotIssued::UnknownCaller(name, _)) if name == "nobody"));
    assert!(matches!(issue("support", &["clients:read", WRITE]), Err(NotIssued::Wider(scope, ..)) if scope == WRITE));
    assert!(matches!(issue("support", &[""]), Err(NotIssued::Wider(..))));
    assert!(matches!(issue("billing", &["clients:read write"]), Err(NotIssued::Wider(..))));
    let text = issue("nobody", &[]).unwrap_err().to_string();
    assert!(text.contains("billing, support"), "{text}");
}

#[test]
fn without_scopes_asked_the_reading_ones_are_given() {
    let door = door(&ring());
    let names = names();
    let unasked = identified(&door, &issued(&door, &[])).unwrap();
    assert_eq!(unasked.scopes(), names.set_of(["clients:read", PERSONAL]));
    let named = identified(&door, &issued(&door, &[WRITE, "cache:refresh"])).unwrap();
    assert_eq!(named.scopes(), names.set_of([WRITE, "cache:refresh"]));
}

#[test]
fn a_lifetime_beyond_the_end_of_time_stops_there() {
    let door = door(&ring());
    let wish =
        TokenSpec { caller: "billing".to_owned(), scopes: Vec::new(), bounds: Bounds::default(), ttl: Duration::MAX };
    let token = door.issue(&wish, at(NOON)).unwrap().token;
    assert!(identified(&door, &token).is_ok());
}

#[test]
fn the_first_start_makes_one_key_that_only_its_owner_reads() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("state/keys");
    let first = Arc::new(Ring::open(&folder, Duration::ZERO).unwrap());
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files, [folder.join(format!("{}.pem", first.signer(NOON).unwrap().kid))]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files[0]), 0o600);
    assert_eq!(mode(&folder), 0o700);

    let token = issued(&door(&first), &[]);
    let second = Arc::new(Ring::open(&folder, Duration::ZERO).unwrap());
    assert_eq!(identified(&door(&second), &token).unwrap().name(), "billing");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_key_of_before_still_verifies_beside_a_newer_one() {
    let around = tempfile::tempdir().unwrap();
    let first = Arc::new(Ring::open(around.path(), Duration::ZERO).unwrap());
    let token = issued(&door(&first), &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let newer = Ring::open(elsewhere.path(), Duration::ZERO).unwrap().signer(NOON).unwrap().kid.clone();
    let file = format!("{newer}.pem");
    std::fs::copy(elsewhere.path().join(&file), around.path().join(&file)).unwrap();
    let both = Arc::new(Ring::open(around.path(), Duration::ZERO).unwrap());
    assert!(identified(&door(&both), &token).is_ok());
    assert_eq!(both.signer(NOON).unwrap().kid, newer, "the newest signs");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let around = tempfile::tempdir().unwrap();
    let ring = Ring::open(around.path(), Duration::ZERO).unwrap();
    let path = around.path().join(format!("{}.pem", ring.signer(NOON).unwrap().kid));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(Ring::open(around.path(), Duration::ZERO), Err(ring::RingError::Open(file)) if file == path));
    // Kubernetes mounts secrets readable by a group.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(Ring::open(around.path(), Duration::ZERO).is_ok());
}

#[test]
fn a_file_that_is_no_key_is_refused_by_its_path() {
    let around = tempfile::tempdir().unwrap();
    let path = around.path().join("note.pem");
    for text in ["not a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let fault = Ring::open(around.path(), Duration::ZERO).err().unwrap();
        assert!(fault.to_string().contains("note.pem"), "{fault}");
        assert!(matches!(fault, ring::RingError::NotAKey(file) if file == path));
    }
}

#[test]
fn no_output_shows_a_token_or_a_key() {
    let around = tempfile::tempdir().unwrap();
    let ring = Arc::new(Ring::open(around.path(), Duration::ZERO).unwrap());
    let door = door(&ring);
    let token = issued(&door, &[]);
    let pem = std::fs::read_to_string(around.path().join(format!("{}.pem", ring.signer(NOON).unwrap().kid))).unwrap();
    let key = pem.lines().nth(2).unwrap();
    let caller = identified(&door, &token).unwrap();
    let broken = identified(&door, &token[..token.len() - 4]).unwrap_err();
    let wish = TokenSpec {
        caller: "billing".to_owned(),
        scopes: vec!["x".to_owned()],
        bounds: Bounds::default(),
        ttl: Duration::from_secs(1),
    };
    let refused = door.issue(&wish, at(NOON)).unwrap_err();
    let shown = format!("{caller:?} {broken:?} {broken} {refused:?} {refused} {:?} {wish:?}", settings());
    for secret in token.split('.').chain([key]) {
        assert!(!shown.contains(secret), "{shown}");
    }
}

fn revoking(ring: &Arc<Ring>) -> (Tokens, String) {
    let door = door(ring);
    let token = issued(&door, &[]);
    assert!(identified(&door, &token).is_ok());
    (door, token)
}

#[test]
fn a_remembered_token_that_is_revoked_is_refused_from_the_next_request_on() {
    let (door, token) = revoking(&ring());
    let other = issued(&door, &[]);
    let caller = identified(&door, &token).unwrap();
    door.revoked().revoke([(caller.jti(), caller.expires())]);
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Revoked);
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Revoked, "and stays so");
    assert!(identified(&door, &other).is_ok());
}

#[test]
fn a_revoked_token_is_refused_where_it_was_never_seen() {
    let ring = ring();
    let (door, token) = revoking(&ring);
    let caller = identified(&door, &token).unwrap();
    let elsewhere = door.reconfigured(settings(), names());
    door.revoked().revoke([(caller.jti(), caller.expires())]);
    assert_eq!(identified(&elsewhere, &token).unwrap_err(), Unidentified::Revoked);
}

#[test]
fn the_next_house_remembers_no_right_but_knows_whom_it_need_not_hold_up() {
    let door = door(&ring());
    let token = issued(&door, &[]);
    assert!(!door.is_familiar(token.as_bytes()));
    identified(&door, &token).unwrap();
    // The scopes are numbered in another order there.
    let others = Arc::new(ScopeNames::new(["resources:read", "clients:read"]).unwrap());
    let next = door.reconfigured(settings(), Arc::clone(&others));
    assert!(next.is_familiar(token.as_bytes()) && !next.is_familiar(b"another"));
    assert!(matches!(next.recall_token(token.as_bytes(), at(NOON)), Ok(Recalled::Unseen(_))));
    let caller = identified(&next, &token).unwrap();
    assert!(caller.scopes().covers(others.set_of(["clients:read"])));
    let gone = door.reconfigured(Settings { callers: Vec::new(), ..settings() }, others);
    assert_eq!(identified(&gone, &token).unwrap_err(), Unidentified::UnknownCaller);
    assert!(!gone.is_familiar(token.as_bytes()), "it queues with the strangers");
}

#[test]
fn revoking_a_caller_ends_every_token_until_then_and_none_after() {
    let (door, token) = revoking(&ring());
    door.revoked().revoke_caller("billing", NOON);
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Revoked);
    // Issued in the very second of the revocation, it still is a token of after.
    let fresh = issued(&door, &[]);
    assert!(identified(&door, &fresh).is_ok());
    door.revoked().revoke_caller("billing", NOON - 100);
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Revoked, "an earlier moment takes nothing back");
}

#[test]
fn a_tombstone_stays_until_the_token_would_have_expired() {
    let (door, token) = revoking(&ring());
    let caller = identified(&door, &token).unwrap();
    door.revoked().revoke([(caller.jti(), caller.expires())]);
    door.revoked().forget_expired(caller.expires());
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Revoked);
    assert_eq!((door.revoked().count(caller.expires() - 1), door.revoked().count(caller.expires())), (1, 0));
    door.revoked().forget_expired(caller.expires() + 1);
    assert_eq!(door.revoked().count(0), 0);
    // Nor does it come back with a wall clock that is set back.
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Revoked);
    assert_eq!(door.weigh(token.as_bytes(), at(NOON)).unwrap_err(), Unidentified::Revoked);
    assert_eq!(door.revoked().count(0), 0);
}

#[test]
fn what_nobody_was_to_have_until_a_second_ends_everybodys_tokens_until_then_and_none_after() {
    let (door, token) = revoking(&ring());
    door.revoked().revoke_all(NOON);
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Revoked);
    assert!(identified(&door, &issued(&door, &[])).is_ok());
}

#[test]
fn use_is_noted_once_per_epoch() {
    let (door, token) = revoking(&ring());
    assert_eq!(door.revoked().take_used().len(), 1);
    assert!(identified(&door, &token).is_ok());
    assert_eq!(door.revoked().take_used(), []);
    door.revoked().advance();
    assert!(identified(&door, &token).is_ok());
    let [(jti, at)] = <[_; 1]>::try_from(door.revoked().take_used()).unwrap();
    assert_eq!((&*jti, at), (identified(&door, &token).unwrap().jti(), NOON));
}

#[test]
fn a_new_key_is_shown_before_it_signs_and_the_old_one_verifies_on() {
    let around = tempfile::tempdir().unwrap();
    let ring = Arc::new(Ring::open(around.path(), Duration::from_secs(600)).unwrap());
    let first = ring.keys()[0].kid.clone();
    let made = ring.keys()[0].made;
    assert_eq!(ring.signer(made).unwrap().kid, first, "the only key signs at once");
    let second = ring.rotate().unwrap().unwrap();
    let made = ring.keys()[1].made;
    assert_eq!(ring.keys().len(), 2);
    assert_eq!(ring.signer(made + 599).unwrap().kid, first);
    assert_eq!(ring.signer(made + 600).unwrap().kid, second);
    assert_eq!(ring.superseded(made + 599), []);
    assert_eq!(ring.superseded(made + 600), [(first.clone(), made + 600)]);
    assert!(!ring.is_due(made + 99, Duration::from_secs(100)) && ring.is_due(made + 100, Duration::from_secs(100)));
}

#[test]
fn a_key_that_was_rotated_out_verifies_nothing_not_even_what_is_remembered() {
    let around = tempfile::tempdir().unwrap();
    let ring = Arc::new(Ring::open(around.path(), Duration::ZERO).unwrap());
    let (door, token) = revoking(&ring);
    let first = ring.keys()[0].kid.clone();
    // Another process rotates; the running one reads the folder again.
    let other = Ring::open(around.path(), Duration::ZERO).unwrap();
    other.rotate().unwrap();
    assert!(ring.refresh().unwrap() && !ring.refresh().unwrap());
    assert!(identified(&door, &token).is_ok());
    other.remove(std::slice::from_ref(&first)).unwrap();
    assert!(ring.refresh().unwrap());
    door.revoked().advance();
    assert_eq!(identified(&door, &token).unwrap_err(), Unidentified::Bad("key id"));
    let fresh = self::door(&ring);
    assert_eq!(identified(&fresh, &token).unwrap_err(), Unidentified::Bad("key id"));
    assert!(identified(&fresh, &issued(&fresh, &[])).is_ok());
}

#[test]
fn a_folder_that_cannot_be_read_any_more_leaves_the_keys_of_before() {
    let around = tempfile::tempdir().unwrap();
    let ring = Arc::new(Ring::open(around.path(), Duration::ZERO).unwrap());
    let (door, token) = revoking(&ring);
    std::fs::write(around.path().join("half.pem"), "-----BEGIN PRIV").unwrap();
    assert!(ring.refresh().is_err());
    std::fs::remove_dir_all(around.path()).unwrap();
    assert!(matches!(ring.refresh(), Err(ring::RingError::Emptied(_))));
    assert!(identified(&door, &token).is_ok());
}

#[test]
fn a_key_says_itself_when_it_was_made() {
    let around = tempfile::tempdir().unwrap();
    let made = Ring::open(around.path(), Duration::ZERO).unwrap().keys()[0].made;
    let path = std::fs::read_dir(around.path()).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(Ring::open(around.path(), Duration::ZERO).unwrap().keys()[0].made, made);
    // One that an operator made by other means has its file's time.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(Ring::open(around.path(), Duration::ZERO).unwrap().keys()[0].made, 0);
}

#[test]
fn a_token_that_fits_into_no_header_is_not_issued() {
    let scopes: Vec<String> = (0..60).map(|nth| format!("{}:{nth:03}", "a".repeat(60))).collect();
    let many = Settings { callers: vec![Policy { scopes, ..settings().callers.remove(0) }], ..settings() };
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let door = Tokens::new(many, ring(), names());
    let wish = TokenSpec {
        caller: "billing".to_owned(),
        scopes: Vec::new(),
        bounds: Bounds::default(),
        ttl: Duration::from_secs(60),
    };
    assert!(matches!(door.issue(&wish, at(NOON)), Err(NotIssued::TooLong)));
}

#[test]
fn a_token_opens_one_of_the_doors() {
    let both = Settings {
        callers: vec![Policy {
            name: "ops".to_owned(),
            scopes: vec!["clients:read".to_owned(), scope::ADMIN.to_owned()],
            bounds: Bounds::default(),
            priority: Priority::default(),
        }],
        ..settings()
    };
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let door = Tokens::new(both, ring(), names());
    let issue = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|&scope| scope.to_owned()).collect();
        door.issue(
            &TokenSpec { caller: "ops".to_owned(), scopes, bounds: Bounds::default(), ttl: Duration::from_secs(60) },
            at(NOON),
        )
    };
    assert_eq!(issue(&[]).unwrap().claims.aud, AUDIENCE);
    assert_eq!(issue(&[scope::ADMIN]).unwrap().claims.aud, operator::AUDIENCE);
    assert!(matches!(issue(&[scope::ADMIN, "clients:read"]), Err(NotIssued::AdminAlone)));
    let admin = authorized(&issue(&[scope::ADMIN]).unwrap().token);
    assert_eq!(door.identify(&admin, at(NOON)).unwrap_err(), Unidentified::Bad("audience"));
    assert_eq!(door.identify_operator(&admin, at(NOON)).unwrap().name(), "ops");
    door.revoked().revoke_caller("ops", NOON);
    assert_eq!(door.identify_operator(&admin, at(NOON)).unwrap_err(), Unidentified::Revoked);
}

#[test]
fn what_was_never_seen_is_told_from_what_is_remembered_before_any_signature() {
    let door = door(&ring());
    let map = authorized(&issued(&door, &[]));
    let Ok(Recalled::Unseen(token)) = door.recall(&map, at(NOON)) else { panic!("never seen") };
    let caller = door.examine(token, at(NOON)).unwrap();
    let Ok(Recalled::Caller(again)) = door.recall(&map, at(NOON)) else { panic!("remembered") };
    assert!(Arc::ptr_eq(&caller, &again));
    assert_eq!(door.recall(&map, at(NOON + 3600)).unwrap_err(), Unidentified::Expired);
    assert!(matches!(door.recall(&authorized("a.b.c"), at(NOON)), Ok(Recalled::Unseen(_))));
}

#[test]
fn a_caller_has_the_place_and_the_priority_of_its_policy() {
    let mut settings = settings();
    settings.callers[1].priority = Priority::Batch;
    let ring = ring();
    let _ = door(&ring);
    let door = Tokens::new(settings, ring, names());
    let seat = |caller: &str| {
        let wish = TokenSpec {
            caller: caller.to_owned(),
            scopes: Vec::new(),
            bounds: Bounds::default(),
            ttl: Duration::from_secs(60),
        };
        let caller = identified(&door, &door.issue(&wish, at(NOON)).unwrap().token).unwrap();
        (caller.index(), caller.priority())
    };
    assert_eq!(seat("billing"), (0, Priority::Interactive));
    assert_eq!(seat("support"), (1, Priority::Batch));
}

#[test]
fn a_caller_whose_newest_token_nearly_ends_is_named_and_one_that_renewed_or_never_came_is_not() {
    let (door, last) = (door(&ring()), NOON + 3600);
    let token = issued(&door, &["clients:read"]);
    assert_eq!(door.expiring(NOON + 3599), Vec::<String>::new(), "it was never used");
    identified(&door, &token).unwrap();
    let tenth = last - 360;
    assert_eq!(door.expiring(tenth), Vec::<String>::new());
    assert_eq!(door.expiring(tenth + 1), ["billing"]);
    assert_eq!(door.expiring(last), Vec::<String>::new(), "it is over");
    let wish = TokenSpec {
        caller: "billing".to_owned(),
        scopes: vec!["clients:read".to_owned()],
        bounds: Bounds::default(),
        ttl: Duration::from_secs(3600),
    };
    let renewed = door.issue(&wish, at(tenth)).unwrap().token;
    door.identify(&authorized(&renewed), at(tenth)).unwrap();
    assert_eq!(door.expiring(tenth + 1), Vec::<String>::new());
}
