//! In which state is what is held?
//! Given what stands under a key, hands back the state for either mode, and for how long it may still be used.
//! Never hands back a body.

use std::time::Duration;

use http::HeaderMap;

use crate::cache::freshness::{Life, Stage};
use crate::cache::list::Row;
use crate::cache::peek::Peek;
use crate::cache::{Lookup, Stored};
use crate::clock::{Now, Tick};

/// Where in its life it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Within its lifetime.
    Fresh,
    /// Beyond it, and shown while a new one is fetched.
    Stale,
    /// To be asked about before it is shown.
    Expired,
    /// The partner lately forbade storing it.
    Uncacheable,
    /// Only answers to requests that differ where it matters.
    OtherVariants,
    /// Nothing.
    Absent,
}

impl State {
    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Uncacheable => "uncacheable",
            Self::OtherVariants => "other-variants",
            Self::Absent => "absent",
        }
    }
}

/// What is held.
#[derive(Debug, Clone)]
pub struct StoredState {
    /// In which state.
    pub state: State,
    /// Its row in the list, if an answer is held.
    pub row: Option<Row>,
    /// For how long it may be shown while a new one is fetched.
    pub while_revalidate: Option<Duration>,
    /// For how long it may be shown when the partner fails.
    pub if_error: Option<Duration>,
}

impl StoredState {
    pub(super) fn of(peek: &Peek, sent: &HeaderMap, now: Now) -> Self {
        let of = match (peek.look(now), peek.select(sent, now)) {
            (Lookup::Stored(entry), _) => Self::of_life(&entry.life(), now.tick),
            (_, Lookup::Stored(reply)) => Self::of_life(&reply.life(), now.tick),
            (_, Lookup::OtherVariants(_)) => Self::bare(State::OtherVariants),
            (Lookup::Uncacheable, _) | (_, Lookup::Uncacheable) => Self::bare(State::Uncacheable),
            _ => Self::bare(State::Absent),
        };
        Self { row: peek.row(now), ..of }
    }

    fn bare(state: State) -> Self {
        Self { state, row: None, while_revalidate: None, if_error: None }
    }

    fn of_life(life: &Life, now: Tick) -> Self {
        let state = match life.stage(now) {
            Stage::Fresh | Stage::Due => State::Fresh,
            Stage::Stale => State::Stale,
            Stage::OnError | Stage::Over => State::Expired,
        };
        let left = |window: Duration| {
            let left = (life.lifetime + window).checked_sub(life.age(now))?;
            Some(left).filter(|left| !left.is_zero() && !window.is_zero())
        };
        let while_revalidate = left(life.stale.while_revalidate).filter(|_| !life.ask_first);
        let if_error = left(life.stale.if_error.max(life.stale.if_unreached));
        Self { while_revalidate, if_error, ..Self::bare(state) }
    }
}
