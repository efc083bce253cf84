//! How often, and how long?
//! Given finished trails and calls, hands back the text of `/metrics` (Prometheus 0.0.4). Every metric's name lives here.
//! Never takes a lock: one row of counters for each worker, summed when they are read.

use std::cell::Cell;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::budget::gate::Why;
use crate::budget::{Cause, Figures};
use crate::cache::standard::Detail;
use crate::quota::{Limit, Refused, strangers};

use super::spend::{Account, ROWS, Saved, Spend, Sums};
use super::{Outcome, Trail};

/// The statuses that are counted by themselves.
const STATUSES: [u16; 24] = [
    200, 204, 206, 301, 304, 400, 401, 403, 404, 405, 406, 408, 410, 412, 413, 414, 416, 429, 431, 500, 502, 503, 504,
    0,
];
const OUTCOMES: usize = Outcome::ALL.len();

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS: [u64; 14] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// One worker's counters, kept apart from the others' in memory.
#[repr(align(128))]
struct Row {
    requests: Vec<AtomicU64>,
    from_memory: Histogram,
    from_partner: Histogram,
}

/// All counters.
pub struct Counts {
    routes: Vec<String>,
    rows: Vec<Row>,
    spend: Spend,
    details: [AtomicU64; Detail::ALL.len()],
    unknown_fields: AtomicU64,
    pub(super) lines_dropped: AtomicU64,
}

/// The name of no route.
const NONE: &str = "none";

/// Gauges, read when somebody asks.
#[derive(Debug, Clone)]
pub struct Gauges {
    /// Entries, their bytes, evictions.
    pub store: (u64, u64, u64),
    /// The budget.
    pub budget: Figures,
    /// Seconds until the partner may be asked again.
    pub closed_for: f64,
    /// Keys of the partner's that are there, and how many of them it refused.
    pub keys: (usize, usize),
    /// Flights under way.
    pub flights: usize,
    /// Connections open.
    pub connections: usize,
    /// Tokens.
    pub tokens: TokenFigures,
    /// Callers' own limits.
    pub refused: Vec<Refused>,
    /// Bad tokens.
    pub strangers: strangers::Figures,
}

/// What became of tokens since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenFigures {
    /// Issued.
    pub issued: u64,
    /// Asked for, and refused.
    pub refused: u64,
    /// Revocations, of one token or of all of a caller's.
    pub revoked: u64,
    /// Ids that are refused until they expire.
    pub tombstones: usize,
    /// The age of the key that signs, in seconds; `None` of one that lives in memory.
    pub key_age: Option<u64>,
}

/// What the demo's live line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// Of them from memory.
    pub hits: u64,
    /// Calls to the partner.
    pub calls: u64,
    /// Requests answered well without a call of their own.
    pub saved: u64,
}

impl Counts {
    /// Zeroes for these routes, and for these callers by their place.
    pub fn new(routes: Vec<String>, callers: &[String]) -> Self {
        let zeroes = |many: usize| (0..many).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        // The last route stands for requests that found none.
        let many = (routes.len() + 1) * OUTCOMES * STATUSES.len();
        let row =
            || Row { requests: zeroes(many), from_memory: Histogram::default(), from_partner: Histogram::default() };
        let named: Vec<String> = routes.iter().cloned().chain([NONE.to_owned()]).collect();
        let spend = Spend::new(&named, callers);
        let rows = (0..ROWS).map(|_| row()).collect();
        let details = std::array::from_fn(|_| AtomicU64::new(0));
        Self { routes, rows, spend, details, unknown_fields: AtomicU64::new(0), lines_dropped: AtomicU64::new(0) }
    }

    /// The name of a route.
    pub fn route(&self, index: Option<usize>) -> &str {
        index.and_then(|index| self.routes.get(index)).map_or(NONE, String::as_str)
    }

