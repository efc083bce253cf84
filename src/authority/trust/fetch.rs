//! Which keys does an issuer show now?
//! Given where, reads the file or asks the address, once.
//! Never follows a redirect, reads more than 256 KiB, or waits longer than five seconds.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};

use crate::clock::Clock;
use crate::dial;
use crate::upstream::body;

use super::Source;
use super::keys::Keys;

const MOST: usize = 256 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);

/// Why not.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFetched {
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("{0}")]
    Dial(#[from] dial::DialError),
    #[error("no answer: {0}")]
    Unanswered(String),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("no answer within 5 s")]
    Late,
    #[error("its answer is longer than 256 KiB, or broke off")]
    Body,
    #[error("{0}")]
    Keys(&'static str),
}

/// The usable keys.
pub(super) async fn fetch(source: &Source, clock: &Clock) -> Result<Keys, NotFetched> {
    let text = match source {
        Source::File(path) => read(path).await?,
        Source::Url { url, ca_file, bearer_token_file } => {
            let asked = ask(url, ca_file.as_deref(), bearer_token_file.as_deref());
            clock.until(clock.tick().plus(PATIENCE), asked).await.unwrap_or(Err(NotFetched::Late))?
        }
    };
    Keys::parse(&text).map_err(NotFetched::Keys)
}

async fn ask(url: &Uri, ca_file: Option<&Path>, bearer: Option<&Path>) -> Result<Bytes, NotFetched> {
    let mut request = Request::get(url.clone()).header(ACCEPT, "application/json, application/jwk-set+json");
    if let Some(path) = bearer {
        // Read each time: Kubernetes replaces it within the hour.
        let token = read(path).await?;
        let value = [b"Bearer ", token.trim_ascii()].concat();
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| NotFetched::Keys("the bearer token is none"))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request
        .body(Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed_unsync())
        .map_err(|error| NotFetched::Unanswered(error.to_string()))?;
    let ca_file = ca_file.map(Path::to_owned);
    // The certificates are read each time too, and off the threads that serve.
    let dialer = tokio::task::spawn_blocking(move || dial::dialer(ca_file.as_deref(), CONNECT, None)).await;
    let dialer = dialer.map_err(|error| NotFetched::Unanswered(error.to_string()))??;
    let answer = dial::client(dialer).request(request).await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        NotFetched::Unanswered(cause.unwrap_or_else(|| error.to_string()))
    })?;
    if answer.status() != StatusCode::OK {
        return Err(NotFetched::Status(answer.status()));
    }
    let (mut head, sent) = answer.into_parts();
    let text = Limited::new(sent, MOST).collect().await.map_err(|_| NotFetched::Body)?;
    // Some servers compress for everybody, asked or not; other readers of key sets take that off.
    body::plain(&mut head.headers, text.to_bytes(), MOST).await.map_err(|_| NotFetched::Body)
}

async fn read(path: &Path) -> Result<Bytes, NotFetched> {
    let fault = |error| NotFetched::File(path.display().to_string(), error);
    let about = tokio::fs::metadata(path).await.map_err(fault)?;
    if about.len() > MOST as u64 {
        return Err(NotFetched::Body);
    }
    tokio::fs::read(path).await.map(Bytes::from).map_err(fault)
}
