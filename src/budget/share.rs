//! What one caller may use of a budget that several share.
//! Given how much is under way for each caller and how often each called lately, hands back the part of the quota that is open
//! to one of them.
//! Never refuses a caller that uses less than half of the rate: what is kept back is kept for those.

use std::collections::HashMap;

use crate::clock::Tick;
use crate::gcra::{Arrivals, Quota, Rate};

use super::lanes::Who;

/// Of so many calls under way one caller has at most these: the rest is for the others.
pub(super) fn most_of_one(max_in_flight: usize) -> usize {
    match max_in_flight {
        0 | 1 => max_in_flight,
        most => most - (most / 4).max(1),
    }
}

/// Callers whose rates are remembered; all that have rested are forgotten before another one is.
const MAX_CALLERS: usize = 4096;

/// The use that each caller makes of a budget.
#[derive(Debug, Default)]
pub(super) struct Shares {
    in_flight: HashMap<Who, usize, ahash::RandomState>,
    arrivals: HashMap<Who, Arrivals, ahash::RandomState>,
}

impl Shares {
    /// Calls of this caller under way.
    pub(super) fn in_flight(&self, who: Who) -> usize {
        self.in_flight.get(&who).copied().unwrap_or_default()
    }

    /// The quota that one more call of this caller is measured against: all of it while it calls at no more than half of the
    /// rate, else all but the last quarter of the burst.
    pub(super) fn quota(&self, who: Who, whole: Quota, now: Tick) -> Quota {
        let used = self.arrivals.get(&who).copied().unwrap_or_default();
        match used.admit(half(whole), now) {
            Ok(_) => whole,
            Err(_) => Quota { burst: whole.burst - whole.burst / 4, ..whole },
        }
    }

    /// A call of this caller starts.
    pub(super) fn start(&mut self, who: Who, whole: Quota, now: Tick) {
        *self.in_flight.entry(who).or_default() += 1;
        if whole.rate == Rate::Unlimited {
            return;
        }
        let half = half(whole);
        if self.arrivals.len() >= MAX_CALLERS && !self.arrivals.contains_key(&who) {
            self.arrivals.retain(|_, used| used.left(half, now) < half.burst);
        }
        let used = self.arrivals.entry(who).or_default();
        // Calls beyond the half are not counted against it: they came out of what nobody else wanted.
        if let Ok(more) = used.admit(half, now) {
            *used = more;
        }
    }

    /// A call of this caller ends.
    pub(super) fn end(&mut self, who: Who) {
        if let Some(under_way) = self.in_flight.get_mut(&who) {
            *under_way -= 1;
            if *under_way == 0 {
                self.in_flight.remove(&who);
            }
        }
    }

    /// The quota changed: who used how much of the old one says nothing of the new one.
    pub(super) fn forget_rates(&mut self) {
        self.arrivals.clear();
    }
}

fn half(whole: Quota) -> Quota {
    let rate = match whole.rate {
        Rate::Unlimited => Rate::Unlimited,
        Rate::Every(interval) => Rate::Every(interval.saturating_mul(2)),
    };
    Quota { rate, burst: (whole.burst / 2).max(1) }
}
