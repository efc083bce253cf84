//! Is it alive, is it ready, and what does it count?
//! Given the joined house, answers `/livez`, `/readyz` and `/metrics` to whoever can reach the health listener.
//! Never changes anything, and never asks the partner.

mod process;

mod reply;

mod cache;

mod explain;

mod guard;

mod pause;

mod purge;

mod reload;

mod spend;

mod tokens;

mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::budget::breaker::Reason;
use crate::clock::time_text;
use crate::gateway::Dials;
use crate::generation::InForce;
use crate::listen::{BadHead, ConnectionLimiter, Handler, Tls};
use crate::trail::count::{CertificateFigures, Gauges, Most};
use crate::trail::sink::process_log;

pub use service::Admin;

/// The connections of callers, and the certificates that are shown to them by listener.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    /// How many there are.
    pub limiter: Arc<ConnectionLimiter>,
    /// The certificates.
    pub certificates: Arc<[(String, Arc<Tls>)]>,
}

/// The health listener's door.
pub struct Health<C> {
    in_force: Arc<InForce<C>>,
    ready: Arc<AtomicBool>,
    connections: Connections,
}

impl<C> Clone for Health<C> {
    fn clone(&self) -> Self {
        let (in_force, ready) = (Arc::clone(&self.in_force), Arc::clone(&self.ready));
        Self { in_force, ready, connections: self.connections.clone() }
    }
}

impl<C: Dials> Health<C> {
    /// Speaks for the house in force; `ready` and `connections` are kept by whoever serves it.
    pub fn new(in_force: Arc<InForce<C>>, ready: Arc<AtomicBool>, connections: Connections) -> Self {
        Self { in_force, ready, connections }
    }

    fn ready(&self) -> (StatusCode, String) {
        if !self.ready.load(Ordering::Relaxed) {
            return (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#.to_owned());
        }
        let why: Vec<String> = {
            let unwritten = self.in_force.now().authority.unwritten();
            self.closed().into_iter().chain(self.in_force.why_refused()).chain(unwritten).collect()
        };
        if why.is_empty() {
            return (StatusCode::OK, r#"{"status":"ready"}"#.to_owned());
        }
        (StatusCode::OK, serde_json::json!({"status": "degraded", "why": why}).to_string())
    }

    /// Why the partner may not be asked now.
    fn closed(&self) -> Option<String> {
        let gateway = &self.in_force.now().gateway;
        let now = gateway.clock().tick();
        let figures = gateway.calls().budget().figures(now);
        // What holds for documents holds for other paths too, and is said once.
        let (standing, which) = match (figures.documented, figures.opaque) {
            (Some(standing), _) => (standing, ""),
            (None, Some(standing)) => (standing, ", for paths that are no documents"),
            (None, None) => return None,
        };
        // Rounded up, as Retry-After is.
        let seconds = standing.until.since(now).as_secs_f64().ceil();
        let wait = time_text(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let excerpt = match &standing.excerpt {
            Some((excerpt, true)) => format!(" ({excerpt}, cut to upstream.max_pause)"),
            Some((excerpt, false)) => format!(" ({excerpt})"),
            None => String::new(),
        };
        Some(match standing.reason {
            Reason::PausedByPartner if gateway.calls().upstream().is_hub() => {
                format!("the hub asked to be left alone{excerpt}{which}; the next call may try in {wait}")
            }
            Reason::PausedByPartner => {
                format!("the partner asked to be left alone{excerpt}{which}; the next call may try in {wait}")
            }
            Reason::PausedByOperator => format!("calls are paused by an operator{excerpt}; they go on in {wait}"),
            Reason::Failing if gateway.calls().upstream().is_hub() => {
                format!("the hub fails{which}; the next call may try in {wait}")
            }
            Reason::Failing => format!("the partner fails{which}; the next call may try in {wait}"),
            Reason::KeyRefused if gateway.calls().upstream().is_hub() => format!(
                "the hub refuses our token (upstream.token_file or upstream.exchange); the next call may try in {wait}"
            ),
            Reason::KeyRefused => format!("the partner refuses our key; the next call may try in {wait}"),
        })
    }

    fn metrics(&self) -> String {
        let house = self.in_force.now();
        let gateway = &house.gateway;
        let read = gateway.clock().now();
        let (now, unix) = (read.tick, read.unix());
        let certificate = |(listener, tls): &(String, Arc<Tls>)| {
            let figures = tls.figures();
            let left = figures.validity.until.saturating_sub(i64::try_from(unix).unwrap_or(i64::MAX));
            CertificateFigures { listener: listener.clone(), left, faulty: figures.faulty }
        };
        let budget = gateway.calls().budget().figures(now);
        let settings = &gateway.settings();
        gateway.ledger().counts.text(&Gauges {
            store: gateway.store().figures(),
            budget: budget.clone(),
            buffers: (gateway.buffers().used(), gateway.buffers().most()),
            opaque_refusals: gateway.calls().upstream().credential().opaque_alarms(),
            closed_for: budget.documented.as_ref().map_or(0.0, |standing| standing.until.since(now).as_secs_f64()),
            keys: gateway.calls().upstream().credential().figures(),
            flights: gateway.flights().count(),
            connections: self.connections.limiter.figures(),
            certificates: self.connections.certificates.iter().map(certificate).collect(),
            tokens: house.authority.figures(),
            refused: gateway.caller_limits().refused(),
            strangers: gateway.strangers().figures(),
            reloads: self.in_force.figures(),
            partner_key_age: gateway.calls().upstream().credential().changed().map(|at| unix.saturating_sub(at)),
            expiring: gateway.tokens().expiring(unix),
            most: Most {
                connections: settings.max_connections,
                calls_in_flight: budget.most_in_flight,
                budget: budget.most,
                cache_bytes: gateway.store().max_bytes(),
            },
            process: process::figures(settings.memory_limit),
            lines_lost: gateway.ledger().lines.lost() + process_log().lost(),
            traces: gateway.ledger().traces.as_ref().map_or((0, 0), |traces| traces.figures()),
        })
    }
}

impl<C: Dials> Handler for Health<C> {
    type Body = Full<Bytes>;
    type Owed = ();

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

    fn refuse_head(&self, fault: BadHead, _peer: SocketAddr) -> Response<Full<Bytes>> {
        fault.response().map(Full::new)
    }
}
