//! What is with a token of one's own?
//! Given a caller's proof and a token, hands back what it is good for (RFC 7662), or takes it back (RFC 7009).
//! Never says anything of another's token: it looks like none at all.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};

use crate::token::claims::Claims;
use crate::token::{Caller, Unidentified};

use super::Authority;
use super::grant::{Asked, tell_bounds};
use super::refused::{self, Refused};

impl Authority {
    /// `POST /oauth/introspect`.
    pub(super) fn introspect(&self, asked: &Asked<'_>) -> Result<Response<Bytes>, Refused> {
        let asker = self.asker(asked)?;
        let token = asked.form.one("token").ok_or(Refused::Request("token is missing"))?;
        let body = match self.tokens.identify_token(token.as_bytes(), asked.now) {
            Ok(caller) if caller.name() == &*asker => self.active(&caller),
            // One that opens the admin door is a token of its caller's too.
            Err(Unidentified::Bad("audience")) => match self.tokens.administrates(token, asked.now) {
                Ok(claims) if claims.client_id == *asker => administrative(&claims),
                _ => json!({"active": false}),
            },
            _ => json!({"active": false}),
        };
        Ok(refused::secret(body))
    }

    /// `POST /oauth/revoke`: 200 whether or not there was anything to take back (RFC 7009 §2.2).
    pub(super) async fn revoke_own(&self, asked: &Asked<'_>) -> Result<Response<Bytes>, Refused> {
        let token = asked.form.one("token").ok_or(Refused::Request("token is missing"))?;
        let asker = match self.again(asked, token) {
            Some(asker) => asker,
            None => self.asker(asked)?,
        };
        // Whatever it is for, and also if memory knows of a revocation: it may not have reached the disk.
        if let Ok(claims) = self.tokens.made(token, asked.now)
            && claims.client_id == *asker
            && (!self.tokens.revoked().has(&claims.jti) || self.pending.has(&claims.jti))
        {
            self.revoke(&claims.jti, claims.exp, &asker, &asker).await?;
        }
        Ok(refused::secret(json!({})))
    }

    /// Whose token this is, where it proves itself and was revoked before: whoever was told to come back, the disk having
    /// failed, comes with the same proof.
    fn again(&self, asked: &Asked<'_>, token: &str) -> Option<Arc<str>> {
        let mut sent = asked.headers.get_all(AUTHORIZATION).iter();
        let (Some(proof), None) = (sent.next(), sent.next()) else { return None };
        let (scheme, proof) = proof.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") || proof.trim() != token {
            return None;
        }
        let claims = self.tokens.made(token, asked.now).ok()?;
        self.tokens.revoked().has(&claims.jti).then(|| claims.client_id.into())
    }

    /// Whoever asks, by secret or by a token of its own.
    fn asker(&self, asked: &Asked<'_>) -> Result<Arc<str>, Refused> {
        if let Some(caller) = self.prove(asked)? {
            return Ok(caller);
        }
        if !asked.headers.contains_key(AUTHORIZATION) {
            return Err(Refused::Client);
        }
        let found = self.tokens.identify(asked.headers, asked.now);
        found.map(|caller| Arc::from(caller.name())).map_err(|why| match why {
            Unidentified::Ambiguous => Refused::Request("two different tokens are sent"),
            Unidentified::Missing => Refused::Client,
            why => self.failed(asked, Refused::Bearer(why)),
        })
    }

    /// RFC 7662 §2.2, with the effective scopes and bounds.
    fn active(&self, caller: &Caller) -> Value {
        let settings = self.tokens.settings();
        let mut said = json!({
            "active": true,
            "scope": self.tokens.names_in(caller.scopes()).join(" "),
            "client_id": caller.name(),
            "sub": caller.name(),
            "token_type": "Bearer",
            "iss": settings.issuer,
            "aud": settings.audience,
            "iat": caller.issued(),
            "exp": caller.expires(),
            "jti": caller.jti(),
        });
        if !caller.bounds().are_all() {
            tell_bounds(&mut said, caller.bounds());
        }
        said
    }
}

/// The same of a token for the admin door.
fn administrative(claims: &Claims) -> Value {
    json!({
        "active": true,
        "scope": claims.scope,
        "client_id": claims.client_id,
        "sub": claims.sub,
        "token_type": "Bearer",
        "iss": claims.iss,
        "aud": claims.aud,
        "iat": claims.iat,
        "exp": claims.exp,
        "jti": claims.jti,
    })
}
