//! What does the gateway keep, and what does it tell?
//! Given `[cache]`, `[views]`, `[state]` and `[telemetry]`, hands back their settings.
//! Never opens a file or a socket.

use std::path::PathBuf;

use http::Uri;

use super::page::Page;
use super::table::Table;
use super::tree::Value;
use super::values::{self, Keyword};
use crate::view::Allow;

const MIB: u64 = 1 << 20;

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Most bytes kept; `None`: the lesser of 256 MiB and a quarter of the memory there is.
    pub max_bytes: Option<u64>,
    /// Largest answer that is kept, in bytes.
    pub max_object: u64,
    /// Most variants of one resource.
    pub max_variants: u32,
}

impl Default for Cache {
    fn default() -> Self {
        Self { max_bytes: None, max_object: 8 * MIB, max_variants: 64 }
    }
}

impl Cache {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let cache = Self {
            max_bytes: t.get("max_bytes", values::size(MIB..=1 << 44)),
            max_object: t.get("max_object", values::size(1 << 10..=1 << 32)).unwrap_or(d.max_object),
            max_variants: t.get("max_variants", values::whole(1..=1_000_000)).unwrap_or(d.max_variants),
        };
        t.finish();
        cache
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[cache]");
        if let Some(bytes) = self.max_bytes {
            page.size("max_bytes", bytes);
        }
        page.size("max_object", self.max_object);
        page.line("max_variants", self.max_variants);
    }
}

/// `[views]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Views {
    /// Fields the schema does not know and that a narrowed view may still show, as in `clients[].is_test_account`.
    pub allow: Vec<String>,
}

impl Views {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let one = |text: &str| match Allow::default().add(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(why) => Err(why.to_string()),
        };
        let allow = t.list("allow", one).unwrap_or_default();
        t.finish();
        Self { allow }
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[views]");
        page.list("allow", &self.allow);
    }
}

/// `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where the ledger, the signing keys and the gate lie; `None`: all in memory.
    pub dir: Option<PathBuf>,
}

impl State {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let said = t.get("dir", values::optional).unwrap_or_else(|| Some("state".to_owned()));
        let dir = said.map(|dir| t.notes.resolve(&dir));
        t.finish();
        Self { dir }
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[state]");
        page.line("dir", self.dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default());
    }
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// What the process log tells, in the filter language of `tracing`, as in `info` or `info,hyper=warn`.
    pub log: String,
    /// How its lines look.
    pub log_format: LogFormat,
    /// Which requests have a line.
    pub access_log: AccessLog,
    /// The base address of the collector that traces go to; `None`: nowhere.
    pub otlp_endpoint: Option<Uri>,
    /// The share of requests that are traced, 0 to 1.
    pub trace_sample: f64,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Keyword for LogFormat {
    const KEYWORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("json", Self::Json), ("text", Self::Text)];
}

/// Which requests have a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// All.
    All,
    /// Those that failed.
    Errors,
    /// None.
    Off,
}

impl Keyword for AccessLog {
    const KEYWORDS: &'static [(&'static str, Self)] =
        &[("all", Self::All), ("errors", Self::Errors), ("off", Self::Off)];
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            log_format: LogFormat::Auto,
            access_log: AccessLog::All,
            otlp_endpoint: None,
            trace_sample: 0.01,
        }
    }
}

impl Telemetry {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let telemetry = Self {
            log: t.get("log", filter).unwrap_or(d.log),
            log_format: t.get("log_format", values::keyword).unwrap_or(d.log_format),
            access_log: t.get("access_log", values::keyword).unwrap_or(d.access_log),
            otlp_endpoint: t.get("otlp_endpoint", endpoint).flatten(),
            trace_sample: t.get("trace_sample", values::share).unwrap_or(d.trace_sample),
        };
        t.finish();
        telemetry
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[telemetry]");
        page.line("log", self.log.as_str());
        page.line("log_format", self.log_format.as_str());
        page.line("access_log", self.access_log.as_str());
        page.line("otlp_endpoint", self.otlp_endpoint.as_ref().map(ToString::to_string).unwrap_or_default());
        page.line("trace_sample", self.trace_sample);
    }

    /// The collector's whole address: the path of OTLP's traces is appended, unless it stands there already.
    pub fn traces_go_to(&self) -> Option<Uri> {
        const PATH: &str = "/v1/traces";
        let base = self.otlp_endpoint.as_ref()?;
        let path = base.path().trim_end_matches('/');
        let whole = path.strip_suffix(PATH).unwrap_or(path).to_owned() + PATH;
        let mut parts = base.clone().into_parts();
        parts.path_and_query = whole.parse().ok();
        Uri::from_parts(parts).ok()
    }
}

fn filter(value: &Value) -> Result<String, String> {
    let text = values::filled(value)?;
    match tracing_subscriber::EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err("a log filter is written as \"info\" or \"info,hyper=warn\"".to_owned()),
    }
}

/// The base address of a collector, as OpenTelemetry's `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
fn endpoint(value: &Value) -> Result<Option<Uri>, String> {
    let Some(text) = values::optional(value)? else { return Ok(None) };
    let wanted =
        || "an address that starts with http:// or https:// is wanted, as in \"http://127.0.0.1:4318\"".to_owned();
    let uri = text.parse::<Uri>().map_err(|_| wanted())?;
    let host = uri.host().filter(|host| !host.is_empty());
    if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_none() {
        return Err(wanted());
    }
    if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("an address without a query and without credentials is wanted: it stands in logs".to_owned());
    }
    Ok(Some(uri))
}
