//! Where is the partner, and what may be asked of it?
//! Given `[upstream]`, hands back its address, the way there, and the limits of asking.
//! Never connects, and leaves what it is shown to `credential`.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::credential::{Credential, UpstreamKind};
use super::page::Page;
use super::table::Table;
use super::tree::Value;
use super::values::{self, Keyword};
use crate::budget::signal::LONGEST_MAX_PAUSE;
use crate::gcra::Rate;

/// The partner's port where its address names none.
const PORT: u16 = 9534;
/// Old enough to spare handshakes, young enough to follow a name that moves.
const CONNECTION_AGE: Duration = Duration::from_secs(300);
/// Longer than most windows of most limits; after it one call asks how things stand.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// `[upstream]`: the partner.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Scheme, host and port (always there), with the path `/`.
    pub url: Uri,
    /// Whether clear text may be spoken to a partner off loopback.
    pub allow_clear_text: bool,
    /// What it is shown: the partner its key, a hub a token.
    pub credential: Credential,
    /// Issuers of the partner's certificate, PEM; `None`: the machine's own.
    pub ca_file: Option<PathBuf>,
    /// The proxy that all connections go through.
    pub proxy: Option<Uri>,
    /// Where `user:password` for the proxy lies.
    pub proxy_auth_file: Option<PathBuf>,
    /// Longest time for a new connection: DNS, TCP, a proxy's tunnel and TLS together.
    pub connect_timeout: Duration,
    /// How old a connection may be when a request is sent over it; `None`: any age.
    pub max_connection_age: Option<Duration>,
    /// Longest time for a flight, all attempts and waits included.
    pub timeout: Duration,
    /// Largest answer of the partner, in bytes.
    pub max_response: u64,
    /// The longest pause that any word of the partner's means.
    pub max_pause: Duration,
    /// Whether the partner is sent a `traceparent` with calls that are traced.
    pub propagate_trace: bool,
    /// How much may be asked.
    pub budget: Budget,
    /// How a failed attempt is repeated.
    pub retry: Retry,
    /// When a failing partner is left alone.
    pub breaker: Breaker,
    /// What `check` reckons with.
    pub expect: Expect,
}

/// `[upstream.budget]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Calls of the partner in so much time.
    pub rate: Rate,
    /// How many may come at once after a rest.
    pub burst: u32,
    /// How many may be under way at one time.
    pub max_in_flight: usize,
    /// Longest wait for a turn.
    pub max_wait: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        let rate = Rate::Every(Duration::from_millis(100));
        Self { rate, burst: 20, max_in_flight: 16, max_wait: Duration::from_secs(2) }
    }
}

/// `[upstream.retry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts beyond the first; 0 is none.
    pub attempts: u32,
    /// The mean of the first wait; it doubles.
    pub backoff: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 2, backoff: Duration::from_millis(100) }
    }
}

/// `[upstream.breaker]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Failures that open it; 0 is off.
    pub failures: u32,
    /// How long it is open the first time; it doubles.
    pub cool_down: Duration,
    /// How long it is open at most.
    pub cool_down_max: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, cool_down: Duration::from_secs(2), cool_down_max: Duration::from_secs(30) }
    }
}

/// `[upstream.expect]`: what `check` reckons with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// Clients of the partner; `None`: nobody says, and a number that is made up would be wrong for most.
    pub clients: Option<u64>,
}

