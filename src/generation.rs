//! Which house answers now, and whose is it?
//! Given joined rooms, keeps them behind one pointer; a reload puts others there, and hands back what became of it.
//! Never builds a house, and never takes a request out of the one that it began in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::authority::Authority;
use crate::authority::ledger::{Fate, Moved};
use crate::fast_path::FastPath;
use crate::gateway::{Ambient, Gateway};
use crate::trail::count::ReloadFigures;

/// A house with its doors: all that one configuration makes.
pub struct Generation<C> {
    /// The path.
    pub gateway: Arc<Gateway<C>>,
    /// What it answers from the bytes of a head alone.
    pub fast_path: FastPath,
    /// Who issues tokens.
    pub authority: Arc<Authority>,
    /// Whose rights a request without a token has, by public listener.
    pub ambient: Vec<Option<Ambient>>,
    /// Under which names the admin door may be called.
    pub allowed_hosts: AllowedHosts,
    /// How long is served on after the signal to end.
    pub drain_delay: Duration,
    /// Within which time all is to be finished then.
    pub grace: Duration,
}

/// Under which names the admin door may be called, besides those of loopback.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts {
    /// The address it listens on, where that is not loopback; an unspecified one stands for all of the machine's.
    pub address: Option<IpAddr>,
    /// The host of `server.public_url`.
    pub public: Option<String>,
}

/// The house that answers.
pub struct InForce<C> {
    current: ArcSwap<Generation<C>>,
    status: Mutex<ReloadStatus>,
}

/// What is told of reloads.
#[derive(Default)]
struct ReloadStatus {
    figures: ReloadFigures,
    /// Why the last one was refused, in a sentence that anybody may read.
    why: Option<String>,
}

impl ReloadStatus {
    fn succeed(&mut self, unix: u64) {
        let ReloadFigures { good, bad, .. } = self.figures;
        self.figures = ReloadFigures { good: good + 1, bad, refused: false, since: unix };
        self.why = None;
    }

    fn refuse(&mut self, why: String) {
        let before = self.figures;
        self.figures = ReloadFigures { bad: before.bad + 1, refused: true, ..before };
        self.why = Some(why);
    }
}

impl<C> InForce<C> {
    /// This house, from `unix` seconds on.
    pub fn new(current: Generation<C>, unix: u64) -> Self {
        let figures = ReloadFigures { since: unix, ..ReloadFigures::default() };
        Self { current: ArcSwap::from_pointee(current), status: Mutex::new(ReloadStatus { figures, why: None }) }
    }

    /// The house, for one request: no lock, and no count that workers share.
    pub fn now(&self) -> Guard<Arc<Generation<C>>> {
        self.current.load()
    }

    /// The same, to be kept for longer.
    pub fn held(&self) -> Arc<Generation<C>> {
        self.current.load_full()
    }

    /// Puts another house in its place at `unix` seconds; who asks from here on meets it. Hands back the one before.
    pub fn put(&self, next: Generation<C>, unix: u64) -> Arc<Generation<C>> {
        let before = self.current.swap(Arc::new(next));
        self.status.lock().succeed(unix);
        before
    }

    /// Another one was not to be had: this one stays.
    pub fn refused(&self, why: String) {
        self.status.lock().refuse(why);
    }

    /// For the metrics.
    pub fn figures(&self) -> ReloadFigures {
        self.status.lock().figures
    }

    /// Why what is in force is not what the file says, if so.
    pub fn why_refused(&self) -> Option<String> {
        self.status.lock().why.clone()
    }
}

/// A wish for a reload, and where its outcome is waited for.
pub struct ReloadRequest {
    /// Who wants it.
    pub actor: String,
    /// Whether only to say what would change.
    pub dry_run: bool,
    /// For the outcome.
    pub answer: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// Where wishes for a reload go.
pub type Wishes = mpsc::Sender<ReloadRequest>;

/// A reload that was done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What it changes.
    pub changes: Changes,
    /// Settings whose new values need a restart.
    pub restart: Vec<&'static str>,
    /// Settings that have no effect, each with its place.
    pub warnings: Vec<String>,
}

/// What a reload changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Settings that differ from those in force.
    pub settings: Vec<Setting>,
    /// Stored answers that are given up, by the route whose meaning changes.
    pub entries: Vec<Entries>,
    /// Callers that leave or come back, and what becomes of their tokens.
    pub tokens: Vec<TokensOf>,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its dotted key.
    pub key: String,
    /// What it was; secrets are hidden.
    pub old: Option<String>,
    /// What it is.
    pub new: Option<String>,
    /// Whether it waits for a restart.
    pub restart: bool,
}

/// Stored answers of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// The route.
    pub route: String,
    /// How many there are.
    pub entries: usize,
}

/// What becomes of a caller's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Becomes {
    /// They are refused, and end unless the caller is back in time.
    Refused,
    /// They count again.
    CountAgain,
    /// They end for good.
    End,
}

/// The living tokens of one caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensOf {
    /// The caller.
    pub caller: String,
    /// How many there are.
    pub tokens: usize,
    /// What becomes of them.
    pub becomes: Becomes,
    /// When they end, where that is still to come: seconds since 1970.
    pub ends: Option<u64>,
}

impl From<Moved> for TokensOf {
    fn from(Moved { caller, fate, tokens }: Moved) -> Self {
        let (becomes, ends) = match fate {
            Fate::Wait(until) => (Becomes::Refused, Some(until)),
            Fate::Live => (Becomes::CountAgain, None),
            Fate::End(_) => (Becomes::End, None),
        };
        Self { caller, tokens, becomes, ends }
    }
}

impl Changes {
    /// One line for each change, for people.
    pub fn lines(&self) -> Vec<String> {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "(not set)".to_owned());
        let settings = self.settings.iter().map(|Setting { key, old, new, restart }| {
            let waits = if *restart { " (waits for a restart)" } else { "" };
            format!("{key}: {} -> {}{waits}", side(old), side(new))
        });
        let entries = self.entries.iter().map(|Entries { route, entries }| {
            format!("route {route}: its answers mean something else; {entries} stored ones are given up")
        });
        let tokens = self.tokens.iter().map(|TokensOf { caller, tokens, becomes, ends }| {
            let at = ends.and_then(|unix| jiff::Timestamp::from_second(i64::try_from(unix).ok()?).ok());
            let at = at.map(|at| at.to_string()).unwrap_or_default();
            match becomes {
                Becomes::Refused => format!(
                    "caller {caller} leaves: its {tokens} tokens are refused at once, and end at {at} unless it is back with a secret or subject of before"
                ),
                Becomes::CountAgain => format!("caller {caller} is back: its {tokens} tokens count again"),
                Becomes::End => format!("caller {caller}: its {tokens} tokens end now, for good"),
            }
        });
        settings.chain(entries).chain(tokens).collect()
    }
}

/// A reload that was refused: every fault, as `check` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReloaded(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_until_the_next_good_one_and_both_are_counted() {
        let mut status = ReloadStatus::default();
        status.refuse("why".to_owned());
        status.refuse("another".to_owned());
        assert_eq!(status.why.as_deref(), Some("another"));
        assert_eq!(status.figures, ReloadFigures { good: 0, bad: 2, refused: true, since: 0 });
        status.succeed(7);
        assert_eq!((status.why, status.figures), (None, ReloadFigures { good: 1, bad: 2, refused: false, since: 7 }));
    }
}
