//! A partner in this process, and the connections of its callers: those of the tests in moved time, and those of `benches/shield`.
//! Given a function from a call to a reply, serves it on any stream and keeps a record of all calls.
//! Never opens a socket itself, and never improvises: while it is stopped every call ends without a reply.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

/// What the partner replies, and when.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) after: Duration,
}

impl Reply {
    /// A client's document, after 20 ms.
    pub(crate) fn status(status: u16) -> Self {
        let body = Bytes::from_static(br#"{"client":{}}"#);
        Self { status, headers: Vec::new(), body, after: Duration::from_millis(20) }
    }

    /// 429 or another status, with these seconds to stay away.
    pub(crate) fn retry_after(status: u16, seconds: u64) -> Self {
        let headers = vec![("retry-after", seconds.to_string())];
        Self { headers, ..Self::status(status) }
    }
}

/// One call, as the partner saw it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) target: String,
    pub(crate) key: String,
    /// When it came.
    pub(crate) at: Instant,
    /// When it was answered, and how; `None` while it is not.
    pub(crate) answered: Option<(Instant, u16)>,
}

type Script = Arc<dyn Fn(&Call) -> Reply + Send + Sync>;

/// What the partner does now, and what it saw.
pub(crate) struct FakePartner {
    /// `None` while it is stopped.
    script: Mutex<Option<Script>>,
    calls: Mutex<Vec<Call>>,
}

impl FakePartner {
    /// One that replies 200.
    pub(crate) fn new() -> Arc<Self> {
        let partner = Arc::new(Self { script: Mutex::default(), calls: Mutex::default() });
        partner.respond_with(|_| Reply::status(200));
        partner
    }

    /// From now on it replies so.
    pub(crate) fn respond_with(&self, script: impl Fn(&Call) -> Reply + Send + Sync + 'static) {
        *self.script.lock() = Some(Arc::new(script));
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.calls.lock().len()
    }

    /// From now on it refuses connections, and breaks off those there are with the next call; until it responds again.
    pub(crate) fn stop(&self) {
        *self.script.lock() = None;
    }

    /// Takes a connection, and hands back what serves it to its end.
    ///
    /// # Errors
    /// It is refused while the partner is stopped.
    pub(crate) fn accept<S>(self: &Arc<Self>, stream: S) -> io::Result<impl Future<Output = ()> + use<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        if self.script.lock().is_none() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let this = Arc::clone(self);
        let service = service_fn(move |request| {
            let this = Arc::clone(&this);
            async move { this.reply(request).await }
        });
        let mut http = http1::Builder::new();
        http.header_read_timeout(None);
        Ok(async move {
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        })
    }

    async fn reply(&self, request: Request<Incoming>) -> io::Result<http::Response<Full<Bytes>>> {
        let key = request.headers().get("x-reseller-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        let call = Call { target: request.uri().to_string(), key: key.to_owned(), at: Instant::now(), answered: None };
        let script = self.script.lock().clone().ok_or(io::ErrorKind::ConnectionReset)?;
        let Reply { status, headers, body, after } = script(&call);
        let place = {
            let mut calls = self.calls.lock();
            calls.push(call);
            calls.len() - 1
        };
        sleep(after).await;
        if self.script.lock().is_none() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if let Some(call) = self.calls.lock().get_mut(place) {
            call.answered = Some((Instant::now(), status));
        }
        let response = http::Response::builder().status(status).header("content-type", "application/json");
        let response = headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
        response.body(Full::from(body)).map_err(io::Error::other)
    }
}

/// A caller's connection.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    bearer: String,
}

/// What a caller got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) age: Option<u64>,
    pub(crate) retry_after: Option<u64>,
    /// When it was asked for, and when it was there.
    pub(crate) at: Instant,
    pub(crate) whole: Instant,
}

impl Response {
    /// How long it took.
    pub(crate) fn took(&self) -> Duration {
        self.whole - self.at
    }
}

impl Connection {
    /// On this stream; the future has to be driven beside it.
    pub(crate) async fn over<S>(stream: S, token: &str) -> hyper::Result<(Self, impl Future<Output = ()> + use<S>)>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driven = async move {
            let _ = connection.await;
        };
        Ok((Self { sender, bearer: format!("Bearer {token}") }, driven))
    }

    /// Asks for the client with this number.
    pub(crate) async fn ask(&mut self, key: usize) -> anyhow::Result<Response> {
        let at = Instant::now();
        let request = Request::get(target(key)).header("host", "gateway").header("authorization", &self.bearer);
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Empty::new())?).await?;
        let number = |name| response.headers().get(name)?.to_str().ok()?.parse().ok();
        let (status, age, retry_after) = (response.status().as_u16(), number("age"), number("retry-after"));
        response.into_body().collect().await?;
        Ok(Response { status, age, retry_after, at, whole: Instant::now() })
    }
}

/// The target of the `nth` client.
pub(crate) fn target(nth: usize) -> String {
    format!("/reseller/account/v1/clients/client-{nth}/")
}

/// A budget and the settings of the route that is asked for; a failed call is not tried again.
pub(crate) fn settings(budget: &str, route: &str) -> String {
    format!("[upstream.budget]\n{budget}\n[upstream.retry]\nattempts = 0\n[routes.client]\n{route}\n")
}

/// Those that got no document.
pub(crate) fn errors(got: &[Response]) -> Vec<&Response> {
    got.iter().filter(|got| got.status != 200).collect()
}

/// The most calls in any time of this length.
pub(crate) fn most_within(calls: &[Call], window: Duration) -> usize {
    let within =
        |(nth, from): (usize, &Call)| calls.iter().skip(nth).take_while(|call| call.at < from.at + window).count();
    calls.iter().enumerate().map(within).max().unwrap_or_default()
}

/// Calls by their target.
pub(crate) fn by_target(calls: &[Call]) -> HashMap<&str, Vec<&Call>> {
    let mut found: HashMap<&str, Vec<&Call>> = HashMap::new();
    calls.iter().for_each(|call| found.entry(&call.target).or_default().push(call));
    found
}

/// The ranks of Zipf's law over `keys`, drawn by a caller's number and that of its request.
pub(crate) fn zipf(keys: usize) -> impl Fn(usize, usize) -> usize + Clone {
    let sums: Arc<[f64]> = (1..=keys)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        })
        .collect();
    move |caller, nth| {
        let dice = (caller as u64 * 1_000_003 + nth as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let share = ((dice ^ dice >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / (1_u64 << 53) as f64;
        let at = share * sums.last().copied().unwrap_or_default();
        sums.partition_point(|sum| *sum < at).min(keys - 1)
    }
}

/// Puts a key into a file at once, as a rotation does.
pub(crate) fn put(file: &Path, key: &str) -> io::Result<()> {
    let made = file.with_extension("made");
    std::fs::write(&made, key)?;
    std::fs::rename(made, file)
}
