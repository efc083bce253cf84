//! What does a flight bring to those who wait for it?
//! Given what one call came to, holds it as the one table of flights shares it, whatever kind of route it was for.
//! Never waits and never asks.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::cache::Entry;
use crate::cache::Reply;
use crate::cache::reason::Detail;
use crate::trail::trace::Context;

use super::refusal::Refusal;
use super::respond::Delivery;

/// What a flight brings to those who joined it.
#[derive(Debug, Clone)]
pub enum Shared {
    /// A document of the API.
    Document(FetchedDocument),
    /// A stored, or just confirmed, reply of a route in standard mode.
    FetchedReply(Box<FetchedReply>),
    /// One that is for who started the flight alone: the others ask for themselves.
    Alone,
}

/// The same, or the reason for none, with the flight's trace.
pub type Landing = (Result<Shared, Refusal>, Option<Context>);

/// A document, stored or not.
#[derive(Debug, Clone)]
pub struct FetchedDocument {
    /// It.
    pub entry: Arc<Entry>,
    /// The status the partner answered with (304 for a confirmation).
    pub status: StatusCode,
    /// Whether it is in the store, or why not.
    pub stored: Result<(), Detail>,
    /// How long the partner took.
    pub took: Duration,
}

/// A stored, or just confirmed, reply.
#[derive(Debug, Clone)]
pub struct FetchedReply {
    pub(super) reply: Arc<Reply>,
    /// Fields that are for the one who asked and for no store (RFC 9111 §5.2.2.4, §5.2.2.7).
    pub(super) withheld: HeaderMap,
    pub(super) delivery: Delivery,
    pub(super) took: Duration,
}
