//! Which token is asked for?
//! Given a form at the token endpoint, hands back a token for whoever proved to be a caller (RFC 6749 §4.4).
//! Never gives more than was asked for, nor anything that the caller's policy lacks.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Response};
use serde_json::json;

use crate::clock::Now;
use crate::token::bounds::Bounds;
use crate::token::{Issued, NotIssued, TokenSpec};

use super::form::{self, Form, Unreadable};
use super::ledger::How;
use super::published::{CLIENT_CREDENTIALS, EXCHANGE};
use super::refused::{self, Refused};
use super::{Authority, Failed};

/// The parameter and the member of RFC 9396.
const DETAILS: &str = "authorization_details";

/// What was asked, and from where.
pub(super) struct Asked<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) form: Form,
    pub(super) source: IpAddr,
    pub(super) now: Now,
}

/// The scopes in a `scope` parameter (RFC 6749 §3.3).
pub(super) fn scopes_in(form: &Form) -> Vec<String> {
    let asked = form.one("scope").unwrap_or_default().split_ascii_whitespace();
    let mut scopes: Vec<String> = Vec::new();
    for scope in asked {
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

/// The bounds that `authorization_details` name (RFC 9396 §2); without it all, which is the caller's own.
pub(super) fn bounds_in(form: &Form) -> Result<Bounds, Refused> {
    let Some(text) = form.one(DETAILS) else { return Ok(Bounds::default()) };
    serde_json::from_str(text).map_err(|_| {
        Refused::Details("authorization_details is a list of one object: type account-api, with lists of ids in clients and providers")
    })
}

impl Authority {
    /// `POST /oauth/token`.
    pub(super) async fn grant(&self, asked: &Asked<'_>) -> Result<Response<Bytes>, Refused> {
        let kind = asked.form.one("grant_type").ok_or(Refused::Request("grant_type is missing"))?;
        self.is_for_us(&asked.form)?;
        match kind {
            CLIENT_CREDENTIALS => {
                let caller = self.prove(asked)?.ok_or(Refused::Client)?;
                let ttl = self.ttl_of(&caller);
                let (scopes, bounds) = (scopes_in(&asked.form), bounds_in(&asked.form)?);
                let wish = TokenSpec { caller: caller.to_string(), scopes, bounds, ttl };
                let issued = self.issue(&wish, How::Secret, asked.now).await?;
                Ok(refused::secret(answer(&issued, asked)))
            }
            EXCHANGE => self.exchange(asked).await,
            _ => Err(Refused::GrantType),
        }
    }

    /// The caller that the request's secret proves; `None` where it shows none.
    pub(super) fn prove(&self, asked: &Asked<'_>) -> Result<Option<Arc<str>>, Refused> {
        let mut sent = asked.headers.get_all(AUTHORIZATION).iter();
        let basic = match (sent.next(), sent.next()) {
            (None, _) => None,
            (Some(_), Some(_)) => return Err(Refused::Request("there are two Authorization headers")),
            (Some(value), None) => form::basic(value.as_bytes()).transpose()?,
        };
        let told = (asked.form.one("client_id"), asked.form.one("client_secret"));
        let caller = match (&basic, told) {
            // RFC 6749 §2.3: one method at a time.
            (Some(_), (_, Some(_))) => return Err(Refused::Request("the secret is sent in two ways")),
            (Some((name, _)), (Some(told), None)) if name.as_str() != told => {
                return Err(Refused::Request("client_id names another caller than the Basic credentials"));
            }
            (Some((name, secret)), _) => self.proofs.caller(name, secret),
            (None, (Some(name), Some(secret))) => self.proofs.caller(name, secret),
            (None, (_, None)) => return Ok(None),
            (None, (None, Some(_))) => return Err(Refused::Request("client_id is missing")),
        };
        match caller {
            Some(caller) => Ok(Some(caller)),
            None => Err(self.failed(asked, Refused::Client)),
        }
    }

    /// Counts a failure of the source; too many are told to wait.
    pub(super) fn failed(&self, asked: &Asked<'_>, refused: Refused) -> Refused {
        match self.failures.count(asked.source, asked.now.tick) {
            Ok(()) => refused,
            Err(later) => Refused::TooOften(later.at.since(asked.now.tick)),
        }
    }

    fn is_for_us(&self, form: &Form) -> Result<(), Refused> {
        let settings = self.tokens.settings();
        let ours = |named: &str| named == settings.audience || named.trim_end_matches('/') == settings.issuer;
        let all = form.every("audience").chain(form.every("resource")).all(ours);
        if all { Ok(()) } else { Err(Refused::Target) }
    }
}

/// The successful answer of RFC 6749 §5.1; of the bounds it says what was granted (RFC 9396 §7).
pub(super) fn answer(issued: &Issued, asked: &Asked<'_>) -> serde_json::Value {
    let mut said = json!({
        "access_token": issued.token,
        "token_type": "Bearer",
        "expires_in": issued.claims.exp.saturating_sub(asked.now.unix()),
        "scope": issued.claims.scope,
    });
    if asked.form.one(DETAILS).is_some() || !issued.bounds.are_all() {
        tell_bounds(&mut said, &issued.bounds);
    }
    said
}

/// Adds bounds to an object under the name that RFC 9396 gives them.
pub(super) fn tell_bounds(said: &mut serde_json::Value, bounds: &Bounds) {
    if let Some(members) = said.as_object_mut() {
        members.insert(DETAILS.to_owned(), bounds.details());
    }
}

impl From<Unreadable> for Refused {
    fn from(Unreadable(why): Unreadable) -> Self {
        Self::Request(why)
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::NotIssued(NotIssued::Wider(scope, ..)) => Self::scope_beyond(&scope, "the caller"),
            Failed::NotIssued(NotIssued::Nothing(..)) => {
                Self::Scope("the caller has no scope that is given without being named; name one".into())
            }
            Failed::NotIssued(NotIssued::Beyond(..)) => {
                Self::Details("a client or provider is not among those of the caller")
            }
            Failed::NotIssued(NotIssued::AdminAlone) => {
                Self::Scope("gateway:admin is asked for alone: its token is of another audience".into())
            }
            Failed::NotIssued(NotIssued::TooLong) => Self::Request("the token would be longer than 4 KiB"),
            Failed::NotIssued(NotIssued::UnknownCaller(..)) => Self::Client,
            Failed::NotIssued(NotIssued::Unsigned(error)) => {
                tracing::error!(%error, "a token could not be signed");
                Self::Unavailable("the token could not be signed")
            }
            Failed::Broken(broken) => broken.into(),
            Failed::Left => Self::Client,
            Failed::ParentRevoked => Self::Request("the subject token cannot be exchanged"),
            Failed::Full => {
                tracing::error!("a caller has 100,000 living tokens; it gets no more until some expire");
                Self::Unavailable("the caller has too many living tokens; use each until it expires")
            }
        }
    }
}
