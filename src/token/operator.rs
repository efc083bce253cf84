//! Who administers?
//! Given a request to the admin door, hands back the [`Operator`]; given the signing keys, makes the token that opens it.
//! Never takes a token of the public door, and never remembers one: administration is rare, so each is verified.

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::clock::Now;

use super::claims::{self, Claims};
use super::revoked::Life;
use super::ring::{Ring, RingError};
use super::{LONGEST, Tokens, Unidentified, bearer, scope, verify};

/// The `aud` of tokens that open the admin door, and nothing else.
pub const AUDIENCE: &str = "gateway-admin";

/// What the name of an operator begins with who came by the signing keys. No caller's name has a colon.
const LOCAL: &str = "local:";

/// A token made by a command is used at once.
const SHORT: Duration = Duration::from_secs(60);

/// Somebody who may administer.
#[derive(Debug)]
pub struct Operator {
    name: Box<str>,
    jti: Box<str>,
}

impl Operator {
    /// A caller's name, or `local:` and the user of this machine who could read the signing keys.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the token it came with (RFC 7519 §4.1.7).
    pub fn jti(&self) -> &str {
        &self.jti
    }
}

impl Tokens {
    /// Who sent these headers to the admin door? Only `Authorization: Bearer` counts there.
    ///
    /// # Errors
    /// [`Unidentified`]. A caller must have `gateway:admin` in its policy today, whatever its token says.
    pub fn identify_operator(&self, headers: &HeaderMap, now: Now) -> Result<Operator, Unidentified> {
        let mut sent = headers.get_all(AUTHORIZATION).iter();
        let token = match (sent.next(), sent.next()) {
            (None, _) => return Err(Unidentified::Missing),
            (_, Some(_)) => return Err(Unidentified::Ambiguous),
            (Some(value), None) => bearer(value.as_bytes()).ok_or(Unidentified::Missing)?,
        };
        if token.len() > LONGEST {
            return Err(Unidentified::Bad("too long"));
        }
        let token = std::str::from_utf8(token).map_err(|_| Unidentified::Bad("not text"))?;
        let claims = self.administrates(token, now)?;
        Ok(Operator { name: claims.client_id.into_boxed_str(), jti: claims.jti.into_boxed_str() })
    }

    /// What a token says that opens the admin door now.
    ///
    /// # Errors
    /// [`Unidentified`].
    pub fn administrates(&self, token: &str, now: Now) -> Result<Claims, Unidentified> {
        let (claims, _) = verify::verify(token, &self.ring, None, AUDIENCE, now)?;
        // A command goes by the file, which may be another than the one in force, and proves itself by the key alone.
        if claims.iss != self.settings.issuer && !claims.client_id.starts_with(LOCAL) {
            return Err(Unidentified::Bad("issuer"));
        }
        let life = Life { issued: claims.iat, expires: claims.exp };
        if self.revoked.refuses(&claims.client_id, &claims.jti, life) {
            return Err(Unidentified::Revoked);
        }
        if claims.authorization_details.is_some() {
            return Err(Unidentified::Bad("bounds"));
        }
        if !claims.scope.split(' ').any(|scope| scope == scope::ADMIN) {
            return Err(Unidentified::Bad("scope"));
        }
        if !claims.client_id.starts_with(LOCAL) {
            let policy = self.settings.callers.iter().find(|policy| policy.name == claims.client_id);
            let policy = policy.ok_or(Unidentified::UnknownCaller)?;
            if !policy.scopes.iter().any(|scope| scope == scope::ADMIN) {
                return Err(Unidentified::Bad("scope"));
            }
        }
        Ok(claims)
    }

    /// What a token says that was made here and has not ended, for whichever door, and whether or not it was taken back.
    ///
    /// # Errors
    /// [`Unidentified`].
    pub fn made(&self, token: &str, now: Now) -> Result<Claims, Unidentified> {
        let of = |audience| verify::verify(token, &self.ring, Some(&self.settings.issuer), audience, now);
        let found = match of(&self.settings.audience) {
            Err(Unidentified::Bad("audience")) => of(AUDIENCE),
            found => found,
        };
        found.map(|(claims, _)| claims)
    }
}

/// A token for whoever can read the signing keys, good for a minute; `user` is how the log will call them.
///
/// # Errors
/// [`RingError`] where the key refuses or the machine has no randomness.
pub fn mint(ring: &Ring, issuer: &str, user: &str, now: Now) -> Result<String, RingError> {
    let name = format!("{LOCAL}{user}");
    ring.sign(&Claims {
        iss: issuer.to_owned(),
        sub: name.clone(),
        aud: AUDIENCE.to_owned(),
        exp: now.unix().saturating_add(SHORT.as_secs()),
        iat: now.unix(),
        jti: claims::new_id().map_err(|_| RingError::Random)?,
        client_id: name,
        scope: scope::ADMIN.to_owned(),
        authorization_details: None,
    })
}

#[cfg(test)]
mod tests {
    use crate::token::bounds::Bounds;

    use std::sync::Arc;

    use super::*;
    use crate::clock::Tick;
    use crate::token::scope::ScopeNames;
    use crate::token::{Policy, Settings, TokenSpec};

