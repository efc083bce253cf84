//! Where is the partner, and what may be asked of it?
//! Given `[upstream]`, hands back its address, where its key lies, and the limits of asking.
//! Never reads the key, never connects.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::page::Page;
use super::table::Table;
use super::tree::Value;
use super::words::{self, Word};
use crate::gcra::Rate;

/// The partner's port where its address names none.
const PORT: u16 = 9534;
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// `[upstream]`: the partner.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Scheme, host and port (always there), with the path `/`.
    pub url: Uri,
    /// Whether clear text may be spoken to a partner off loopback.
    pub allow_clear_text: bool,
    /// The partner itself, or another gateway that holds the key.
    pub kind: UpstreamKind,
    /// Where the partner's key lies.
    pub api_key: ApiKey,
    /// A second key file, tried where the first is refused.
    pub api_key_file_next: Option<PathBuf>,
    /// Issuers of the partner's certificate, PEM; `None`: the machine's own.
    pub ca_file: Option<PathBuf>,
    /// Longest time for a new connection: DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Longest time for a flight, all attempts and waits included.
    pub timeout: Duration,
    /// Largest answer of the partner, in bytes.
    pub max_response: u64,
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

/// Who answers at the partner's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamKind {
    /// The Account API itself.
    Partner,
    /// Another gateway.
    Hub,
}

impl Word for UpstreamKind {
    const WORDS: &'static [(&'static str, Self)] = &[("partner", Self::Partner), ("hub", Self::Hub)];
}

/// Where the partner's key lies; the configuration never holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// In this file.
    File(PathBuf),
    /// In the environment variable of this name.
    Variable(String),
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
    /// Clients of the partner.
    pub clients: u64,
}

impl Default for Expect {
    fn default() -> Self {
        Self { clients: 500 }
    }
}

impl Upstream {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let url = t.need("url", url, "the partner's address is missing, as in url = \"https://partner.example\"");
        let upstream = Self {
            // Placeholders stand only beside a fault: no configuration is made of them.
            url: url.unwrap_or_else(|| Uri::from_static("https://partner.invalid:9534")),
            allow_clear_text: t.get("allow_clear_text", words::truth).unwrap_or(false),
            kind: t.get("kind", words::word).unwrap_or(UpstreamKind::Partner),
            api_key: ApiKey::read(&mut t).unwrap_or(ApiKey::Variable(String::new())),
            api_key_file_next: t.path("api_key_file_next"),
            ca_file: t.path("ca_file"),
            connect_timeout: t.get("connect_timeout", words::some_time).unwrap_or(Duration::from_secs(2)),
            timeout: t.get("timeout", words::some_time).unwrap_or(Duration::from_secs(10)),
            max_response: t.get("max_response", words::size(KIB..=4 * GIB)).unwrap_or(32 << 20),
            propagate_trace: t.get("propagate_trace", words::truth).unwrap_or(false),
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
        page.line("kind", self.kind.word());
        match &self.api_key {
            ApiKey::File(path) => page.path("api_key_file", Some(path)),
            ApiKey::Variable(name) => page.line("api_key_env", name.as_str()),
        }
        page.path("api_key_file_next", self.api_key_file_next.as_deref());
        page.path("ca_file", self.ca_file.as_deref());
        page.time("connect_timeout", self.connect_timeout);
        page.time("timeout", self.timeout);
        page.size("max_response", self.max_response);
        page.line("propagate_trace", self.propagate_trace);
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
        page.line("clients", i64::try_from(self.expect.clients).unwrap_or(i64::MAX));
    }
}

impl ApiKey {
    fn read(t: &mut Table<'_>) -> Option<Self> {
        let (both, neither) =
            (t.has("api_key_file") && t.has("api_key_env"), !t.has("api_key_file") && !t.has("api_key_env"));
        let file = t.path("api_key_file").map(Self::File);
        let variable = t.get("api_key_env", variable).map(Self::Variable);
        if both {
            t.notes.fault(&t.at("api_key_env"), "api_key_file is set too; the key lies in one place");
        }
        if neither && !t.has("api_key") {
            t.notes.missing(
                &t.at("api_key_file"),
                "where the partner's key lies is missing; set api_key_file or api_key_env",
            );
        }
        file.or(variable)
    }
}

impl Budget {
    fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let budget = Self {
            rate: t.get("rate", words::rate).unwrap_or(d.rate),
            burst: t.get("burst", words::whole(1..=1_000_000)).unwrap_or(d.burst),
            max_in_flight: t.get("max_in_flight", words::whole(1..=10_000)).unwrap_or(d.max_in_flight),
            max_wait: t.get("max_wait", words::duration).unwrap_or(d.max_wait),
        };
        t.finish();
        budget
    }
}

impl Retry {
    fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let retry = Self {
            attempts: t.get("attempts", words::whole(0..=10)).unwrap_or(d.attempts),
            backoff: t.get("backoff", words::some_time).unwrap_or(d.backoff),
        };
        t.finish();
        retry
    }
}

impl Breaker {
    fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let breaker = Self {
            failures: t.get("failures", words::whole(0..=1_000_000)).unwrap_or(d.failures),
            cool_down: t.get("cool_down", words::some_time).unwrap_or(d.cool_down),
            cool_down_max: t.get("cool_down_max", words::some_time).unwrap_or(d.cool_down_max),
        };
        t.finish();
        breaker
    }
}

impl Expect {
    fn read(mut t: Table<'_>) -> Self {
        let clients = t.get("clients", words::whole(0..=1_000_000_000)).unwrap_or(Self::default().clients);
        t.finish();
        Self { clients }
    }
}

fn url(value: &Value) -> Result<Uri, String> {
    words::origin(&words::text(value)?, Some(PORT))
}

fn variable(value: &Value) -> Result<String, String> {
    let name = words::text(value)?;
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    if starts_well && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_') {
        return Ok(name);
    }
    Err("the name of an environment variable is wanted, not the key itself".to_owned())
}
