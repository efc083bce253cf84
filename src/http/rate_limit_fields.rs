//! What a caller is told of its limits: `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), `Retry-After`.
//! Given limits by name, with what each allows or what is left of it, hands back the values of the fields.
//! Never counts: what is left is for whoever holds the account to say.

use std::fmt::{Arguments, Write};
use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;

/// The same on every answer (draft §3).
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How the caller stands now (draft §4).
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

const SECOND: u128 = 1_000_000_000;

/// The value of one of the two fields, one item after the other.
#[derive(Debug, Default)]
pub struct Items(String);

impl Items {
    /// None yet, with room for what most callers are told.
    pub fn new() -> Self {
        Self(String::with_capacity(96))
    }

    /// Policy: so many events in a window of so many seconds.
    pub fn quota(&mut self, name: &str, events: u128, window: u128) {
        self.item(name, format_args!(";q={events};w={window}"));
    }

    /// Policy: so many requests at the same time.
    pub fn concurrent_quota(&mut self, name: &str, most: u32) {
        self.item(name, format_args!(";q={most};qu=\"concurrent-requests\""));
    }

    /// What is left, and how long it is until there is more.
    pub fn left(&mut self, name: &str, left: u32, more_in: Duration) {
        self.item(name, format_args!(";r={left};t={}", seconds(more_in)));
    }

    /// What is left of requests at the same time: nobody knows until when.
    pub fn concurrent_left(&mut self, name: &str, left: u32) {
        self.item(name, format_args!(";r={left}"));
    }

    /// The value.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static(""))
    }

    fn item(&mut self, name: &str, parameters: Arguments<'_>) {
        let comma = if self.0.is_empty() { "" } else { ", " };
        // A `String` takes whatever is written to it.
        let _ = write!(self.0, "{comma}\"{name}\"{parameters}");
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3); who comes back at once would only be refused at once.
pub fn retry_after(wait: Duration) -> u64 {
    u64::try_from(seconds(wait)).unwrap_or(u64::MAX).max(1)
}

/// Rounded up: who comes back when told to is not sent away again.
fn seconds(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_an_item_of_its_own() {
        let mut policy = Items::new();
        assert_eq!(policy.value(), "");
        policy.quota("a", 4, 2);
        policy.concurrent_quota("b", 3);
        assert_eq!(policy.value(), r#""a";q=4;w=2, "b";q=3;qu="concurrent-requests""#);
        let mut standing = Items::new();
        standing.left("a", 0, Duration::from_millis(1_001));
        standing.concurrent_left("b", 1);
        standing.left("c", 7, Duration::ZERO);
        assert_eq!(standing.value(), r#""a";r=0;t=2, "b";r=1, "c";r=7;t=0"#);
    }

    #[test]
    fn a_time_to_come_back_is_rounded_up_and_at_least_a_second() {
        for (millis, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (86_400_000, 86_400)] {
            assert_eq!(retry_after(Duration::from_millis(millis)), seconds, "{millis}");
        }
    }
}
