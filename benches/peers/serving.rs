//! How do the programs of this folder take connections?
//! Given a listener and a function from request to answer, serves HTTP/1.1 keep-alive on the current thread.
//! Never ends by itself; the driver stops the process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};

/// As the peers' configurations have it: a herd that connects at once must not lose a SYN.
const BACKLOG: u32 = 4096;

/// Listens on `address` with room for a herd.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves every connection in a task of its own; must run inside a `LocalSet`.
pub(crate) async fn serve<F>(listener: TcpListener, answer: F)
where
    F: AsyncFn(Request<Incoming>) -> Response<Full<Bytes>> + 'static,
{
    let answer = Rc::new(answer);
    let mut http = http1::Builder::new();
    http.header_read_timeout(None);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let answer = Rc::clone(&answer);
        let service = service_fn(move |request| {
            let answer = Rc::clone(&answer);
            async move { Ok::<_, Infallible>(answer(request).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
    }
}
