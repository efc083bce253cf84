//! What one caller may use of a budget that several share.
//! Given how much is under way for each caller and how often each called lately, hands back the part of the quota that is open
//! to one of them.
//! Never keeps back any of the rate from a caller that uses less than half of it: what is kept back is kept for those.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Tick;
use crate::gcra::{Arrivals, Quota, Rate};

use super::lanes::Who;

/// Of so many calls under way one caller has at most these while nobody else calls: the rest is for who comes next.
pub(super) fn most_of_one(max_in_flight: usize) -> usize {
    match max_in_flight {
        0 | 1 => max_in_flight,
        most => most - (most / 4).max(1),
    }
}

/// For so long after its last call a caller is one that calls, and what the others had under way at most is remembered.
const LATELY: Duration = Duration::from_secs(60);

/// Callers whose rates are remembered; all that have rested are forgotten before another one is.
const MAX_CALLERS: usize = 4096;

/// The use that each caller makes of a budget.
#[derive(Debug, Default)]
pub(super) struct Shares {
    in_flight: HashMap<Who, usize, ahash::RandomState>,
    arrivals: HashMap<Who, Arrivals, ahash::RandomState>,
    /// Who called last, and when, and the last of the others.
    callers: [Option<(Who, Tick)>; 2],
    /// What all but the busiest caller had under way at most lately, and when.
    others: Option<(usize, Tick)>,
}

impl Shares {
    /// Whether this caller has under way what one may. Slow calls are waited for and never taken back, so that what others
    /// need is kept free beforehand: a quarter while nobody else calls; else half, and more where they had more lately: twice
    /// as much as that, up to three quarters.
    pub(super) fn has_its_part(&self, who: Who, max_in_flight: usize, now: Tick) -> bool {
        let under_way = self.in_flight.get(&who).copied().unwrap_or_default();
        if under_way < max_in_flight / 4 {
            return false;
        }
        let lately = |at: Tick| now.since(at) < LATELY;
        let most = match self.callers.iter().flatten().any(|(other, at)| *other != who && lately(*at)) {
            false => most_of_one(max_in_flight),
            true => {
                let others = self.others.filter(|(_, at)| lately(*at)).map_or(0, |(most, _)| most);
                let kept = (2 * others).clamp(max_in_flight / 2, max_in_flight - max_in_flight / 4);
                (max_in_flight - kept).max(1)
            }
        };
        under_way >= most
    }

    /// The quota that one more call of this caller is measured against: all of it while it calls at no more than half of the
    /// rate, else what leaves four fifths of the burst to the others, who come in bursts too. So does a refresh, for which
    /// nobody waits.
    pub(super) fn quota(&self, who: Who, whole: Quota, now: Tick) -> Quota {
        let used = self.arrivals.get(&who).copied().unwrap_or_default();
        match used.admit(half(whole), now) {
            Ok(_) if who != 0 => whole,
            _ => Quota { burst: (whole.burst / 5).max(1), ..whole },
        }
    }

    /// A call of this caller starts.
    pub(super) fn start(&mut self, who: Who, whole: Quota, now: Tick) {
        *self.in_flight.entry(who).or_default() += 1;
        let [last, before] = &mut self.callers;
        // A refresh is nobody's.
        if who != 0 {
            if last.is_some_and(|(other, _)| other != who) {
                *before = *last;
            }
            *last = Some((who, now));
        }
        let (all, busiest) = self.in_flight.values().fold((0, 0), |(all, most), each| (all + each, most.max(*each)));
        if self.others.is_none_or(|(most, at)| all - busiest >= most || now.since(at) >= LATELY) {
            self.others = Some((all - busiest, now));
        }
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
        self.others = None;
    }
}

/// Half of the rate. Whoever rested may go beyond it for as long as four fifths of the burst last: callers come in bursts.
fn half(whole: Quota) -> Quota {
    let rate = match whole.rate {
        Rate::Unlimited => Rate::Unlimited,
        Rate::Every(interval) => Rate::Every(interval.saturating_mul(2)),
    };
    Quota { rate, burst: whole.burst - whole.burst / 5 }
}
