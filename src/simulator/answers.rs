//! How is it said in HTTP?
//! Given a refusal or a document, hands back status, headers and body.
//! Never decides which of them it is.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;

/// Why a call gets no document.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The key is missing or another.
    WrongKey,
    /// Too many calls; come back after so many seconds.
    TooMany { seconds: u64 },
    /// No such path, or nobody has these ids.
    NotFound,
    /// The path is there, but for these methods only.
    NotAllowed(&'static str),
    /// The path is there, but for its slash.
    Moved(HeaderValue),
}

impl Refusal {
    /// The refusal as the partner says it.
    pub(super) fn answer(self) -> Response<Bytes> {
        match self {
            Self::WrongKey => detail(StatusCode::UNAUTHORIZED, "Credentials are missing or wrong."),
            Self::TooMany { seconds } => {
                with(detail(StatusCode::TOO_MANY_REQUESTS, "Too many requests."), RETRY_AFTER, seconds.into())
            }
            Self::NotFound => detail(StatusCode::NOT_FOUND, "Not found."),
            Self::NotAllowed(methods) => {
                let answer = detail(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.");
                with(answer, ALLOW, HeaderValue::from_static(methods))
            }
            Self::Moved(location) => with(bare(StatusCode::MOVED_PERMANENTLY), LOCATION, location),
        }
    }
}

/// A strong validator: a digest of the very bytes.
pub(super) fn etag_of(document: &[u8]) -> Option<HeaderValue> {
    let digest = digest(&SHA256, document);
    let half = digest.as_ref().get(..16)?;
    HeaderValue::try_from(format!("\"{}\"", HEXLOWER.encode(half))).ok()
}

/// The answer of a status that was asked for: 304 and 204 have no body (RFC 9110 §6.4.1).
pub(super) fn plain(status: StatusCode) -> Response<Bytes> {
    match status {
        StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT => bare(status),
        _ => detail(status, "This was asked for."),
    }
}

/// An answer that says what is wrong.
pub(super) fn detail(status: StatusCode, text: &str) -> Response<Bytes> {
    json_answer(status, json!({ "detail": text }).to_string())
}

/// An answer with a JSON body.
pub(super) fn json_answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = with(bare(status), CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *answer.body_mut() = body.into();
    answer
}

/// An answer without a body.
pub(super) fn bare(status: StatusCode) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = status;
    answer
}

fn with(mut answer: Response<Bytes>, name: HeaderName, value: HeaderValue) -> Response<Bytes> {
    answer.headers_mut().insert(name, value);
    answer
}

/// The answer to HEAD: with the length of the body it leaves out.
pub(super) fn without_body(mut answer: Response<Bytes>) -> Response<Bytes> {
    let body = std::mem::take(answer.body_mut());
    // A 304 says nothing of a length here: it would have to be the document's (RFC 9110 §8.6).
    if answer.status() == StatusCode::NOT_MODIFIED {
        return answer;
    }
    with(answer, CONTENT_LENGTH, HeaderValue::from(body.len()))
}
