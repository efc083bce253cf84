//! Which keys does an issuer show?
//! Given a JWK set (RFC 7517), hands back those that may verify a signature: RSA from 2048 bits, and P-256.
//! Never takes an `oct` key: as a shared secret it would let whoever reads the set sign.

use std::collections::HashMap;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// More keys than this no issuer shows.
const MOST: usize = 100;

/// Keys by id; each verifies one algorithm.
pub(in crate::authority) struct Keys(HashMap<String, (Algorithm, DecodingKey)>);

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// The usable keys of a set; others are passed over.
    ///
    /// # Errors
    /// A set that is none, is too long, or has no usable key: no reason to forget those of before.
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let set: Set = serde_json::from_slice(text).map_err(|_| "not a JWK set")?;
        if set.keys.len() > MOST {
            return Err("more than 100 keys");
        }
        let keys: HashMap<_, _> = set.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() { Err("no RS256 or ES256 key with an id is in the set") } else { Ok(Self(keys)) }
    }

    pub(super) fn has(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    /// The key of this id, if it verifies this algorithm.
    pub(super) fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.0.get(kid).filter(|(its, _)| *its == algorithm).map(|(_, key)| key)
    }
}

fn usable(key: serde_json::Value) -> Option<(String, (Algorithm, DecodingKey))> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let is_for = |algorithm: &str| jwk.alg.as_deref().is_none_or(|alg| alg == algorithm);
    let bytes = |part: &Option<String>| BASE64URL_NOPAD.decode(part.as_deref()?.as_bytes()).ok();
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) if is_for("RS256") => {
            let modulus = bytes(&jwk.n)?;
            let bits = modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
            if !(2048..=8192).contains(&bits) {
                return None;
            }
            (Algorithm::RS256, DecodingKey::from_rsa_components(jwk.n.as_deref()?, jwk.e.as_deref()?).ok()?)
        }
        ("EC", Some("P-256")) if is_for("ES256") => {
            if bytes(&jwk.x)?.len() != 32 || bytes(&jwk.y)?.len() != 32 {
                return None;
            }
            (Algorithm::ES256, DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?).ok()?)
        }
        _ => return None,
    };
    Some((jwk.kid.filter(|kid| !kid.is_empty())?, key))
}
