//! How is a tunnel opened?
//! Given a connection to a proxy, asks for one (CONNECT, RFC 9110 §9.3.6) and hands the connection back once it leads to the partner.
//! Never reads more than a head, and never takes what a proxy says of a body: after a success there is none.

use http::{HeaderValue, Uri};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The head of the proxy's answer.
const MOST_BYTES: usize = 8 << 10;
const MOST_HEADERS: usize = 100;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum NoTunnel {
    /// 407.
    #[error("the proxy does not take the credentials (407)")]
    Auth,
    /// Another 4xx: the proxy will not, whenever it is asked.
    #[error("the proxy refuses to open a tunnel ({0})")]
    Refused(u16),
    /// Any other status: it could not.
    #[error("the proxy opened no tunnel ({0})")]
    Failed(u16),
    /// No answer of HTTP, or a head too large.
    #[error("the proxy's answer is no head of HTTP/1.1 within 8 KiB")]
    Unreadable,
    /// The target names no host.
    #[error("no host to open a tunnel to")]
    NoHost,
    /// The connection to the proxy broke.
    #[error("the connection to the proxy broke: {0}")]
    Broken(#[from] std::io::Error),
}

/// Opens a tunnel to the host and port of `partner`, showing `auth` if it is given.
///
/// # Errors
/// [`NoTunnel`].
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut proxy: S,
    partner: &Uri,
    auth: Option<&HeaderValue>,
) -> Result<S, NoTunnel> {
    let host = partner.host().ok_or(NoTunnel::NoHost)?;
    let port = partner.port_u16().unwrap_or(if partner.scheme_str() == Some("http") { 80 } else { 443 });
    let mut asked =
        zeroize::Zeroizing::new(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes());
    if let Some(auth) = auth {
        asked.extend_from_slice(b"Proxy-Authorization: ");
        asked.extend_from_slice(auth.as_bytes());
        asked.extend_from_slice(b"\r\n");
    }
    asked.extend_from_slice(b"\r\n");
    proxy.write_all(&asked).await?;
    let mut head = Vec::with_capacity(1 << 10);
    loop {
        let mut piece = [0; 1 << 10];
        let read = proxy.read(&mut piece).await?;
        if read == 0 {
            return Err(NoTunnel::Broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        while let Some((status, length)) = answer(&head)? {
            match status {
                // More is to come.
                100..=199 => drop(head.drain(..length)),
                200..=299 => return Ok(proxy),
                407 => return Err(NoTunnel::Auth),
                400..=499 => return Err(NoTunnel::Refused(status)),
                _ => return Err(NoTunnel::Failed(status)),
            }
        }
    }
}

/// Status and length of the head, once it is whole.
fn answer(head: &[u8]) -> Result<Option<(u16, usize)>, NoTunnel> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(head).map_err(|_| NoTunnel::Unreadable)? {
        httparse::Status::Complete(length) => Ok(answer.code.map(|status| (status, length))),
        httparse::Status::Partial if head.len() >= MOST_BYTES => Err(NoTunnel::Unreadable),
        httparse::Status::Partial => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a proxy that says this, and what it was asked.
    async fn opened(said: &'static [u8], partner: &'static str) -> (Result<(), String>, String) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let proxy = tokio::spawn(async move {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(theirs.read_u8().await.unwrap());
            }
            let _ = theirs.write_all(said).await;
            String::from_utf8(asked).unwrap()
        });
        let opened = open(ours, &Uri::from_static(partner), None).await;
        (opened.map(drop).map_err(|why| format!("{why:?}")), proxy.await.unwrap())
    }

    #[tokio::test]
    async fn any_success_opens_it_and_what_it_says_of_a_body_is_ignored() {
        for said in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.0 200 Connection established\r\n\r\n",
            b"HTTP/1.1 200\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(opened(said, "https://p/").await.0, Ok(()), "{}", String::from_utf8_lossy(said));
        }
    }

    #[tokio::test]
    async fn each_way_to_say_no_has_its_own_word() {
        for (said, expected) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "Auth"),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "Refused(403)"),
            (b"HTTP/1.1 503 Busy\r\n\r\n", "Failed(503)"),
            (b"HTTP/1.1 302 Found\r\n\r\n", "Failed(302)"),
            (b"SSH-2.0-x\r\n", "Unreadable"),
            (b"HTTP/1.1 200 OK\r\n", "Broken(Kind(UnexpectedEof))"),
        ] {
            assert_eq!(opened(said, "https://p/").await.0, Err(expected.to_owned()));
        }
        let endless = Box::leak([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 9 << 10]].concat().into_boxed_slice());
        assert_eq!(opened(endless, "https://p/").await.0, Err("Unreadable".to_owned()));
    }

    #[tokio::test]
    async fn it_is_asked_for_by_host_and_port_of_the_scheme() {
        for (partner, authority) in [
            ("https://p/a?b", "p:443"),
            ("http://p/", "p:80"),
            ("http://p:8080/", "p:8080"),
            ("https://[::1]/", "[::1]:443"),
        ] {
            let (_, asked) = opened(b"HTTP/1.1 200 OK\r\n\r\n", partner).await;
            assert_eq!(asked, format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
        }
    }
}
