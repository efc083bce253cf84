//! How does a gateway come by its token at a hub?
//! Given where its own identity lies, exchanges that for a token (RFC 8693), and knows when the next is due.
//! Never asks more often than its pauses allow, and never prints either token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT, VIA};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::Connect;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::budget::signal;
use crate::clock::Tick;
use crate::dial::chance;
use crate::secret::Secret;

use super::credential::{self, Shown};
use super::{Failed, USER_AGENT_OURS, Upstream, whole};

const PATIENCE: Duration = Duration::from_secs(5);

/// So many bytes at most has the subject token, and four times as many the answer.
const LONGEST: u64 = 16 << 10;

/// The pause after a failure; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A hub that refuses what it gave just now is not asked for another at once.
const LEAST: Duration = Duration::from_secs(10);

/// What is exchanged.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the subject token lies; read each time, since Kubernetes replaces it within the hour.
    pub subject_token_file: PathBuf,
    /// The scopes to ask for; none is what the hub gives unasked.
    pub scope: Vec<String>,
}

/// Why no token was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotGiven {
    /// Tokens do not come this way.
    #[error("no exchange is configured")]
    No,
    /// The subject token cannot be read, or cannot be one.
    #[error("upstream.exchange.subject_token_file cannot be read, or holds no token")]
    Subject,
    /// The hub was not heard.
    #[error("the hub's token endpoint: {0}")]
    Failed(#[from] Failed),
    /// The hub said no.
    #[error("the hub's token endpoint answers {0}")]
    Refused(StatusCode),
    /// It said yes, and gave nothing that can be shown.
    #[error("the hub's token endpoint answers without a token")]
    Empty,
}

/// Exchanges, one after the other.
pub(super) struct Exchange {
    settings: Settings,
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the next token is wanted.
    due: Tick,
    /// Nobody asks before then.
    not_before: Tick,
    failures: u32,
    last: Option<NotGiven>,
}

#[derive(Deserialize)]
struct Given {
    access_token: String,
    #[serde(default)]
    expires_in: u64,
}

impl Exchange {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, state: tokio::sync::Mutex::default() }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Upstream<C> {
    /// A token to show, other than the one that was refused: for a call that cannot go on without it. Of many such calls one
    /// asks, and the others wait for what it gets.
    ///
    /// # Errors
    /// [`NotGiven`]; inside the pause after a failure, that failure's.
    pub async fn renew(&self, refused: Option<&Shown>) -> Result<(), NotGiven> {
        let Some(exchange) = &self.exchange else { return Err(NotGiven::No) };
        let mut state = exchange.state.lock().await;
        let other = |shown: Shown| refused.is_none_or(|refused| refused.value() != shown.value());
        if self.credential.good().is_some_and(other) {
            return Ok(());
        }
        self.ask_anew(exchange, &mut state).await
    }

    /// The next token when it is time for it, or when the last one was refused; `None` while nothing is to be done.
    pub async fn renew_in_time(&self) -> Option<Result<(), NotGiven>> {
        let exchange = self.exchange.as_ref()?;
        let mut state = exchange.state.lock().await;
        let now = self.clock.tick();
        let wanted = now >= state.due || self.credential.good().is_none();
        (wanted && now >= state.not_before).then_some(())?;
        Some(self.ask_anew(exchange, &mut state).await)
    }

    async fn ask_anew(&self, exchange: &Exchange, state: &mut State) -> Result<(), NotGiven> {
        let now = self.clock.tick();
        if now < state.not_before {
            return Err(state.last.unwrap_or(NotGiven::Empty));
        }
        // Put there first: whoever asks may be gone before there is an answer.
        state.not_before = now.plus(PAUSE);
        let mut told = None;
        let given = self.clock.until(now.plus(PATIENCE), self.exchange_once(&exchange.settings, &mut told)).await;
        let now = self.clock.tick();
        let (given, lifetime) = match given.unwrap_or(Err(NotGiven::Failed(Failed::Timeout))) {
            Ok(given) => given,
            Err(why) => {
                let doubled = PAUSE.saturating_mul(1 << state.failures.min(8)).min(LONGEST_PAUSE);
                let pause = now.plus(doubled - (doubled / 2).mul_f64(chance()));
                state.not_before = told.map_or(pause, |told: signal::Pause| told.until.max(pause));
                state.failures += 1;
                state.last = Some(why);
                tracing::warn!(%why, "no new token of the hub's");
                return Err(why);
            }
        };
        self.credential.put(given);
        // Between a half and three quarters of its life: many gateways do not come together, and a hub may be away for a while.
        *state = State {
            due: now.plus(lifetime.mul_f64(0.5 + chance() / 4.0)),
            not_before: now.plus(LEAST.min(lifetime / 4)),
            ..State::default()
        };
        Ok(())
    }

    async fn exchange_once(
        &self,
        settings: &Settings,
        told: &mut Option<signal::Pause>,
    ) -> Result<(HeaderValue, Duration), NotGiven> {
        let path = settings.subject_token_file.clone();
        let subject = tokio::task::spawn_blocking(move || subject_in(&path)).await.ok().flatten();
        let subject = subject.ok_or(NotGiven::Subject)?;
        let mut form = format!(
            "grant_type={}&subject_token_type={}&subject_token={}",
            encoded("urn:ietf:params:oauth:grant-type:token-exchange"),
            encoded("urn:ietf:params:oauth:token-type:jwt"),
            encoded(subject.reveal()),
        );
        if !settings.scope.is_empty() {
            form = form + "&scope=" + &encoded(&settings.scope.join(" "));
        }
        let body = Full::new(Bytes::from(form)).map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri("/oauth/token");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, USER_AGENT_OURS);
        headers.insert(VIA, self.via.clone());
        let (head, body) = self.send(request).await?.into_parts();
        if head.status != StatusCode::OK {
            *told = signal::heard(head.status, &head.headers, self.clock.now(), LONGEST_PAUSE).pause;
            return Err(NotGiven::Refused(head.status));
        }
        let most = usize::try_from(4 * LONGEST).unwrap_or(usize::MAX);
        let body = whole(body, most).await?;
        let given: Given = serde_json::from_slice(&body).map_err(|_| NotGiven::Empty)?;
        let value = credential::fit(&Secret::new(given.access_token)).ok_or(NotGiven::Empty)?;
        Ok((value, Duration::from_secs(given.expires_in.clamp(1, 30 * 86_400))))
    }
}

fn subject_in(path: &Path) -> Option<Secret> {
    let long = std::fs::metadata(path).ok()?.len() > LONGEST;
    let text = Secret::new(std::fs::read_to_string(path).ok().filter(|_| !long)?);
    let token = text.reveal().trim();
    let fit = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    fit.then(|| Secret::new(token.to_owned()))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
