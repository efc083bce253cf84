//! What does a connection to a TLS listener want to speak?
//! Given a connection as it was accepted, hands back the private one, or why there is none.
//! Never waits longer than for a head, from the connection's first moment, and leaves clear text with a hint.

use std::io;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::limiter::{ConnectionLimiter, Failed};
use super::tls::Tls;
use super::watched_io::LINGER;
use crate::clock::Clock;
use crate::http::problem::Problem;

/// The first byte of a record that begins a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What somebody gets who says `http://` here.
const HINT: Problem<'static> = Problem {
    status: StatusCode::BAD_REQUEST,
    slug: "clear-text",
    title: "TLS is spoken here",
    detail: "This port speaks TLS and the request came in clear text; ask with https://.",
};

/// Why a connection never became private.
pub(super) struct Ungreeted {
    pub(super) why: Failed,
    pub(super) error: Option<io::Error>,
}

impl Ungreeted {
    fn of(why: Failed) -> Self {
        Self { why, error: None }
    }
}

impl From<io::Error> for Ungreeted {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let why = match inner {
            Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
                Failed::ClientCertificate
            }
            _ => Failed::Broken,
        };
        Self { why, error: Some(error) }
    }
}

/// Shakes hands within `patience`.
pub(super) async fn greet(
    stream: TcpStream,
    tls: &Tls,
    connections: &ConnectionLimiter,
    clock: Clock,
    patience: Duration,
) -> Result<TlsStream<TcpStream>, Ungreeted> {
    let work = async {
        // Nothing is kept ready for whoever says nothing.
        if first_byte(&stream).await? != HANDSHAKE {
            hint(stream).await;
            return Err(Ungreeted::of(Failed::ClearText));
        }
        let late = || Ungreeted::of(Failed::Late);
        let turn = connections.handshake_permit(clock.tick()).await.ok_or_else(late)?;
        // In a box: it is some kilobytes that a silent connection does not need.
        let accept = Box::pin(TlsAcceptor::from(tls.current()).accept(stream));
        Ok(turn.given_up.run_until_cancelled(accept).await.ok_or_else(late)??)
    };
    clock.until(clock.tick().plus(patience), work).await.unwrap_or(Err(Ungreeted::of(Failed::Late)))
}

/// Whether HTTP/2 was agreed on (RFC 7301, RFC 9113 §3.2).
pub(super) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

async fn first_byte(stream: &TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    match stream.peek(&mut byte).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

/// Whoever did not mean to speak HTTP can make nothing of it, and is gone all the same.
async fn hint(mut stream: TcpStream) {
    if stream.write_all(&HINT.on_the_wire()).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream.take(LINGER as u64), &mut tokio::io::sink()).await;
    }
}
