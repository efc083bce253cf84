//! A request whose head is refused before anybody looks at what it asks.
//! Given what is wrong with it, hands back the answer as a problem (RFC 9457), as a response or as it stands on the wire.
//! Never repeats anything of the head.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};

use crate::http::problem::{self, Problem};

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHead {
    /// It is beyond the limits.
    TooLarge,
    /// It is not HTTP as RFC 9112 has it.
    Malformed,
    /// It names no host, more than one, or one that cannot be (RFC 9112 §3.2).
    Host,
}

impl BadHead {
    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Malformed | Self::Host => StatusCode::BAD_REQUEST,
        }
    }

    /// The last part of the problem's type.
    pub fn slug(self) -> &'static str {
        match self {
            Self::TooLarge => "head-too-large",
            Self::Malformed | Self::Host => "malformed",
        }
    }

    /// What it is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::TooLarge => "The request's head is too large",
            Self::Malformed => "The request's head cannot be read",
            Self::Host => "The request does not name one host",
        }
    }

    /// What to do.
    pub fn detail(self) -> &'static str {
        match self {
            Self::TooLarge => "Send at most 100 headers and server.max_header_bytes of them; a long target counts too.",
            Self::Malformed => {
                "Send a request line and headers as RFC 9112 has them: in the target only characters that a URI may have, others percent-encoded; one header a line, not folded; one Content-Length or Transfer-Encoding: chunked."
            }
            Self::Host => "Send one Host header with the host and, if need be, the port that the request is for.",
        }
    }

    /// As a response.
    pub fn response(self) -> Response<Bytes> {
        let mut response = Response::new(self.problem().body());
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, problem::MEDIA_TYPE);
        response
    }

    /// As it stands on the wire of HTTP/1.1, where the connection ends with it.
    pub fn on_the_wire(self) -> Bytes {
        self.problem().on_the_wire()
    }

    fn problem(self) -> Problem<'static> {
        Problem { status: self.status(), slug: self.slug(), title: self.title(), detail: self.detail() }
    }
}
