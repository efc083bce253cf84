//! What was asked of the partner, for whom, and what was not?
//! Given calls and answers with their route and caller, hands back the account of both since the start.
//! Never lets two workers share what an answer from memory counts: each has its own row, summed when it is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::Cause;

use super::Outcome;

const CAUSES: usize = Cause::ALL.len();
const KINDS: usize = Saved::ALL.len();

/// Rows of counters, of which each worker has its own.
pub(super) const ROWS: usize = 8;

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
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => Outcome::Hit.as_str(),
            Self::Stale => Outcome::Stale.as_str(),
            Self::Collapsed => Outcome::Collapsed.as_str(),
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
    callers: usize,
    /// Caller by caller, route by route; nobody comes last.
    lines: Vec<Arc<Line>>,
    /// Of earlier configurations: a counter never goes back.
    gone: Vec<Arc<Line>>,
}

/// The counters of one route and caller.
struct Line {
    route: String,
    caller: Option<String>,
    calls: [AtomicU64; CAUSES],
    saved: [Cells; ROWS],
}

/// One worker's, kept apart from the others' in memory.
#[derive(Default)]
#[repr(align(64))]
struct Cells([AtomicU64; KINDS]);

impl Line {
    fn new(route: &str, caller: Option<&str>) -> Self {
        let (route, caller) = (route.to_owned(), caller.map(str::to_owned));
        Self { route, caller, calls: Default::default(), saved: Default::default() }
    }

    fn name(&self) -> (&str, Option<&str>) {
        (&self.route, self.caller.as_deref())
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for (sum, count) in sums.calls.iter_mut().zip(&self.calls) {
            *sum = count.load(Ordering::Relaxed);
        }
        for Cells(cells) in &self.saved {
            for (sum, count) in sums.saved.iter_mut().zip(cells) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        sums
    }
}

impl Spend {
    /// Zeroes for these routes, of which the last stands for none, and for these callers by their place.
    pub(super) fn new(routes: &[String], callers: &[String]) -> Self {
        Self { routes: 0, callers: 0, lines: Vec::new(), gone: Vec::new() }.reconfigured(routes, callers)
    }

    /// The same account for other routes and callers: what was counted of both stays theirs, by their names.
    pub(super) fn reconfigured(&self, routes: &[String], callers: &[String]) -> Self {
        let mut known: HashMap<(&str, Option<&str>), &Arc<Line>> =
            self.lines.iter().chain(&self.gone).map(|line| (line.name(), line)).collect();
        let everybody = callers.iter().map(|caller| Some(caller.as_str())).chain([None]);
        let names = everybody.flat_map(|caller| routes.iter().map(move |route| (route.as_str(), caller)));
        let line = |(route, caller)| match known.remove(&(route, caller)) {
            Some(line) => Arc::clone(line),
            None => Arc::new(Line::new(route, caller)),
        };
        let lines = names.map(line).collect();
        // The house before may still write to its lines, be they empty now.
        let may_be_written =
            |line: &Arc<Line>| Arc::strong_count(line) > 1 || self.lines.iter().any(|it| Arc::ptr_eq(it, line));
        let counts = |line: &&Arc<Line>| may_be_written(line) || line.sums() != Sums::default();
        let gone = known.into_values().filter(counts).cloned().collect();
        Self { routes: routes.len(), callers: callers.len(), lines, gone }
    }

