//! What has one caller used of its limits?
//! Given other limits, counts by them from there on; given a refusal, counts that.
//! Never decides whether a request is let in.

use crate::clock::Tick;
use crate::gcra::Arrivals;

use super::{ComeBack, Limit, Limits};

#[derive(Debug, Default)]
pub(super) struct Spent {
    /// By which limits it was counted last; those of the account that it was handed over from count too until then.
    pub(super) by: Option<Limits>,
    pub(super) requests: Arrivals,
    pub(super) upstream: Arrivals,
    pub(super) under_way: u32,
    pub(super) refused: [u64; Limit::ALL.len()],
}

impl Spent {
    /// Counts by these limits from here on.
    pub(super) fn count_by(&mut self, limits: &Limits, now: Tick) {
        if let Some(before) = self.by.filter(|before| before != limits) {
            self.requests = self.requests.rescaled(before.requests, limits.requests, now);
            self.upstream = self.upstream.rescaled(before.upstream, limits.upstream, now);
        }
        self.by = Some(*limits);
    }

    pub(super) fn refuse(&mut self, back: ComeBack) -> ComeBack {
        if let Some(times) = self.refused.get_mut(back.limit as usize) {
            *times += 1;
        }
        back
    }
}