impl Upstream {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let url = t.need("url", url, "the partner's address is missing, as in url = \"https://partner.example\"");
        let upstream = Self {
            // Placeholders stand only beside a fault: no configuration is made of them.
            url: url.unwrap_or_else(|| Uri::from_static("https://partner.invalid:9534")),
            allow_clear_text: t.get("allow_clear_text", values::truth).unwrap_or(false),
            credential: {
                let kind = t.get("kind", values::keyword).unwrap_or(UpstreamKind::Partner);
                Credential::read(&mut t, kind)
            },
            ca_file: t.path("ca_file"),
            proxy: t.get("proxy", proxy).flatten(),
            proxy_auth_file: t.path("proxy_auth_file"),
            connect_timeout: t.get("connect_timeout", values::some_time).unwrap_or(Duration::from_secs(2)),
            max_connection_age: {
                let age = t.get("max_connection_age", values::duration).unwrap_or(CONNECTION_AGE);
                (!age.is_zero()).then_some(age)
            },
            timeout: t.get("timeout", values::some_time).unwrap_or(Duration::from_secs(10)),
            max_response: t.get("max_response", values::size(KIB..=4 * GIB)).unwrap_or(32 << 20),
            max_pause: t.get("max_pause", values::time_within(SECOND..=LONGEST_MAX_PAUSE)).unwrap_or(MAX_PAUSE),
            propagate_trace: t.get("propagate_trace", values::truth).unwrap_or(false),
            budget: Budget::read(t.section("budget")),
            retry: Retry::read(t.section("retry")),
            breaker: Breaker::read(t.section("breaker")),
            expect: Expect::read(t.section("expect")),
        };
        t.finish();
        upstream
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[upstream]");
        page.line("url", self.url.to_string());
        page.line("allow_clear_text", self.allow_clear_text);
        page.line("kind", self.credential.kind().as_str());
        self.credential.write(page);
        page.path("ca_file", self.ca_file.as_deref());
        page.line("proxy", self.proxy.as_ref().map(origin_text).unwrap_or_default());
        page.path("proxy_auth_file", self.proxy_auth_file.as_deref());
        page.time("connect_timeout", self.connect_timeout);
        page.time("max_connection_age", self.max_connection_age.unwrap_or_default());
        page.time("timeout", self.timeout);
        page.size("max_response", self.max_response);
        page.time("max_pause", self.max_pause);
        page.line("propagate_trace", self.propagate_trace);
        self.credential.write_table(page);
        page.head("[upstream.budget]");
        page.rate("rate", self.budget.rate);
        page.line("burst", self.budget.burst);
        page.line("max_in_flight", i64::try_from(self.budget.max_in_flight).unwrap_or(i64::MAX));
        page.time("max_wait", self.budget.max_wait);
        page.head("[upstream.retry]");
        page.line("attempts", self.retry.attempts);
        page.time("backoff", self.retry.backoff);
        page.head("[upstream.breaker]");
        page.line("failures", self.breaker.failures);
        page.time("cool_down", self.breaker.cool_down);
        page.time("cool_down_max", self.breaker.cool_down_max);
        page.head("[upstream.expect]");
        if let Some(clients) = self.expect.clients {
            page.line("clients", i64::try_from(clients).unwrap_or(i64::MAX));
        }
    }
}

impl Budget {
    fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let budget = Self {
            rate: t.get("rate", values::rate).unwrap_or(d.rate),
            burst: t.get("burst", values::whole(1..=1_000_000)).unwrap_or(d.burst),
            max_in_flight: t.get("max_in_flight", values::whole(1..=10_000)).unwrap_or(d.max_in_flight),
            max_wait: t.get("max_wait", values::duration).unwrap_or(d.max_wait),
        };
        t.finish();
        budget
    }
}

impl Retry {
    fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let retry = Self {
            attempts: t.get("attempts", values::whole(0..=10)).unwrap_or(d.attempts),
            backoff: t.get("backoff", values::some_time).unwrap_or(d.backoff),
        };
        t.finish();
        retry
    }
}

impl Breaker {
    fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let breaker = Self {
            failures: t.get("failures", values::whole(0..=1_000_000)).unwrap_or(d.failures),
            cool_down: t.get("cool_down", values::some_time).unwrap_or(d.cool_down),
            cool_down_max: t.get("cool_down_max", values::some_time).unwrap_or(d.cool_down_max),
        };
        t.finish();
        breaker
    }
}

impl Expect {
    fn read(mut t: Table<'_>) -> Self {
        let clients = t.get("clients", values::whole(0..=1_000_000_000));
        t.finish();
        Self { clients }
    }
}

fn url(value: &Value) -> Result<Uri, String> {
    values::origin(&values::text(value)?, Some(PORT))
}

fn proxy(value: &Value) -> Result<Option<Uri>, String> {
    let Some(text) = values::optional(value)? else { return Ok(None) };
    let address = values::origin(&text, None)?;
    match address.scheme_str() {
        Some("http") => Ok(Some(address)),
        _ => Err("a proxy is spoken to by http:// and opens a tunnel; TLS to the partner is inside".to_owned()),
    }
}

/// An origin as it was written.
fn origin_text(uri: &Uri) -> String {
    uri.to_string().trim_end_matches('/').to_owned()
}
