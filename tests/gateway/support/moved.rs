//! What does the house do over minutes that nobody waits for?
//! Given settings and a partner that is a function, joins the rooms in this process with pipes on both sides, in moved time.
//! Never opens a socket: with one, moved time would run ahead of what is on its way.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep};

use reseller_gateway::boot;
use reseller_gateway::clock::Clock;
use reseller_gateway::config::{self, Given};
use reseller_gateway::gateway::Gateway;
use reseller_gateway::secret::Secret;
use reseller_gateway::token::Wish;
use reseller_gateway::token::bounds::Bounds;
use reseller_gateway::upstream::credential::Source;

const PIPE: usize = 64 << 10;

/// What the partner says, and when.
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) after: Duration,
}

impl Said {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), after: Duration::from_millis(20) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// One call, as the partner saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) key: String,
    /// When it came.
    pub(crate) at: Instant,
    /// When it was answered, and how; `None` while it is not.
    pub(crate) answered: Option<(Instant, u16)>,
}

type Script = Box<dyn Fn(&Seen) -> Said + Send + Sync>;

/// The partner: what it does now, and what it saw.
pub(crate) struct Person {
    /// `None`: it is dead, and refuses connections.
    script: Mutex<Option<Script>>,
    seen: Mutex<Vec<Seen>>,
}

impl Person {
    pub(crate) fn does(&self, script: impl Fn(&Seen) -> Said + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Some(Box::new(script));
    }

    pub(crate) fn dies(&self) {
        *self.script.lock().unwrap() = None;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
        let key = request.headers().get("x-reseller-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        let seen = Seen { target: request.uri().to_string(), key: key.to_owned(), at: Instant::now(), answered: None };
        let said = match &*self.script.lock().unwrap() {
            Some(script) => script(&seen),
            None => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        let place = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen);
            all.len() - 1
        };
        sleep(said.after).await;
        if self.script.lock().unwrap().is_none() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.seen.lock().unwrap()[place].answered = Some((Instant::now(), said.status));
        let mut response = Response::builder().status(said.status).header("content-type", "application/json");
        for (name, value) in said.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::from(r#"{"client":{}}"#)).unwrap())
    }
}

/// Connects to the partner by a pipe.
#[derive(Clone)]
pub(crate) struct Pipes(Arc<Person>);

impl tower::Service<Uri> for Pipes {
    type Response = Pipe;
    type Error = io::Error;
    type Future = Ready<io::Result<Pipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        if self.0.script.lock().unwrap().is_none() {
            return ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let person = Arc::clone(&self.0);
        let service = service_fn(move |request| {
            let person = Arc::clone(&person);
            async move { person.answer(request).await }
        });
        tokio::spawn(http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(theirs), service));
        ready(Ok(Pipe(TokioIo::new(ours))))
    }
}

/// One end of a pipe, as hyper's client wants it.
pub(crate) struct Pipe(TokioIo<DuplexStream>);

impl Connection for Pipe {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The house.
pub(crate) struct Moved {
    pub(crate) house: Arc<Gateway<Pipes>>,
    pub(crate) person: Arc<Person>,
}

impl Moved {
    /// With ten callers `c0` to `c9` and these settings besides; keys from these files, or a fixed one.
    pub(crate) fn new(settings: &str, keys: &[std::path::PathBuf]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let callers = (0..10).map(|nth| {
            format!("[[callers]]\nname = \"c{nth}\"\nscopes = [\"clients:read\", \"pii:read\"]\nclients = [\"*\"]\nproviders = [\"*\"]\n")
        });
        let text = "[upstream]\nurl = \"http://127.0.0.1:9\"\napi_key_env = \"UNUSED\"\n[state]\ndir = \"\"\n[telemetry]\naccess_log = \"off\"\n".to_owned()
            + settings
            + "\n"
            + &callers.collect::<String>();
        let config = config::load(Given { file: None, text: Some(text), environment: Vec::new(), flags: Vec::new() })
            .unwrap_or_else(|faults| panic!("{}", faults.render(false)));
        let person = Arc::new(Person { script: Mutex::default(), seen: Mutex::default() });
        person.does(|_| Said::status(200));
        let keys = match keys {
            [] => vec![Source::Fixed(Secret::new("key".to_owned()))],
            files => files.iter().cloned().map(Source::File).collect(),
        };
        let ring = boot::ring(&config.tokens).unwrap();
        let house = boot::join(&config, ring, keys, Pipes(Arc::clone(&person)), Clock::real()).unwrap();
        Self { house, person }
    }

    /// A connection of the `nth` caller's.
    pub(crate) async fn caller(&self, nth: usize) -> Asker {
        let wish = Wish {
            caller: format!("c{}", nth % 10),
            scopes: Vec::new(),
            bounds: Bounds::default(),
            ttl: Duration::from_secs(86_400),
        };
        let token = self.house.tokens.issue(&wish, self.house.clock.now()).unwrap().token;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let house = Arc::clone(&self.house);
        let service = service_fn(move |request| {
            let house = Arc::clone(&house);
            async move { Ok::<_, Infallible>(house.serve(request, ([127, 0, 0, 1], 9).into(), None).await) }
        });
        tokio::spawn(http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(theirs), service));
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        Asker { sender, bearer: format!("Bearer {token}") }
    }
}

/// A caller's connection.
pub(crate) struct Asker {
    sender: SendRequest<Empty<Bytes>>,
    bearer: String,
}

/// What it got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) age: Option<u64>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) took: Duration,
}

/// The target of the `nth` client.
pub(crate) fn target(nth: usize) -> String {
    format!("/reseller/account/v1/clients/client-{nth}/")
}

impl Asker {
    /// Asks for a client.
    pub(crate) async fn ask(&mut self, key: usize) -> Got {
        let at = Instant::now();
        let request = Request::get(target(key)).header("host", "gateway").header("authorization", &self.bearer);
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        let number = |name| response.headers().get(name)?.to_str().ok()?.parse().ok();
        let (status, age, retry_after) = (response.status().as_u16(), number("age"), number("retry-after"));
        response.into_body().collect().await.unwrap();
        Got { status, age, retry_after, took: at.elapsed() }
    }
}

/// The most calls in any time of this length.
pub(crate) fn most_within(seen: &[Seen], window: Duration) -> usize {
    let within = |from: &Seen| seen.iter().filter(|call| call.at >= from.at && call.at < from.at + window).count();
    seen.iter().map(within).max().unwrap_or_default()
}

/// Calls by their target.
pub(crate) fn by_target(seen: &[Seen]) -> HashMap<&str, Vec<&Seen>> {
    let mut found: HashMap<&str, Vec<&Seen>> = HashMap::new();
    seen.iter().for_each(|call| found.entry(&call.target).or_default().push(call));
    found
}
