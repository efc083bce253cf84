//! How is the simulator reached over a socket?
//! Given a request as it comes in, hands back the simulator's answer.
//! Never answers by itself, but where a head is too large to be one.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::Simulator;
use super::body::Body;
use crate::listen::Door;

impl Door for Arc<Simulator> {
    type Body = Body;
    type Owed = ();

    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        Simulator::answer(self, request).await
    }

    fn head_too_large(&self, _peer: SocketAddr) -> Bytes {
        Bytes::from_static(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )
    }

    fn refuse_head(&self, _peer: SocketAddr) -> Response<Body> {
        let mut response = Response::new(Body::whole(Bytes::new()));
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        response
    }
}
