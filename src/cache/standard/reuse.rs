//! May what is held be used?
//! Given a reply that fits, what the request wishes and `now`, hands back the [`Use`] of it (RFC 9111 §4, §4.2.4, §5.2.1).
//! Never looks at preconditions or ranges: they shape an answer that is already chosen.

use std::time::Duration;

use crate::clock::Tick;

use super::moments::{Beyond, Life};
use super::words::{Detail, Why};
use crate::http::cache_control::{MOST_SECONDS, Wishes};

/// What to do with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Give it.
    Fresh,
    /// Give it, stale; the detail says why that is right.
    Stale(Detail),
    /// Give it, stale, and fetch a new one behind.
    Refresh,
    /// Ask the partner whether it still holds.
    Validate {
        /// Why.
        why: Why,
        /// What may be given if that fails.
        fallback: Fallback,
    },
}

/// Whether a reply may be given when asking about it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// The partner could not be reached (§4.2.4: disconnected).
    pub unreached: bool,
    /// The partner answered with a server error (RFC 5861 §4).
    pub error: bool,
}

impl Fallback {
    /// Never.
    pub const NONE: Self = Self { unreached: false, error: false };
}

/// Judges a reply with this life for a request with these wishes.
pub fn judge(life: &Life, wishes: &Wishes, now: Tick) -> Use {
    let forced = Use::Validate { why: Why::Request, fallback: Fallback::NONE };
    if wishes.no_cache {
        return forced;
    }
    let stale = match life.left(now) {
        Ok(left) if !life.ask_first => {
            let young = wishes.max_age.is_none_or(|most| life.age(now) <= Duration::from_secs(most));
            let lasts = wishes.min_fresh.is_none_or(|least| left >= Duration::from_secs(least));
            return if young && lasts { Use::Fresh } else { forced };
        }
        Ok(_) => Duration::ZERO,
        Err(stale) => stale,
    };
    let Beyond::Allowed { while_revalidate, if_error, if_unreached } = life.beyond else {
        return Use::Validate { why: Why::Stale, fallback: Fallback::NONE };
    };
    if takes_stale(life, wishes, stale, now) {
        return Use::Stale(Detail::MaxStale);
    }
    // §5.2.1.1, §5.2.1.3: who names the freshness it wants takes nothing stale in its place.
    let picky = wishes.max_age.is_some() || wishes.min_fresh.is_some();
    if stale < while_revalidate && !picky {
        return Use::Refresh;
    }
    let fallback = Fallback { unreached: stale < if_unreached && !picky, error: stale < if_error && !picky };
    Use::Validate { why: Why::Stale, fallback }
}

/// §5.2.1.2.
fn takes_stale(life: &Life, wishes: &Wishes, stale: Duration, now: Tick) -> bool {
    let within = |most: u64| most == MOST_SECONDS || stale <= Duration::from_secs(most);
    wishes.max_stale.is_some_and(within)
        && wishes.max_age.is_none_or(|most| life.age(now) <= Duration::from_secs(most))
        && wishes.min_fresh.is_none()
}
