//! The ways in which a call to the upstream brings no answer that can be used.
//! Given what happened, hands back the fixed word that log, metric and trace share.
//! Never holds a word of the upstream's own.

use std::time::Duration;

use crate::budget::breaker::Reason;

use super::Failed;

/// What the partner did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No whole answer.
    Failed(Failed),
    /// It does not take our key.
    Key,
    /// It is a hub, and does not take our token.
    Token,
    /// It is a hub, our token's time is over, and there is no other.
    TokenExpired,
    /// 5xx.
    Status,
    /// A redirect where a document should be.
    Redirect,
    /// Something else than JSON, or half of it.
    NotJson,
    /// A 206 or 304 that nobody asked for.
    Unasked,
    /// JSON, but no document of the route.
    NotADocument,
    /// A 404 or 410 that is no word of the API, over something good that is held.
    DoubtfulAbsence,
    /// A redirect from the target to itself, as callers would follow it.
    ToItself,
}

impl Fault {
    /// The fixed word for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed(Failed::Connect) => "connect",
            Self::Failed(Failed::Certificate) => "certificate",
            Self::Failed(Failed::ProxyAuth) => "proxy-auth",
            Self::Failed(Failed::ProxyRefuses) => "proxy-refuses",
            Self::Failed(Failed::Broken) => "connection-broke",
            Self::Failed(Failed::Interim) => "interim-status",
            Self::Failed(Failed::Timeout) => "timeout",
            Self::Failed(Failed::TooLarge) => "response-too-large",
            Self::Key => "key-refused",
            Self::Token => "token-refused",
            Self::TokenExpired => "token-expired",
            Self::Status => "partner-5xx",
            Self::Redirect => "redirect",
            Self::NotJson => "not-json",
            Self::Unasked => "unasked",
            Self::NotADocument => "not-a-document",
            Self::DoubtfulAbsence => "doubtful-absence",
            Self::ToItself => "redirect-to-itself",
        }
    }
}

/// Why a call brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The upstream was asked, and what came is no answer.
    Fault(Fault),
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
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Failed(Failed::Timeout) => Self::Deadline,
            fault => Self::Fault(fault),
        }
    }
}
