//! How does the admin door answer?
//! Given a value or a refusal, hands back JSON, or a problem (RFC 9457) that says what to do.
//! Never sends a header that would let a web page read it, and never lets anybody store it.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use crate::http::problem::{self, Problem};
use crate::token::Unidentified;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What was done, and what the audit line says of it.
pub(super) struct Reply {
    pub(super) body: Value,
    pub(super) done: String,
}

impl Reply {
    /// An answer that changed nothing.
    pub(super) fn of(body: Value) -> Self {
        Self { body, done: String::new() }
    }
}

/// Why the admin door refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// A browser's request.
    Origin,
    /// A name that is not ours.
    Host,
    /// No operator.
    Unidentified(Unidentified),
    /// Nothing is there.
    Path,
    /// Nothing of this name is there.
    Unknown(String),
    /// The ledger cannot be read or written.
    Ledger,
    /// The path has other methods: these.
    Method(&'static str),
    /// The body or the query does not say what to do.
    Malformed(String),
    /// The body is too large.
    TooLarge,
    /// Too many at once.
    Busy,
    /// It took too long, and goes on.
    Late,
    /// The configuration has these faults.
    Configuration(String),
}

impl From<Unidentified> for Refused {
    fn from(why: Unidentified) -> Self {
        Self::Unidentified(why)
    }
}

impl Refused {
    /// The fixed word of the audit line.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Host => "host",
            Self::Unidentified(Unidentified::Missing) => "token-missing",
            Self::Unidentified(Unidentified::Expired) => "token-expired",
            Self::Unidentified(Unidentified::Ambiguous) => "two-tokens",
            Self::Unidentified(_) => "token-bad",
            Self::Path => "no-such-path",
            Self::Unknown(_) => "unknown",
            Self::Ledger => "ledger",
            Self::Method(_) => "method",
            Self::Malformed(_) => "malformed",
            Self::TooLarge => "body-too-large",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Configuration(_) => "configuration",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Origin | Self::Host => StatusCode::FORBIDDEN,
            Self::Unidentified(Unidentified::Ambiguous) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unidentified(_) => StatusCode::UNAUTHORIZED,
            Self::Path | Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy | Self::Late | Self::Ledger => StatusCode::SERVICE_UNAVAILABLE,
            Self::Configuration(_) => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    fn title_and_detail(&self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::Origin => {
                ("Not for web pages", "The admin listener answers no request that has an Origin header.".into())
            }
            Self::Host => (
                "Not called by its name",
                "Send a Host that is loopback, the address of admin.listen or the host of server.public_url.".into(),
            ),
            Self::Unidentified(Unidentified::Expired) => ("The token has expired", "Get a new token.".into()),
            Self::Unidentified(Unidentified::Ambiguous) => ("Two tokens", "Send one Authorization header.".into()),
            Self::Unidentified(_) => (
                "An admin token is wanted",
                "Send a token with the audience gateway-admin as Authorization: Bearer; the commands of \
                 reseller-gateway make their own where they can read tokens.keys_dir."
                    .into(),
            ),
            Self::Path => {
                ("Nothing is there", "`reseller-gateway help operating` says what is below /admin/v1/.".into())
            }
            Self::Unknown(why) => ("Nothing of this name is there", why.clone().into()),
            Self::Ledger => (
                "The ledger failed",
                "Nothing was issued. A revocation is in force in this process, is not on disk, and is written when the disk \
                 takes it; until then a restart forgets it. The log says why."
                    .into(),
            ),
            Self::Method(allowed) => ("Method not allowed", format!("Use {allowed}.").into()),
            Self::Malformed(why) => ("The request cannot be understood", why.clone().into()),
            Self::TooLarge => ("The request body is too large", "Send at most 64 KiB.".into()),
            Self::Busy => ("Too much at once", "Try again in a second.".into()),
            Self::Late => (
                "It took too long",
                "It may be done, or be done later: look before you ask again. The audit log says when it is.".into(),
            ),
            Self::Configuration(faults) => ("The configuration is not put in force", faults.clone().into()),
        }
    }
}

/// The response to either.
pub(super) fn response(result: Result<Reply, Refused>) -> Response<Full<Bytes>> {
    let (status, media, body) = match &result {
        Ok(reply) => (StatusCode::OK, JSON, Bytes::from(reply.body.to_string())),
        Err(refused) => {
            let ((title, detail), status) = (refused.title_and_detail(), refused.status());
            let problem = Problem { status, slug: refused.as_str(), title, detail: &detail };
            (status, problem::MEDIA_TYPE, problem.body())
        }
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, media);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    match result {
        Err(Refused::Unidentified(Unidentified::Missing)) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"reseller-gateway-admin\""));
        }
        Err(Refused::Unidentified(_)) => {
            const INVALID: &str = "Bearer realm=\"reseller-gateway-admin\", error=\"invalid_token\"";
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(INVALID));
        }
        Err(Refused::Method(allowed)) => drop(headers.insert(ALLOW, HeaderValue::from_static(allowed))),
        Err(Refused::Busy) => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
        Err(Refused::Late | Refused::Ledger) => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("5"))),
        _ => {}
    }
    response
}

/// Lets this method through alone; `name` is the one that is wanted.
pub(super) fn only(method: &Method, wanted: &Method, name: &'static str) -> Result<(), Refused> {
    if method == wanted { Ok(()) } else { Err(Refused::Method(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<Refused> {
        let who = [Unidentified::Missing, Unidentified::Expired, Unidentified::Ambiguous, Unidentified::Revoked];
        let mut all: Vec<Refused> = who.map(Refused::Unidentified).into();
        let text = String::new;
        all.extend([Refused::Origin, Refused::Host, Refused::Path, Refused::Unknown(text()), Refused::Ledger]);
        all.extend([Refused::Method("GET"), Refused::Malformed(text()), Refused::TooLarge, Refused::Busy]);
        all.extend([Refused::Late, Refused::Configuration(text())]);
        // Whoever adds one comes by here.
        all.iter().for_each(|refused| match refused {
            Refused::Origin | Refused::Host | Refused::Unidentified(_) | Refused::Path | Refused::Unknown(_) => {}
            Refused::Ledger | Refused::Method(_) | Refused::Malformed(_) | Refused::TooLarge | Refused::Busy => {}
            Refused::Late | Refused::Configuration(_) => {}
        });
        all
    }

    #[test]
    fn every_problem_of_the_admin_api_keeps_its_status_type_and_title() {
        let row = |refused: &Refused| {
            let (status, word, (title, _)) = (refused.status().as_u16(), refused.as_str(), refused.title_and_detail());
            format!("{status} urn:reseller-gateway:problem:{word} \"{title}\"\n")
        };
        let mut rows: Vec<String> = every().iter().map(row).collect();
        rows.sort();
        crate::golden::is_unchanged("admin-problems.txt", &rows.concat());
    }
}
