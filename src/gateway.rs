//! The path: what happens to a request, one line per room.
//! Given a request, hands back an answer or a refusal, and a trail of what happened.
//! Never touches moka, hyper's client, files or clocks of its own: it asks the rooms, in the order `lib.rs` has them.

pub mod refusal;

pub mod buffers;

mod spool;

pub mod respond;

pub(crate) mod plan;

pub mod landing;

mod fetches;

mod rendering;

mod ambient;

mod document;

mod project;

pub(crate) mod compress;

mod show;

mod asker;

mod withheld;

mod upload;

mod beside;

mod identify;

mod traced;

mod flights;

mod execute;

mod take_in;

pub mod probe;

mod fetch;

mod lookup_provider;

pub mod explain;

mod pass;

mod standard;

mod parts;

pub use ambient::Ambient;
pub use parts::Parts;
pub use rendering::Views;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use crate::access::{Decision, Grant, Rules};
use crate::cache::freshness::Stage as LifeStage;
use crate::cache::reason::Why;
use crate::cache::{Entry, Key, Lookup, Store, Stored};
use crate::clock::{Clock, Now, Tick};
use crate::http::REQUEST_ID;
use crate::http::accept::accepts_json;
use crate::http::request_flags::{Kinds, RequestFlags};
use crate::listen::BadHead;
use crate::quota::CallerLimits;
use crate::quota::strangers::Strangers;
use crate::route::{Mode, Resource, RouteIndex, Routes, Target};
use crate::token::{Caller, Tokens};
use crate::trail::trace::{Stage, Traced};
use crate::trail::{Ledger, Outcome, RequestId, Trail};
pub use crate::upstream::calls::Connects as Dials;

use execute::Reached;
use fetch::{DocumentQuery, landed};
use fetches::Fetches;
use plan::{Plan, plan, wishes_of};
use refusal::Refusal;
use rendering::Rendering;
use respond::{Body, End};

/// Waits and limits of the path.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// From the head to the answer.
    pub request_timeout: Duration,
    /// A flight's deadline, all attempts and waits included.
    pub flight_timeout: Duration,
    /// The largest request body that is passed on.
    pub max_request_body: usize,
    /// Connections of callers that there may be.
    pub max_connections: usize,
    /// Memory that the process may have, if anything limits it.
    pub memory_limit: Option<u64>,
}

/// The path of a request, over what each of its stages needs.
pub struct Gateway<C> {
    tokens: Arc<Tokens>,
    caller_limits: CallerLimits,
    strangers: Arc<Strangers>,
    routes: Arc<Routes>,
    rules: Rules,
    store: Arc<Store>,
    fetches: Arc<Fetches<C>>,
    rendering: Rendering,
    ledger: Arc<Ledger>,
    name: String,
    clock: Clock,
    draining: Arc<AtomicBool>,
    requests: (u64, AtomicU64),
}

/// Views that are being made at once, apart from the workers.
pub const VIEWS: usize = 256;

/// No refresh is begun while so many flights are under way: nobody waits for one, so nothing else would bound them.
pub const REFRESHES: usize = 1000;

/// When it is worth coming back where there is no room for a request's body.
const BUFFER_RETRY: Duration = Duration::from_secs(1);

const CALLER_LEFT: &str = "caller-left";

/// The status that stands in logs for no answer, since nobody was there to take one; nginx made it common.
fn caller_left() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT)
}

