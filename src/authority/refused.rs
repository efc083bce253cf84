//! In which ways does the authority say no?
//! Given a reason, hands back the error that RFC 6749 §5.2 and its relatives name, as an HTTP response.
//! Never says which part of a credential was wrong, and repeats of what was sent a scope's name alone.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::http::rate_limit_fields::retry_after;
use crate::token::Unidentified;

/// Every way to say no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// The request says what it may not, or not what it must.
    Request(&'static str),
    /// Too much of it.
    TooLarge,
    /// Nobody proved to be a caller.
    Client,
    /// The same, too often from one source.
    TooOften(Duration),
    /// No such grant.
    GrantType,
    /// A scope that the caller, or the token it came with, does not have.
    Scope(Cow<'static, str>),
    /// Not for this audience.
    Target,
    /// Bounds that cannot be granted.
    Details(&'static str),
    /// A bearer token where one is wanted.
    Bearer(Unidentified),
    /// Ledger or issuer are out of reach.
    Unavailable(&'static str),
    /// The path has this method alone.
    Method(&'static str),
    /// Nothing is there.
    Path,
}

impl Refused {
    /// This scope is asked for, and is not among those of `whose`. What stands in it is the asker's own, and is shown as far as
    /// RFC 6749 §5.2 lets it be in a description, and no scope of ours is longer.
    pub(super) fn scope_beyond(scope: &str, whose: &str) -> Self {
        let may_stand = |c: &char| matches!(c, '!' | '#'..='[' | ']'..='~');
        let shown: String = scope.chars().filter(may_stand).take(64).collect();
        Self::Scope(format!("the scope '{shown}' is not among those of {whose}").into())
    }

    /// The fixed word for logs.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Request(_) | Self::TooLarge => "invalid_request",
            Self::Client => "invalid_client",
            Self::TooOften(_) => "too_many_failures",
            Self::GrantType => "unsupported_grant_type",
            Self::Scope(_) => "invalid_scope",
            Self::Target => "invalid_target",
            Self::Details(_) => "invalid_authorization_details",
            Self::Bearer(_) => "invalid_token",
            Self::Unavailable(_) => "temporarily_unavailable",
            Self::Method(_) => "method",
            Self::Path => "no_such_path",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) | Self::GrantType | Self::Scope(_) | Self::Target | Self::Details(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Client | Self::Bearer(_) => StatusCode::UNAUTHORIZED,
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path => StatusCode::NOT_FOUND,
        }
    }

    fn description(&self) -> &str {
        match self {
            Self::Scope(why) => why,
            Self::Request(why) | Self::Unavailable(why) | Self::Details(why) => why,
            Self::TooLarge => "the body has more than 16 KiB",
            Self::Client => "the caller is unknown or its secret is wrong; `token secret` makes secrets",
            Self::TooOften(_) => "too many failures from this address; come back after Retry-After",
            Self::GrantType => "client_credentials and urn:ietf:params:oauth:grant-type:token-exchange are granted",
            Self::Target => "audience and resource may only name this gateway",
            Self::Bearer(Unidentified::Missing) => "a token is wanted, as Authorization: Bearer",
            Self::Bearer(Unidentified::Expired) => "the token has expired",
            Self::Bearer(Unidentified::Revoked) => "the token was revoked",
            Self::Bearer(_) => "the token is not valid here",
            Self::Method(_) => "the path has another method",
            Self::Path => "nothing is there; /.well-known/oauth-authorization-server lists what is",
        }
    }

    /// The error as JSON, never to be stored.
    pub(super) fn response(&self) -> Response<Bytes> {
        let body = json!({"error": self.as_str(), "error_description": self.description()});
        let mut response = secret(body);
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        match self {
            Self::Client => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"reseller-gateway\""));
            }
            Self::Bearer(Unidentified::Missing) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"reseller-gateway\""));
            }
            Self::Bearer(why @ (Unidentified::Expired | Unidentified::Revoked)) => {
                const EXPIRED: &str =
                    "Bearer realm=\"reseller-gateway\", error=\"invalid_token\", error_description=\"expired\"";
                const REVOKED: &str =
                    "Bearer realm=\"reseller-gateway\", error=\"invalid_token\", error_description=\"revoked\"";
                let challenge = if *why == Unidentified::Expired { EXPIRED } else { REVOKED };
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::Bearer(_) => {
                const INVALID: &str = "Bearer realm=\"reseller-gateway\", error=\"invalid_token\"";
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(INVALID));
            }
            Self::TooOften(wait) => drop(headers.insert(RETRY_AFTER, retry_after(*wait).into())),
            Self::Unavailable(_) => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("5"))),
            Self::Method(allowed) => drop(headers.insert(ALLOW, HeaderValue::from_static(allowed))),
            _ => {}
        }
        response
    }
}

impl From<super::ledger::Broken> for Refused {
    fn from(broken: super::ledger::Broken) -> Self {
        tracing::error!(%broken, "the ledger failed");
        Self::Unavailable(
            "the ledger cannot be read or written now; a revocation is in force here, and is to be asked for again",
        )
    }
}

/// JSON that nobody may store (RFC 6749 §5.1).
pub(super) fn secret(body: Value) -> Response<Bytes> {
    let mut response = public(body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// JSON that may be kept for a few minutes.
pub(super) fn public(body: Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<Refused> {
        let who = [Unidentified::Missing, Unidentified::Expired, Unidentified::Revoked, Unidentified::UnknownCaller];
        let mut all: Vec<Refused> = who.map(Refused::Bearer).into();
        all.extend([Refused::Request(""), Refused::TooLarge, Refused::Client, Refused::TooOften(Duration::ZERO)]);
        all.extend([Refused::GrantType, Refused::Scope("".into()), Refused::Target, Refused::Details("")]);
        all.extend([Refused::Unavailable(""), Refused::Method("POST"), Refused::Path]);
        // Whoever adds one comes by here.
        all.iter().for_each(|refused| match refused {
            Refused::Request(_) | Refused::TooLarge | Refused::Client | Refused::TooOften(_) | Refused::GrantType => {}
            Refused::Scope(_) | Refused::Target | Refused::Details(_) | Refused::Bearer(_) => {}
            Refused::Unavailable(_) | Refused::Method(_) | Refused::Path => {}
        });
        all
    }

    #[test]
    fn every_error_keeps_its_status_name_and_challenge() {
        let row = |refused: &Refused| {
            let response = refused.response();
            let challenge = response.headers().get(WWW_AUTHENTICATE).map_or("-", |value| value.to_str().unwrap());
            format!("{} {} {challenge}\n", response.status().as_u16(), refused.as_str())
        };
        let mut rows: Vec<String> = every().iter().map(row).collect();
        rows.sort();
        crate::golden::is_unchanged("oauth-errors.txt", &rows.concat());
    }
}
