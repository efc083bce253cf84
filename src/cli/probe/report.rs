//! How is a probe told?
//! Given what came of each route, hands back lines for people, each a comment of TOML, and serializes to JSON for programs.
//! Never holds an id, a value of a document, or a key: a report can be shown to anybody.

use std::collections::BTreeMap;

use serde::Serialize;

use super::raw::OddLine;
use super::shape::{Difference, What};
use crate::account_api::{Endpoint, PREFIX};

/// All that was learnt.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) partner: String,
    pub(super) routes: Vec<RouteReport>,
}

/// One route.
#[derive(Debug, Serialize)]
pub(super) struct RouteReport {
    pub(super) route: &'static str,
    pub(super) path: String,
    /// Lines of the answer's head that no grammar allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) odd_lines: Vec<OddLine>,
    #[serde(flatten)]
    pub(super) outcome: ProbeOutcome,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(tag = "came", rename_all = "snake_case")]
pub(super) enum ProbeOutcome {
    /// An answer.
    Answer(Box<Answered>),
    /// The call failed.
    Failed {
        /// How.
        why: String,
    },
    /// It was not asked for.
    NotAsked {
        /// What stood in the way.
        why: String,
    },
}

/// An answer, without its body.
#[derive(Debug, Serialize)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Until its head came, in milliseconds.
    pub(super) took_ms: u64,
    pub(super) bytes: usize,
    pub(super) content_type: Option<String>,
    /// Keys that were refused before one was taken.
    pub(super) keys_refused: u32,
    /// Whether the gateway can give it, and narrow it.
    pub(super) understood: bool,
    /// What of its shape is judged, in one sentence.
    pub(super) shape: &'static str,
    pub(super) differences: Vec<Difference>,
    pub(super) caching: BTreeMap<String, String>,
    pub(super) limits: BTreeMap<String, String>,
    /// What the gateway would do with it.
    pub(super) gateway: String,
}

/// So many differences are told to people; JSON has them all.
const MOST_DIFFERENCES: usize = 30;

impl RouteReport {
    pub(super) fn of(endpoint: Endpoint, outcome: ProbeOutcome, odd_lines: Vec<OddLine>) -> Self {
        Self { route: endpoint.name(), path: format!("{PREFIX}{}", endpoint.template()), odd_lines, outcome }
    }

    pub(super) fn is_understood(&self) -> bool {
        matches!(&self.outcome, ProbeOutcome::Answer(answer) if answer.understood)
    }

    fn write(&self, text: &mut String) {
        let Self { route, path, odd_lines, outcome } = self;
        *text += &format!("#\n# {route}: GET {path}\n");
        match outcome {
            ProbeOutcome::Answer(answer) => answer.write(text),
            ProbeOutcome::Failed { why } => *text += &format!("#   failed    {why}\n"),
            ProbeOutcome::NotAsked { why } => *text += &format!("#   not asked {why}\n"),
        }
        for odd in odd_lines {
            *text += &format!("#   head      line {} ({}) {}\n", odd.nth, odd.line, odd.what.describe());
        }
    }
}

impl Answered {
    fn write(&self, text: &mut String) {
        let mut line = |name: &str, what: &str| *text += &format!("#   {name:<9} {what}\n");
        let size = bytesize::ByteSize(self.bytes as u64);
        let kind = self.content_type.as_deref().unwrap_or("no Content-Type");
        line("answer", &format!("{} in {} ms, {size}, {kind}", self.status, self.took_ms));
        if self.keys_refused > 0 {
            line("key", "a key was refused with 401; another one was taken");
        }
        line("shape", self.shape);
        for difference in self.differences.iter().take(MOST_DIFFERENCES) {
            let (word, what) = difference.label_and_text();
            line(word, &what);
        }
        if let more @ 1.. = self.differences.len().saturating_sub(MOST_DIFFERENCES) {
            line("", &format!("and {more} more differences; --json has them all"));
        }
        line("caching", &headers(&self.caching));
        line("limits", &headers(&self.limits));
        line("gateway", &self.gateway);
    }
}

impl Difference {
    fn label_and_text(&self) -> (&'static str, String) {
        let Self { path, times, of, .. } = self;
        let [documented, found] = [self.documented, self.found].map(Option::unwrap_or_default);
        match self.what {
            What::Extra => ("  extra", format!("{path} ({found}), in {times} of {of}")),
            What::Missing => ("  missing", format!("{path} ({documented}), in {times} of {of}")),
            What::OtherType => ("  type", format!("{path} is {found}, documented is {documented}, in {times} of {of}")),
        }
    }
}

fn headers(found: &BTreeMap<String, String>) -> String {
    let lines: Vec<_> = found.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    if lines.is_empty() { "none named".to_owned() } else { lines.join(" | ") }
}

impl Report {
    /// Everything, for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("#\n# The partner at {}, asked once per route:\n", self.partner);
        self.routes.iter().for_each(|route| route.write(&mut text));
        text
    }

    /// The routes of which this is not known: that they answer, and as documented.
    pub(super) fn not_understood(&self) -> Vec<&'static str> {
        self.routes.iter().filter(|route| !route.is_understood()).map(|route| route.route).collect()
    }
}
