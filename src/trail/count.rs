//! How often, and how long?
//! Given finished trails and calls, hands back the text of `/metrics` (Prometheus 0.0.4). Every metric's name lives here.
//! Never takes a lock: one row of counters for each worker, summed when they are read.

mod exposition;

use std::cell::Cell;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;

use crate::budget::Scope;
use crate::budget::breaker::Reason;
use crate::budget::{Cause, Figures};
use crate::cache::reason::Detail;
use crate::listen;
use crate::quota::{Limit, Refused, strangers};

use super::spend::{Account, ROWS, Saved, Spend, Sums};
use super::{Outcome, Trail};

pub use exposition::{Most, Process};

/// The statuses that are counted by themselves.
const STATUSES: [u16; 26] = [
    200, 204, 206, 301, 304, 400, 401, 403, 404, 405, 406, 408, 410, 412, 413, 414, 416, 429, 431, 499, 500, 502, 503,
    504, 508, 0,
];
/// What a call to the partner may come to.
const HEARD: [&str; 15] = [
    "2xx",
    "3xx",
    "401",
    "429",
    "4xx",
    "5xx",
    "connect",
    "certificate",
    "proxy-auth",
    "proxy-refuses",
    "connection-broke",
    "interim-status",
    "timeout",
    "response-too-large",
    "request-too-large",
];
/// Why an answer of the partner's is no document of its API.
const UNFIT: [&str; 3] = ["not-json", "not-a-document", "doubtful-absence"];
const OUTCOMES: usize = Outcome::ALL.len();
/// What every route's requests may come to: there from the start with zero, since Prometheus sees no increase in the sample
/// with which a series begins, and so would miss the first error of all.
const EXPECTED: [(Outcome, u16); 12] = [
    (Outcome::Hit, 200),
    (Outcome::Stale, 200),
    (Outcome::Miss, 200),
    (Outcome::Collapsed, 200),
    (Outcome::Revalidated, 200),
    (Outcome::Pass, 200),
    (Outcome::Refused, 401),
    (Outcome::Refused, 403),
    (Outcome::Refused, 429),
    (Outcome::Refused, 502),
    (Outcome::Refused, 503),
    (Outcome::Refused, 504),
];

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS: [u64; 14] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// One worker's counters, kept apart from the others' in memory.
#[derive(Default)]
#[repr(align(128))]
struct Row {
    from_memory: Histogram,
    from_partner: Histogram,
    at_once: AtomicU64,
}

/// The same of one route: by outcome and status.
#[repr(align(128))]
struct Cells([AtomicU64; OUTCOMES * STATUSES.len()]);

/// What is counted by route.
struct OfRoute {
    name: String,
    rows: Vec<Cells>,
}

impl OfRoute {
    fn new(name: String) -> Self {
        let cells = || Cells(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { name, rows: (0..ROWS).map(|_| cells()).collect() }
    }
}

/// What is counted whatever the route.
struct OfAll {
    rows: [Row; ROWS],
    heard: [AtomicU64; HEARD.len()],
    unfit: [AtomicU64; UNFIT.len()],
    details: [AtomicU64; Detail::ALL.len()],
    unknown_fields: AtomicU64,
}

/// All counters.
pub struct Counts {
    /// By their position; the last stands for requests that found none.
    routes: Vec<Arc<OfRoute>>,
    /// Routes of earlier configurations: a counter never goes back.
    gone: Vec<Arc<OfRoute>>,
    /// By route and caller.
    spend: Spend,
    all: Arc<OfAll>,
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
    /// Bytes of uploads and slow readers, and how many there may be.
    pub buffers: (usize, usize),
    /// How often several paths that are no documents were answered 401 within a minute.
    pub opaque_refusals: u64,
    /// Seconds until the partner may be asked again.
    pub closed_for: f64,
    /// Keys of the partner's that are there, and how many of them it refused.
    pub keys: (usize, usize),
    /// Flights under way.
    pub flights: usize,
    /// Connections of callers.
    pub connections: listen::Figures,
    /// Certificates that are shown to them.
    pub certificates: Vec<CertificateFigures>,
    /// Tokens.
    pub tokens: TokenFigures,
    /// Callers' own limits.
    pub refused: Vec<Refused>,
    /// Bad tokens.
    pub strangers: strangers::Figures,
    /// Reloads of the configuration.
    pub reloads: ReloadFigures,
    /// Traces that were sent, and those that were dropped.
    pub traces: (u64, u64),
    /// Since the file of the partner's key was changed, in seconds.
    pub partner_key_age: Option<u64>,
    /// Callers whose newest token in use ends soon.
    pub expiring: Vec<String>,
    /// The most there may be.
    pub most: Most,
    /// The process itself.
    pub process: Process,
    /// Lines of the access log and the process log that were lost.
    pub lines_lost: u64,
}

/// What became of reloads since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReloadFigures {
    /// Put in force.
    pub good: u64,
    /// Refused.
    pub bad: u64,
    /// Whether the last one was refused, so that the file is not what is in force.
    pub refused: bool,
    /// When the configuration in force was put there, in seconds since 1970.
    pub since: u64,
}

