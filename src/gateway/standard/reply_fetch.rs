//! What does one call to the partner take along and bring?
//! Given a request and what is held, hands back the job: the head as it goes out, and the replies it asks about.
//! Never does the asking itself.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;

use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause, Permit};
use crate::cache::Reply;
use crate::cache::lifetime::Exchange;
use crate::cache::reason::Why;
use crate::cache::validation;
use crate::clock::Tick;

use super::super::execute::Ask;
use super::super::landing::FetchedReply;
use super::super::respond::{Body, Delivery};
use super::Asked;

/// All that one call takes along.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct ReplyFetch {
    pub(super) asked: Asked,
    /// The head as it goes out.
    pub(super) sent: HeaderMap,
    why: Why,
    pub(super) cause: Cause,
    /// The replies that a 304 may mean.
    pub(super) about: Vec<Arc<Reply>>,
    /// The reply whose successor is fetched.
    pub(super) old: Option<Arc<Reply>>,
    /// Whether a server error counts as no answer, since something stale may stand in for it (RFC 5861 §4).
    pub(super) keeps_errors_out: bool,
}

/// What it brought.
#[derive(Debug)]
pub(in crate::gateway) enum Brought {
    Kept(FetchedReply),
    Through { response: Response<Body>, delivery: Delivery, took: Duration },
}

impl ReplyFetch {
    pub(super) fn new(asked: &Asked, ask: Ask<Reply>) -> Self {
        let Ask { stored: old, others, why, fallback, is_refresh, .. } = ask;
        let mut asked = asked.clone();
        if is_refresh {
            asked.method = Method::GET;
            asked.asker = Asker { lane: Lane::Refresh, who: 0, payer: None, ..asked.asker };
        }
        let (mut sent, mut about, mut cause) = (asked.head.clone(), Vec::new(), Cause::Miss);
        // A HEAD is asked for as it came.
        if asked.method == Method::GET {
            if let Some(reply) = &old {
                cause = Cause::Revalidate;
                if validation::ask_about(&mut sent, reply) {
                    about.push(Arc::clone(reply));
                }
            } else if !validation::is_conditional(&sent) {
                // The caller's own condition would get mixed up with ours.
                about = others.into_iter().filter(|other| other.tag().is_some()).take(8).collect();
                let tags: Vec<_> = about.iter().filter_map(|other| other.tag()).collect();
                if !tags.is_empty() {
                    validation::ask_which(&mut sent, &tags);
                }
            }
        }
        if is_refresh {
            cause = Cause::Refresh;
        }
        Self { asked, sent, why, cause, about, old, keeps_errors_out: fallback.error || is_refresh }
    }

    pub(super) fn delivery(&self, status: StatusCode) -> Delivery {
        Delivery::forwarded(self.why, status)
    }
}

/// An answer whose head is here.
pub(super) struct Arrived {
    pub(super) status: StatusCode,
    pub(super) head: HeaderMap,
    pub(super) incoming: Incoming,
    pub(super) permit: Permit,
    pub(super) exchange: Exchange,
    /// Until when a change of the resource would have been in it.
    pub(super) as_of: Tick,
}

impl Arrived {
    pub(super) fn took(&self) -> Duration {
        self.exchange.received.tick.since(self.exchange.asked)
    }
}