    /// Counts a request.
    pub fn request(&self, trail: &Trail, took: Duration) {
        let mine = my_row();
        let Some(row) = self.rows.get(mine) else { return };
        let status = STATUSES.iter().position(|&known| known == trail.status.as_u16()).unwrap_or(STATUSES.len() - 1);
        let at = (self.at(trail.route) * OUTCOMES + trail.outcome as usize) * STATUSES.len() + status;
        if let Some(counter) = row.requests.get(at) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(kind) = Saved::of(trail.outcome) {
            let caller = trail.caller.as_ref().map(|caller| caller.place());
            self.spend.save(mine, self.at(trail.route), caller, kind);
        }
        if !trail.cause.is_empty()
            && let Some(at) = Detail::ALL.iter().position(|detail| detail.word() == trail.cause)
            && let Some(counter) = self.details.get(at)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let histogram = match trail.outcome {
            Outcome::Hit | Outcome::Stale => &row.from_memory,
            Outcome::Own | Outcome::Refused => return,
            _ => &row.from_partner,
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|&most| micros <= most).unwrap_or(BUCKETS.len());
        if let Some(counter) = histogram.buckets.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        histogram.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts a call to the partner; `payer` is the place of the caller it is charged to.
    pub fn call(&self, route: usize, cause: Cause, payer: Option<usize>) {
        self.spend.call(self.at(Some(route)), payer, cause);
    }

    /// What was spent and saved, by route and caller.
    pub fn account(&self) -> Account {
        self.spend.account()
    }

    /// Counts fields that no documented shape has.
    pub fn unknown_fields(&self, many: u32) {
        self.unknown_fields.fetch_add(u64::from(many), Ordering::Relaxed);
    }

    fn at(&self, route: Option<usize>) -> usize {
        route.unwrap_or(self.routes.len()).min(self.routes.len())
    }

    fn requests(&self) -> impl Iterator<Item = (usize, Outcome, u16, u64)> {
        (0..(self.routes.len() + 1) * OUTCOMES * STATUSES.len()).filter_map(|at| {
            let many = self
                .rows
                .iter()
                .filter_map(|row| row.requests.get(at))
                .map(|count| count.load(Ordering::Relaxed))
                .sum();
            let outcome = *Outcome::ALL.get(at / STATUSES.len() % OUTCOMES)?;
            Some((at / STATUSES.len() / OUTCOMES, outcome, *STATUSES.get(at % STATUSES.len())?, many))
        })
    }

    /// How the requests of each route were answered; the last stands for those that found none.
    pub fn by_route(&self) -> Vec<(&str, [(Outcome, u64); OUTCOMES])> {
        let mut rows: Vec<_> = (0..=self.routes.len())
            .map(|route| (self.route(Some(route)), Outcome::ALL.map(|outcome| (outcome, 0))))
            .collect();
        for (route, outcome, _, many) in self.requests() {
            if let Some((_, sum)) = rows.get_mut(route).and_then(|(_, row)| row.get_mut(outcome as usize)) {
                *sum += many;
            }
        }
        rows
    }

    /// Sums for people.
    pub fn totals(&self) -> Totals {
        let Sums { calls, saved: [hits, stale, collapsed] } = self.account().all;
        Totals {
            requests: self.requests().map(|(.., many)| many).sum(),
            hits: hits + stale,
            calls: calls.iter().sum(),
            saved: hits + stale + collapsed,
        }
    }

    /// The text of `/metrics`.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut out = String::with_capacity(8 << 10);
        let _ = self.write(&mut out, gauges);
        out
    }

