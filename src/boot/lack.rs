//! What does the machine lack?
//! Given a key of the configuration and a reason, hands back both as one error.
//! Never looks for itself.

use std::fmt;

/// Something that the configuration refers to and the machine does not have, or not so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The dotted key that refers to it.
    pub key: String,
    /// What is missing, and what to do.
    pub reason: String,
}

impl Lack {
    /// Of this key, for this reason.
    pub fn new(key: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { key: key.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

impl std::error::Error for Lack {}
