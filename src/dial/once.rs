//! How is one question asked over a connection that is already there?
//! Given both and a bound, hands back the whole answer.
//! Never keeps the connection, and never reads more than the bound.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The connection broke, or spoke no HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer broke off, or is larger than the bound.
    #[error("the answer broke off, or is larger than {0} bytes")]
    Body(usize),
}

/// Asks; the answer's body may have `most` bytes.
///
/// # Errors
/// [`Unanswered`].
pub async fn once(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, Unanswered> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|_| Unanswered::Body(most))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let answer = answer.await;
    connection.abort();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn answered(said: &'static [u8], most: usize) -> Result<Response<Bytes>, Unanswered> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut asked = [0; 1024];
            let _ = theirs.read(&mut asked).await;
            let _ = theirs.write_all(said).await;
        });
        once(ours, Request::new(Full::default()), most).await
    }

    #[tokio::test]
    async fn an_answer_comes_whole_or_not_at_all() {
        let whole = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour", 4).await.unwrap();
        assert_eq!(whole.body().as_ref(), b"four");
        let long = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfives", 4).await;
        assert!(matches!(long, Err(Unanswered::Body(4))));
        let short = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfour", 9).await;
        assert!(matches!(short, Err(Unanswered::Body(9))));
        assert!(matches!(answered(b"SSH-2.0\r\n", 9).await, Err(Unanswered::Broken(_))));
    }
}
