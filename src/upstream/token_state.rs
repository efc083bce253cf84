//! Is the gateway's own token as good at its hub as it was?
//! Given the token, asks the hub (`/-/me`) and hands back whether its right is the same, another, or none.
//! Never waits longer than seconds, and never takes anybody's word but the hub's own: see [`super::hub::auth_rejection`].

use std::time::Duration;

use http::header::{ACCEPT, USER_AGENT, VIA};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::connect::Connect;
use parking_lot::Mutex;

use crate::clock::Tick;

use super::credential::Presented;
use super::hub::AuthRejection;
use super::right::Right;
use super::{USER_AGENT_OURS, Upstream, whole};

/// What becomes of a right at the hub is known here within this time, as long as the hub answers.
pub const BOUND: Duration = Duration::from_secs(15);

/// For a question and its answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// Between two questions while anything is held: several fit into the bound, so that one that is lost does not break it.
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);

/// The same while nothing is, or nobody answers.
const OTHERWISE: Duration = Duration::from_secs(5);

/// Refusals of a request, which tell of a changed right, are followed by a question at once, but not more often.
const AT_ONCE: Duration = Duration::from_secs(1);

const PATH: &str = "/-/me";

/// What the hub said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The right is as it was.
    Same,
    /// It is another than before, or it is not known what it was before.
    Another,
    /// The token's time is over.
    Expired,
    /// The token was taken back.
    Revoked,
    /// The token is not good there.
    Refused,
    /// No word of the hub's.
    Nothing,
}

/// What is known of the token's right.
#[derive(Debug, Default)]
pub(super) struct TokenState {
    state: Mutex<State>,
    /// One asks at a time.
    asking: tokio::sync::Mutex<Option<(HeaderValue, Tick, Heard)>>,
}

#[derive(Debug, Default)]
struct State {
    /// As the token endpoint gave it.
    granted: Option<Right>,
    /// As `/-/me` said last.
    effective: Option<Right>,
    /// When to ask again.
    due: Tick,
    /// When it was asked last.
    asked: Option<Tick>,
    /// Whether the token's time was over when it was last presented.
    expired: bool,
}

impl TokenState {
    /// A token was granted: hands back whether for another right than the one before.
    pub(super) fn granted(&self, right: Right) -> bool {
        let mut state = self.state.lock();
        let another = state.granted.as_ref().is_some_and(|before| right.is_another(before));
        (state.granted, state.expired) = (Some(right), false);
        if another {
            (state.effective, state.due) = (None, Tick::default());
        }
        another
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// Whether it is time to ask what the token may do.
    pub fn is_to_ask(&self, now: Tick) -> bool {
        self.is_hub() && now >= self.known.state.lock().due
    }

    /// Whether it was never heard what the token may do, and it is time to ask.
    pub fn right_is_unknown(&self, now: Tick) -> bool {
        self.is_hub() && {
            let state = self.known.state.lock();
            state.effective.is_none() && now >= state.due
        }
    }

    /// Whether a refusal is to be followed by a question at once. Where there was one a moment ago, the next comes soon.
    pub fn is_to_ask_at_once(&self, now: Tick) -> bool {
        let mut state = self.known.state.lock();
        let lately = state.asked.is_some_and(|at| now.since(at) < AT_ONCE);
        state.due = now;
        !lately
    }

    /// Another token is presented from now on, by the operator's doing: nothing that was known counts.
    pub fn forget_right(&self) {
        *self.known.state.lock() = State::default();
    }

    /// The token's time is over, and there is no other.
    pub fn note_expired(&self) {
        self.known.state.lock().expired = true;
    }

    /// Whether the last that was heard of the token is that its time is over.
    pub fn has_expired(&self) -> bool {
        self.known.state.lock().expired
    }

    /// Asks what this token may do; `holds` is whether anything is held that it brought. Of many who ask together one does.
    pub async fn ask_right(&self, shown: &Presented, holds: bool) -> Heard {
        let came = self.clock.tick();
        let mut last = self.known.asking.lock().await;
        if let Some((value, began, heard)) = &*last
            && value == shown.value()
            && *began >= came
        {
            return *heard;
        }
        let began = self.clock.tick();
        self.known.state.lock().asked = Some(began);
        let answer = self.clock.until(began.plus(PATIENCE), self.me(shown)).await.unwrap_or(Answer::Nothing);
        let heard = self.understood(answer, began, holds);
        *last = Some((shown.value().clone(), began, heard));
        heard
    }

    fn understood(&self, answer: Answer, began: Tick, holds: bool) -> Heard {
        let mut state = self.known.state.lock();
        let heard = match answer {
            Answer::Right(right) => {
                let known = state.effective.as_ref();
                // What was brought before it is known by which right may be of another.
                let another = known.map_or(holds, |before| right.is_another(before));
                (state.effective, state.expired) = (Some(right), false);
                if another { Heard::Another } else { Heard::Same }
            }
            Answer::Rejected(AuthRejection::Expired) => Heard::Expired,
            Answer::Rejected(AuthRejection::Revoked) => Heard::Revoked,
            Answer::Rejected(AuthRejection::Refused) => Heard::Refused,
            Answer::Rejected(AuthRejection::Beyond | AuthRejection::Loop) | Answer::Nothing => Heard::Nothing,
        };
        let pause = if holds && heard != Heard::Nothing { RENEWAL_PAUSE } else { OTHERWISE };
        state.due = began.plus(pause);
        heard
    }

    async fn me(&self, shown: &Presented) -> Answer {
        let mut request = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.uri(PATH);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, USER_AGENT_OURS);
        headers.insert(VIA, self.via.clone());
        self.prove(headers, shown);
        let Ok(answer) = self.send(request).await else { return Answer::Nothing };
        let (head, body) = answer.into_parts();
        if let Some(said) = self.rejection(head.status, &head.headers) {
            return Answer::Rejected(said);
        }
        if head.status != StatusCode::OK {
            return Answer::Nothing;
        }
        let body = whole(body, self.settings.max_response).await;
        body.ok().and_then(|body| Right::effective(&body)).map_or(Answer::Nothing, Answer::Right)
    }
}

enum Answer {
    Right(Right),
    Rejected(AuthRejection),
    Nothing,
}