    fn write(&self, out: &mut String, gauges: &Gauges) -> std::fmt::Result {
        head(out, "requests_total", "counter", "Requests answered, by route, outcome and status.")?;
        for (route, outcome, status, many) in self.requests().filter(|(.., many)| *many > 0) {
            let (route, outcome) = (self.route(Some(route)), outcome.word());
            writeln!(out, r#"{NAME}requests_total{{route="{route}",outcome="{outcome}",status="{status}"}} {many}"#)?;
        }
        head(out, "request_duration_seconds", "histogram", "Time from a request's head to the end of its answer.")?;
        self.histogram(out, "memory", |row| &row.from_memory)?;
        self.histogram(out, "partner", |row| &row.from_partner)?;
        head(out, "partner_calls_total", "counter", "Calls to the partner, by route and cause.")?;
        let account = self.account();
        for (route, sums) in &account.routes {
            for (cause, calls) in Cause::ALL.iter().zip(sums.calls).filter(|(_, calls)| *calls > 0) {
                let cause = cause.word();
                writeln!(out, r#"{NAME}partner_calls_total{{route="{route}",cause="{cause}"}} {calls}"#)?;
            }
        }
        head(out, "calls_saved_total", "counter", "Requests answered without a call of their own, by route and kind.")?;
        for (route, sums) in &account.routes {
            for (kind, saved) in Saved::ALL.iter().zip(sums.saved).filter(|(_, saved)| *saved > 0) {
                let kind = kind.word();
                writeln!(out, r#"{NAME}calls_saved_total{{route="{route}",kind="{kind}"}} {saved}"#)?;
            }
        }
        by_caller(out, "partner_calls_by_caller_total", "Calls to the partner, by who pays.", &account, Sums::called)?;
        by_caller(out, "calls_saved_by_caller_total", "Calls saved, by who asked.", &account, Sums::spared)?;
        head(out, "cache_details_total", "counter", "Answers by the detail that their Cache-Status has.")?;
        for (detail, many) in Detail::ALL.iter().zip(&self.details) {
            let (detail, many) = (detail.word(), many.load(Ordering::Relaxed));
            if many > 0 {
                writeln!(out, r#"{NAME}cache_details_total{{detail="{detail}"}} {many}"#)?;
            }
        }
        head(out, "limited_total", "counter", "Requests that their caller's own limit refused, by caller and limit.")?;
        for Refused { caller, times } in &gauges.refused {
            for (limit, times) in Limit::ALL.iter().zip(times) {
                let limit = limit.word();
                writeln!(out, r#"{NAME}limited_total{{caller="{caller}",limit="{limit}"}} {times}"#)?;
            }
        }
        let strangers::Figures { bad, unexamined } = gauges.strangers;
        counter(out, "bad_tokens_total", "Tokens that were examined and found bad.", bad)?;
        counter(out, "unexamined_tokens_total", "Tokens refused unseen: too many of their peer were bad.", unexamined)?;
        let (entries, bytes, evicted) = gauges.store;
        let budget = &gauges.budget;
        let dropped = self.lines_dropped.load(Ordering::Relaxed);
        let drift = self.unknown_fields.load(Ordering::Relaxed);
        counter(out, "cache_evictions_total", "Entries that left for want of room.", evicted)?;
        counter(out, "schema_drift_total", "Fields withheld because the documented shape lacks them.", drift)?;
        counter(out, "log_lines_dropped_total", "Access log lines that found no room.", dropped)?;
        gauge(out, "cache_entries", "Entries held.", entries)?;
        gauge(out, "cache_bytes", "Bytes the entries are weighed at.", bytes)?;
        let tokens = &gauges.tokens;
        counter(out, "tokens_issued_total", "Tokens issued.", tokens.issued)?;
        counter(out, "tokens_refused_total", "Requests for a token that were refused.", tokens.refused)?;
        counter(out, "tokens_revoked_total", "Revocations, of one token or of all of a caller's.", tokens.revoked)?;
        gauge(out, "tokens_revoked_alive", "Revoked tokens that have not expired yet.", tokens.tombstones)?;
        if let Some(age) = tokens.key_age {
            gauge(out, "signing_key_age_seconds", "Age of the key that signs tokens.", age)?;
        }
        gauge(out, "flights", "Fetches under way.", gauges.flights)?;
        gauge(out, "connections", "Connections of callers.", gauges.connections)?;
        gauge(out, "partner_calls_in_flight", "Calls to the partner under way.", budget.in_flight)?;
        gauge(out, "partner_calls_queued", "Calls that wait for the budget.", budget.queued)?;
        gauge(out, "partner_closed_seconds", "Seconds until the partner may be asked again.", gauges.closed_for)?;
        gauge(out, "partner_keys", "Keys to show the partner.", gauges.keys.0)?;
        gauge(out, "partner_keys_refused", "Those of them that it refused.", gauges.keys.1)?;
        let name = format!("{NAME}partner_gate_closed");
        writeln!(out, "# HELP {name} Whether calls to the partner have to wait, by why.\n# TYPE {name} gauge")?;
        for why in Why::ALL {
            let closed = u8::from(budget.closed.is_some_and(|(_, closed)| closed == why));
            writeln!(out, r#"{name}{{why="{}"}} {closed}"#, why.word())?;
        }
        if let Some(left) = budget.left {
            gauge(out, "budget_left", "Calls that would be let through at once.", left)?;
        }
        Ok(())
    }

    fn histogram(&self, out: &mut String, from: &str, of: impl Fn(&Row) -> &Histogram) -> std::fmt::Result {
        let name = format!("{NAME}request_duration_seconds");
        let bounds = BUCKETS.iter().map(|&micros| (micros as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
        let mut sum = 0;
        for (nth, bound) in bounds.enumerate() {
            let buckets = self.rows.iter().filter_map(|row| of(row).buckets.get(nth));
            sum += buckets.map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
            writeln!(out, r#"{name}_bucket{{from="{from}",le="{bound}"}} {sum}"#)?;
        }
        let micros: u64 = self.rows.iter().map(|row| of(row).micros.load(Ordering::Relaxed)).sum();
        writeln!(out, r#"{name}_sum{{from="{from}"}} {}"#, micros as f64 / 1e6)?;
        writeln!(out, r#"{name}_count{{from="{from}"}} {sum}"#)
    }
}

const NAME: &str = "reseller_gateway_";

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {NAME}{name} {help}\n# TYPE {NAME}{name} {kind}")
}

fn counter(out: &mut String, name: &str, help: &str, value: u64) -> std::fmt::Result {
    head(out, name, "counter", help)?;
    writeln!(out, "{NAME}{name} {value}")
}

fn gauge(out: &mut String, name: &str, help: &str, value: impl std::fmt::Display) -> std::fmt::Result {
    head(out, name, "gauge", help)?;
    writeln!(out, "{NAME}{name} {value}")
}

/// Callers are those of the configuration, so there are as many lines at most; `""` is nobody.
fn by_caller(
    out: &mut String,
    name: &str,
    help: &str,
    account: &Account,
    of: impl Fn(&Sums) -> u64,
) -> std::fmt::Result {
    head(out, name, "counter", help)?;
    for (caller, sums) in &account.callers {
        let (caller, many) = (caller.as_deref().unwrap_or_default(), of(sums));
        if many > 0 {
            writeln!(out, r#"{NAME}{name}{{caller="{caller}"}} {many}"#)?;
        }
    }
    Ok(())
}

/// The row of this thread: threads take rows in turn, so that the few workers each have their own.
fn my_row() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % ROWS));
    MINE.with(Cell::get)
}
