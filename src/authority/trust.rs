//! Does this foreign token hold?
//! Given a token of a trusted issuer, hands back its issuer and subject; keeps that issuer's keys fresh on the way.
//! Never takes another algorithm than RS256 and ES256, and never asks an issuer that the configuration does not name.

mod keys;

mod fetch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, Validation};
use parking_lot::RwLock;
use serde_json::Value;

use crate::clock::{Clock, Now, Tick};

use keys::Keys;

/// How far ahead of ours an issuer's clock may be, in seconds.
const SKEW: u64 = 60;

/// One issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` that its tokens must have.
    pub audience: String,
    /// Where its keys are.
    pub source: Source,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// At an address.
    Url {
        /// The address.
        url: http::Uri,
        /// Who may have signed its certificate, PEM; absent: the machine's roots.
        ca_file: Option<PathBuf>,
        /// The token that it wants.
        bearer_token_file: Option<PathBuf>,
    },
}

impl Source {
    /// How old keys may get before they are looked for again, and how soon an unknown key is reason to.
    const fn patience(&self) -> (Duration, Duration) {
        match self {
            Self::File(_) => (Duration::from_secs(5), Duration::from_secs(1)),
            Self::Url { .. } => (Duration::from_secs(300), Duration::from_secs(10)),
        }
    }
}

/// An issuer with the keys that it showed last.
pub(super) struct Trusted {
    settings: Settings,
    keys: RwLock<Option<(Arc<Keys>, Tick)>>,
    /// When they were last looked for; held while somebody looks.
    looked: tokio::sync::Mutex<Option<Tick>>,
}

/// Why a foreign token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// For this reason, which strangers are not told.
    Bad(&'static str),
    /// Its issuer never showed any keys.
    NoKeys,
}

impl Trusted {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, keys: RwLock::new(None), looked: tokio::sync::Mutex::new(None) }
    }

    /// Whether the other one is about the same issuer, trusted in the same way.
    pub(super) fn is_for(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// The issuer's keys: those known if they are young and have `kid`, else looked for anew, at a bounded rate. Keys
    /// that cannot be had leave those of before in force.
    async fn keys(&self, kid: Option<&str>, clock: &Clock) -> Option<Arc<Keys>> {
        let (most, least) = self.settings.source.patience();
        let held = || self.keys.read().clone();
        let good = |held: &Option<(Arc<Keys>, Tick)>| {
            held.as_ref().is_some_and(|(keys, came)| keys.has(kid) && clock.tick().since(*came) < most)
        };
        if !good(&held()) {
            let mut looked = match self.looked.try_lock() {
                Ok(looked) => looked,
                // Whose key is known, if old, does not wait for the one who looks.
                Err(_) if held().is_some_and(|(keys, _)| keys.has(kid)) => return held().map(|(keys, _)| keys),
                Err(_) => self.looked.lock().await,
            };
            let lately = looked.is_some_and(|at| clock.tick().since(at) < least);
            // Somebody else may have found them while this one waited.
            if !lately && !good(&held()) {
                *looked = Some(clock.tick());
                match fetch::fetch(&self.settings.source, clock).await {
                    Ok(keys) => *self.keys.write() = Some((Arc::new(keys), clock.tick())),
                    Err(error) => {
                        let issuer = &self.settings.issuer;
                        tracing::warn!(%issuer, %error, "the issuer's keys cannot be had; those of before stay");
                    }
                }
            }
        }
        held().map(|(keys, _)| keys)
    }
}

/// Issuer and subject of a token that one of these issuers signed for us.
pub(super) async fn subject_of(
    trusted: &[Arc<Trusted>],
    token: &str,
    clock: &Clock,
) -> Result<(String, String), Untrusted> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Untrusted::Bad("not a JWT"))?;
    if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
        return Err(Untrusted::Bad("algorithm"));
    }
    if header.crit.is_some() {
        return Err(Untrusted::Bad("critical extension"));
    }
    if !header.typ.as_deref().is_none_or(is_a_token) {
        return Err(Untrusted::Bad("type"));
    }
    let issuer = claimed_issuer(token).ok_or(Untrusted::Bad("issuer"))?;
    let found = trusted.iter().find(|trusted| trusted.settings.issuer == issuer);
    let trusted = found.ok_or(Untrusted::Bad("issuer not trusted"))?;
    let kid = header.kid.as_deref();
    let keys = trusted.keys(kid, clock).await.ok_or(Untrusted::NoKeys)?;
    let mut claims = Err(Untrusted::Bad("key id"));
    for key in keys.candidates(kid, header.alg) {
        let decoded = jsonwebtoken::decode::<Value>(token, key, &rules(header.alg));
        claims = decoded.map(|decoded| decoded.claims).map_err(|_| Untrusted::Bad("signature"));
        if claims.is_ok() {
            break;
        }
    }
    let claims = claims?;
    let sub = judge(&claims, &trusted.settings, clock.now()).map_err(Untrusted::Bad)?;
    Ok((issuer, sub))
}

/// A JWT by its `typ`, or an access token of RFC 9068 §2.1; `application/` may be left out (RFC 7515 §4.1.9).
fn is_a_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

/// The claims of a token whose signature was found good (RFC 7519 §4.1); hands back its subject.
fn judge(claims: &Value, settings: &Settings, now: Now) -> Result<String, &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let unix = now.unix() as f64;
    if text("iss") != Some(&settings.issuer) {
        return Err("issuer");
    }
    let wanted = settings.audience.as_str();
    let for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    };
    if !for_us {
        return Err("audience");
    }
    if seconds("exp").is_none_or(|exp| exp <= unix) {
        return Err("expired");
    }
    let early = |name: &str| match claims.get(name) {
        None => false,
        Some(at) => at.as_f64().is_none_or(|at| at > unix + SKEW as f64),
    };
    if early("nbf") || early("iat") {
        return Err("not yet valid");
    }
    text("sub").filter(|sub| !sub.is_empty()).map(str::to_owned).ok_or("subject")
}

/// The `iss` that a token claims, before anything is verified: it only chooses whose keys to ask.
fn claimed_issuer(token: &str) -> Option<String> {
    let payload = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// The library's own checks of times and audience read the machine's clock and have leeways: off.
fn rules(algorithm: Algorithm) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    rules
}

#[cfg(test)]
mod tests;
