//! What would the partner answer?
//! Given a method, a target and headers, hands back what the Account API would say of clients it makes up from a seed.
//! Never opens a socket, and knows nothing of the gateway that stands in front of it.

mod draws;

mod world;

mod people;

mod resources;

mod documents;

mod wanted;

mod answers;

mod spoiled_head;

mod keys;

mod counts;

mod behaviour;

mod body;

mod spoil;

mod orders;

mod service;

use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use parking_lot::Mutex;

use self::answers::{Refusal, bare, etag_of, json_answer, plain};
pub use self::behaviour::{Behaviour, Fault, Spoiled};
pub use self::body::{Body, Cut};
use self::counts::{Counts, route_of};
use self::documents::Documents;
use self::keys::Keys;
pub use self::orders::Order;
pub use self::spoiled_head::SpoiledHead;
use self::wanted::Wanted;
use self::world::World;
use crate::clock::{Clock, Tick};
use crate::gcra::{Arrivals, ComeBack, Rate};
use crate::http::conditional::{Comparison, matches};
use crate::http::rate_limit_fields::retry_after;
use crate::secret::Secret;

/// Who exists, and how the partner behaves until it is told otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key every call must bring.
    pub api_key: Secret,
    /// How many clients there are.
    pub clients: usize,
    /// What everything is made up from: the same seed and count give the same bytes.
    pub seed: u64,
    /// How it behaves at first.
    pub behaviour: Behaviour,
}

impl Default for Settings {
    fn default() -> Self {
        Self { api_key: Secret::new("simulator-key".to_owned()), clients: 25, seed: 1, behaviour: Behaviour::default() }
    }
}

/// Ids that exist, of one client that uses two providers or more; the project is on the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The client.
    pub client: String,
    /// A provider it uses.
    pub provider: String,
    /// One of its projects there.
    pub project: String,
}

/// The Account API, in memory.
#[derive(Debug)]
pub struct Simulator {
    settings: Settings,
    clock: Clock,
    documents: Documents,
    counts: Mutex<Counts>,
    state: Mutex<State>,
}

/// What can be changed while it runs.
#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    keys: Keys,
    arrivals: Arrivals,
}

