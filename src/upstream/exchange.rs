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
use serde_json::Value;

use crate::budget::signal;
use crate::clock::Tick;
use crate::dial::chance;
use crate::secret::Secret;

use super::credential::{self, Presented};
use super::right::Right;
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
    /// The hub said no, in the words of OAuth, and how often in a row by now.
    #[error("the hub's token endpoint refuses the subject token ({0})")]
    Refused(StatusCode, u32),
    /// Something else than a token and than a refusal of one: no word on what we may.
    #[error("the hub's token endpoint answers {0}, and it is no refusal of OAuth's")]
    Unclear(StatusCode),
    /// One was given just now: another is asked for in a moment.
    #[error("a token was given just now, and another is asked for in a moment")]
    Later,
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
    /// Refusals in a row.
    refusals: u32,
    last: Option<NotGiven>,
}

/// That there is another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Whether it is for another right than the one before.
    pub another_right: bool,
}

/// RFC 6749 §5.1, with the bounds of RFC 9396 §7.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    #[serde(default)]
    expires_in: Option<Value>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    authorization_details: Option<Value>,
}

/// The errors that speak of what was asked for (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 9396 §5). Others have words of their own in
/// this place: frameworks say `"error": "Not Found"`.
const ERRORS: [&str; 8] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "invalid_authorization_details",
];

/// A lifetime where nobody says one.
const UNTOLD: Duration = Duration::from_secs(300);
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 86_400);

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
    pub async fn renew(&self, refused: Option<&Presented>) -> Result<Renewed, NotGiven> {
        let Some(exchange) = &self.exchange else { return Err(NotGiven::No) };
        let mut state = exchange.state.lock().await;
        let other = |shown: Presented| refused.is_none_or(|refused| refused.value() != shown.value());
        if self.credential.good().is_some_and(other) {
            // Whoever brought it knows for which right.
            return Ok(Renewed { another_right: false });
        }
        self.ask_anew(exchange, &mut state).await
    }

    /// The next token when it is time for it, or when the last one was refused; `None` while nothing is to be done.
    pub async fn renew_in_time(&self) -> Option<Result<Renewed, NotGiven>> {
        let exchange = self.exchange.as_ref()?;
        let mut state = exchange.state.lock().await;
        let now = self.clock.tick();
        let wanted = now >= state.due || self.credential.good().is_none();
        (wanted && now >= state.not_before).then_some(())?;
        Some(self.ask_anew(exchange, &mut state).await)
    }

    async fn ask_anew(&self, exchange: &Exchange, state: &mut State) -> Result<Renewed, NotGiven> {
        let now = self.clock.tick();
        if now < state.not_before {
            return Err(state.last.unwrap_or(NotGiven::Later));
        }
        // Put there first: whoever asks may be gone before there is an answer.
        state.not_before = now.plus(PAUSE);
        let mut asked_pause = None;
        let given =
            self.clock.until(now.plus(PATIENCE), self.exchange_once(&exchange.settings, &mut asked_pause)).await;
        let now = self.clock.tick();
        let (given, lifetime, right) = match given.unwrap_or(Err(NotGiven::Failed(Failed::Timeout))) {
            Ok(given) => given,
            Err(why) => {
                let why = match why {
                    NotGiven::Refused(status, _) => NotGiven::Refused(status, state.refusals + 1),
                    other => other,
                };
                state.refusals = if let NotGiven::Refused(_, times) = why { times } else { 0 };
                let doubled = PAUSE.saturating_mul(1 << state.failures.min(8)).min(LONGEST_PAUSE);
                let pause = now.plus(doubled - (doubled / 2).mul_f64(chance()));
                state.not_before = asked_pause.map_or(pause, |asked_pause: signal::Pause| asked_pause.until.max(pause));
                state.failures += 1;
                state.last = Some(why);
                tracing::warn!(%why, "no new token of the hub's");
                return Err(why);
            }
        };
        let another_right = self.known.granted(right);
        self.credential.put(given);
        // Between a half and three quarters of its life: many gateways do not come together, and a hub may be away for a while.
        *state = State {
            due: now.plus(lifetime.mul_f64(0.5 + chance() / 4.0)),
            not_before: now.plus(LEAST.min(lifetime / 4)),
            ..State::default()
        };
        Ok(Renewed { another_right })
    }

    async fn exchange_once(
        &self,
        settings: &Settings,
        asked_pause: &mut Option<signal::Pause>,
    ) -> Result<(HeaderValue, Duration, Right), NotGiven> {
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
        let most = usize::try_from(4 * LONGEST).unwrap_or(usize::MAX);
        let body = whole(body, most).await;
        if head.status != StatusCode::OK {
            *asked_pause = signal::heard(head.status, &head.headers, self.clock.now(), LONGEST_PAUSE).pause;
            return Err(refusal(head.status, &body.unwrap_or_default()));
        }
        let body = body?;
        let given: Given = serde_json::from_slice(&body).map_err(|_| NotGiven::Empty)?;
        let token = Secret::new(given.access_token);
        let value = credential::fit(&token).ok_or(NotGiven::Empty)?;
        let expires_in = given.expires_in.as_ref().and_then(seconds);
        let lifetime = expires_in.or_else(|| life_of(&token, self.clock.now().unix())).unwrap_or(UNTOLD);
        let right = Right::granted(given.scope.as_deref(), given.authorization_details);
        Ok((value, lifetime.clamp(Duration::from_secs(1), LONGEST_LIFE), right))
    }
}

