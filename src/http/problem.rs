//! Problems (RFC 9457).
//! Given what went wrong, hands back `application/problem+json`, and any whole response as it stands on the wire of HTTP/1.1.
//! Never repeats anything of the request: what a problem says is for the module that refuses.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

/// The media type.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem<'a> {
    /// The status, which the body repeats.
    pub status: StatusCode,
    /// The last part of the type.
    pub slug: &'a str,
    /// What it is called.
    pub title: &'a str,
    /// What to do.
    pub detail: &'a str,
}

impl Problem<'_> {
    /// The body.
    pub fn body(&self) -> Bytes {
        let body = json!({
            "type": format!("urn:reseller-gateway:problem:{}", self.slug),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        body.to_string().into()
    }

    /// The whole answer as it stands on the wire, where the connection ends with it.
    pub fn on_the_wire(&self) -> Bytes {
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, MEDIA_TYPE)]);
        on_the_wire(self.status, &headers, &self.body())
    }
}

/// A whole response in the bytes of HTTP/1.1, after which the connection ends.
pub fn on_the_wire(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Bytes {
    let mut wire = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(body);
    wire.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_on_the_wire_is_as_long_as_it_says() {
        let problem =
            Problem { status: StatusCode::BAD_REQUEST, slug: "a-b", title: "A \"b\"", detail: "Line\nor two." };
        let wire = String::from_utf8(problem.on_the_wire().to_vec()).unwrap();
        let (head, body) = wire.split_once("\r\n\r\n").unwrap();
        let lines: Vec<&str> = head.split("\r\n").collect();
        let length = format!("content-length: {}", body.len());
        let expected =
            ["HTTP/1.1 400 Bad Request", "connection: close", &length, "content-type: application/problem+json"];
        assert_eq!(lines, expected);
        let told: serde_json::Value = serde_json::from_str(body).unwrap();
        let expected = json!({
            "type": "urn:reseller-gateway:problem:a-b", "title": "A \"b\"", "status": 400, "detail": "Line\nor two.",
        });
        assert_eq!(told, expected);
    }
}
