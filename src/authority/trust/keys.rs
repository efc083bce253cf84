//! Which keys does an issuer show?
//! Given a JWK set (RFC 7517), hands back those that may verify a signature: RSA from 2048 bits, and P-256.
//! Never takes an `oct` key: as a shared secret it would let whoever reads the set sign.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

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

fn usable(key: serde_json::Value) -> Option<Usable> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let is_for = |algorithm: &str| jwk.alg.as_deref().is_none_or(|alg| alg == algorithm);
    // Some pad what RFC 7515 §2 leaves unpadded.
    let unpadded = |part: &Option<String>| part.as_deref().map(|part| part.trim_end_matches('=').to_owned());
    let bytes = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let (n, e, x, y) = (unpadded(&jwk.n), unpadded(&jwk.e), unpadded(&jwk.x), unpadded(&jwk.y));
    let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) if is_for("RS256") => {
            let modulus = bytes(n.as_deref()?)?;
            let bits = modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
            if !(2048..=8192).contains(&bits) {
                return None;
            }
            (Algorithm::RS256, DecodingKey::from_rsa_components(n.as_deref()?, e.as_deref()?).ok()?)
        }
        ("EC", Some("P-256")) if is_for("ES256") => {
            if bytes(x.as_deref()?)?.len() != 32 || bytes(y.as_deref()?)?.len() != 32 {
                return None;
            }
            (Algorithm::ES256, DecodingKey::from_ec_components(x.as_deref()?, y.as_deref()?).ok()?)
        }
        _ => return None,
    };
    Some(Usable { kid: jwk.kid.filter(|kid| !kid.is_empty()), algorithm, key })
}
