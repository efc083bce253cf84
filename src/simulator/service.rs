//! How is the simulator reached over a socket?
//! Given a request as it comes in, hands back the simulator's answer.
//! Never answers by itself, but where a head is none.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::Simulator;
use super::body::Body;
use crate::listen::{AtOnce, BadHead, Handler, Wire};

impl Handler for Arc<Simulator> {
    type Body = Body;
    type Owed = ();

    fn at_once(&self, head: &[u8], _peer: SocketAddr, wire: &mut Wire) -> Option<AtOnce<()>> {
        self.answer_spoiled(head, wire).map(|body| AtOnce { body, owed: () })
    }

    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Body> {
        Simulator::answer(self, request).await
    }

    fn refuse_head(&self, fault: BadHead, _peer: SocketAddr) -> Response<Body> {
        fault.response().map(Body::whole)
    }
}
