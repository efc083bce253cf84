//! In which ways is a request refused?
//! Given a room's own word, hands back the one list of all refusals, each with what the asker needs next.
//! Never holds a secret or a stranger's input beyond the name of a query parameter.

use std::time::Duration;

use http::StatusCode;

use crate::access::Denied;
use crate::budget::breaker::Reason;
use crate::cache::standard::reuse::Fallback;
use crate::clock::Tick;
use crate::listen::BadHead;
use crate::quota::{ComeBack, Limit};
use crate::route::{Malformed, Miss, NoSuchRoute};
use crate::token::Unidentified;
use crate::upstream::fault::Unanswered;
use crate::upstream::through::ToItself;

pub use crate::upstream::fault::Fault;

/// Every way to say no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The target or query cannot be read.
    Malformed(Malformed),
    /// The head is too large, or is none.
    Head(BadHead),
    /// Two different tokens.
    Ambiguous,
    /// No caller.
    Unidentified(Unidentified),
    /// No token, on a listener with an ambient caller, and it may not be a program of this machine that asks.
    Ambient,
    /// A token that nobody has seen, of a peer that sent too many bad ones.
    BadTokens {
        /// When the next one is examined.
        retry: Duration,
    },
    /// The caller's own limit.
    Limited {
        /// Which one.
        limit: Limit,
        /// When it is worth coming back.
        retry: Duration,
    },
    /// No route.
    NoSuchRoute,
    /// The route has other methods.
    Method,
    /// JSON is all there is.
    NotAcceptable,
    /// A scope is missing, or it is outside the bounds.
    Denied(Denied),
    /// `If-Match` or `If-Unmodified-Since` does not hold.
    Precondition,
    /// A range beyond the document's end.
    Beyond {
        /// The document's length in bytes, in the coding it would be sent in.
        length: u64,
    },
    /// The request's body is too large.
    BodyTooLarge,
    /// The request's body did not come in time.
    SlowBody,
    /// The request's body cannot be read.
    BrokenBody,
    /// The caller left in the middle of its request's body.
    CallerLeft,
    /// The partner failed.
    Partner(Fault),
    /// The budget has no room.
    Busy {
        /// When it is worth coming back.
        retry: Duration,
    },
    /// The breaker is open.
    Closed {
        /// For how long.
        retry: Duration,
        /// Why; a refused key is [`Fault::Key`].
        reason: Reason,
    },
    /// Nothing in time.
    Deadline,
    /// `only-if-cached`, and it is not.
    OnlyIfCached,
    /// The partner's own status, for a right that may not see its body.
    Status(StatusCode),
    /// The document is not of a shape that can be narrowed.
    NotUnderstood,
    /// The document is larger than what is stored, so it is not narrowed either.
    TooLargeToNarrow,
    /// The hub does not let the gateway's own token have this.
    HubRights,
    /// The request has been here before.
    Loop,
}

impl Refusal {
    /// Whether something old may stand in for the answer that there is not. What was fetched with a token that the hub does
    /// not take any more may not.
    pub const fn allows_stale(&self) -> bool {
        match self {
            Self::Partner(fault) => !matches!(fault, Fault::Token),
            Self::Busy { .. } | Self::Closed { .. } | Self::Deadline | Self::Limited { .. } => true,
            _ => false,
        }
    }

    /// Whether something stale may stand in for the answer by its own terms, which may depend on whether the partner was
    /// heard at all.
    pub(super) fn allows(&self, fallback: Fallback) -> bool {
        let heard = matches!(
            self,
            Self::Partner(Fault::Status | Fault::Key | Fault::Token | Fault::TokenExpired | Fault::Unasked)
        );
        self.allows_stale() && if heard { fallback.error } else { fallback.unreached }
    }

    /// The caller's own limit, as it is told at `now`.
    pub fn limited(back: ComeBack, now: Tick) -> Self {
        Self::Limited { limit: back.limit, retry: back.at.since(now) }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Unidentified> for Refusal {
    fn from(why: Unidentified) -> Self {
        match why {
            Unidentified::Ambiguous => Self::Ambiguous,
            why => Self::Unidentified(why),
        }
    }
}

impl From<Miss> for Refusal {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Route(NoSuchRoute::Path) => Self::NoSuchRoute,
            Miss::Route(NoSuchRoute::Method(_)) => Self::Method,
            Miss::Target(malformed) => Self::Malformed(malformed),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<ToItself> for Refusal {
    fn from(_: ToItself) -> Self {
        Self::Partner(Fault::ToItself)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Unanswered::from(fault).into()
    }
}

impl From<Unanswered> for Refusal {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Fault(fault) => Self::Partner(fault),
            Unanswered::Busy { retry } => Self::Busy { retry },
            Unanswered::Closed { retry, reason } => Self::Closed { retry, reason },
            Unanswered::Deadline => Self::Deadline,
        }
    }
}
