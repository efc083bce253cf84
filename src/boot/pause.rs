//! Is the partner's wish to be left alone kept across a restart?
//! Given the budget in force and `state.dir`, restores what a file there says, and writes the file whenever the partner says something new.
//! Never keeps what we concluded ourselves, a failing partner or a refused key: a new start may try these.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::budget::breaker::Reason;
use crate::budget::{Budget, OperatorPause};
use crate::clock::{Clock, Now, Tick};
use crate::file_watch::LogOnce;

/// The file's name in `state.dir`.
const FILE: &str = "gate.json";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPause {
    /// Whose wish it is; another partner has said nothing.
    upstream: String,
    /// Until when it wants to be left alone, by the wall clock: the other one starts anew with each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<jiff::Timestamp>,
    /// The pause by hand, whoever the partner is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operator: Option<ByHand>,
}

/// A pause by hand in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    until: jiff::Timestamp,
    reason: String,
}

/// What is to be in the file: the partner's wish, and the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    partner: Option<(String, Tick)>,
    operator: Option<OperatorPause>,
}

/// The keeper of one file.
pub(super) struct Pause {
    file: PathBuf,
    partner: Box<dyn Fn() -> Partner + Send + Sync>,
    clock: Clock,
    /// What the file says, as far as this process wrote it.
    written: Mutex<Option<Wanted>>,
}

/// The partner in force: its origin, the budget of calls to it, and the longest pause that it may ask for. A reload may put
/// another there.
type Partner = (String, Arc<Budget>, Duration);

impl Pause {
    /// For whichever partner is in force.
    pub(super) fn new(folder: &Path, partner: impl Fn() -> Partner + Send + Sync + 'static, clock: Clock) -> Arc<Self> {
        let file = folder.join(FILE);
        Arc::new(Self { file, partner: Box::new(partner), clock, written: Mutex::default() })
    }

    /// Closes the gate as the file says; to be done before the first request. A time that is over leaves one probe to pass.
    pub(super) fn restore(&self) {
        let text = match std::fs::read(&self.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            other => other,
        };
        let kept = text.map_err(|error| error.to_string()).and_then(|text| read(&text));
        let now = self.clock.now();
        let (upstream, budget, max_pause) = (self.partner)();
        match kept {
            Ok(kept) => {
                if let Some(until) = kept.until.filter(|_| kept.upstream == upstream) {
                    let left = left(until, now).min(max_pause);
                    budget.restore(now.tick.plus(left), Reason::PausedByPartner);
                    tracing::info!(
                        seconds = left.as_secs_f64().ceil(),
                        "before this start the partner asked to be left alone"
                    );
                }
                let by_hand = kept.operator.map(|pause| (left(pause.until, now), pause.reason));
                if let Some((left, reason)) = by_hand.filter(|(left, _)| !left.is_zero()) {
                    let seconds = left.as_secs_f64().ceil();
                    tracing::warn!(seconds, reason, "calls are still paused by an operator");
                    budget.pause(OperatorPause { until: now.tick.plus(left), why: reason.into() });
                }
            }
            Err(error) => {
                let file = self.file.display();
                tracing::warn!(%file, %error, "it does not say whether the partner wants to be left alone; calls start as usual");
            }
        }
    }