    const ISSUER: &str = "http://127.0.0.1:8080";
    const NOON: u64 = 1_800_000_000;

    fn at(unix: u64) -> Now {
        Now { tick: Tick::from_nanos(0), unix_ms: unix * 1000 }
    }

    fn door(ring: &Arc<Ring>) -> Tokens {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let policy = |name: &str, scopes: &[&str]| Policy {
            name: name.to_owned(),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            bounds: Bounds::default(),
            priority: Default::default(),
        };
        let settings = Settings {
            issuer: ISSUER.to_owned(),
            audience: "account-api".to_owned(),
            accept_api_key_header: true,
            callers: vec![policy("ops", &["clients:read", scope::ADMIN]), policy("billing", &["clients:read"])],
        };
        Tokens::new(settings, Arc::clone(ring), Arc::new(ScopeNames::new(["clients:read"]).unwrap()))
    }

    fn ring() -> Arc<Ring> {
        Arc::new(Ring::in_memory().unwrap())
    }

    fn bearing(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        headers
    }

    /// A token of the admin audience for a caller, as an authority would make it.
    fn of_caller(ring: &Ring, caller: &str, scope: &str, aud: &str) -> String {
        ring.sign(&Claims {
            iss: ISSUER.to_owned(),
            sub: caller.to_owned(),
            aud: aud.to_owned(),
            exp: NOON + 60,
            iat: NOON,
            jti: "j".to_owned(),
            client_id: caller.to_owned(),
            scope: scope.to_owned(),
            authorization_details: None,
        })
        .unwrap()
    }

    #[test]
    fn who_can_read_the_keys_administers_for_a_minute() {
        let ring = ring();
        let door = door(&ring);
        let headers = bearing(&mint(&ring, ISSUER, "uid-1000", at(NOON)).unwrap());
        let operator = door.identify_operator(&headers, at(NOON + 59)).unwrap();
        assert_eq!(operator.name(), "local:uid-1000");
        assert_eq!(operator.jti().len(), 22);
        assert_eq!(door.identify_operator(&headers, at(NOON + 60)).unwrap_err(), Unidentified::Expired);
    }

    #[test]
    fn a_caller_administers_only_while_its_policy_says_so() {
        let ring = ring();
        let door = door(&ring);
        let asked = |caller, scope, aud| {
            let headers = bearing(&of_caller(&ring, caller, scope, aud));
            door.identify_operator(&headers, at(NOON)).map(|operator| operator.name().to_owned())
        };
        assert_eq!(asked("ops", scope::ADMIN, AUDIENCE), Ok("ops".to_owned()));
        assert_eq!(asked("ops", "clients:read", AUDIENCE), Err(Unidentified::Bad("scope")));
        assert_eq!(asked("billing", scope::ADMIN, AUDIENCE), Err(Unidentified::Bad("scope")));
        assert_eq!(asked("gone", scope::ADMIN, AUDIENCE), Err(Unidentified::UnknownCaller));
        assert_eq!(asked("ops", scope::ADMIN, "account-api"), Err(Unidentified::Bad("audience")));
    }

    #[test]
    fn neither_door_takes_the_others_tokens() {
        let ring = ring();
        let door = door(&ring);
        let admin = bearing(&mint(&ring, ISSUER, "uid-0", at(NOON)).unwrap());
        assert_eq!(door.identify(&admin, at(NOON)).unwrap_err(), Unidentified::Bad("audience"));
        let wish = TokenSpec {
            caller: "ops".to_owned(),
            scopes: Vec::new(),
            bounds: Bounds::default(),
            ttl: Duration::from_secs(60),
        };
        let public = bearing(&door.issue(&wish, at(NOON)).unwrap().token);
        assert!(door.identify(&public, at(NOON)).is_ok());
        assert_eq!(door.identify_operator(&public, at(NOON)).unwrap_err(), Unidentified::Bad("audience"));
    }

    #[test]
    fn a_token_comes_as_one_bearer_and_from_our_keys() {
        let ours = ring();
        let door = door(&ours);
        let token = mint(&ours, ISSUER, "uid-0", at(NOON)).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(door.identify_operator(&headers, at(NOON)).unwrap_err(), Unidentified::Missing);
        headers.insert("x-reseller-api-key", token.parse().unwrap());
        assert_eq!(door.identify_operator(&headers, at(NOON)).unwrap_err(), Unidentified::Missing);
        let mut headers = bearing(&token);
        headers.append(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        assert_eq!(door.identify_operator(&headers, at(NOON)).unwrap_err(), Unidentified::Ambiguous);
        let foreign = bearing(&mint(&ring(), ISSUER, "uid-0", at(NOON)).unwrap());
        assert_eq!(door.identify_operator(&foreign, at(NOON)).unwrap_err(), Unidentified::Bad("key id"));
        let elsewhere = bearing(&mint(&ours, "https://other", "uid-0", at(NOON)).unwrap());
        assert!(
            door.identify_operator(&elsewhere, at(NOON)).is_ok(),
            "a changed public_url must not lock commands out"
        );
    }
}