/// A certificate in use.
#[derive(Debug, Clone)]
pub struct CertificateFigures {
    /// The listener that shows it, as the configuration calls it.
    pub listener: String,
    /// Seconds until it expires, less than 0 after that.
    pub left: i64,
    /// Whether its files hold something that cannot be served, so that this is an older one.
    pub faulty: bool,
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
    /// Tokens revoked by their ids that have not expired yet.
    pub tombstones: usize,
    /// The age of the key that signs, in seconds; `None` of one that lives in memory.
    pub key_age: Option<u64>,
    /// Times that the ledger could not be written.
    pub ledger_failures: u64,
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
        let all = OfAll {
            rows: Default::default(),
            heard: std::array::from_fn(|_| AtomicU64::new(0)),
            unfit: std::array::from_fn(|_| AtomicU64::new(0)),
            details: std::array::from_fn(|_| AtomicU64::new(0)),
            unknown_fields: AtomicU64::new(0),
        };
        let none = Self { routes: Vec::new(), gone: Vec::new(), spend: Spend::new(&[], &[]), all: Arc::new(all) };
        none.reconfigured(routes, callers)
    }

    /// The same counters for other tables of routes and callers: what was counted of one stays its own, by its name.
    #[must_use]
    pub fn reconfigured(&self, routes: Vec<String>, callers: &[String]) -> Self {
        let mut known: Vec<Arc<OfRoute>> = self.routes.iter().chain(&self.gone).cloned().collect();
        let mut of = |name: String| match known.iter().position(|route| route.name == name) {
            Some(at) => known.swap_remove(at),
            None => Arc::new(OfRoute::new(name)),
        };
        let names: Vec<String> = routes.into_iter().chain([NONE.to_owned()]).collect();
        let spend = self.spend.reconfigured(&names, callers);
        let routes = names.into_iter().map(&mut of).collect();
        Self { routes, gone: known, spend, all: Arc::clone(&self.all) }
    }

    /// The name of a route.
    pub fn route(&self, index: Option<usize>) -> &str {
        self.of(index).map_or(NONE, |route| route.name.as_str())
    }

    /// Counts a request.
    pub fn request(&self, trail: &Trail, took: Duration) {
        let mine = my_row();
        let status = STATUSES.iter().position(|&known| known == trail.status.as_u16()).unwrap_or(STATUSES.len() - 1);
        let cells = self.of(trail.route).and_then(|route| route.rows.get(mine));
        if let Some(counter) =
            cells.and_then(|Cells(cells)| cells.get(trail.outcome as usize * STATUSES.len() + status))
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(kind) = Saved::of(trail.outcome).filter(|_| !trail.paid.load(Ordering::Relaxed)) {
            let caller = trail.caller.as_ref().map(|caller| caller.index());
            self.spend.save(mine, self.at(trail.route), caller, kind);
        }
        if !trail.cause.is_empty()
            && let Some(at) = Detail::ALL.iter().position(|detail| detail.as_str() == trail.cause)
            && let Some(counter) = self.all.details.get(at)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let Some(row) = self.all.rows.get(mine) else { return };
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

    /// Counts a hit that was answered from the request's bytes alone.
    #[inline]
    pub fn at_once(&self) {
        if let Some(row) = self.all.rows.get(my_row()) {
            row.at_once.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a call to the partner; `payer` is the place of the caller it is charged to.
    pub fn call(&self, route: usize, cause: Cause, payer: Option<usize>) {
        self.spend.call(self.at(Some(route)), payer, cause);
    }

    /// What was spent and saved, by route and caller.
    pub fn account(&self) -> Account {
        self.spend.account()
    }

    /// Counts what a call came to: a status, or the word of a failure.
    pub fn heard(&self, answer: Result<StatusCode, &str>) {
        let result = match answer {
            Ok(StatusCode::UNAUTHORIZED) => "401",
            Ok(StatusCode::TOO_MANY_REQUESTS) => "429",
            Ok(status) if status.is_server_error() => "5xx",
            Ok(status) if status.is_client_error() => "4xx",
            Ok(status) if status.is_redirection() => "3xx",
            Ok(_) => "2xx",
            Err(word) => word,
        };
        let at = HEARD.iter().position(|known| *known == result);
        if let Some(counter) = at.and_then(|at| self.all.heard.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an answer that is no document, by the word for why.
    pub fn unfit(&self, why: &str) {
        let at = UNFIT.iter().position(|known| *known == why);
        if let Some(counter) = at.and_then(|at| self.all.unfit.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts fields that no documented shape has.
    pub fn unknown_fields(&self, many: u32) {
        self.all.unknown_fields.fetch_add(u64::from(many), Ordering::Relaxed);
    }

    fn of(&self, route: Option<usize>) -> Option<&OfRoute> {
        self.routes.get(self.at(route)).map(Arc::as_ref)
    }

    /// Its place; the last stands for requests that found none.
    fn at(&self, route: Option<usize>) -> usize {
        let last = self.routes.len().saturating_sub(1);
        route.unwrap_or(last).min(last)
    }

    /// All that was ever counted by route: those there are, in their order, then those there were.
    fn ever(&self) -> impl Iterator<Item = &OfRoute> {
        self.routes.iter().chain(&self.gone).map(Arc::as_ref)
    }

    fn requests(&self) -> impl Iterator<Item = (&OfRoute, Outcome, u16, u64)> {
        self.ever().flat_map(|route| {
            (0..OUTCOMES * STATUSES.len()).filter_map(move |at| {
                let cells = route.rows.iter().filter_map(|Cells(cells)| cells.get(at));
                let many = cells.map(|count| count.load(Ordering::Relaxed)).sum();
                Some((route, *Outcome::ALL.get(at / STATUSES.len())?, *STATUSES.get(at % STATUSES.len())?, many))
            })
        })
    }

    /// How the requests of each route were answered; the last of those there are stands for those that found none.
    pub fn by_route(&self) -> Vec<(&str, [(Outcome, u64); OUTCOMES])> {
        let mut rows: Vec<_> =
            self.ever().map(|route| (route.name.as_str(), Outcome::ALL.map(|outcome| (outcome, 0)))).collect();
        for (route, outcome, _, many) in self.requests() {
            let row = rows.iter_mut().find(|(name, _)| *name == route.name);
            if let Some((_, sum)) = row.and_then(|(_, row)| row.get_mut(outcome as usize)) {
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
        let known = |outcome: &Outcome, status: &u16| EXPECTED.contains(&(*outcome, *status));
        let counted = self.requests().filter(|(_, outcome, status, many)| *many > 0 || known(outcome, status));
        for (route, outcome, status, many) in counted {
            let (route, outcome) = (&route.name, outcome.as_str());
            writeln!(out, r#"{NAME}requests_total{{route="{route}",outcome="{outcome}",status="{status}"}} {many}"#)?;
        }
        head(out, "request_duration_seconds", "histogram", "Time from a request's head to the end of its answer.")?;
        self.histogram(out, "memory", |row| &row.from_memory)?;
        self.histogram(out, "partner", |row| &row.from_partner)?;
        let at_once = self.all.rows.iter().map(|row| row.at_once.load(Ordering::Relaxed)).sum::<u64>();
        counter(out, "hits_at_once_total", "Hits answered from the bytes of a head that was read before.", at_once)?;
        head(out, "partner_calls_total", "counter", "Calls to the partner, by route and cause.")?;
        let account = self.spend.with_zeroes();
        for (route, sums) in &account.routes {
            for (cause, calls) in Cause::ALL.iter().zip(sums.calls) {
                let cause = cause.as_str();
                writeln!(out, r#"{NAME}partner_calls_total{{route="{route}",cause="{cause}"}} {calls}"#)?;
            }
        }
        head(out, "calls_saved_total", "counter", "Requests answered without a call of their own, by route and kind.")?;
        for (route, sums) in &account.routes {
            for (kind, saved) in Saved::ALL.iter().zip(sums.saved) {
                let kind = kind.as_str();
                writeln!(out, r#"{NAME}calls_saved_total{{route="{route}",kind="{kind}"}} {saved}"#)?;
            }
        }
        by_caller(out, "partner_calls_by_caller_total", "Calls to the partner, by who pays.", &account, Sums::called)?;
        by_caller(out, "calls_saved_by_caller_total", "Calls saved, by who asked.", &account, Sums::spared)?;
        self.write_partner(out)?;
        let help = "Answers of the partner that were no documents of its API and replaced none, by why.";
        head(out, "partner_answers_unfit_total", "counter", help)?;
        for (why, many) in UNFIT.iter().zip(&self.all.unfit) {
            writeln!(out, r#"{NAME}partner_answers_unfit_total{{why="{why}"}} {}"#, many.load(Ordering::Relaxed))?;
        }
        head(out, "cache_details_total", "counter", "Answers by the detail that their Cache-Status has.")?;
        for (detail, many) in Detail::ALL.iter().zip(&self.all.details) {
            let (detail, many) = (detail.as_str(), many.load(Ordering::Relaxed));
            writeln!(out, r#"{NAME}cache_details_total{{detail="{detail}"}} {many}"#)?;
        }
        head(out, "limited_total", "counter", "Requests that their caller's own limit refused, by caller and limit.")?;
        for Refused { caller, times } in &gauges.refused {
            for (limit, times) in Limit::ALL.iter().zip(times) {
                let limit = limit.as_str();
                writeln!(out, r#"{NAME}limited_total{{caller="{caller}",limit="{limit}"}} {times}"#)?;
            }
        }
        let strangers::Figures { bad, unexamined } = gauges.strangers;
        counter(out, "bad_tokens_total", "Tokens that were examined and found bad.", bad)?;
        counter(out, "unexamined_tokens_total", "Tokens refused unseen: too many of their peer were bad.", unexamined)?;
        let (entries, bytes, evicted) = gauges.store;
        let budget = &gauges.budget;
        let drift = self.all.unknown_fields.load(Ordering::Relaxed);
        counter(out, "cache_evictions_total", "Entries that left for want of room.", evicted)?;
        counter(out, "schema_drift_total", "Fields withheld because the documented shape lacks them.", drift)?;
        counter(
            out,
            "log_lines_dropped_total",
            "Log lines that found no room, or that were refused where they should go.",
            gauges.lines_lost,
        )?;
        counter(out, "traces_sent_total", "Traces of requests and flights that the collector took.", gauges.traces.0)?;
        counter(
            out,
            "traces_dropped_total",
            "Those that found no room, or that the collector did not take.",
            gauges.traces.1,
        )?;
        gauge(out, "cache_entries", "Entries held.", entries)?;
        gauge(out, "cache_bytes", "Bytes the entries are weighed at.", bytes)?;
        let tokens = &gauges.tokens;
        counter(out, "tokens_issued_total", "Tokens issued.", tokens.issued)?;
        counter(out, "tokens_refused_total", "Requests for a token that were refused.", tokens.refused)?;
        counter(out, "tokens_revoked_total", "Revocations, of one token or of all of a caller's.", tokens.revoked)?;
        gauge(
            out,
            "tokens_revoked_alive",
            "Tokens revoked by their ids that have not expired yet.",
            tokens.tombstones,
        )?;
        if let Some(age) = tokens.key_age {
            gauge(out, "signing_key_age_seconds", "Age of the key that signs tokens.", age)?;
        }
        head(out, "reloads_total", "counter", "Reloads of the configuration, by result.")?;
        for (result, many) in [("good", gauges.reloads.good), ("bad", gauges.reloads.bad)] {
            writeln!(out, r#"{NAME}reloads_total{{result="{result}"}} {many}"#)?;
        }
        let (refused, since) = (u8::from(gauges.reloads.refused), gauges.reloads.since);
        gauge(out, "configuration_refused", "Whether the last reload was refused.", refused)?;
        gauge(out, "configuration_since_seconds", "When what is in force was put there, since 1970.", since)?;
        gauge(out, "flights", "Fetches under way.", gauges.flights)?;
        connections(out, &gauges.connections, &gauges.certificates)?;
        gauge(out, "partner_calls_in_flight", "Calls to the partner under way.", budget.in_flight)?;
        gauge(out, "partner_calls_queued", "Calls that wait for the budget.", budget.queued)?;
        gauge(out, "partner_closed_seconds", "Seconds until the partner may be asked again.", gauges.closed_for)?;
        gauge(out, "partner_keys", "Keys to show the partner.", gauges.keys.0)?;
        gauge(out, "partner_keys_refused", "Those of them that it refused.", gauges.keys.1)?;
        let name = format!("{NAME}partner_gate_closed");
        let help = "Whether calls to the partner have to wait: those for documents or those for other paths, by why.";
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge")?;
        for (scope, standing) in Scope::ALL.into_iter().zip([&budget.documented, &budget.opaque]) {
            for reason in Reason::ALL {
                let open = u8::from(standing.as_ref().is_some_and(|standing| standing.reason == reason));
                writeln!(out, r#"{name}{{why="{}",routes="{}"}} {open}"#, reason.as_str(), scope.as_str())?;
            }
        }
        let help = "How often three paths that are no documents of the API were answered 401 within a minute.";
        counter(out, "partner_opaque_refusals_total", help, gauges.opaque_refusals)?;
        gauge(out, "buffer_bytes", "Bytes of uploads and of answers whose readers are slow.", gauges.buffers.0)?;
        gauge(out, "buffer_max_bytes", "Bytes of them that there may be.", gauges.buffers.1)?;
        if let Some(left) = budget.left {
            gauge(out, "budget_left", "Calls that would be let through at once.", left)?;
        }
        let callers: Vec<&String> = account.callers.iter().filter_map(|(caller, _)| caller.as_ref()).collect();
        exposition::write(out, gauges, &callers)
    }

    fn histogram(&self, out: &mut String, from: &str, of: impl Fn(&Row) -> &Histogram) -> std::fmt::Result {
        let name = format!("{NAME}request_duration_seconds");
        let bounds = BUCKETS.iter().map(|&micros| (micros as f64 / 1e6).to_string()).chain(["+Inf".to_owned()]);
        let mut sum = 0;
        for (nth, bound) in bounds.enumerate() {
            let buckets = self.all.rows.iter().filter_map(|row| of(row).buckets.get(nth));
            sum += buckets.map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
            writeln!(out, r#"{name}_bucket{{from="{from}",le="{bound}"}} {sum}"#)?;
        }
        let micros: u64 = self.all.rows.iter().map(|row| of(row).micros.load(Ordering::Relaxed)).sum();
        writeln!(out, r#"{name}_sum{{from="{from}"}} {}"#, micros as f64 / 1e6)?;
        writeln!(out, r#"{name}_count{{from="{from}"}} {sum}"#)
    }
}

const NAME: &str = "reseller_gateway_";

fn connections(out: &mut String, crowd: &listen::Figures, certificates: &[CertificateFigures]) -> std::fmt::Result {
    gauge(out, "connections", "Connections of callers.", crowd.open)?;
    head(out, "connections_refused_total", "counter", "Connections closed as soon as they came, by why.")?;
    writeln!(out, r#"{NAME}connections_refused_total{{why="full"}} {}"#, crowd.refused)?;
    head(out, "connections_evicted_total", "counter", "Idle connections that gave way to new ones, by why.")?;
    for (why, many) in [("full", crowd.evicted_full), ("peer", crowd.evicted_peer)] {
        writeln!(out, r#"{NAME}connections_evicted_total{{why="{why}"}} {many}"#)?;
    }
    let floods = "Connections of HTTP/2 that were ended for a flood of frames that ask for nothing.";
    head(out, "http2_floods_total", "counter", floods)?;
    writeln!(out, "{NAME}http2_floods_total {}", crowd.floods)?;
    if certificates.is_empty() {
        return Ok(());
    }
    head(out, "tls_handshakes_failed_total", "counter", "TLS handshakes that came to nothing, by why.")?;
    for (why, many) in listen::Failed::ALL.iter().zip(crowd.failed) {
        writeln!(out, r#"{NAME}tls_handshakes_failed_total{{why="{}"}} {many}"#, why.as_str())?;
    }
    head(out, "tls_certificate_expiry_seconds", "gauge", "Seconds until the certificate expires, by listener.")?;
    for CertificateFigures { listener, left, .. } in certificates {
        writeln!(out, r#"{NAME}tls_certificate_expiry_seconds{{listener="{listener}"}} {left}"#)?;
    }
    head(out, "tls_reload_failed", "gauge", "Whether the files hold no usable certificate and an older one is shown.")?;
    for CertificateFigures { listener, faulty, .. } in certificates {
        writeln!(out, r#"{NAME}tls_reload_failed{{listener="{listener}"}} {}"#, u8::from(*faulty))?;
    }
    Ok(())
}

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
        writeln!(out, r#"{NAME}{name}{{caller="{caller}"}} {many}"#)?;
    }
    Ok(())
}

/// The row of this thread: threads take rows in turn, so that the few workers each have their own.
fn my_row() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % ROWS));
    MINE.with(Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_of_a_route_stays_its_own_by_its_name_and_no_sum_goes_back() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let callers = names(&["billing"]);
        let first = Counts::new(names(&["clients", "one", "two"]), &callers);
        first.call(1, Cause::Miss, Some(0));
        let second = first.reconfigured(names(&["clients", "two", "three"]), &callers);
        // The house before goes on counting.
        first.call(2, Cause::Miss, Some(0));
        second.call(1, Cause::Miss, Some(0));
        second.unknown_fields(3);
        assert_eq!((second.route(Some(1)), second.route(Some(9)), second.route(None)), ("two", "none", "none"));
        assert_eq!(second.totals().calls, 3);
        let of = |counts: &Counts, name: &str| {
            let routes = counts.account().routes;
            routes.iter().find(|(route, _)| route == name).map_or(0, |(_, sums)| sums.called())
        };
        assert_eq!((of(&second, "one"), of(&second, "two"), of(&second, "three")), (1, 2, 0));
        let third = second.reconfigured(names(&["one"]), &callers);
        assert_eq!((third.route(Some(0)), of(&third, "one"), third.totals().calls), ("one", 1, 3));
        assert_eq!(third.all.unknown_fields.load(Ordering::Relaxed), 3);
    }
}
