//! What does the partner do, and what did it see?
//! Given a function from a call to an answer, serves it on a port of its own and keeps a record of all calls.
//! Never improvises; while it is dead it has no socket at all.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, JoinSet, spawn_local};
use tokio::time::{Instant, sleep};

/// How long each answer takes.
const LATENCY: Duration = Duration::from_millis(20);

/// How long an answer below `/other/slow/` takes, and how long one below `/other/large/` is.
const SLOW: Duration = Duration::from_secs(9);
const LARGE: usize = 8 << 20;

/// The answer to a call: a status, and seconds to stay away.
#[derive(Clone, Copy)]
pub(crate) struct Said(pub(crate) u16, pub(crate) Option<u64>);

/// One call.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) key: String,
    pub(crate) at: Instant,
    pub(crate) answered: Option<(Instant, u16)>,
}

/// A port that is taken again after a death may still have connections of before.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

type Script = Rc<dyn Fn(&Seen) -> Said>;

/// The partner.
pub(crate) struct Person {
    pub(crate) address: SocketAddr,
    script: RefCell<Script>,
    seen: RefCell<Vec<Seen>>,
    alive: RefCell<Option<AbortHandle>>,
}

impl Person {
    /// Alive, and answering 200.
    pub(crate) fn new() -> std::io::Result<Rc<Self>> {
        let address = listen(([127, 0, 0, 1], 0).into())?.local_addr()?;
        let person = Rc::new(Self {
            address,
            script: RefCell::new(Rc::new(|_| Said(200, None))),
            seen: RefCell::default(),
            alive: RefCell::default(),
        });
        person.lives()?;
        Ok(person)
    }

    /// From now on it answers so.
    pub(crate) fn does(&self, script: impl Fn(&Seen) -> Said + 'static) {
        *self.script.borrow_mut() = Rc::new(script);
    }

    /// Its socket and all connections go.
    pub(crate) fn dies(&self) {
        if let Some(alive) = self.alive.borrow_mut().take() {
            alive.abort();
        }
    }

    /// It listens again.
    pub(crate) fn lives(self: &Rc<Self>) -> std::io::Result<()> {
        let listener = listen(self.address)?;
        let this = Rc::clone(self);
        let served = spawn_local(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                let this = Rc::clone(&this);
                let service = service_fn(move |request| {
                    let this = Rc::clone(&this);
                    async move { Ok::<_, Infallible>(this.answer(request).await) }
                });
                let mut http = http1::Builder::new();
                http.header_read_timeout(None);
                connections.spawn_local(async move {
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        *self.alive.borrow_mut() = Some(served.abort_handle());
        Ok(())
    }

    /// All calls so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let key = request.headers().get("x-reseller-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        let call = Seen { target: request.uri().to_string(), key: key.to_owned(), at: Instant::now(), answered: None };
        let script = Rc::clone(&self.script.borrow());
        let Said(status, retry_after) = script(&call);
        let (place, target) = (self.count(), call.target.clone());
        self.seen.borrow_mut().push(call);
        let slow = target.contains("/slow");
        sleep(if slow { SLOW } else { LATENCY }).await;
        if let Some(call) = self.seen.borrow_mut().get_mut(place) {
            call.answered = Some((Instant::now(), status));
        }
        let mut response = Response::builder().status(status).header("content-type", "application/json");
        if let Some(seconds) = retry_after {
            response = response.header("retry-after", seconds);
        }
        let large = || Full::from(vec![b' '; LARGE]);
        let body = if target.contains("/other/large/") { large() } else { Full::from(r#"{"client":{}}"#) };
        response.body(body).unwrap_or_default()
    }
}

/// The most calls in any time of this length.
pub(crate) fn most_within(seen: &[Seen], window: Duration) -> usize {
    let within =
        |(nth, from): (usize, &Seen)| seen.iter().skip(nth).take_while(|call| call.at < from.at + window).count();
    seen.iter().enumerate().map(within).max().unwrap_or_default()
}