impl Simulator {
    /// A partner without any calls yet.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            documents: Documents::new(World::new(settings.clients, settings.seed)),
            counts: Mutex::default(),
            state: Mutex::new(State {
                behaviour: settings.behaviour.clone(),
                keys: Keys::one(settings.api_key.clone()),
                arrivals: Arrivals::default(),
            }),
            settings,
            clock,
        }
    }

    /// Answers one call, after the latency that was set. An answer to HEAD has the length of the body it leaves out.
    ///
    /// Below `/_simulator/` no key is wanted: `GET stats`, `POST reset` (of the counts), `GET POST DELETE behaviour`
    /// and `GET PUT DELETE keys`; nothing there is counted.
    pub async fn answer<B: Order>(&self, request: Request<B>) -> Response<Body> {
        let (head, order) = request.into_parts();
        if let Some(path) = head.uri.path().strip_prefix(orders::PREFIX) {
            return self.hear(path, &head, order).await.map(Body::whole);
        }
        let now = self.clock.tick();
        let wanted = Wanted::read(&head.uri);
        // hyper writes no such head, and on a connection in use it may get the request all the same: its sender comes again
        // on a fresh one.
        if head.method == Method::GET && self.spoils_next(wanted.as_ref()) {
            return Response::new(Body::broken());
        }
        let turn = self.turn(wanted.as_ref(), &head.headers, now);
        let answer = match turn.refused {
            Some(refusal) => refusal.answer(),
            None => self.respond(&head.method, wanted, &head.headers, &turn),
        };
        self.counts.lock().answered(answer.status());
        let latency = turn.fault.latency.unwrap_or(turn.latency);
        if !latency.is_zero() {
            self.clock.sleep_until(now.plus(latency)).await;
        }
        spoil::answer(answer, &head.method, &turn.fault, self.clock)
    }

    /// Whether the next call meets a fault that spoils its head.
    fn spoils_next(&self, wanted: Option<&Wanted<'_>>) -> bool {
        let mut behaviour = self.state.lock().behaviour.clone();
        let (route, nth) = (route_of(wanted.map(|wanted| wanted.endpoint)), self.counts.lock().total() + 1);
        behaviour.spoils_heads()
            && behaviour.fault_of(route, self.settings.seed, nth).is_some_and(|fault| fault.head.is_some())
    }

    /// Answers one call whose answer has a spoiled head: those go out as bytes, since no library writes them. `None`, and
    /// nothing counted, where the next call meets no such fault.
    fn answer_spoiled(&self, request: &[u8], wire: &mut Vec<u8>) -> Option<Bytes> {
        if !self.state.lock().behaviour.spoils_heads() {
            return None;
        }
        let (head, ()) = spoiled_head::request(request)?.into_parts();
        let wanted = Wanted::read(&head.uri);
        if head.uri.path().starts_with(orders::PREFIX) || !self.spoils_next(wanted.as_ref()) {
            return None;
        }
        let turn = self.turn(wanted.as_ref(), &head.headers, self.clock.tick());
        let mut answer = match turn.refused {
            Some(refusal) => refusal.answer(),
            None => self.respond(&head.method, wanted, &head.headers, &turn),
        };
        self.counts.lock().answered(answer.status());
        spoil::put(answer.headers_mut(), &turn.fault.headers);
        Some(spoiled_head::write(answer, &head.method, turn.fault.head, wire))
    }

    /// Ids to ask for. They exist unless there are no clients at all.
    pub fn sample(&self) -> Sample {
        let world = self.documents.world();
        let first = world.projects(0).into_iter().next();
        let (project, provider) = first.map(|first| (first.id, first.provider.id.clone())).unwrap_or_default();
        Sample { client: world.client_id(0), provider, project }
    }

    /// How many calls reached the API since the last reset, whatever they were answered with.
    pub fn total_calls(&self) -> u64 {
        self.counts.lock().total()
    }

    /// Counts the call and settles how it is treated.
    fn turn(&self, wanted: Option<&Wanted<'_>>, headers: &HeaderMap, now: Tick) -> Answering {
        let route = route_of(wanted.map(|wanted| wanted.endpoint));
        let mut state = self.state.lock();
        let key = state.keys.find(headers).map(str::to_owned);
        let nth = self.counts.lock().arrive(route, key.as_deref());
        let passed = key.ok_or(Refusal::WrongKey).and_then(|key| state.admit(&key, now));
        let fault = match passed {
            Ok(()) => state.behaviour.fault_of(route, self.settings.seed, nth),
            Err(_) => None,
        };
        Answering {
            refused: passed.err(),
            latency: state.behaviour.latency,
            etag: state.behaviour.etag,
            headers: state.behaviour.headers.clone(),
            fault: fault.unwrap_or_default(),
        }
    }

    fn respond(
        &self,
        method: &Method,
        wanted: Option<Wanted<'_>>,
        headers: &HeaderMap,
        turn: &Answering,
    ) -> Response<Bytes> {
        let status = turn.fault.status();
        if let Some(status) = status.filter(|status| !status.is_success()) {
            return plain(status);
        }
        let mut answer = match self.find(method, wanted) {
            Ok(document) => turn.present(spoil::document(document, &turn.fault), headers),
            Err(refusal) => return refusal.answer(),
        };
        if let Some(status) = status {
            *answer.status_mut() = status;
        }
        answer
    }

    fn find(&self, method: &Method, wanted: Option<Wanted<'_>>) -> Result<Bytes, Refusal> {
        let wanted = wanted.ok_or(Refusal::NotFound)?;
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::NotAllowed("GET, HEAD"));
        }
        if let Some(location) = wanted.slashed {
            return Err(Refusal::Moved(location));
        }
        self.documents.find(wanted.endpoint, wanted.ids, wanted.provider_id).ok_or(Refusal::NotFound)
    }
}

impl State {
    fn admit(&mut self, key: &str, now: Tick) -> Result<(), Refusal> {
        let too_many = |come_back: ComeBack| Refusal::TooMany { seconds: retry_after(come_back.at.since(now)) };
        let quota = |rate: Rate| self.behaviour.quota(rate);
        let (all, each) = (quota(self.behaviour.rate), quota(self.behaviour.rate_per_key));
        if let Some(quota) = each {
            self.keys.admit(key, quota, now).map_err(too_many)?;
        }
        if let Some(quota) = all {
            self.arrivals = self.arrivals.admit(quota, now).map_err(too_many)?;
        }
        Ok(())
    }
}

/// How one call is treated.
struct Answering {
    refused: Option<Refusal>,
    latency: std::time::Duration,
    etag: bool,
    headers: HeaderMap,
    fault: Fault,
}

impl Answering {
    fn present(&self, document: Bytes, headers: &HeaderMap) -> Response<Bytes> {
        let etag = self.etag.then(|| etag_of(&document)).flatten();
        let held =
            etag.as_ref().is_some_and(|etag| matches(headers, &IF_NONE_MATCH, Some(etag.as_bytes()), Comparison::Weak));
        let mut answer = if held { bare(StatusCode::NOT_MODIFIED) } else { json_answer(StatusCode::OK, document) };
        if let Some(etag) = etag {
            answer.headers_mut().insert(ETAG, etag);
        }
        spoil::put(answer.headers_mut(), &self.headers);
        answer
    }
}

#[cfg(test)]
mod tests;
