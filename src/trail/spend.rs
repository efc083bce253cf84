//! What was asked of the partner, for whom, and what was not?
//! Given calls and answers with their route and caller, hands back the account of both since the start.
//! Never lets two workers share what an answer from memory counts: each has its own row, summed when it is read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::Cause;

use super::Outcome;

const CAUSES: usize = Cause::ALL.len();
const KINDS: usize = Saved::ALL.len();

/// How a request was answered without a call of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// From memory, fresh.
    Hit,
    /// From memory, stale.
    Stale,
    /// By a call that somebody else had started.
    Collapsed,
}

impl Saved {
    /// All of them, in the order of their counts.
    pub const ALL: [Self; 3] = [Self::Hit, Self::Stale, Self::Collapsed];

    /// Whether, and how, this outcome saved a call.
    pub const fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Hit => Some(Self::Hit),
            Outcome::Stale => Some(Self::Stale),
            Outcome::Collapsed => Some(Self::Collapsed),
            Outcome::Miss | Outcome::Revalidated | Outcome::Pass | Outcome::Own | Outcome::Refused => None,
        }
    }

    /// The fixed word, the same as the outcome's.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hit => Outcome::Hit.word(),
            Self::Stale => Outcome::Stale.word(),
            Self::Collapsed => Outcome::Collapsed.word(),
        }
    }
}

/// Of one route and caller, or sums of such.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls to the partner, in the order of [`Cause::ALL`].
    pub calls: [u64; CAUSES],
    /// Requests answered without a call of their own, in the order of [`Saved::ALL`].
    pub saved: [u64; KINDS],
}

impl Sums {
    /// All calls.
    pub fn called(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// All that was saved.
    pub fn spared(&self) -> u64 {
        self.saved.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        let calls = self.calls.iter_mut().zip(other.calls);
        let saved = self.saved.iter_mut().zip(other.saved);
        calls.chain(saved).for_each(|(sum, more)| *sum += more);
    }
}

/// The account. Its size is fixed by the configuration: every route times every caller, one more of each for none.
pub(super) struct Spend {
    routes: usize,
    callers: Vec<String>,
    calls: Vec<AtomicU64>,
    saved: Vec<Row>,
}

/// One worker's, kept apart from the others' in memory.
struct Row(Vec<AtomicU64>);

/// So many counters at the end of a row are of no use, but that the next row is in other cache lines.
const APART: usize = 16;

impl Spend {
    /// Zeroes; `routes` includes the one that stands for none.
    pub(super) fn new(routes: usize, callers: Vec<String>, rows: usize) -> Self {
        let zeroes = |many: usize| (0..many).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let places = routes * (callers.len() + 1);
        let saved = (0..rows).map(|_| Row(zeroes(places * KINDS + APART))).collect();
        Self { routes, callers, calls: zeroes(places * CAUSES), saved }
    }

    /// Counts a call; `payer` is a caller's place, nobody's where it is a refresh.
    pub(super) fn call(&self, route: usize, payer: Option<usize>, cause: Cause) {
        if let Some(count) = self.calls.get(self.place(route, payer) * CAUSES + cause as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an answer in a worker's row.
    pub(super) fn save(&self, row: usize, route: usize, caller: Option<usize>, kind: Saved) {
        let Some(Row(row)) = self.saved.get(row) else { return };
        if let Some(count) = row.get(self.place(route, caller) * KINDS + kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What there is to tell, caller by caller and route by route; `None` is nobody, who comes last.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, Option<&str>, Sums)> {
        (0..self.routes * (self.callers.len() + 1)).filter_map(|place| {
            let mut sums = Sums::default();
            for (nth, sum) in sums.calls.iter_mut().enumerate() {
                *sum = self.calls.get(place * CAUSES + nth).map_or(0, |count| count.load(Ordering::Relaxed));
            }
            for (nth, sum) in sums.saved.iter_mut().enumerate() {
                let counts = self.saved.iter().filter_map(|Row(row)| row.get(place * KINDS + nth));
                *sum = counts.map(|count| count.load(Ordering::Relaxed)).sum();
            }
            let caller = self.callers.get(place / self.routes).map(String::as_str);
            (sums != Sums::default()).then_some((place % self.routes, caller, sums))
        })
    }

    fn place(&self, route: usize, caller: Option<usize>) -> usize {
        let nobody = self.callers.len();
        caller.unwrap_or(nobody).min(nobody) * self.routes + route.min(self.routes.saturating_sub(1))
    }
}

/// What was spent and saved since the start. Lines of nothing are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// All together.
    pub all: Sums,
    /// By route.
    pub routes: Vec<(String, Sums)>,
    /// By caller; `None` is nobody, who is charged with refreshes.
    pub callers: Vec<(Option<String>, Sums)>,
    /// By both.
    pub both: Vec<(String, Option<String>, Sums)>,
}

impl Account {
    /// Adds a line; those of one caller come one after the other.
    pub(super) fn add(&mut self, route: &str, caller: Option<&str>, sums: Sums) {
        self.all.add(&sums);
        match self.routes.iter_mut().find(|(name, _)| name == route) {
            Some((_, sum)) => sum.add(&sums),
            None => self.routes.push((route.to_owned(), sums)),
        }
        match self.callers.last_mut().filter(|(name, _)| name.as_deref() == caller) {
            Some((_, sum)) => sum.add(&sums),
            None => self.callers.push((caller.map(str::to_owned), sums)),
        }
        self.both.push((route.to_owned(), caller.map(str::to_owned), sums));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_and_every_call_saved_is_in_one_line_and_in_the_sums() {
        let spend = Spend::new(3, vec!["billing".to_owned(), "support".to_owned()], 2);
        spend.call(0, Some(0), Cause::Miss);
        spend.call(0, None, Cause::Refresh);
        spend.call(1, Some(1), Cause::Pass);
        for row in [0, 1, 1] {
            spend.save(row, 0, Some(1), Saved::Hit);
        }
        spend.save(0, 2, Some(0), Saved::Collapsed);
        let mut account = Account::default();
        spend.lines().for_each(|(route, caller, sums)| account.add(["a", "b", "c"][route], caller, sums));
        assert_eq!((account.all.calls, account.all.saved), ([1, 0, 1, 0, 1], [3, 0, 1]));
        let calls = |sums: &[(Option<String>, Sums)]| -> Vec<_> {
            sums.iter().map(|(name, sums)| (name.clone().unwrap_or_default(), sums.called(), sums.spared())).collect()
        };
        let row = |name: &str, calls, saved| (name.to_owned(), calls, saved);
        assert_eq!(calls(&account.callers), [row("billing", 1, 1), row("support", 1, 3), row("", 1, 0)]);
        let routes: Vec<_> =
            account.routes.iter().map(|(name, sums)| row(name, sums.called(), sums.spared())).collect();
        assert_eq!(routes, [row("a", 2, 3), row("c", 0, 1), row("b", 1, 0)]);
        assert_eq!(account.both.len(), 5);
    }

    #[test]
    fn who_is_not_known_is_nobody_and_where_nothing_was_found_is_the_last() {
        let spend = Spend::new(2, vec!["billing".to_owned()], 1);
        spend.call(7, Some(7), Cause::Miss);
        spend.save(0, 7, None, Saved::Stale);
        let lines: Vec<_> = spend.lines().map(|(route, caller, sums)| (route, caller.is_none(), sums)).collect();
        assert_eq!(lines, [(1, true, Sums { calls: [1, 0, 0, 0, 0], saved: [0, 1, 0] })]);
    }
}
