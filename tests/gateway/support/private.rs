//! How does a caller speak TLS?
//! Given certificates that it makes itself, hands back connections that trust them, over HTTP/1.1 or HTTP/2.
//! Never trusts the machine's roots, and never hides how a handshake ended.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::wire::{self, Response};

/// Who signs certificates.
pub(crate) struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for this machine.
    pub(crate) fn signs(&self) -> Identity {
        self.signs_with(|_| ())
    }

    pub(crate) fn signs_with(&self, adjust: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        adjust(&mut params);
        Identity { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// What a client trusts and shows.
#[derive(Clone)]
pub(crate) struct Client(Arc<ClientConfig>);

impl Client {
    pub(crate) fn of(signer: &CertificateAuthority) -> Self {
        Self::with(signer, None, rustls::DEFAULT_VERSIONS)
    }

    pub(crate) fn with(
        signer: &CertificateAuthority,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(signer.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap());
        Self(Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { cert, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        }))
    }

    /// The same, offering HTTP/2 alone, whatever is then said.
    pub(crate) fn speaking_http2(&self) -> Self {
        let mut config = (*self.0).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(config))
    }

    /// A connection after its handshake.
    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<TlsConnection> {
        let mut socket = TcpStream::connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::from(to.ip());
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(TlsConnection(StreamOwned::new(session, socket)))
    }

    /// One request over HTTP/1.1, on a connection of its own.
    pub(crate) fn ask(&self, to: SocketAddr, target: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        let mut connection = self.connect(to)?;
        connection.0.write_all(&wire::request("GET", target, headers, b""))?;
        connection.read_response()
    }

    /// A connection that speaks HTTP/2; to be used inside a runtime.
    pub(crate) async fn http2(&self, to: SocketAddr) -> Http2Connection {
        let mut config = (*self.0).clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let socket = tokio::net::TcpStream::connect(to).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(ServerName::from(to.ip()), socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let ended = tokio::spawn(connection);
        Http2Connection { sender, ended, to }
    }
}

/// A private connection of a caller.
pub(crate) struct TlsConnection(pub(crate) StreamOwned<ClientConnection, TcpStream>);

impl TlsConnection {
    /// Reads to the end of the connection.
    pub(crate) fn read_response(&mut self) -> io::Result<Response> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        Ok(wire::parse(&bytes, false))
    }

    /// The certificate that the gateway showed.
    pub(crate) fn peer_certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }
}

/// A connection that speaks HTTP/2.
pub(crate) struct Http2Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) ended: tokio::task::JoinHandle<hyper::Result<()>>,
    to: SocketAddr,
}

impl Http2Connection {
    /// One request among others on this connection.
    pub(crate) fn asks(
        &self,
        target: &str,
        headers: &[(&str, &str)],
    ) -> impl Future<Output = hyper::Result<Response>> + use<> {
        self.sends("GET", target, headers, Bytes::new())
    }

    /// The same with a method and a body.
    pub(crate) fn sends(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> impl Future<Output = hyper::Result<Response>> + use<> {
        let mut request = http::Request::builder().method(method).uri(format!("https://{}{target}", self.to));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone();
        async move {
            let (head, body) = sender.send_request(request.body(Full::new(body)).unwrap()).await?.into_parts();
            let headers =
                head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            let (status, headers) = (head.status.as_u16(), headers.collect());
            Ok(Response { status, headers, body: body.collect().await?.to_bytes().to_vec(), whole: true })
        }
    }
}

/// Runs what is asynchronous.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
