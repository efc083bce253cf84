//! What would happen, in one sentence?
//! Given an outcome and what led to it, hands back the verdict: the words of the log, and a sentence for people.
//! Never holds anything of a document or a token.

use std::time::Duration;

use http::StatusCode;

use crate::budget::Prospect;
use crate::clock::Tick;
use crate::trail::Outcome;

use super::super::refusal::Refusal;
use super::super::respond::worded;

/// Whether the partner would be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// No.
    None,
    /// Not by this request: it waits for one that is under way.
    Joins,
    /// Before it is answered.
    First,
    /// After it is answered.
    Behind,
}

impl Call {
    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Joins => "joins",
            Self::First => "first",
            Self::Behind => "behind",
        }
    }
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The outcome; `None` where it hangs on what the partner says.
    pub outcome: Option<Outcome>,
    /// The status; `None` where it is the partner's.
    pub status: Option<StatusCode>,
    /// The cause in the log, if it would have one that is known now.
    pub cause: &'static str,
    /// Whether the partner would be called.
    pub call: Call,
    /// Seconds after which it is worth coming back.
    pub retry_after: Option<u64>,
    /// All of it for people.
    pub says: String,
}

/// How old something is, and how old it may be.
pub(in crate::gateway) struct Ages {
    pub(in crate::gateway) age: Duration,
    pub(in crate::gateway) lifetime: Duration,
}

impl Verdict {
    pub(super) fn refused(refusal: &Refusal) -> Self {
        let words = worded(refusal);
        let wait = words.retry_after.map_or(String::new(), |seconds| format!(" for {seconds} s"));
        Self {
            outcome: Some(Outcome::Refused),
            status: Some(words.status),
            cause: words.cause,
            call: Call::None,
            retry_after: words.retry_after,
            says: format!("{}{wait}: {}. {}", words.status.as_u16(), words.title, words.detail),
        }
    }

    pub(in crate::gateway) fn of_served(
        (outcome, cause): (Outcome, &'static str),
        status: StatusCode,
        ages: Ages,
    ) -> Self {
        let age = ages.age.as_secs();
        let left = ages.lifetime.saturating_sub(ages.age).as_secs();
        let beyond = ages.age.saturating_sub(ages.lifetime).as_secs();
        let says = match (outcome, cause) {
            (Outcome::Hit, "") => format!("a hit: it came {age} s ago, and is fresh for {left} s more"),
            (Outcome::Hit, _) => format!("a hit: it is {age} s old, and this caller may not force a fresher one"),
            _ => format!("served stale, {beyond} s past its lifetime"),
        };
        let (outcome, status) = (Some(outcome), Some(status));
        Self { outcome, status, cause, call: Call::None, retry_after: None, says }
    }

    /// The same with what comes of it at the partner.
    pub(in crate::gateway) fn and(self, call: Call, more: &str) -> Self {
        Self { call, says: self.says + more, ..self }
    }

    pub(in crate::gateway) fn joins() -> Self {
        let says = "it waits for a fetch that is under way".to_owned();
        let outcome = Some(Outcome::Collapsed);
        Self { outcome, status: None, cause: "", call: Call::Joins, retry_after: None, says }
    }

    pub(in crate::gateway) fn calls(outcome: Outcome, why: &str, ahead: Option<Prospect>, now: Tick) -> Self {
        let says = format!("the partner is asked{}: {why}", begins(ahead, now));
        Self { outcome: Some(outcome), status: None, cause: "", call: Call::First, retry_after: None, says }
    }

    pub(super) fn calls_for_the_list(ahead: Option<Prospect>) -> Self {
        let call = if ahead.is_some() { Call::First } else { Call::Joins };
        let says = "the client's list of projects is fetched first, which says on which provider the project is; \
                    the rest hangs on that";
        Self { outcome: None, status: None, cause: "", call, retry_after: None, says: says.to_owned() }
    }
}

fn begins(ahead: Option<Prospect>, now: Tick) -> String {
    match ahead {
        Some(Prospect::Call { probe: true }) => ", as the one call that decides whether others may follow".to_owned(),
        Some(Prospect::Waits { until: Some(at) }) => {
            format!(", after some {:.1} s in the queue of the budget", at.since(now).as_secs_f64())
        }
        Some(Prospect::Waits { until: None }) => ", once a call that is under way has ended".to_owned(),
        Some(Prospect::Call { probe: false } | Prospect::Closed { .. }) | None => String::new(),
    }
}