impl<C: Dials> Gateway<C> {
    /// Answers one request; a refusal is an answer too. `ambient` is what its listener says of requests without a token.
    pub async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        ambient: Option<&Ambient>,
    ) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        // HTTP/2 ends the stream of an unread body by itself, and no other (RFC 9113 §8.1).
        let has_body = parts.version < Version::HTTP_2 && !body.is_end_stream();
        let now = self.clock.now();
        let method = parts.method.clone();
        let asks = RequestFlags::of(&parts.headers);
        let sent = match asks.has(Kinds::ID) {
            true => parts.headers.get(REQUEST_ID).and_then(|id| RequestId::accepted(id.as_bytes())),
            false => None,
        };
        let trace = self.ledger.sample(&parts.headers, now);
        let trail = self.begin(method.clone(), sent, now, peer, trace);
        let mut end = Box::new(End { ledger: Arc::clone(&self.ledger), clock: self.clock, trail });
        // What stands there if the caller leaves meanwhile, and this with it.
        (end.trail.status, end.trail.cause) = (caller_left(), CALLER_LEFT);
        let answered = self.answer((&mut parts, asks), body, ambient, now, &mut end.trail).await;
        let trail = &mut end.trail;
        if trail.cause == CALLER_LEFT {
            trail.cause = "";
        }
        let mut response = answered.unwrap_or_else(|refusal| {
            trail.outcome = Outcome::Refused;
            self.rendering.signature.refusal(&refusal, &method, &trail.request_id, &mut trail.cause)
        });
        self.tell_limits(trail, response.headers_mut());
        // A refusal leaves a body unread, and a connection of HTTP/1 ends with it: whoever keeps connections has to know.
        let unread = has_body && trail.outcome == Outcome::Refused;
        if unread || self.draining.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        trail.status = response.status();
        response.map(|body| body.ending(end))
    }

    /// Refuses a request whose head is bad, before anybody looks at what it asks.
    pub fn refuse_head(&self, fault: BadHead, peer: SocketAddr) -> Response<Body> {
        let now = self.clock.now();
        let mut trail = self.begin(Method::GET, None, now, peer, Traced::NONE);
        let response =
            self.rendering.signature.refusal(&Refusal::Head(fault), &Method::GET, &trail.request_id, &mut trail.cause);
        trail.status = response.status();
        self.ledger.close(&mut trail, now.tick);
        response
    }

    async fn answer(
        self: &Arc<Self>,
        (parts, asks): (&mut http::request::Parts, RequestFlags),
        body: Incoming,
        ambient: Option<&Ambient>,
        mut now: Now,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        if asks.has(Kinds::VIA) && self.fetches.calls.upstream().has_been(&parts.headers) {
            return Err(Refusal::Loop);
        }
        let target = Target::parse(&parts.uri)?;
        let caller = self.identify(parts, trail.peer.ip(), ambient, now)?;
        trail.caller = Some(Arc::clone(&caller));
        trail.admitted =
            Some(self.caller_limits.admit(&caller, now.tick).map_err(|back| Refusal::limited(back, now.tick))?);
        trail.trace.reached(Stage::Identify, || self.clock.tick());
        let grant = match self.resolve(caller, &target, &parts.method, &mut trail.route)? {
            Decision::Granted(grant) => grant,
            // In a box: it is rare, and would make every request's own future larger.
            Decision::Needs(question) => {
                let grant = Box::pin(self.fetches.settle(*question, parts, now, trail)).await?;
                now = self.clock.now();
                grant
            }
        };
        trail.trace.reached(Stage::Decide, || self.clock.tick());
        let route = self.routes.at(grant.wanted().route()).ok_or(Refusal::NoSuchRoute)?;
        // What may wait for the upstream is in boxes: it is large, and the hit path carries this future about.
        let is_opaque = matches!(grant.wanted().resource(), Resource::Opaque(_));
        match Key::of(&grant, route, &parts.headers) {
            Some(key) if route.mode == Mode::Api => self.document(&grant, key, (parts, asks), now, trail).await,
            None if route.mode == Mode::Api && !is_opaque => {
                Box::pin(self.unstored_document(&grant, (parts, asks), now, trail)).await
            }
            _ => {
                let got = Box::pin(self.fetches.reply_to(&grant, parts, body, now, trail)).await?;
                Ok(self.rendering.signature.give(got, self.clock, trail))
            }
        }
    }

    /// Answers a request for a document whose route stores nothing, and whose caller's right is too narrow for what would
    /// pass through.
    async fn unstored_document(
        &self,
        grant: &Grant,
        (parts, asks): (&http::request::Parts, RequestFlags),
        now: Now,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        if !accepts_json(&parts.headers) {
            return Err(Refusal::NotAcceptable);
        }
        let plan = Plan::Fetch { why: Why::Bypass, coalesce: false, others: Vec::new() };
        let query = DocumentQuery { grant, key: None, parts };
        let reached = self.fetches.execute(&query, plan, now, trail).await?;
        let (entry, delivery) = landed(reached, trail);
        self.rendering.show(grant, entry, delivery, (parts, asks), trail).await
    }

    /// Answers a request for a document of the API.
    async fn document(
        &self,
        grant: &Grant,
        key: Key,
        (parts, asks): (&http::request::Parts, RequestFlags),
        now: Now,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        if asks.has(Kinds::ACCEPT) && !accepts_json(&parts.headers) {
            return Err(Refusal::NotAcceptable);
        }
        let (found, fetches) = (self.store.look(&key, now), &self.fetches);
        fetches.traced_look(trail, || found.state(now.tick));
        let reached = match self.plan(found, grant, &parts.headers, asks, now.tick) {
            Plan::Serve(entry, detail) => Reached::Stored(entry, detail),
            plan => {
                let query = DocumentQuery { grant, key: Some(key), parts };
                fetches.execute(&query, plan, now, trail).await?
            }
        };
        let (entry, delivery) = landed(reached, trail);
        self.rendering.show(grant, entry, delivery, (parts, asks), trail).await
    }

    /// The plan for a request for a document. `no-store` changes nothing here: no word of the request is in what is stored.
    fn plan(
        &self,
        found: Lookup<Entry>,
        grant: &Grant,
        headers: &HeaderMap,
        asks: RequestFlags,
        now: Tick,
    ) -> Plan<Entry> {
        match found {
            // The common one, without a look at directives that are not there.
            Lookup::Stored(entry) if !asks.has(Kinds::DIRECTIVES) && entry.life().stage(now) == LifeStage::Fresh => {
                Plan::Serve(entry, None)
            }
            found => {
                let wishes = wishes_of(headers, asks);
                // Who takes what is stored and nothing else does not force a call.
                let forces = self.rules.may_refresh(grant.caller()) && !wishes.only_if_cached;
                plan(found, &wishes, forces, now)
            }
        }
    }

    /// The part of the path that has no effects: what does this caller want, and may it.
    fn resolve(
        &self,
        caller: Arc<Caller>,
        target: &Target<'_>,
        method: &Method,
        found: &mut Option<RouteIndex>,
    ) -> Result<Decision, Refusal> {
        let wanted = self.routes.find(method, target)?;
        *found = Some(wanted.route());
        let route = self.routes.at(wanted.route()).ok_or(Refusal::NoSuchRoute)?;
        Ok(self.rules.decide(caller, wanted, route)?)
    }

    pub(crate) fn begin(
        &self,
        method: Method,
        sent: Option<RequestId>,
        now: Now,
        peer: SocketAddr,
        trace: Traced,
    ) -> Trail {
        let (start, counted) = &self.requests;
        let made = || start.wrapping_add(counted.fetch_add(1, Ordering::Relaxed));
        Trail {
            began: now.tick,
            unix_ms: now.unix_ms,
            peer,
            method,
            route: None,
            caller: None,
            admitted: None,
            paid: AtomicBool::new(false),
            outcome: Outcome::Refused,
            status: StatusCode::OK,
            cause: "",
            bytes: 0,
            upstream: None,
            age: None,
            request_id: sent.unwrap_or_else(|| RequestId::made(made())),
            trace,
        }
    }
}
