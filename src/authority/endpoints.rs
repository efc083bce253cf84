//! Which of the authority's doors is asked for?
//! Given a request for `/oauth/*`, `/.well-known/*` or `/-/me`, hands back an answer, and an audit line of what was refused.
//! Never takes parameters from a query, where logs would keep them, and never reads more than 16 KiB.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use crate::access::Rules;
use crate::clock::Now;
use crate::gcra::ComeBack;
use crate::quota::CallerLimits;
use crate::quota::strangers::Strangers;
use crate::route::Routes;
use crate::token::{Caller, Recalled, Unidentified};

use super::Authority;
use super::form::Form;
use super::grant::Asked;
use super::published;
use super::refused::{self, Refused};
use super::rights;

/// No form is larger.
const BODY: usize = 16 << 10;

/// Whether a path is the authority's. One look at its second byte turns away what the partner's API is asked.
pub fn is_for(path: &str) -> bool {
    matches!(path.as_bytes().get(1), Some(b'o' | b'.' | b'-'))
        && (path.starts_with("/oauth/") || path.starts_with("/.well-known/") || path.starts_with("/-/"))
}

/// The rooms that `/-/me` looks into.
#[derive(Clone, Copy)]
pub struct RequestContext<'h> {
    /// What there is.
    pub routes: &'h Routes,
    /// Who may have it.
    pub rules: &'h Rules,
    /// What callers have left of their limits.
    pub caller_limits: &'h CallerLimits,
    /// Whose tokens turned out bad lately.
    pub strangers: &'h Strangers,
}

/// An answer, who got it, and the word for the log if it is a refusal.
pub struct Answered {
    /// The response.
    pub response: Response<Bytes>,
    /// The caller, where a token showed who it is.
    pub caller: Option<Arc<Caller>>,
    /// Why it was refused; empty if it was not.
    pub cause: &'static str,
}

/// What came to light while a request was answered.
struct Met {
    /// Who sent it.
    caller: Option<Arc<Caller>>,
    /// Whether some of its body was never read, so that nothing can follow on its connection.
    unread: bool,
}

impl Authority {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, context: RequestContext<'_>) -> Answered {
        let now = self.clock.now();
        let (parts, body) = request.into_parts();
        let mut met = Met { caller: None, unread: !body.is_end_stream() };
        let until = now.tick.plus(self.patience);
        let work = self.lead(&parts, body, peer, now, context, &mut met);
        let found = self.clock.until(until, work).await;
        let found = found.unwrap_or(Err(Refused::Unavailable(
            "it took too long; nothing was handed out, and a revocation may be done",
        )));
        let mut answered = self.answered(&parts, peer, met.caller, found);
        // The connection ends with it: whoever keeps connections has to know (RFC 9112 §9.6).
        if met.unread && parts.version < Version::HTTP_2 {
            answered.response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answered
    }

    fn answered(
        &self,
        parts: &Parts,
        peer: SocketAddr,
        caller: Option<Arc<Caller>>,
        found: Result<Response<Bytes>, Refused>,
    ) -> Answered {
        match found {
            Ok(response) => Answered { response, caller, cause: "" },
            Err(refused) => {
                let cause = refused.as_str();
                if parts.uri.path() == "/oauth/token" {
                    self.figures.refused.fetch_add(1, Ordering::Relaxed);
                }
                // Whoever is told to wait was written down often enough.
                if parts.uri.path().starts_with("/oauth/") && !matches!(refused, Refused::TooOften(_)) {
                    let path = parts.uri.path();
                    let path = path.get(..path.floor_char_boundary(64)).unwrap_or_default();
                    tracing::warn!(target: "audit", %peer, path, refused = cause, "audit: refused");
                }
                Answered { response: refused.response(), caller, cause }
            }
        }
    }

    async fn lead(
        &self,
        parts: &Parts,
        body: Incoming,
        peer: SocketAddr,
        now: Now,
        context: RequestContext<'_>,
        met: &mut Met,
    ) -> Result<Response<Bytes>, Refused> {
        match parts.uri.path() {
            "/oauth/token" => self.grant(&self.asked(parts, body, peer, now, met).await?).await,
            "/oauth/introspect" => self.introspect(&self.asked(parts, body, peer, now, met).await?),
            "/oauth/revoke" => self.revoke_own(&self.asked(parts, body, peer, now, met).await?).await,
            "/.well-known/oauth-authorization-server" => {
                reads(parts)?;
                let scopes = self.tokens.all_scopes();
                Ok(refused::public(published::metadata(&self.tokens.settings().issuer, &scopes)))
            }
            "/.well-known/jwks.json" => {
                reads(parts)?;
                Ok(refused::public(published::jwks(self.tokens.ring())))
            }
            "/-/me" => {
                reads(parts)?;
                let found = met.caller.insert(self.holder(&parts.headers, peer, now, context.strangers)?);
                let mut said = rights::of(found, &self.tokens, context.routes, context.rules);
                // Told in the words that every answer of the partner's API has in its head.
                if let Some(told) = context.caller_limits.tell(found, || now.tick)
                    && let Some(members) = said.as_object_mut()
                {
                    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                    members.insert("ratelimit_policy".to_owned(), text(&told.policy).into());
                    members.insert("ratelimit".to_owned(), text(&told.standing).into());
                }
                Ok(refused::secret(said))
            }
            _ => Err(Refused::Path),
        }
    }

    /// Whose token is in these headers? A bad one costs its peer's patience, as it does at the partner's paths.
    fn holder(
        &self,
        headers: &HeaderMap,
        peer: SocketAddr,
        now: Now,
        strangers: &Strangers,
    ) -> Result<Arc<Caller>, Refused> {
        let refused = |why| match why {
            Unidentified::Ambiguous => Refused::Request("two different tokens are sent"),
            why => Refused::Bearer(why),
        };
        match self.tokens.recall(headers, now).map_err(refused)? {
            Recalled::Caller(caller) => Ok(caller),
            Recalled::Unseen(token) => {
                let waits = |back: ComeBack| Refused::TooOften(back.at.since(now.tick));
                if !self.tokens.is_familiar(token) {
                    strangers.may_try(peer.ip(), now.tick).map_err(waits)?;
                }
                let found = self.tokens.examine(token, now);
                found.inspect_err(|_| strangers.failed(peer.ip(), now.tick)).map_err(refused)
            }
        }
    }

    /// The form of a POST.
    async fn asked<'a>(
        &self,
        parts: &'a Parts,
        body: Incoming,
        peer: SocketAddr,
        now: Now,
        met: &mut Met,
    ) -> Result<Asked<'a>, Refused> {
        if parts.method != Method::POST {
            return Err(Refused::Method("POST"));
        }
        if parts.uri.query().is_some() {
            return Err(Refused::Request("parameters are sent in the body, not in the query"));
        }
        let media = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refused::Request("the body is sent as application/x-www-form-urlencoded"));
        }
        let body = Limited::new(body, BODY).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
            true => Refused::TooLarge,
            false => Refused::Request("the body broke off"),
        })?;
        met.unread = false;
        let form = Form::posted(&body.to_bytes())?;
        Ok(Asked { headers: &parts.headers, form, source: peer.ip(), now })
    }
}

fn reads(parts: &Parts) -> Result<(), Refused> {
    let known = parts.method == Method::GET || parts.method == Method::HEAD;
    if known { Ok(()) } else { Err(Refused::Method("GET, HEAD")) }
}
