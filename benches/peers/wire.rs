//! What came back on this connection?
//! Given a request's bytes, sends them as they are and hands back the status and the body's length.
//! Never parses more of HTTP/1.1 than it needs: an answer without a Content-Length is a fault.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One kept-alive connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) length: usize,
}

impl Wire {
    pub(crate) async fn open(server: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<(), Error> {
        self.stream.write_all(request).await
    }

    pub(crate) async fn receive(&mut self) -> Result<Reply, Error> {
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let (status, length) = read_head(self.buffer.get(..head).unwrap_or_default())?;
            let whole = head + 4 + length;
            while self.buffer.len() < whole {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            return Ok(Reply { status, length });
        }
    }
}

/// The bytes of a GET as every program of this folder sends it.
pub(crate) fn get(server: SocketAddr, path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: bench/1\r\nAccept: application/json\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

fn read_head(head: &[u8]) -> Result<(u16, usize), Error> {
    let text = std::str::from_utf8(head).map_err(|_| ErrorKind::InvalidData)?;
    let status = text.get(9..12).and_then(|digits| digits.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or(ErrorKind::InvalidData)?;
    Ok((status, length))
}
