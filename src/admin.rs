//! Is it alive, is it ready, and what does it count?
//! Given the joined house, answers `/livez`, `/readyz` and `/metrics` to whoever can reach the health listener.
//! Never changes anything, and never asks the partner.

mod cache;

mod door;

mod guard;

mod purge;

mod reply;

mod spend;

mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::authority::Authority;
use crate::budget::gate::Why;
use crate::gateway::{Dials, Gateway};
use crate::listen::Door;
use crate::trail::count::Gauges;

pub use door::Admin;
pub use guard::Own;

/// The health listener's door.
pub struct Health<C> {
    gateway: Arc<Gateway<C>>,
    authority: Arc<Authority>,
    ready: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl<C> Clone for Health<C> {
    fn clone(&self) -> Self {
        let (gateway, ready) = (Arc::clone(&self.gateway), Arc::clone(&self.ready));
        Self { gateway, authority: Arc::clone(&self.authority), ready, connections: Arc::clone(&self.connections) }
    }
}

impl<C: Dials> Health<C> {
    /// Speaks for this house; `ready` and `connections` are kept by whoever serves it.
    pub fn new(
        gateway: Arc<Gateway<C>>,
        authority: Arc<Authority>,
        ready: Arc<AtomicBool>,
        connections: Arc<AtomicUsize>,
    ) -> Self {
        Self { gateway, authority, ready, connections }
    }

    fn ready(&self) -> (StatusCode, String) {
        let now = self.gateway.clock.tick();
        let closed = self.gateway.budget.figures(now).closed;
        match (self.ready.load(Ordering::Relaxed), closed) {
            (false, _) => (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#.to_owned()),
            (true, None) => (StatusCode::OK, r#"{"status":"ready"}"#.to_owned()),
            (true, Some((until, why))) => {
                let seconds = until.since(now).as_secs_f64().ceil();
                let why = match why {
                    Why::Told => format!("the partner asked to be left alone; the next call may try in {seconds} s"),
                    Why::Failing => format!("the partner fails; the next call may try in {seconds} s"),
                    Why::Key => format!("the partner refuses our key; the next call may try in {seconds} s"),
                };
                (StatusCode::OK, serde_json::json!({"status": "degraded", "why": [why]}).to_string())
            }
        }
    }

    fn metrics(&self) -> String {
        let now = self.gateway.clock.tick();
        let budget = self.gateway.budget.figures(now);
        self.gateway.ledger.counts.text(&Gauges {
            store: self.gateway.store.figures(),
            budget,
            closed_for: budget.closed.map_or(0.0, |(until, _)| until.since(now).as_secs_f64()),
            keys: self.gateway.upstream.credential().figures(),
            flights: self.gateway.flights.count(),
            connections: self.connections.load(Ordering::Relaxed),
            tokens: self.authority.figures(),
            refused: self.gateway.turns.refused(),
            strangers: self.gateway.strangers.figures(),
        })
    }
}

impl<C: Dials> Door for Health<C> {
    type Body = Full<Bytes>;

    async fn answer(&self, request: Request<Incoming>, _peer: SocketAddr) -> Response<Full<Bytes>> {
        const JSON: &str = "application/json";
        let (status, media, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, JSON, r#"{"status":"alive"}"#.to_owned()),
            (&Method::GET | &Method::HEAD, "/readyz") => {
                let (status, text) = self.ready();
                (status, JSON, text)
            }
            (&Method::GET | &Method::HEAD, "/metrics") => {
                (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics())
            }
            (_, "/livez" | "/readyz" | "/metrics") => {
                (StatusCode::METHOD_NOT_ALLOWED, JSON, r#"{"status":"GET only"}"#.to_owned())
            }
            _ => (StatusCode::NOT_FOUND, JSON, r#"{"status":"here are /livez, /readyz and /metrics"}"#.to_owned()),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    fn head_too_large(&self, _peer: SocketAddr) -> Bytes {
        Bytes::from_static(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        )
    }
}
