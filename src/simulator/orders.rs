//! What is the simulator told about itself?
//! Given a call below `/_simulator/`, hands back counts, behaviour or the names of keys, after what it orders is done.
//! Never counts such a call, and never shows a key.

use bytes::Bytes;
use http::header::ORIGIN;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;

use super::answers::{Refusal, bare, detail, json_answer};
use super::keys::Keys;
use super::{Simulator, State};

/// Where it is talked to; no key is wanted there.
pub(super) const PREFIX: &str = "/_simulator/";

/// The body of a request, which may hold an order.
pub trait Order: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> {}

impl<B: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>> Order for B {}

const MOST_BYTES: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

impl Simulator {
    /// Does what is ordered at this path below [`PREFIX`].
    pub(super) async fn hear<B: Order>(&self, path: &str, head: &Parts, body: B) -> Response<Bytes> {
        // A page in a browser on this machine may call what it likes, and says so.
        if head.method != Method::GET && head.headers.contains_key(ORIGIN) {
            return detail(StatusCode::FORBIDDEN, "Not from a page in a browser.");
        }
        match (path, &head.method) {
            ("stats", &Method::GET) => json_response(&*self.counts.lock()),
            ("stats", _) => Refusal::NotAllowed("GET").answer(),
            ("reset", &Method::POST) => {
                *self.counts.lock() = Default::default();
                bare(StatusCode::NO_CONTENT)
            }
            ("reset", _) => Refusal::NotAllowed("POST").answer(),
            ("behaviour", &Method::GET) => self.state.lock().behaviour_json(),
            ("behaviour", &Method::POST) => self.obey(body, |state, order| self.change(state, order)).await,
            ("behaviour", &Method::DELETE) => {
                let mut state = self.state.lock();
                state.behaviour = self.settings.behaviour.clone();
                state.behaviour_json()
            }
            ("behaviour", _) => Refusal::NotAllowed("GET, POST, DELETE").answer(),
            ("keys", &Method::GET) => self.state.lock().keys_json(),
            ("keys", &Method::PUT) => self.obey(body, accept).await,
            ("keys", &Method::DELETE) => {
                let mut state = self.state.lock();
                state.keys = Keys::one(self.settings.api_key.clone());
                state.keys_json()
            }
            ("keys", _) => Refusal::NotAllowed("GET, PUT, DELETE").answer(),
            _ => detail(StatusCode::NOT_FOUND, "Here are stats, reset, behaviour and keys."),
        }
    }

    async fn obey<B: Order>(
        &self,
        body: B,
        obey: impl FnOnce(&mut State, &[u8]) -> Result<Response<Bytes>, String>,
    ) -> Response<Bytes> {
        let body = std::pin::pin!(Limited::new(body, MOST_BYTES).collect());
        let Ok(Ok(order)) = self.clock.until(self.clock.tick().plus(PATIENCE), body).await else {
            return detail(StatusCode::BAD_REQUEST, "A whole body of at most 64 KiB is wanted, within 10 s.");
        };
        let answer = obey(&mut self.state.lock(), &order.to_bytes());
        answer.unwrap_or_else(|reason| detail(StatusCode::BAD_REQUEST, &reason))
    }

    fn change(&self, state: &mut State, order: &[u8]) -> Result<Response<Bytes>, String> {
        state.behaviour = state.behaviour.changed(&self.settings.behaviour, order)?;
        Ok(state.behaviour_json())
    }
}

fn accept(state: &mut State, order: &[u8]) -> Result<Response<Bytes>, String> {
    state.keys = Keys::read(order)?;
    Ok(state.keys_json())
}

impl State {
    fn behaviour_json(&self) -> Response<Bytes> {
        json_response(&self.behaviour)
    }

    fn keys_json(&self) -> Response<Bytes> {
        json_response(&json!({ "keys": self.keys.names() }))
    }
}

fn json_response(what: &impl Serialize) -> Response<Bytes> {
    json_answer(StatusCode::OK, serde_json::to_vec(what).unwrap_or_default())
}