/// What an answer says that is no token: only an error of OAuth's speaks of the right.
fn refusal(status: StatusCode, body: &[u8]) -> NotGiven {
    let speaks = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let error =
        serde_json::from_slice::<Value>(body).ok().and_then(|problem| Some(problem.get("error")?.as_str()?.to_owned()));
    match error {
        Some(error) if speaks && ERRORS.contains(&error.as_str()) => NotGiven::Refused(status, 1),
        _ => NotGiven::Unclear(status),
    }
}

/// A time in seconds, as a number or as the text of one; `None` of what is none, or none that is left.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFE))
}

/// For how long a token is good by its own claims (RFC 7519 §4.1.4), if it is one that can be read. It was made just now, so
/// that its own clock counts where it names the time.
fn life_of(token: &Secret, now: u64) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
        #[serde(default)]
        iat: Option<f64>,
    }
    let payload = token.reveal().split('.').nth(1)?;
    let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    let Claims { exp, iat } = serde_json::from_slice(&payload).ok()?;
    let left = exp - iat.unwrap_or(now as f64);
    (left > 0.0).then(|| Duration::try_from_secs_f64(left).unwrap_or(LONGEST_LIFE))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Without `expires_in` a token counted as good for one second, and `"3600"` as no answer at all.
    #[test]
    fn a_lifetime_is_any_number_however_it_is_written() {
        let rows = [
            (json!(3600), Some(3600)),
            (json!(3600.0), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(" 3600.5 "), Some(3600)),
            (json!(1e300), Some(LONGEST_LIFE.as_secs())),
            (json!(null), None),
            (json!("soon"), None),
            (json!("NaN"), None),
            (json!(0), None),
            (json!(-5), None),
            (json!(["3600"]), None),
        ];
        for (value, expected) in rows {
            assert_eq!(seconds(&value).map(|life| life.as_secs()), expected, "{value}");
        }
    }

    #[test]
    fn the_tokens_own_claims_count_where_nothing_is_told() {
        let token =
            |claims: &str| Secret::new(format!("e30.{}.sig", data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes())));
        let life = |claims| life_of(&token(claims), 1_000).map(|life| life.as_secs());
        assert_eq!(life(r#"{"exp": 1600}"#), Some(600));
        assert_eq!(life(r#"{"exp": 90600.0, "iat": 90000}"#), Some(600), "the issuer's clock may be another");
        assert_eq!(life(r#"{"exp": 900}"#), None);
        assert_eq!(life(r#"{"sub": "x"}"#), None);
        for opaque in ["opaque", "a.b.c", "", "..", "a.%.c"] {
            assert_eq!(life_of(&Secret::new(opaque.to_owned()), 1_000), None, "{opaque}");
        }
    }

    /// A 404 of an ingress before the token endpoint dropped all that was held, as a refusal of the hub's does.
    #[test]
    fn only_an_error_of_oauths_speaks_of_the_right() {
        for (status, body, speaks) in [
            (400, r#"{"error": "invalid_grant"}"#, true),
            (400, r#"{"error":"invalid_request","error_description":"the subject token cannot be exchanged"}"#, true),
            (401, r#"{"error": "invalid_client"}"#, true),
            (403, r#"{"error": "unauthorized_client"}"#, true),
            (403, "<html>", false),
            (404, r#"{"timestamp": 1, "status": 404, "error": "Not Found"}"#, false),
            (400, r#"{"error": "Bad Request"}"#, false),
            (400, "", false),
            (400, r#"["invalid_grant"]"#, false),
            (404, r#"{"error": "invalid_request"}"#, false),
            (429, r#"{"error": "invalid_client"}"#, false),
            (503, r#"{"error": "temporarily_unavailable"}"#, false),
            (302, "", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let expected = if speaks { NotGiven::Refused(status, 1) } else { NotGiven::Unclear(status) };
            assert_eq!(refusal(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
