//! How does a request come in?
//! Given an address and something that answers, hands back a bound socket whose connections are served within limits.
//! Never looks at a path or a token; generic over the connection, so that tests use pipes.

mod host;

mod pace;

mod socket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use pace::{Paced, Paces, Wish};
use socket::Accepting;

pub use host::Host;
pub use socket::{Address, ON_THIS_MACHINE, Peer, Socket, bind, bind_unix};

/// What is answered behind the socket. One copy serves one connection.
pub trait Door: Clone + Send + Sync + 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers one request; whatever goes wrong is an answer too.
    fn answer(&self, request: Request<Incoming>, peer: SocketAddr)
    -> impl Future<Output = Response<Self::Body>> + Send;

    /// The answer to a head larger than the limit, as it stands on the wire, `Connection: close` included.
    fn head_too_large(&self, peer: SocketAddr) -> Bytes;
}

/// Limits of every connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; one more is closed at once.
    pub connections: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// From a head's first byte to its last.
    pub head_time: Duration,
    /// Without a byte in either direction while no request is being answered.
    pub idle_time: Duration,
}

/// A socket being served by the calling runtime.
#[derive(Clone)]
pub struct Listener<D> {
    door: D,
    limits: Limits,
    clock: Clock,
    open: Arc<AtomicUsize>,
    paces: Arc<Paces>,
    tasks: TaskTracker,
}

impl<D: Door> Listener<D> {
    /// Ready to serve; `open` counts connections over all workers.
    pub fn new(door: D, limits: Limits, clock: Clock, open: Arc<AtomicUsize>) -> Self {
        Self { door, limits, clock, open, paces: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Accepts until `closed`, then asks every connection to finish its request and waits for all of them.
    ///
    /// # Errors
    /// When the socket cannot be joined to this runtime.
    pub async fn serve(&self, socket: impl Into<Socket>, closed: CancellationToken) -> io::Result<()> {
        let socket = Accepting::try_from(socket.into())?;
        let sweeper =
            tokio::spawn(Arc::clone(&self.paces).sweep(self.clock, self.limits.head_time, self.limits.idle_time));
        while let Some(accepted) = closed.run_until_cancelled(self.accept(&socket)).await {
            // Out of descriptors, or a connection that died in the queue: the next moment may be better.
            if let Err(error) = accepted {
                tracing::warn!(%error, "cannot accept");
                self.clock.sleep_until(self.clock.tick().plus(Duration::from_millis(20))).await;
            }
        }
        drop(socket);
        self.paces.finish_all();
        self.tasks.close();
        self.tasks.wait().await;
        sweeper.abort();
        Ok(())
    }

    async fn accept(&self, socket: &Accepting) -> io::Result<()> {
        match socket {
            Accepting::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let _ = stream.set_nodelay(true);
                self.spawn(stream, peer);
            }
            Accepting::Unix(socket) => self.spawn(socket.accept().await?.0, ON_THIS_MACHINE),
        }
        Ok(())
    }

    /// Serves one connection in its own task.
    pub fn spawn(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limits.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            tracing::debug!(%peer, "too many connections");
            return;
        }
        let this = self.clone();
        self.tasks.spawn(async move {
            this.connection(io, peer).await;
            this.open.fetch_sub(1, Ordering::Relaxed);
        });
    }

    async fn connection(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        let pace = self.paces.enter(self.clock.tick());
        let too_large = || self.door.head_too_large(peer);
        let io = TokioIo::new(Paced::new(io, Arc::clone(&pace), self.limits.head_bytes, too_large));
        let answer = service_fn(|request: Request<Incoming>| {
            let pace = &pace;
            pace.serving();
            async move {
                let response = self.door.answer(request, peer).await;
                pace.quiet();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        // hyper's own limit stands above ours, so that it is never hyper that refuses a head.
        let connection = http1::Builder::new()
            .max_buf_size((self.limits.head_bytes * 8).max(256 << 10))
            .header_read_timeout(None)
            .serve_connection(io, answer);
        let mut connection = pin!(connection);
        let mut finishing = false;
        let ended = std::future::poll_fn(|cx| {
            match pace.wish() {
                Wish::Cut => return Poll::Ready(Ok(())),
                Wish::Finish if !finishing => {
                    finishing = true;
                    connection.as_mut().graceful_shutdown();
                }
                Wish::Finish | Wish::Nothing => {}
            }
            connection.as_mut().poll(cx)
        });
        if let Err(error) = pace.woken(ended).await {
            tracing::debug!(%peer, %error, "connection ended early");
        }
        self.paces.leave(&pace);
    }
}
