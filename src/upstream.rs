//! What does the partner say?
//! Given a permit and a resource, hands back its whole answer within bounds, or how it failed.
//! Never touches the store, tokens or a caller's credentials; the key goes to the configured origin alone.

pub mod headers;

pub mod through;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, RETRY_AFTER, USER_AGENT, VIA,
};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;

use crate::account_api::KEY_HEADER;
use crate::budget::Permit;
use crate::clock::{Clock, Now, Tick};
use crate::dial::OutBody;
use crate::secret::Secret;

const USER_AGENT_OURS: HeaderValue = HeaderValue::from_static(concat!("reseller-gateway/", env!("CARGO_PKG_VERSION")));

/// The longest `Retry-After` that is obeyed to the second; beyond it this one counts.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);

/// Where the partner is and how it is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// The real key.
    pub key: Secret,
    /// The largest body that is read.
    pub max_response: usize,
    /// Our name in `Via`.
    pub name: String,
}

/// A setting that no request could be made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the partner's key cannot stand in a header; it must be printable ASCII on one line")]
pub struct BadKey;

/// The partner, reachable.
pub struct Upstream<C> {
    client: Client<C, OutBody>,
    settings: Settings,
    key: HeaderValue,
    via: HeaderValue,
    clock: Clock,
}

/// A whole answer.
#[derive(Debug)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its head as it came.
    pub head: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When its head came.
    pub came: Tick,
}

/// How it failed. The texts are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// No connection; nothing was sent.
    #[error("cannot connect")]
    Connect,
    /// The connection broke.
    #[error("connection broke")]
    Broken,
    /// No whole answer in time.
    #[error("timed out")]
    Timeout,
    /// The body is larger than `upstream.max_response`.
    #[error("body larger than upstream.max_response")]
    TooLarge,
    /// The caller's own body was larger than `server.max_request_body`.
    #[error("request body too large")]
    RequestTooLarge,
}

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Ready to ask.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn new(client: Client<C, OutBody>, settings: Settings, clock: Clock) -> Result<Self, BadKey> {
        let mut key =
            HeaderValue::from_str(settings.key.reveal().trim_end_matches(['\r', '\n'])).map_err(|_| BadKey)?;
        if key.is_empty() {
            return Err(BadKey);
        }
        key.set_sensitive(true);
        let via = HeaderValue::from_str(&format!("1.1 {}", settings.name)).map_err(|_| BadKey)?;
        Ok(Self { client, settings, key, via, clock })
    }

    /// Asks for a document, conditionally if there are validators, and reads all of it before `deadline`.
    ///
    /// # Errors
    /// [`Failed`]; the permit is given back either way.
    pub async fn ask(&self, permit: Permit, wish: &Wish, deadline: Tick) -> Result<Fetched, Failed> {
        let whole = async {
            let answer = self.send(self.request(wish)).await?;
            let came = self.clock.tick();
            let (parts, body) = answer.into_parts();
            let body =
                Limited::new(body, self.settings.max_response).collect().await.map_err(|error| cause_of(&*error))?;
            Ok(Fetched { status: parts.status, head: parts.headers, body: body.to_bytes(), came })
        };
        let fetched = self.clock.until(deadline, whole).await.unwrap_or(Err(Failed::Timeout));
        drop(permit);
        fetched
    }

    /// Sends a request of a caller on as it is, credentials exchanged, and hands the answer back as it comes.
    ///
    /// # Errors
    /// [`Failed`] if no head came before `deadline`.
    pub async fn pass(
        &self,
        mut request: Request<OutBody>,
        target: &str,
        deadline: Tick,
    ) -> Result<Response<Incoming>, Failed> {
        *request.uri_mut() = self.uri(target);
        let headers = request.headers_mut();
        headers::strip_for_partner(headers);
        headers.insert(KEY_HEADER, self.key.clone());
        headers.append(VIA, self.via.clone());
        self.clock.until(deadline, self.send(request)).await.unwrap_or(Err(Failed::Timeout))
    }

    async fn send(&self, request: Request<OutBody>) -> Result<Response<Incoming>, Failed> {
        self.client.request(request).await.map_err(|error| match error.is_connect() {
            true => Failed::Connect,
            false => cause_of(&error),
        })
    }

    fn request(&self, wish: &Wish) -> Request<OutBody> {
        let mut request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.uri(&wish.target);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, USER_AGENT_OURS);
        headers.insert(VIA, self.via.clone());
        headers.insert(KEY_HEADER, self.key.clone());
        for (name, value) in &wish.headers {
            headers.append(name, value.clone());
        }
        if let Some(etag) = &wish.etag {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some(modified) = &wish.modified {
            headers.insert(IF_MODIFIED_SINCE, modified.clone());
        }
        request
    }

    fn uri(&self, target: &str) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.settings.scheme.clone());
        parts.authority = Some(self.settings.authority.clone());
        parts.path_and_query = target.parse().ok();
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// What to ask for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Path and query.
    pub target: String,
    /// Headers of the caller's that the route forwards.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The partner's own tag of what is held.
    pub etag: Option<HeaderValue>,
    /// The partner's own date of what is held.
    pub modified: Option<HeaderValue>,
}

/// Until when the partner wants to be left alone: `Retry-After` of a 429 or 503, in either form (RFC 9110 §10.2.3).
pub fn pause_until(status: StatusCode, head: &HeaderMap, now: Now) -> Option<Tick> {
    if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let told = head.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    let pause = told.and_then(|told| match told.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) if told.bytes().all(|byte| byte.is_ascii_digit()) && !told.is_empty() => Some(LONGEST_PAUSE),
        Err(_) => httpdate::parse_http_date(told).ok().map(|at| at.duration_since(now.wall()).unwrap_or_default()),
    });
    // A 429 that does not say for how long still means: not now.
    let pause = pause.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(Duration::from_secs(1)))?;
    Some(now.tick.plus(pause.min(LONGEST_PAUSE)))
}

fn cause_of(error: &(dyn Error + 'static)) -> Failed {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return Failed::TooLarge;
        }
        if error.is::<headers::RequestTooLarge>() {
            return Failed::RequestTooLarge;
        }
        next = error.source();
    }
    Failed::Broken
}

#[cfg(test)]
mod tests;
