//! Is this token ours, and does it say what ours say?
//! Given the text, the keys and `now`, hands back its claims.
//! Never trusts the header beyond naming a key; times are judged here, not by the library.

use jsonwebtoken::{Algorithm, Validation};

use crate::clock::Now;

use super::claims::Claims;
use super::ring::{Ring, TYPE};
use super::{LONGEST, Unidentified};

/// How far ahead of ours another machine's clock may be, in seconds.
const SKEW: u64 = 60;

/// Checks form, type, key, signature, issuer, audience and times (RFC 9068 §4); hands back the claims and the key's id.
/// Without `issuer` it is left to whoever asks.
///
/// # Errors
/// [`Unidentified`] with the first fault.
pub fn verify(
    token: &str,
    ring: &Ring,
    issuer: Option<&str>,
    audience: &str,
    now: Now,
) -> Result<(Claims, String), Unidentified> {
    if token.len() > LONGEST {
        return Err(Unidentified::Bad("too long"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Unidentified::Bad("not a JWT"))?;
    if header.alg != Algorithm::EdDSA {
        return Err(Unidentified::Bad("algorithm"));
    }
    if !header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE)) {
        return Err(Unidentified::Bad("type"));
    }
    // RFC 7515 §4.1.11: what is critical and not understood makes the whole invalid; the library only parses it.
    if header.crit.is_some() {
        return Err(Unidentified::Bad("critical extension"));
    }
    let key = header.kid.as_deref().and_then(|kid| ring.find(kid)).ok_or(Unidentified::Bad("key id"))?;
    let claims = jsonwebtoken::decode::<Claims>(token, &key.verifying, &rules())
        .map_err(|_| Unidentified::Bad("signature"))?
        .claims;
    if issuer.is_some_and(|issuer| claims.iss != issuer) {
        return Err(Unidentified::Bad("issuer"));
    }
    if claims.aud != audience {
        return Err(Unidentified::Bad("audience"));
    }
    if claims.iat > now.unix() + SKEW {
        return Err(Unidentified::Bad("issued in the future"));
    }
    if now.unix() >= claims.exp {
        return Err(Unidentified::Expired);
    }
    Ok((claims, key.kid.clone()))
}

/// The library's own checks of times and audience read the machine's clock and have leeways: off.
fn rules() -> Validation {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules
}
