//! What does the partner say about its limits?
//! Given an answer's status and head, hands back until when it wants to be left alone, if it does, and the text that says so.
//! Never trusts a time beyond `upstream.max_pause`, and never guesses at a text that it cannot read: it hands that back too.

pub mod excerpt;

mod moment;

mod limits;

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::clock::{Now, Tick};

use excerpt::HeaderExcerpt;
use limits::Found;
use moment::Reference;

pub use limits::is_a_limit;

/// The longest `upstream.max_pause` that a configuration may name.
pub const LONGEST_MAX_PAUSE: Duration = Duration::from_secs(30 * 86_400);

/// How long a 429 means that names no time which can be read.
const UNNAMED: Duration = Duration::from_secs(1);

/// What one answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signal {
    /// That the partner wants to be left alone.
    pub pause: Option<Pause>,
    /// A text that names a time and cannot be read: to be said to the operator (see [`excerpt::Unreadable`]).
    pub unread: Option<HeaderExcerpt>,
}

/// The partner's wish to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Until then; a time that is over already is the moment of the answer.
    pub until: Tick,
    /// Whether the answer names a time. A 429 that names none, or none that can be read, still means: not now.
    pub named: bool,
    /// The header that names it.
    pub excerpt: Option<HeaderExcerpt>,
    /// Whether it named a later time than `max_pause` allows.
    pub capped: bool,
    /// Whether it came with a 403, which otherwise is an answer about a resource.
    pub forbidden: bool,
}

/// Reads what an answer says of limits.
///
/// `Retry-After` of a 429, 503 or 403 is obeyed as it stands (RFC 9110 §10.2.3), then the names that others gave it. Without
/// one, and on any other answer below 500, a limit of which nothing is left closes until its reset, in every spelling that
/// [`is_a_limit`] knows. What is no number of seconds is read by its form and its size.
pub fn heard(status: StatusCode, head: &HeaderMap, now: Now, max_pause: Duration) -> Signal {
    let limited = status == StatusCode::TOO_MANY_REQUESTS;
    let forbidden = status == StatusCode::FORBIDDEN;
    let busy = status == StatusCode::SERVICE_UNAVAILABLE;
    let reference = Reference { head, now };
    let retry = if limited || busy || forbidden { limits::retry_after(head, reference) } else { Found::default() };
    let spent = match retry.wait {
        None if busy || !status.is_server_error() => limits::nothing_left(head, reference, limited),
        _ => Found::default(),
    };
    let unread = retry.unread.or(spent.unread);
    // On an answer that stands for itself a reset that is just over asks for nothing.
    let spent = spent.wait.filter(|(wait, _)| limited || !wait.is_zero());
    let pause = match retry.wait.or(spent) {
        Some((wait, excerpt)) => Some(Pause {
            until: now.tick.plus(wait.min(max_pause)),
            named: true,
            excerpt: Some(excerpt),
            capped: wait > max_pause,
            forbidden,
        }),
        None if limited => {
            let until = now.tick.plus(UNNAMED.min(max_pause));
            Some(Pause { until, named: false, excerpt: None, capped: false, forbidden })
        }
        None => None,
    };
    Signal { pause, unread }
}

#[cfg(test)]
mod tests;
