//! What does the partner say?
//! Given a permit and a resource, hands back its whole answer within bounds, or how it failed.
//! Never touches the store, tokens or a caller's credentials; what it is shown goes to the configured origin alone.

pub mod body;

pub mod credential;

pub mod document;

pub mod hub;

pub mod headers;

mod place;

mod right;

pub mod exchange;

pub mod token_state;

pub mod through;

pub mod fault;

pub mod calls;

mod token;

mod permit;

mod key_rotation;

pub mod call;

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, DATE, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, USER_AGENT, VIA,
};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::connect::Connect;
use parking_lot::Mutex;

use crate::account_api::KEY_HEADER;
use crate::budget::Permit;
use crate::clock::{Clock, Tick};
use crate::dial::turnover::Turnover;
use crate::dial::{self, OutBody, Unconnected};
use crate::http::date;
use crate::secret::Secret;

use credential::{BadKey, Credential, Presented};
use exchange::Exchange;
use hub::AuthRejection;
use token_state::TokenState;

/// Where the partner wants its key.
const KEY: HeaderName = HeaderName::from_static(KEY_HEADER);

const USER_AGENT_OURS: HeaderValue = HeaderValue::from_static(concat!("reseller-gateway/", env!("CARGO_PKG_VERSION")));

/// Where the partner is and how it is asked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Who answers there.
    pub kind: Kind,
    /// Where the real keys lie, in the order in which they are tried; or a hub's token.
    pub keys: Vec<credential::Source>,
    /// How the token is come by, where it is exchanged.
    pub exchange: Option<exchange::Settings>,
    /// The largest body that is read.
    pub max_response: usize,
    /// Our name in `Via`.
    pub name: String,
}

/// Who answers at the partner's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Account API itself: it is shown a key.
    Partner,
    /// Another gateway: it is shown a token of its own.
    Hub,
}

/// The partner, reachable.
pub struct Upstream<C> {
    clients: Arc<Turnover<C>>,
    settings: Settings,
    credential: Arc<Credential>,
    exchange: Option<Arc<Exchange>>,
    known: Arc<TokenState>,
    via: HeaderValue,
    /// The same for a request that came over HTTP/2.
    via_http2: HeaderValue,
    /// What was last said of why there is no connection, and when.
    rejection: Mutex<Option<(String, Tick)>>,
    /// The last `Date` that could be read: the answers of one second have the same, and parsing it is dear.
    last_date: Mutex<Option<HeaderValue>>,
    clock: Clock,
}

/// Between two lines of the log about the same thing.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

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
    pub received_at: Tick,
}

