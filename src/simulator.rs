//! What would the partner answer?
//! Given a method, a target and headers, hands back what the Account API would say of clients it makes up from a seed.
//! Never opens a socket, and knows nothing of the gateway that stands in front of it.

mod draws;

mod world;

mod people;

mod resources;

mod documents;

mod counts;

mod wanted;

mod answers;

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use parking_lot::Mutex;

use self::answers::{Refusal, bare, etag_of, json_answer, names, without_body};
use self::counts::Counts;
use self::documents::Documents;
use self::draws::Draws;
use self::wanted::Wanted;
use self::world::World;
use crate::account_api::KEY_HEADER;
use crate::clock::{Clock, Tick};
use crate::gcra::{Arrivals, Quota};
use crate::secret::Secret;

/// Where the simulator tells what reached it: `GET`, no key.
const STATS: &str = "/_simulator/stats";

/// Where its counts start again from zero: `POST`, no key.
const RESET: &str = "/_simulator/reset";

/// Who exists, and how the partner behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key every call must bring.
    pub api_key: Secret,
    /// How many clients there are.
    pub clients: usize,
    /// What everything is made up from: the same seed and count give the same bytes.
    pub seed: u64,
    /// How long each answer takes at least.
    pub latency: Duration,
    /// How often it may be called before it says 429; `None` is without limit.
    pub rate: Option<Quota>,
    /// The share of calls it answers with 500, from 0 to 1.
    pub fail: f64,
    /// The `Cache-Control` of its documents. A text that cannot be a header's value is not sent.
    pub cache_control: Option<String>,
    /// Whether documents carry a strong `ETag` and answer `If-None-Match` with 304.
    pub etag: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_key: Secret::new("simulator-key".to_owned()),
            clients: 25,
            seed: 1,
            latency: Duration::ZERO,
            rate: None,
            fail: 0.0,
            cache_control: None,
            etag: false,
        }
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
    cache_control: Option<HeaderValue>,
    clock: Clock,
    documents: Documents,
    counts: Mutex<Counts>,
    arrivals: Mutex<Arrivals>,
}

impl Simulator {
    /// A partner without any calls yet.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            cache_control: settings.cache_control.as_deref().and_then(|text| HeaderValue::from_str(text).ok()),
            documents: Documents::new(World::new(settings.clients, settings.seed)),
            counts: Mutex::default(),
            arrivals: Mutex::default(),
            settings,
            clock,
        }
    }

    /// Answers one call, after the latency that was set. An answer to HEAD has the length of the body it leaves out.
    pub async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Bytes> {
        if let Some(answer) = self.answer_about_itself(method, uri.path()) {
            return answer;
        }
        let now = self.clock.tick();
        let wanted = Wanted::read(uri);
        let nth = self.counts.lock().arrive(wanted.as_ref().map(|wanted| wanted.endpoint));
        let answer = match self.decide(method, wanted, headers, Turn { now, nth }) {
            Ok(document) => self.present(document, headers),
            Err(refusal) => refusal.answer(),
        };
        self.counts.lock().answered(answer.status());
        if !self.settings.latency.is_zero() {
            self.clock.sleep_until(now.plus(self.settings.latency)).await;
        }
        if method == Method::HEAD { without_body(answer) } else { answer }
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

    fn answer_about_itself(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        Some(match (path, method) {
            (STATS, &Method::GET) => {
                let counts = self.counts.lock().clone();
                json_answer(StatusCode::OK, serde_json::to_vec(&counts).unwrap_or_default())
            }
            (RESET, &Method::POST) => {
                *self.counts.lock() = Counts::default();
                bare(StatusCode::NO_CONTENT)
            }
            (STATS, _) => Refusal::NotAllowed("GET").answer(),
            (RESET, _) => Refusal::NotAllowed("POST").answer(),
            _ => return None,
        })
    }

    fn decide(
        &self,
        method: &Method,
        wanted: Option<Wanted<'_>>,
        headers: &HeaderMap,
        turn: Turn,
    ) -> Result<Bytes, Refusal> {
        self.check_key(headers)?;
        self.admit(turn.now)?;
        if Draws::new(self.settings.seed, &[FAILURES, turn.nth]).share(self.settings.fail) {
            return Err(Refusal::Broken);
        }
        let wanted = wanted.ok_or(Refusal::NotFound)?;
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::NotAllowed("GET, HEAD"));
        }
        if let Some(location) = wanted.slashed {
            return Err(Refusal::Moved(location));
        }
        self.documents.find(wanted.endpoint, wanted.ids, wanted.provider_id).ok_or(Refusal::NotFound)
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let presented = headers.get(KEY_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        verify_slices_are_equal(presented, self.settings.api_key.reveal().as_bytes()).map_err(|_| Refusal::WrongKey)
    }

    fn admit(&self, now: Tick) -> Result<(), Refusal> {
        let Some(quota) = self.settings.rate else { return Ok(()) };
        let mut arrivals = self.arrivals.lock();
        *arrivals = arrivals.admit(quota, now).map_err(|come_back| {
            // Rounded up: who waits as long as told must not be too early.
            let seconds = come_back.at.since(now).as_nanos().div_ceil(1_000_000_000);
            Refusal::TooMany { seconds: u64::try_from(seconds).unwrap_or(u64::MAX) }
        })?;
        Ok(())
    }

    fn present(&self, document: Bytes, headers: &HeaderMap) -> Response<Bytes> {
        let etag = self.settings.etag.then(|| etag_of(&document)).flatten();
        let held = etag.as_ref().is_some_and(|etag| names(headers, etag));
        let mut answer = if held { bare(StatusCode::NOT_MODIFIED) } else { json_answer(StatusCode::OK, document) };
        if let Some(etag) = etag {
            answer.headers_mut().insert(ETAG, etag);
        }
        if let Some(cache_control) = &self.cache_control {
            answer.headers_mut().insert(CACHE_CONTROL, cache_control.clone());
        }
        answer
    }
}

/// When a call came, and the how many-th it was.
#[derive(Clone, Copy)]
struct Turn {
    now: Tick,
    nth: u64,
}

// What the draws of failures are for; the documents' purposes are numbered from one.
const FAILURES: u64 = 100;

#[cfg(test)]
mod tests;
