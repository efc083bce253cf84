//! How does a request come in?
//! Given an address and something that answers, hands back a bound socket whose connections are served within limits.
//! Never looks at a path or a token; generic over the connection, so that tests use pipes.

mod bad_head;

mod host;

pub mod inherited;

mod watchdog;

mod eviction;

mod limiter;

mod watched_io;

mod ahead;

mod frames;

mod http2;

mod socket;

mod probe;

mod tls;

#[cfg(test)]
mod tests;

mod greet;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Tick};
use ahead::{Ahead, NotifyOnEnd};
use host::LastHost;
use limiter::ConnectionPermit;
use socket::Accepting;
use watchdog::{Command, ConnectionState, Watchdog};
use watched_io::WatchedIo;

pub use ahead::{AtOnce, Wire};
pub use bad_head::BadHead;
pub use limiter::{ConnectionLimiter, Failed, Figures};
pub use probe::{could_bind, could_bind_unix};
pub use socket::{Address, ON_THIS_MACHINE, Peer, Socket, bind, bind_unix};
pub use tls::{Faulty, Figures as Certificate, Files, Look, Tls, Validity};

/// Between two tries to accept where the machine cannot; it doubles up to the second.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// Between two lines of the log that say so.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What is answered behind the socket. One copy serves one connection.
pub trait Handler: Clone + Send + Sync + Unpin + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static;

    /// What ends with an answer that is given at once.
    type Owed: Send + Unpin + 'static;

    /// Answers a request of HTTP/1.1 from its bytes alone, without waiting for anything: `Some` only where they are one
    /// whole head without a body, as it was read by hyper before. `None` leaves them to hyper, and must leave no trace.
    fn at_once(&self, head: &[u8], peer: SocketAddr, wire: &mut Wire) -> Option<AtOnce<Self::Owed>> {
        let _ = (head, peer, wire);
        None
    }

    /// Answers one request; whatever goes wrong is an answer too.
    fn answer(&self, request: Request<Incoming>, peer: SocketAddr)
    -> impl Future<Output = Response<Self::Body>> + Send;

    /// The answer to a request that nobody is asked for, since its head is bad.
    fn refuse_head(&self, fault: BadHead, peer: SocketAddr) -> Response<Self::Body>;

    /// The same as it stands on the wire, `Connection: close` included: where hyper never sees such a head whole.
    fn refuse_on_the_wire(&self, fault: BadHead, peer: SocketAddr) -> Bytes {
        let _ = peer;
        fault.on_the_wire()
    }
}

/// Limits of every connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; for one more an idle one gives way, and it is closed at once where none is.
    pub connections: usize,
    /// Those of one peer that is not this machine, for as long as one of them is idle; 0 is any number.
    pub per_peer: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// From a head's first byte to its last.
    pub head_time: Duration,
    /// Without a byte in either direction while no request is being answered.
    pub idle_time: Duration,
    /// The same where nothing was asked yet.
    pub silent_time: Duration,
}

/// A socket, and whether TLS is spoken there.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub socket: Socket,
    /// The certificate; `None` is clear text.
    pub tls: Option<Arc<Tls>>,
}

impl Bound {
    /// The same once more, for one more worker.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, tls: self.tls.clone() })
    }
}

impl<S: Into<Socket>> From<S> for Bound {
    fn from(socket: S) -> Self {
        Self { socket: socket.into(), tls: None }
    }
}

/// A socket being served by the calling runtime.
#[derive(Clone)]
pub struct Listener<D> {
    handler: D,
    limits: Limits,
    clock: Clock,
    crowd: Arc<ConnectionLimiter>,
    watchdogs: Arc<Watchdog>,
    tasks: TaskTracker,
    /// Handshakes are not waited for at the end.
    ending: CancellationToken,
}

impl<D: Handler> Listener<D> {
    /// Ready to serve; `crowd` counts connections over all workers.
    pub fn new(handler: D, limits: Limits, clock: Clock, crowd: Arc<ConnectionLimiter>) -> Self {
        let (watchdogs, tasks, ending) = (Arc::default(), TaskTracker::new(), CancellationToken::new());
        Self { handler, limits, clock, crowd, watchdogs, tasks, ending }
    }

    /// Accepts until `closed`, then asks every connection to finish its request and waits for all of them.
    ///
    /// # Errors
    /// When the socket cannot be joined to this runtime.
    pub async fn serve(&self, bound: impl Into<Bound>, closed: CancellationToken) -> io::Result<()> {
        let Bound { socket, tls } = bound.into();
        let socket = Accepting::try_from(socket)?;
        let sweeper = tokio::spawn(Arc::clone(&self.watchdogs).sweep(self.clock, self.limits));
        let (mut pause, mut said) = (PAUSE, None);
        while let Some(accepted) = closed.run_until_cancelled(self.accept(&socket, tls.as_ref())).await {
            let Err(error) = accepted else {
                pause = PAUSE;
                continue;
            };
            // A connection that died in the queue says nothing of the next.
            if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                continue;
            }
            // Out of descriptors or memory. Who waits in the queue is accepted as soon as something is given back.
            let now = self.clock.tick();
            if said.is_none_or(|said: Tick| now.since(said) >= LOG_INTERVAL) {
                tracing::warn!(%error, "cannot accept connections; is the limit of open files (ulimit -n) too low?");
                said = Some(now);
            }
            closed.run_until_cancelled(self.clock.sleep_until(now.plus(pause))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        drop(socket);
        self.ending.cancel();
        self.watchdogs.finish_all();
        self.tasks.close();
        self.tasks.wait().await;
        sweeper.abort();
        Ok(())
    }

    async fn accept(&self, socket: &Accepting, tls: Option<&Arc<Tls>>) -> io::Result<()> {
        match socket {
            Accepting::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let _ = stream.set_nodelay(true);
                match tls {
                    None => self.spawn(stream, peer),
                    Some(tls) => self.spawn_private(stream, peer, Arc::clone(tls)),
                }
            }
            Accepting::Unix(socket) => self.spawn(socket.accept().await?.0, ON_THIS_MACHINE),
        }
        Ok(())
    }

