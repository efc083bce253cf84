//! What of a request that another door answers?
//! Given that door's work, hands back its answer with our signature, and leaves the same line and counts as the path.
//! Never looks into it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;

use crate::http::REQUEST_ID;
use crate::http::cache_status::CACHE_STATUS;
use crate::token::Caller;
use crate::trail::{Outcome, RequestId};
use crate::upstream::hub;

use super::respond::{Body, End};
use super::{CALLER_LEFT, Dials, Gateway, caller_left};

/// What the other door answered, to whom, and why not if it refused.
type Beside = (Response<Bytes>, Option<Arc<Caller>>, &'static str);

impl<C: Dials> Gateway<C> {
    /// Lets another door answer one request.
    pub async fn beside(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        work: impl AsyncFnOnce(Request<Incoming>) -> Beside,
    ) -> Response<Body> {
        let sent = request.headers().get(REQUEST_ID).and_then(|id| RequestId::accepted(id.as_bytes()));
        let method = request.method().clone();
        let now = self.clock.now();
        let trace = self.ledger.sample(request.headers(), now);
        let trail = self.begin(method.clone(), sent, now, peer, trace);
        let mut end = End { ledger: Arc::clone(&self.ledger), clock: self.clock, trail };
        (end.trail.status, end.trail.cause) = (caller_left(), CALLER_LEFT);
        let (response, caller, cause) = work(request).await;
        let (mut head, bytes) = response.into_parts();
        let trail = &mut end.trail;
        (trail.status, trail.caller, trail.cause) = (head.status, caller, cause);
        trail.outcome = if cause.is_empty() { Outcome::Own } else { Outcome::Refused };
        // A gateway that asks in its own name knows by this that it is we who refuse its token.
        if let Some(detail) = head.headers.get(WWW_AUTHENTICATE).and_then(hub::detail_beside) {
            head.headers.insert(CACHE_STATUS, self.rendering.signature.detail(detail));
        }
        self.rendering.signature.sign(&mut head.headers, &trail.request_id);
        if self.draining.load(Ordering::Relaxed) {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let body = if method == Method::HEAD {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            Body::empty()
        } else {
            Body::full(bytes)
        };
        Response::from_parts(head, body.ending(Box::new(end)))
    }
}
