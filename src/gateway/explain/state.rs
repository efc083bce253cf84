//! In which state is what is held?
//! Given what stands under a key, hands back the state for either mode, and for how long it may still be used.
//! Never hands back a body.

use std::time::Duration;

use http::HeaderMap;

use crate::cache::glimpse::Glimpse;
use crate::cache::list::Row;
use crate::cache::policy;
use crate::cache::standard::moments::{self, Beyond};
use crate::cache::standard::slot;
use crate::cache::{Entry, Held};
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
    pub const fn word(self) -> &'static str {
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
pub struct Stored {
    /// In which state.
    pub state: State,
    /// Its row in the list, if an answer is held.
    pub row: Option<Row>,
    /// For how long it may be shown while a new one is fetched.
    pub while_revalidate: Option<Duration>,
    /// For how long it may be shown when the partner fails.
    pub if_error: Option<Duration>,
}

impl Stored {
    pub(super) fn of(glimpse: &Glimpse, sent: &HeaderMap, now: Now) -> Self {
        let of = match (glimpse.look(now), glimpse.select(sent, now)) {
            (Held::Fresh(entry) | Held::Due(entry), _) => Self::of_entry(State::Fresh, &entry, now.tick),
            (Held::Stale(entry), _) => Self::of_entry(State::Stale, &entry, now.tick),
            (Held::Expired { entry, .. }, _) => Self::of_entry(State::Expired, &entry, now.tick),
            (Held::Absent, slot::Held::Fits(reply)) => Self::of_reply(&reply.life(), now.tick),
            (Held::Absent, slot::Held::Others(_)) => Self::bare(State::OtherVariants),
            (Held::Uncacheable, _) | (Held::Absent, slot::Held::Uncacheable) => Self::bare(State::Uncacheable),
            (Held::Absent, slot::Held::Absent) => Self::bare(State::Absent),
        };
        Self { row: glimpse.row(now), ..of }
    }

    fn bare(state: State) -> Self {
        Self { state, row: None, while_revalidate: None, if_error: None }
    }

    fn of_entry(state: State, entry: &Entry, now: Tick) -> Self {
        let policy::Life { lifetime, stale_while_revalidate, stale_if_error, ask_first, .. } = entry.life();
        let left =
            |window: Duration| (lifetime + window).checked_sub(entry.life().age(now)).filter(|left| !left.is_zero());
        let while_revalidate = left(stale_while_revalidate).filter(|_| !ask_first && !stale_while_revalidate.is_zero());
        let if_error = left(stale_if_error).filter(|_| !stale_if_error.is_zero());
        Self { while_revalidate, if_error, ..Self::bare(state) }
    }

    fn of_reply(life: &moments::Life, now: Tick) -> Self {
        let (fresh, past) = match life.left(now) {
            Ok(_) => (!life.ask_first, Duration::ZERO),
            Err(past) => (false, past),
        };
        let (while_revalidate, if_error) = match life.beyond {
            Beyond::Forbidden => (None, None),
            Beyond::Allowed { while_revalidate, if_error, if_unreached } => {
                let left = |window: Duration| window.checked_sub(past).filter(|left| !left.is_zero());
                (left(while_revalidate), left(if_error.max(if_unreached)))
            }
        };
        let state = match () {
            () if fresh => State::Fresh,
            () if while_revalidate.is_some() => State::Stale,
            () => State::Expired,
        };
        Self { while_revalidate, if_error, ..Self::bare(state) }
    }
}
