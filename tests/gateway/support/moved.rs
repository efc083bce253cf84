//! What does the house do over minutes that nobody waits for?
//! Given settings and a partner that is a function, joins the rooms in this process with pipes on both sides, in moved time.
//! Never opens a socket: with one, moved time would run ahead of what is on its way.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::{Connected, Connection as Connects};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use reseller_gateway::boot;
use reseller_gateway::clock::Clock;
use reseller_gateway::config::{self, Given};
use reseller_gateway::gateway::Gateway;
use reseller_gateway::secret::Secret;
use reseller_gateway::token::TokenSpec;
use reseller_gateway::token::bounds::Bounds;
use reseller_gateway::upstream::credential::Source;

pub(crate) use super::fake_partner::{
    Connection, FakePartner, Reply, Response, by_target, errors, most_within, put, settings, target, zipf,
};

const PIPE: usize = 64 << 10;

/// Connects to the partner by a pipe.
#[derive(Clone)]
pub(crate) struct Pipes(Arc<FakePartner>);

impl tower::Service<Uri> for Pipes {
    type Response = Pipe;
    type Error = io::Error;
    type Future = Ready<io::Result<Pipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        ready(self.0.accept(theirs).map(|served| {
            tokio::spawn(served);
            Pipe(TokioIo::new(ours))
        }))
    }
}

/// One end of a pipe, as hyper's client wants it.
pub(crate) struct Pipe(TokioIo<DuplexStream>);

impl Connects for Pipe {
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
pub(crate) struct PausedGateway {
    pub(crate) house: Arc<Gateway<Pipes>>,
    pub(crate) partner: Arc<FakePartner>,
}

impl PausedGateway {
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
        let partner = FakePartner::new();
        let keys = match keys {
            [] => vec![Source::Fixed(Secret::new("key".to_owned()))],
            files => files.iter().cloned().map(Source::File).collect(),
        };
        let ring = boot::ring(&config.tokens).unwrap();
        let house = boot::join(&config, ring, keys, Pipes(Arc::clone(&partner)), Clock::real()).unwrap();
        Self { house, partner }
    }

    /// A connection of the `nth` caller's.
    pub(crate) async fn caller(&self, nth: usize) -> Connection {
        let wish = TokenSpec {
            caller: format!("c{}", nth % 10),
            scopes: Vec::new(),
            bounds: Bounds::default(),
            ttl: Duration::from_secs(86_400),
        };
        let token = self.house.tokens().issue(&wish, self.house.clock().now()).unwrap().token;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let house = Arc::clone(&self.house);
        let service = service_fn(move |request| {
            let house = Arc::clone(&house);
            async move { Ok::<_, Infallible>(house.serve(request, ([127, 0, 0, 1], 9).into(), None).await) }
        });
        tokio::spawn(http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(theirs), service));
        let (caller, driven) = Connection::over(ours, &token).await.unwrap();
        tokio::spawn(driven);
        caller
    }
}