/// How it failed. The texts are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// No connection; nothing was sent.
    #[error("cannot connect")]
    Connect,
    /// No connection, since the certificate there is not trusted; nothing was sent.
    #[error("the certificate is not trusted")]
    Certificate,
    /// No connection, since the proxy does not take what it is shown.
    #[error("the proxy does not take the credentials")]
    ProxyAuth,
    /// No connection, since the proxy will not open one.
    #[error("the proxy refuses to open a tunnel")]
    ProxyRefuses,
    /// The connection broke.
    #[error("connection broke")]
    Broken,
    /// It answers with a status that ends nothing, 101 above all, though nobody asked for another protocol.
    #[error("an interim status ended the answer")]
    Interim,
    /// No whole answer in time.
    #[error("timed out")]
    Timeout,
    /// The body is larger than `upstream.max_response`.
    #[error("body larger than upstream.max_response")]
    TooLarge,
}

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Ready to ask.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn new(clients: Turnover<C>, settings: Settings, clock: Clock) -> Result<Self, BadKey> {
        Self::over(Arc::new(clients), settings, clock)
    }

    fn over(clients: Arc<Turnover<C>>, mut settings: Settings, clock: Clock) -> Result<Self, BadKey> {
        let credential = Arc::new(Credential::new(std::mem::take(&mut settings.keys))?);
        let exchange = settings.exchange.take().map(|settings| Arc::new(Exchange::new(settings)));
        let via = |version| HeaderValue::from_str(&format!("{version} {}", settings.name)).unwrap_or(USER_AGENT_OURS);
        let (via, via_http2) = (via("1.1"), via("2"));
        let (known, rejection, last_date) = Default::default();
        Ok(Self { clients, settings, credential, exchange, known, via, via_http2, rejection, last_date, clock })
    }

    /// The same partner asked in another way, for a house that takes another's place: connections and keys stay as they
    /// are where no others are given (`settings.keys` is empty).
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn reconfigured(&self, clients: Option<Turnover<C>>, settings: Settings) -> Result<Self, BadKey> {
        let clients = clients.map_or_else(|| Arc::clone(&self.clients), Arc::new);
        let keeps = settings.keys.is_empty();
        let next = Self::over(clients, settings, self.clock)?;
        Ok(match keeps {
            true => Self {
                credential: Arc::clone(&self.credential),
                exchange: self.exchange.clone(),
                known: Arc::clone(&self.known),
                ..next
            },
            false => next,
        })
    }

    /// Whether what is shown is got by an exchange.
    pub fn exchanges(&self) -> bool {
        self.exchange.is_some()
    }

    /// Its origin, as it begins a `Location` of its own.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.settings.scheme, self.settings.authority)
    }

    /// Whether it is a hub that answers.
    pub fn is_hub(&self) -> bool {
        self.settings.kind == Kind::Hub
    }

    /// What an answer says of the key or token that it was shown. Of a partner only 401 speaks of the key.
    pub fn rejection(&self, status: StatusCode, head: &HeaderMap) -> Option<AuthRejection> {
        match self.settings.kind {
            Kind::Partner => (status == StatusCode::UNAUTHORIZED).then_some(AuthRejection::Refused),
            Kind::Hub => hub::auth_rejection(status, head),
        }
    }

    /// Whether a request with this head has been here already.
    pub fn has_been(&self, head: &HeaderMap) -> bool {
        hub::has_been(&self.settings.name, head)
    }

    /// What a hub is told of the way of a request that a call is made for; the partner learns nothing of it.
    pub fn way_of(&self, head: &HeaderMap) -> Option<HeaderValue> {
        (self.is_hub() && head.contains_key(VIA)).then(|| hub::via(head, &self.via))
    }

    /// The keys, to choose one for a call and to learn what became of it.
    pub fn credential(&self) -> &Arc<Credential> {
        &self.credential
    }

    /// Asks for a document, conditionally if there are validators, and reads all of it before `deadline`.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn ask(
        &self,
        _: &Permit,
        shown: &Presented,
        wish: &UpstreamRequest,
        deadline: Tick,
    ) -> Result<Fetched, Failed> {
        let whole = async {
            let answer = self.send(self.request(wish, shown)).await?;
            let received_at = self.clock.tick();
            let (mut parts, body) = answer.into_parts();
            let most = self.settings.max_response;
            // A body whose length is known has no coding of its transfer.
            let unframed = body.size_hint().exact().is_none();
            let body = match through::length_of_identity(&parts.headers).filter(|_| unframed) {
                Some(length) => first(body, length, most).await?,
                None => whole(body, most).await?,
            };
            self.clients.answered();
            let body = body::plain(&mut parts.headers, body, most).await?;
            self.date(&mut parts.headers);
            Ok(Fetched { status: parts.status, head: parts.headers, body, received_at })
        };
        self.clock.until(deadline, pin!(whole)).await.unwrap_or(Err(Failed::Timeout))
    }

    /// The largest body that is read.
    pub fn max_response(&self) -> usize {
        self.settings.max_response
    }

    /// Gives up connections that wait for a request: the other side may have closed them without a word. Hands back whether
    /// there can have been any.
    pub fn reconnect(&self) -> bool {
        self.clients.reconnect()
    }

    async fn send(&self, request: Request<OutBody>) -> Result<Response<Incoming>, Failed> {
        let answer = self.clients.at(self.clock.tick()).request(request).await;
        let mut answer = answer.map_err(|error| match error.is_connect() {
            true => self.unconnected(&error),
            false => cause_of(&error),
        })?;
        match answer.status().as_u16() {
            100..=199 => return Err(Failed::Interim),
            // RFC 9110 §15: a status beyond the classes there are is a server's error.
            600.. => *answer.status_mut() = StatusCode::BAD_GATEWAY,
            _ => {}
        }
        Ok(answer)
    }

    /// Why there is no connection; what an operator has to mend stands in the log, in the error's own words.
    fn unconnected(&self, error: &(dyn Error + 'static)) -> Failed {
        let failed = match Unconnected::of(error) {
            Unconnected::Certificate => Failed::Certificate,
            Unconnected::ProxyAuth => Failed::ProxyAuth,
            Unconnected::ProxyRefuses => Failed::ProxyRefuses,
            Unconnected::Other => return Failed::Connect,
        };
        let words = dial::describe(error);
        let (mut rejection, now) = (self.rejection.lock(), self.clock.tick());
        if rejection.as_ref().is_none_or(|(last, at)| *last != words || now.since(*at) >= LOG_INTERVAL) {
            tracing::warn!("no connection to {}: {words}", self.settings.authority);
            *rejection = Some((words, now));
        }
        failed
    }

    fn request(&self, wish: &UpstreamRequest, shown: &Presented) -> Request<OutBody> {
        let mut request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.uri(&wish.target);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, USER_AGENT_OURS);
        headers.insert(VIA, wish.via.as_ref().unwrap_or(&self.via).clone());
        self.prove(headers, shown);
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

    /// RFC 9110 §6.6.1: an answer without a date, or with one that cannot be read, is of when it came.
    fn date(&self, head: &mut HeaderMap) {
        let mut last = self.last_date.lock();
        let sent = head.get(DATE);
        if sent.is_some() && sent == last.as_ref() {
            return;
        }
        let readable = sent.filter(|date| date::parse(date.as_bytes()).is_some());
        if let Some(readable) = readable {
            *last = HeaderValue::from_bytes(readable.as_bytes()).ok();
        } else if let Some(date) = date::value(self.clock.now().wall()) {
            head.insert(DATE, date);
        }
    }

    /// Puts what is shown where this upstream looks for it.
    fn prove(&self, headers: &mut HeaderMap, shown: &Presented) {
        match self.settings.kind {
            Kind::Partner => drop(headers.insert(KEY, shown.value().clone())),
            Kind::Hub => {
                let bearer = Secret::new(format!("Bearer {}", shown.value().to_str().unwrap_or_default()));
                if let Ok(mut value) = HeaderValue::from_str(bearer.reveal()) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
        }
    }

    fn uri(&self, target: &str) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.settings.scheme.clone());
        parts.authority = Some(self.settings.authority.clone());
        parts.path_and_query = target.parse().ok();
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// A body of `most` bytes at most. One that came in one piece is not copied.
async fn whole(mut body: Incoming, most: usize) -> Result<Bytes, Failed> {
    let (mut first, mut read) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| cause_of(&error))?.into_data() else { continue };
        if first.len() + read.len() + piece.len() > most {
            return Err(Failed::TooLarge);
        }
        if first.is_empty() && read.is_empty() {
            first = piece;
        } else {
            read.extend_from_slice(&std::mem::take(&mut first));
            read.extend_from_slice(&piece);
        }
    }
    Ok(if read.is_empty() { first } else { read.freeze() })
}

/// What to ask for.
#[derive(Debug, Clone, Default)]
pub struct UpstreamRequest {
    /// Path and query.
    pub target: String,
    /// Headers of the caller's that the route forwards.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The partner's own tag of what is held.
    pub etag: Option<HeaderValue>,
    /// The partner's own date of what is held.
    pub modified: Option<HeaderValue>,
    /// Where the request has been that the call is made for, and we: for a hub, which ends loops by it.
    pub via: Option<HeaderValue>,
}

/// So many bytes of a body, whatever follows them.
async fn first(mut body: Incoming, length: u64, most: usize) -> Result<Bytes, Failed> {
    let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or(Failed::TooLarge)?;
    let mut whole = BytesMut::new();
    while whole.len() < length {
        let frame = body.frame().await.ok_or(Failed::Broken)?.map_err(|error| cause_of(&error))?;
        if let Ok(part) = frame.into_data() {
            whole.extend_from_slice(&part);
        }
    }
    whole.truncate(length);
    Ok(whole.freeze())
}

fn cause_of(error: &(dyn Error + 'static)) -> Failed {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<LengthLimitError>() {
            return Failed::TooLarge;
        }
        next = error.source();
    }
    Failed::Broken
}

#[cfg(test)]
mod tests;
