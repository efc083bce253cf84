//! What is this token worth here?
//! Given a token of a trusted issuer, or one of ours, hands back one of ours (RFC 8693).
//! Never gives more than the other one was good for, nor for longer where it is ours.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::json;

use crate::token::bounds::{Bound, Bounds};
use crate::token::scope::is_given_unasked;
use crate::token::{LONGEST, TokenSpec};

use super::Authority;
use super::grant::{Asked, answer, bounds_in, scopes_in};
use super::ledger::How;
use super::refused::{self, Refused};
use super::trust::Untrusted;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// RFC 8693 §2.2.2: whatever is wrong with it, the request is invalid; strangers get one text.
const UNUSABLE: Refused = Refused::Request("the subject token cannot be exchanged");

/// A wish and how it came about.
struct Worth {
    spec: TokenSpec,
    how: How,
}

impl Authority {
    pub(super) async fn exchange(&self, asked: &Asked<'_>) -> Result<Response<Bytes>, Refused> {
        let form = &asked.form;
        if form.one("actor_token").is_some() || form.one("actor_token_type").is_some() {
            return Err(Refused::Request("nobody acts for another here; leave actor_token out"));
        }
        if form.one("requested_token_type").is_some_and(|wanted| wanted != ACCESS_TOKEN) {
            return Err(Refused::Request("requested_token_type may only be an access token's"));
        }
        let kind = form.one("subject_token_type").ok_or(Refused::Request("subject_token_type is missing"))?;
        let token = form.one("subject_token").ok_or(Refused::Request("subject_token is missing"))?;
        // Nobody has to show a secret here: the subject token is the proof. Who shows one must be right, though.
        let proven = self.prove(asked)?;
        let worth = match kind {
            ACCESS_TOKEN => self.exchange_own(token, asked)?,
            JWT | ID_TOKEN => self.foreign(token, asked).await?,
            _ => return Err(Refused::Request("subject_token_type is none that is exchanged here")),
        };
        let named = proven.as_deref().or_else(|| form.one("client_id"));
        if named.is_some_and(|named| named != worth.spec.caller) {
            return Err(Refused::Request("client_id is not the caller that the subject token stands for"));
        }
        let issued = self.issue(&worth.spec, worth.how, asked.now).await?;
        // All of the caller's may have been taken back while this one was made, and it is dated after that.
        if kind == ACCESS_TOKEN && self.tokens.identify_token(token.as_bytes(), asked.now).is_err() {
            let claims = &issued.claims;
            self.revoke(&claims.jti, claims.exp, &claims.client_id, &claims.client_id).await?;
            return Err(Refused::Request("the subject token cannot be exchanged"));
        }
        let mut said = answer(&issued, asked);
        if let Some(members) = said.as_object_mut() {
            members.insert("issued_token_type".to_owned(), json!(ACCESS_TOKEN));
        }
        Ok(refused::secret(said))
    }

    /// One of ours is worth at most what it is good for now, until it ends.
    fn exchange_own(&self, token: &str, asked: &Asked<'_>) -> Result<Worth, Refused> {
        let caller =
            self.tokens.identify_token(token.as_bytes(), asked.now).map_err(|_| self.failed(asked, UNUSABLE))?;
        let has = self.tokens.names_in(caller.scopes());
        let scopes = match scopes_in(&asked.form) {
            none if none.is_empty() => has.into_iter().filter(|scope| is_given_unasked(scope)).collect(),
            named if named.iter().all(|scope| has.contains(scope)) => named,
            named => {
                let beyond = named.iter().find(|scope| !has.contains(scope)).map_or("", String::as_str);
                return Err(Refused::scope_beyond(beyond, "the subject token"));
            }
        };
        // An empty wish would mean all that the caller may read.
        if scopes.is_empty() {
            return Err(Refused::Scope("the subject token has no scope that is given without being named".into()));
        }
        let left = Duration::from_secs(caller.expires().saturating_sub(asked.now.unix()));
        let spec = TokenSpec {
            caller: caller.name().to_owned(),
            scopes,
            bounds: within(caller.bounds(), &bounds_in(&asked.form)?)?,
            ttl: left.min(self.ttl_of(caller.name())),
        };
        Ok(Worth { spec, how: How::Exchange { from: caller.jti().to_owned() } })
    }

    /// A foreign one stands for the caller that names its issuer and subject.
    async fn foreign(&self, token: &str, asked: &Asked<'_>) -> Result<Worth, Refused> {
        if token.len() > 2 * LONGEST {
            return Err(UNUSABLE);
        }
        let subject = super::trust::subject_of(&self.trusted, token, &self.clock).await;
        let (issuer, sub) = subject.map_err(|untrusted| match untrusted {
            Untrusted::NoKeys => Refused::Unavailable("the keys of the token's issuer cannot be had now"),
            Untrusted::Bad(why) => {
                tracing::debug!(why, "a foreign token was refused");
                self.failed(asked, UNUSABLE)
            }
        })?;
        let Some(caller) = self.subjects.get(&(issuer.clone(), sub.clone())) else {
            tracing::info!(target: "audit", %issuer, %sub, "audit: no caller names this subject");
            return Err(self.failed(asked, UNUSABLE));
        };
        let spec = TokenSpec {
            caller: caller.clone(),
            scopes: scopes_in(&asked.form),
            bounds: bounds_in(&asked.form)?,
            ttl: self.ttl_of(caller),
        };
        Ok(Worth { spec, how: How::Subject { issuer, sub } })
    }
}

/// What is asked, inside what the subject token has; who asks for nothing gets that.
fn within(has: &Bounds, asked: &Bounds) -> Result<Bounds, Refused> {
    let beyond = |has: &Bound, asked: &Bound| !asked.is_all() && has.beyond(asked).is_some();
    if beyond(&has.clients, &asked.clients) || beyond(&has.providers, &asked.providers) {
        return Err(Refused::Details("a client or provider is not among those of the subject token"));
    }
    Ok(asked.intersect(has))
}
