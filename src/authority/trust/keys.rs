//! Which keys does an issuer show?
//! Given a JWK set (RFC 7517), hands back those that may verify a signature: RSA from 2048 bits, and P-256.
//! Never takes an `oct` key: as a shared secret it would let whoever reads the set sign.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// More keys than this no issuer shows.
const MOST: usize = 100;

/// Signatures tried for one token, at most: ids are optional and need not be unique (RFC 7517 §4.5).
const TRIES: usize = 8;

/// The usable keys in the order of their set.
pub(in crate::authority) struct Keys(Vec<Usable>);

struct Usable {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The members that are read. What others hold, of whatever type, is nothing to us (RFC 7517 §4).
const READ: [&str; 9] = ["kty", "kid", "use", "alg", "crv", "n", "e", "x", "y"];

impl Keys {
    /// The usable keys of a set; others are passed over.
    ///
    /// # Errors
    /// A set that is none, is too long, or has no usable key: no reason to forget those of before.
    pub(super) fn parse(text: &[u8]) -> Result<Self, &'static str> {
        // Editors and PowerShell put a byte order mark before it; a parser may pass it over (RFC 8259 §8.1).
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let set: Set = serde_json::from_slice(text).map_err(|_| "not a JWK set")?;
        if set.keys.len() > MOST {
            return Err("more than 100 keys");
        }
        let keys: Vec<_> = set.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() { Err("no RS256 or ES256 key is in the set") } else { Ok(Self(keys)) }
    }

    /// Whether a key may be the one that a token names; one that names none (RFC 7515 §4.1.4) may be any's.
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        self.0.iter().any(|usable| kid.is_none() || usable.kid.as_deref() == kid)
    }

    /// The keys that may have signed a token of this algorithm that names this one, or none.
    pub(super) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &DecodingKey> {
        let fits =
            move |usable: &&Usable| usable.algorithm == algorithm && (kid.is_none() || usable.kid.as_deref() == kid);
        self.0.iter().filter(fits).map(|usable| &usable.key).take(TRIES)
    }
}

fn usable(mut key: Value) -> Option<Usable> {
    let members = key.as_object_mut()?;
    members.retain(|name, _| READ.contains(&name.as_str()));
    for part in ["n", "e", "x", "y"] {
        // Some pad what RFC 7515 §2 leaves unpadded.
        if let Some(Value::String(text)) = members.get_mut(part) {
            text.truncate(text.trim_end_matches('=').len());
        }
    }
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let is_for = |algorithm| jwk.common.key_algorithm.is_none_or(|other| other == algorithm);
    let bytes = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap_or_default();
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(parts) if is_for(KeyAlgorithm::RS256) => {
            let bits = bytes(&parts.n).iter().skip_while(|byte| **byte == 0).count() * 8;
            (2048..=8192).contains(&bits).then_some(Algorithm::RS256)?
        }
        AlgorithmParameters::EllipticCurve(parts)
            if parts.curve == EllipticCurve::P256 && is_for(KeyAlgorithm::ES256) =>
        {
            [&parts.x, &parts.y].iter().all(|part| bytes(part).len() == 32).then_some(Algorithm::ES256)?
        }
        _ => return None,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Usable { kid: jwk.common.key_id.filter(|kid| !kid.is_empty()), algorithm, key })
}
