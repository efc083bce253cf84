//! Which keys and claims of an issuer hold?
//! Given sets and claims, claims what is taken.
//! Never asks anybody: real issuers are in the tests of the whole program.

use serde_json::json;

use super::*;

const NOON: u64 = 1_800_000_000;

fn judged(bend: impl FnOnce(&mut Value)) -> Result<String, &'static str> {
    let settings = Settings { issuer: "i".into(), audience: "us".into(), source: Source::File("none".into()) };
    let mut claims = json!({"iss": "i", "sub": "s", "aud": "us", "exp": NOON + 60});
    bend(&mut claims);
    judge(&claims, &settings, Now { tick: Tick::from_nanos(0), unix_ms: NOON * 1000 })
}

#[test]
fn claims_hold_exactly_as_far_as_they_say() {
    let set = |name: &'static str, value: Value| move |claims: &mut Value| claims[name] = value;
    assert_eq!(judged(|_| {}), Ok("s".to_owned()));
    assert_eq!(judged(set("aud", json!(["them", "us"]))), Ok("s".to_owned()));
    assert_eq!(judged(set("nbf", json!(NOON + 60))), Ok("s".to_owned()), "a minute is forgiven");
    assert_eq!(judged(set("exp", json!(NOON as f64 + 0.5))), Ok("s".to_owned()));
    for (name, value, fault) in [
        ("iss", json!("I"), "issuer"),
        ("aud", json!(["them"]), "audience"),
        ("aud", json!([["us"]]), "audience"),
        ("aud", json!({"us": 1}), "audience"),
        ("exp", json!(NOON), "expired"),
        ("exp", json!("2099-01-01"), "expired"),
        ("nbf", json!(NOON + 61), "not yet valid"),
        ("nbf", json!("soon"), "not yet valid"),
        ("iat", json!(NOON + 61), "not yet valid"),
        ("sub", json!(""), "subject"),
        ("sub", json!(7), "subject"),
    ] {
        assert_eq!(judged(set(name, value.clone())), Err(fault), "{name} = {value}");
    }
}

#[test]
fn of_a_set_only_keys_that_verify_our_algorithms_are_taken() {
    let n = BASE64URL_NOPAD.encode(&[0xff; 256]);
    let good = json!({"kty": "RSA", "kid": "a", "n": n, "e": "AQAB"});
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        Keys::parse(json!({"keys": [key]}).to_string().as_bytes()).is_ok()
    };
    assert!(with("use", json!("sig")) && with("alg", json!("RS256")));
    assert!(!with("use", json!("enc")) && !with("alg", json!("RS512")) && !with("kty", json!("oct")));
    assert!(!with("n", json!(BASE64URL_NOPAD.encode(&[0xff; 255]))), "too short");
    assert!(!with("n", json!(BASE64URL_NOPAD.encode(&[[0; 128], [0xff; 128]].concat()))), "short behind zeroes");
    assert!(with("kid", json!("")) && with("kid", Value::Null), "an id is optional");
    assert!(with("n", json!(format!("{n}=="))), "padded");
    assert!(with("x5c", json!("not a list")) && with("key_ops", json!(7)), "what is not read may be anything");
    assert!(!with("alg", json!("ours")) && !with("use", json!("ours")), "neither is ours to guess");
    assert!(Keys::parse(b"{}").is_err() && Keys::parse(br#"{"keys":[]}"#).is_err());
    let many = vec![good.clone(); 101];
    assert!(Keys::parse(json!({ "keys": many }).to_string().as_bytes()).is_err());
    let mixed = json!({"keys": [{"kty": "oct", "kid": "b", "k": "AAAA"}, good]}).to_string();
    let keys = Keys::parse(mixed.as_bytes()).unwrap();
    assert!(keys.has(Some("a")) && !keys.has(Some("b")) && keys.has(None));
    let count = |keys: &Keys, kid, algorithm| keys.candidates(kid, algorithm).count();
    assert_eq!((count(&keys, Some("a"), Algorithm::RS256), count(&keys, Some("a"), Algorithm::ES256)), (1, 0));
    // Of two keys with one id the second hid the first; a byte order mark hid them all.
    let x = BASE64URL_NOPAD.encode(&[1; 32]);
    let curve = json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": x});
    for both in [[&good, &curve], [&curve, &good]] {
        let keys = Keys::parse(format!("\u{feff}{}", json!({ "keys": both })).as_bytes()).unwrap();
        for kid in [Some("a"), None] {
            assert_eq!((count(&keys, kid, Algorithm::RS256), count(&keys, kid, Algorithm::ES256)), (1, 1));
        }
    }
    let alike = Keys::parse(json!({"keys": vec![good; 20]}).to_string().as_bytes()).unwrap();
    assert_eq!(count(&alike, None, Algorithm::RS256), 8, "no token costs more signatures");
}

#[test]
fn an_access_token_is_a_token_and_nothing_else_is() {
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt", "application/JWT"] {
        assert!(is_a_token(typ), "{typ}");
    }
    for typ in ["", "JWE", "dpop+jwt", "logout+jwt", "secevent+jwt", "application/", "id"] {
        assert!(!is_a_token(typ), "{typ}");
    }
}