    /// Writes the file whenever the gate closes or opens, until it is dropped.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut said = LogOnce::default();
        loop {
            let (_, budget, _) = (self.partner)();
            budget.breaker_changed().await;
            let this = Arc::clone(&self);
            let wrote = tokio::task::spawn_blocking(move || this.write()).await;
            let fault = wrote.ok().and_then(Result::err).map_or_else(String::new, |error| error.to_string());
            if said.is_new(&fault) {
                let file = self.file.display();
                tracing::error!(%file, %fault, "a restart will not know that the partner wants to be left alone");
            }
        }
    }

    /// Brings the file up to date.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn write(&self) -> std::io::Result<()> {
        let mut written = self.written.lock();
        let now = self.clock.now();
        let (upstream, budget, _) = (self.partner)();
        let until = match budget.partner_pause() {
            // What we concluded ourselves says nothing of what the partner said before: the file may say so on.
            None if written.is_some() && budget.figures(now.tick).documented.is_some() => {
                written.as_ref().and_then(|written| written.partner.as_ref()).map(|(_, until)| *until)
            }
            until => until,
        };
        let partner = until.map(|until| (upstream.clone(), until));
        let wanted = Wanted { partner, operator: budget.operator_pause(now.tick) };
        if written.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let operator = wanted.operator.as_ref();
        let operator = operator.map(|pause| ByHand { until: wall(pause.until, now), reason: pause.why.to_string() });
        match until.is_some() || operator.is_some() {
            true => self.put(&SavedPause { upstream, until: until.map(|until| wall(until, now)), operator })?,
            false => match std::fs::remove_file(&self.file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        *written = Some(wanted);
        Ok(())
    }

    /// Beside its name first, so that a kill leaves either the old file or the new one.
    fn put(&self, kept: &SavedPause) -> std::io::Result<()> {
        let draft = self.file.with_extension("new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(serde_json::to_string(kept)?.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.file)?;
        match self.file.parent() {
            Some(folder) => std::fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn read(text: &[u8]) -> Result<SavedPause, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// What is left of it, by a wall clock that may have been set back since.
fn left(until: jiff::Timestamp, now: Now) -> Duration {
    let until = u64::try_from(until.as_millisecond()).unwrap_or_default();
    Duration::from_millis(until.saturating_sub(now.unix_ms))
}

fn wall(until: Tick, now: Now) -> jiff::Timestamp {
    let left = u64::try_from(until.since(now.tick).as_millis()).unwrap_or(u64::MAX);
    let millis = i64::try_from(now.unix_ms.saturating_add(left)).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use crate::budget::lanes::Lane;
    use crate::budget::{Asked, Asker, Permit, Scope, Settings, Verdict, breaker, signal};
    use crate::gcra::{Quota, Rate};

    use super::*;

    const NOON: u64 = 1_800_000_000_000;
    const MAX_PAUSE: Duration = Duration::from_secs(3_600);
    const PARTNER: &str = "https://partner.example:9534";

    fn budget() -> Arc<Budget> {
        let long = Duration::from_secs(2);
        Budget::new(Settings {
            quota: Quota { rate: Rate::Unlimited, burst: 1 },
            max_in_flight: 9,
            max_wait: long,
            shared: false,
            breaker: breaker::Settings { failures: 5, cool_down: long, cool_down_max: long },
        })
    }

    fn paused(until: Tick) -> Verdict {
        let pause = signal::Pause { until, named: true, excerpt: None, capped: false, forbidden: false };
        Verdict::Paused { pause, refused: true }
    }

    const ASKER: Asker = Asker { lane: Lane::Interactive, who: 1, resource: 1, payer: None, scope: Scope::Documented };

    fn permit(budget: &Arc<Budget>, now: Tick) -> Permit {
        match budget
            .ask(Asker { lane: Lane::Interactive, who: 1, resource: 1, payer: None, scope: Scope::Documented }, now)
        {
            Asked::Permit(permit) => permit,
            _ => panic!("no permit"),
        }
    }

    /// A start in this folder, at this wall time.
    fn start(folder: &Path, unix_ms: u64, upstream: &str) -> (Arc<Budget>, Arc<Pause>, Clock) {
        let (budget, clock) = (budget(), Clock::moved_by_hand(unix_ms));
        let (origin, theirs) = (upstream.to_owned(), Arc::clone(&budget));
        let pause = Pause::new(folder, move || (origin.clone(), Arc::clone(&theirs), MAX_PAUSE), clock);
        pause.restore();
        (budget, pause, clock)
    }

    fn told(folder: &Path, seconds: u64) {
        let (budget, pause, clock) = start(folder, NOON, PARTNER);
        let until = clock.tick().plus(Duration::from_secs(seconds));
        permit(&budget, clock.tick()).settle(paused(until), clock.tick(), 0);
        pause.write().unwrap();
    }

    /// For how long nothing starts, if it is so.
    fn closed(budget: &Arc<Budget>, clock: Clock) -> Option<Duration> {
        budget.figures(clock.tick()).documented.map(|standing| standing.until.since(clock.tick()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_knows_what_is_left_of_the_partners_pause() {
        let folder = tempfile::tempdir().unwrap();
        told(folder.path(), 30);
        let (budget, _, clock) = start(folder.path(), NOON + 10_000, PARTNER);
        assert_eq!(closed(&budget, clock), Some(Duration::from_secs(20)));
        let (other, _, clock) = start(folder.path(), NOON + 10_000, "https://another.example:9534");
        assert_eq!(closed(&other, clock), None, "another partner has said nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_time_is_over_one_call_may_try_and_its_success_takes_the_file_away() {
        let folder = tempfile::tempdir().unwrap();
        told(folder.path(), 30);
        let (budget, pause, clock) = start(folder.path(), NOON + 31_000, PARTNER);
        assert_eq!(closed(&budget, clock), Some(Duration::ZERO));
        let mut probe = permit(&budget, clock.tick());
        let asker = Asker { lane: Lane::Interactive, who: 2, resource: 2, payer: None, scope: Scope::Documented };
        assert!(matches!(budget.ask(asker, clock.tick()), Asked::Queued(_)), "a second probe");
        probe.settle(Verdict::Answered, clock.tick(), 0);
        pause.write().unwrap();
        assert!(!folder.path().join(FILE).exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_was_set_back_closes_for_the_longest_pause_at_most() {
        let folder = tempfile::tempdir().unwrap();
        told(folder.path(), 30);
        let (budget, _, clock) = start(folder.path(), 1_000, PARTNER);
        assert_eq!(closed(&budget, clock), Some(MAX_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_we_concluded_ourselves_is_not_kept_and_nonsense_closes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (budget, pause, clock) = start(folder.path(), NOON, PARTNER);
        permit(&budget, clock.tick()).settle(Verdict::KeyRefused { recent: false }, clock.tick(), 0);
        pause.write().unwrap();
        assert!(!folder.path().join(FILE).exists());
        std::fs::write(folder.path().join(FILE), "{\"until\":").unwrap();
        let (budget, _, clock) = start(folder.path(), NOON, PARTNER);
        assert_eq!(closed(&budget, clock), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_by_hand_outlasts_a_restart_and_another_partner_and_a_resume_takes_it_away() {
        let folder = tempfile::tempdir().unwrap();
        let (budget, pause, clock) = start(folder.path(), NOON, PARTNER);
        budget.pause(OperatorPause { until: clock.tick().plus(Duration::from_secs(600)), why: "their move".into() });
        pause.write().unwrap();
        let (budget, pause, clock) = start(folder.path(), NOON + 60_000, "https://another.example:9534");
        assert_eq!(budget.operator_pause(clock.tick()).unwrap().why.as_ref(), "their move");
        assert_eq!(closed(&budget, clock), Some(Duration::from_secs(540)));
        budget.resume(clock.tick());
        pause.write().unwrap();
        let (budget, ..) = start(folder.path(), NOON + 61_000, PARTNER);
        assert!(matches!(budget.ask(ASKER, clock.tick()), Asked::Permit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_follows_the_partners_word_without_being_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (budget, pause, clock) = start(folder.path(), NOON, PARTNER);
        let keeper = tokio::spawn(Arc::clone(&pause).keep());
        let until = clock.tick().plus(Duration::from_secs(30));
        permit(&budget, clock.tick()).settle(paused(until), clock.tick(), 0);
        while !folder.path().join(FILE).exists() {
            tokio::task::yield_now().await;
        }
        let said = read(&std::fs::read(folder.path().join(FILE)).unwrap()).unwrap();
        assert_eq!(said.until.unwrap().as_millisecond(), i64::try_from(NOON).unwrap() + 30_000);
        keeper.abort();
    }
}