    /// Counts a call; `payer` is a caller's place, nobody's where it is a refresh.
    pub(super) fn call(&self, route: usize, payer: Option<usize>, cause: Cause) {
        if let Some(count) = self.line(route, payer).and_then(|line| line.calls.get(cause as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an answer in a worker's row.
    pub(super) fn save(&self, row: usize, route: usize, caller: Option<usize>, kind: Saved) {
        let Some(Cells(cells)) = self.line(route, caller).and_then(|line| line.saved.get(row)) else { return };
        if let Some(count) = cells.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same with a line for every route and every caller there is, though it be of nothing.
    pub(super) fn with_zeroes(&self) -> Account {
        let mut account = Account::default();
        let routes = self.lines.iter().take(self.routes);
        account.routes = routes.map(|line| (line.route.clone(), Sums::default())).collect();
        let callers = self.lines.iter().step_by(self.routes.max(1));
        account.callers = callers.map(|line| (line.caller.clone(), Sums::default())).collect();
        self.add_to(account)
    }

    /// All that there is to tell.
    pub(super) fn account(&self) -> Account {
        self.add_to(Account::default())
    }

    fn add_to(&self, mut account: Account) -> Account {
        for line in self.lines.iter().chain(&self.gone) {
            let sums = line.sums();
            if sums != Sums::default() {
                account.add(line.name(), sums);
            }
        }
        account
    }

    fn line(&self, route: usize, caller: Option<usize>) -> Option<&Arc<Line>> {
        let caller = caller.unwrap_or(self.callers).min(self.callers);
        self.lines.get(caller * self.routes + route.min(self.routes.saturating_sub(1)))
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
    fn add(&mut self, (route, caller): (&str, Option<&str>), sums: Sums) {
        self.all.add(&sums);
        match self.routes.iter_mut().find(|(name, _)| name == route) {
            Some((_, sum)) => sum.add(&sums),
            None => self.routes.push((route.to_owned(), sums)),
        }
        // The lines of one caller come one after the other, so the last is the one, but for those of before.
        match self.callers.iter_mut().rev().find(|(name, _)| name.as_deref() == caller) {
            Some((_, sum)) => sum.add(&sums),
            None => self.callers.push((caller.map(str::to_owned), sums)),
        }
        self.both.push((route.to_owned(), caller.map(str::to_owned), sums));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_call_and_every_call_saved_is_in_one_line_and_in_the_sums() {
        let spend = Spend::new(&names(&["a", "b", "c"]), &names(&["billing", "support"]));
        spend.call(0, Some(0), Cause::Miss);
        spend.call(0, None, Cause::Refresh);
        spend.call(1, Some(1), Cause::Pass);
        for row in [0, 1, 1] {
            spend.save(row, 0, Some(1), Saved::Hit);
        }
        spend.save(0, 2, Some(0), Saved::Collapsed);
        let account = spend.account();
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
        let spend = Spend::new(&names(&["a", "none"]), &names(&["billing"]));
        spend.call(7, Some(7), Cause::Miss);
        spend.save(0, 7, None, Saved::Stale);
        let sums = Sums { calls: [1, 0, 0, 0, 0], saved: [0, 1, 0] };
        assert_eq!(spend.account().both, [("none".to_owned(), None, sums)]);
    }

    #[test]
    fn what_was_counted_stays_its_routes_and_callers_and_never_goes_back() {
        let before = Spend::new(&names(&["a", "b", "none"]), &names(&["billing", "support"]));
        before.call(0, Some(0), Cause::Miss);
        before.call(1, Some(1), Cause::Miss);
        let after = before.reconfigured(&names(&["b", "none"]), &names(&["new", "support"]));
        after.call(0, Some(1), Cause::Miss);
        // Who began before ends there.
        before.call(1, Some(1), Cause::Miss);
        let calls = |account: &Account| -> Vec<(String, u64)> {
            let named = |(route, caller, sums): &(String, Option<String>, Sums)| {
                (format!("{route} {}", caller.clone().unwrap_or_default()), sums.called())
            };
            account.both.iter().map(named).collect()
        };
        let row = |name: &str, calls| (name.to_owned(), calls);
        assert_eq!(calls(&after.account()), [row("b support", 3), row("a billing", 1)]);
        let again = after.reconfigured(&names(&["a", "b", "none"]), &names(&["billing", "support"]));
        assert_eq!(calls(&again.account()), [row("a billing", 1), row("b support", 3)]);
        assert_eq!(again.account().all.called(), 4);
    }
}
