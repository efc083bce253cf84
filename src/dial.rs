//! How does a request go out?
//! Given an origin and its trust roots, hands back a pooled HTTP/1.1 client over TCP or TLS.
//! Never adds a key or a header; generic over the connector, so that tests use pipes.

pub mod once;

pub mod pinned;

pub mod proxy;

pub mod turnover;

mod unconnected;

pub use unconnected::{Unconnected, describe};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;

use proxy::{NoAuth, Proxy};

/// What a request carries out: mostly nothing, or a caller's body as it comes.
pub type OutBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The connector of a real partner: one deadline over name, TCP, a proxy's tunnel, and TLS.
pub type Dialer = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, tower::BoxError>;

/// Why no connection could ever be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The certificates of `upstream.ca_file` cannot be read.
    #[error("{0}: no certificate in PEM can be read there")]
    Roots(PathBuf),
    /// rustls refuses the settings.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// What is shown to the proxy cannot be had.
    #[error(transparent)]
    Proxy(#[from] NoAuth),
}

/// A connector to any origin, trusting `ca_file` alone if it is given, else the machine's roots, else the web's.
/// With a proxy it goes through that alone; what the environment says of proxies is not looked at.
///
/// # Errors
/// [`DialError`].
pub fn dialer(ca_file: Option<&Path>, connect_timeout: Duration, proxy: Option<&Proxy>) -> Result<Dialer, DialError> {
    let tls = trusting(ca_file)?;
    Ok(match proxy {
        None => timed(https(tls, tcp()), connect_timeout),
        Some(proxy) => timed(https(tls, proxy.tunnel(tcp())?), connect_timeout),
    })
}

/// The same for origins that speak no TLS: no certificates are looked for, and none is trusted.
///
/// # Errors
/// [`DialError::Tls`].
pub fn clear(connect_timeout: Duration) -> Result<Dialer, DialError> {
    Ok(timed(https(over(RootCertStore::empty())?, tcp()), connect_timeout))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp
}

fn trusting(ca_file: Option<&Path>) -> Result<ClientConfig, DialError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unreadable = || DialError::Roots(path.to_owned());
            let text = std::fs::read(path).map_err(|_| unreadable())?;
            // Editors of Windows begin a text with a byte order mark, and PEM begins with its first line (RFC 7468 §2).
            let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
            for certificate in CertificateDer::pem_slice_iter(text) {
                roots.add(certificate.map_err(|_| unreadable())?).map_err(|_| unreadable())?;
            }
            if roots.is_empty() {
                return Err(unreadable());
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
        }
    }
    over(roots)
}

fn over(roots: RootCertStore) -> Result<ClientConfig, DialError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn https<T>(tls: ClientConfig, connector: T) -> HttpsConnector<T> {
    hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector)
}

fn timed<S>(https: S, connect_timeout: Duration) -> Dialer
where
    S: tower::Service<Uri, Response = MaybeHttpsStream<TokioIo<TcpStream>>, Error = tower::BoxError>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(Timeout::new(https, connect_timeout))
}

/// Anything from 0 to 1, so that many gateways do not come to one place together.
pub fn chance() -> f64 {
    let mut bits = [0; 4];
    let _ = getrandom::fill(&mut bits);
    f64::from(u32::from_le_bytes(bits)) / f64::from(u32::MAX)
}

/// So many headers of an answer are read.
pub const MAX_HEADERS: usize = 256;

/// A client over that connector; idle connections are closed after a while.
///
/// A line of a head that nobody can read, such as a cookie with a control character in it, is no reason to do without the
/// answer: it is dropped, or unfolded (RFC 9112 §5.2), as other clients do.
pub fn client<C: Connect + Clone>(connector: C) -> Client<C, OutBody> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .retry_canceled_requests(false)
        .http1_max_headers(MAX_HEADERS)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .build(connector)
}