    /// Serves one connection in its own task.
    pub fn spawn(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        let Some((permit, state)) = self.admit_connection(peer) else { return };
        let this = self.clone();
        self.tasks.spawn(async move {
            this.connection(io, peer, &state).await;
            this.watchdogs.leave(&state);
            drop(permit);
        });
    }

    /// The same, once it is private.
    fn spawn_private(&self, stream: TcpStream, peer: SocketAddr, tls: Arc<Tls>) {
        let Some((permit, state)) = self.admit_connection(peer) else { return };
        let this = self.clone();
        self.tasks.spawn(async move {
            // By the issuers of now: an end of one of them while hands are shaken is noticed.
            let admission = tls.admission();
            let greeted = greet::greet(stream, &tls, &this.crowd, this.clock, this.limits.head_time);
            let greeted = state.unless_cut(this.ending.run_until_cancelled(greeted)).await;
            let _entered = admission.map(|admission| admission.enter(&state));
            match greeted.flatten() {
                Some(Ok(stream)) if greet::is_http2(&stream) => {
                    Box::pin(this.http2(stream, peer, Arc::clone(&state))).await;
                }
                Some(Ok(stream)) => Box::pin(this.connection(stream, peer, &state)).await,
                Some(Err(greet::Ungreeted { why, error })) => {
                    this.crowd.failed(why);
                    let error = error.map(tracing::field::display);
                    tracing::debug!(%peer, why = why.as_str(), error, "no TLS connection");
                }
                None => {}
            }
            this.watchdogs.leave(&state);
            drop(permit);
        });
    }

    fn admit_connection(&self, peer: SocketAddr) -> Option<(ConnectionPermit, Arc<ConnectionState>)> {
        let now = self.clock.tick();
        let state = self.watchdogs.enter(now);
        match self.crowd.enter(peer, &state, &self.limits, now) {
            Ok(permit) => Some((permit, state)),
            Err(limiter::Full) => {
                tracing::debug!(%peer, "too many connections, and none of them idle");
                self.watchdogs.leave(&state);
                None
            }
        }
    }

    async fn connection(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        state: &Arc<ConnectionState>,
    ) {
        let too_large = || self.handler.refuse_on_the_wire(BadHead::TooLarge, peer);
        let io = WatchedIo::new(io, Arc::clone(state), self.limits.head_bytes, too_large);
        let io = TokioIo::new(Ahead::new(io, self.handler.clone(), peer, Arc::clone(state)));
        let host = LastHost::default();
        let answer = service_fn(|request| self.answered_http1(request, peer, state, &host));
        // hyper's own limit stands above ours, so that it is never hyper that refuses a head.
        let connection = http1::Builder::new()
            .max_buf_size((self.limits.head_bytes * 8).max(256 << 10))
            .header_read_timeout(None)
            .serve_connection(io, answer);
        let mut connection = pin!(connection);
        let mut finishing = false;
        let ended = std::future::poll_fn(|cx| {
            match state.command() {
                Command::Cut => return Poll::Ready(Ok(())),
                // Asked once: whose request is being answered then is heard to the end.
                Command::GiveWay if !finishing && state.is_idle() => return Poll::Ready(Ok(())),
                Command::Finish | Command::GiveWay if !finishing => {
                    finishing = true;
                    connection.as_mut().graceful_shutdown();
                }
                Command::Finish | Command::GiveWay | Command::Nothing => {}
            }
            connection.as_mut().poll(cx)
        });
        if let Err(error) = state.woken(ended).await {
            let hint = if error.is_parse() { "; was it TLS, or something else that is not HTTP/1.1?" } else { "" };
            tracing::debug!(%peer, %error, "connection ended early{hint}");
        }
    }

    /// Answers one request of HTTP/1.
    fn answered_http1(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        state: &Arc<ConnectionState>,
        host: &LastHost,
    ) -> impl Future<Output = Result<Response<NotifyOnEnd<D::Body>>, std::convert::Infallible>> {
        state.serving();
        let has_body = !request.body().is_end_stream();
        let fault = match () {
            // Where a body came before it, nobody counted how long this head was.
            () if state.had_body() && http2::is_too_large(&request, self.limits.head_bytes) => Some(BadHead::TooLarge),
            () if !host.is_named_well(request.version(), request.headers()) => Some(BadHead::Host),
            () => None,
        };
        if has_body {
            state.has_body();
        }
        async move {
            let response = match fault {
                None => self.handler.answer(request, peer).await,
                Some(fault) => {
                    let mut response = self.handler.refuse_head(fault, peer);
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    response
                }
            };
            if has_body && response.headers().get(CONNECTION).is_some_and(|said| said == "close") {
                state.part();
            }
            state.quiet();
            Ok(response.map(|body| NotifyOnEnd::new(body, Arc::clone(state))))
        }
    }
}
