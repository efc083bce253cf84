//! How does another configuration come into force?
//! Given a signal, a file that changed or an operator's wish, checks the file whole and swaps the house, or keeps it.
//! Never lets a house answer whose file has a fault, or whose callers' revocations are not on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use crate::authority::{self, Authority};
use crate::config::{self, Config, Given};
use crate::dial::Dialer;
use crate::generation::{Changes, Entries, Generation, InForce, NotReloaded, ReloadRequest, Reloaded, Setting};

use super::House;
use super::assemble::{self, ListenerInfo};
use super::change::{self, Change, Roots};
use super::{notify, restart};

/// Between two looks at the file. What changed must look the same at the next: half of a file may be one without callers.
const LOOK: Duration = Duration::from_millis(500);

/// Changes that are logged one by one, at most.
const MOST_LOGGED: usize = 100;

/// What is said to whoever asks for readiness; the faults may name what is not for everybody.
const REFUSED: &str =
    "the configuration file is refused and the one of before is in force; the process log has its faults";

/// The keeper of the configuration in force.
pub(super) struct Reloads {
    in_force: Arc<InForce<Dialer>>,
    given: Given,
    file: PathBuf,
    /// By which the sockets and the workers were made.
    started: Arc<Config>,
    /// The one in force.
    config: Arc<Config>,
    roots: Roots,
    listener_infos: Vec<ListenerInfo>,
    /// The text that was tried last, and the one at the last look.
    tried: Option<String>,
    seen: Option<String>,
    /// Houses that may still be answering: they are dropped here, not by a worker in the middle of its requests.
    fading: Vec<Arc<Generation<Dialer>>>,
}

/// All that can be made before anything is changed.
struct Prepared {
    config: Config,
    restart: Vec<&'static str>,
    gateway: House,
    authority: authority::Settings,
    roots: Roots,
    change: Change,
    settings: Vec<Setting>,
}

/// All of it that one look at the file leads to, and what it changes.
struct Planned {
    prepared: Prepared,
    authority: Authority,
    changes: Changes,
}

impl Reloads {
    /// Of the house in force, which was made by `config`; `None` where no file was given.
    pub(super) fn new(
        in_force: Arc<InForce<Dialer>>,
        given: Given,
        config: &Config,
        listener_infos: Vec<ListenerInfo>,
    ) -> Option<Self> {
        let file = given.file.clone()?;
        let config = Arc::new(config.clone());
        let (roots, tried) = (change::roots(&config.upstream), given.text.clone());
        let (started, seen) = (Arc::clone(&config), tried.clone());
        Some(Self { in_force, given, file, started, config, roots, listener_infos, tried, seen, fading: Vec::new() })
    }

    /// Reloads whenever somebody wants it or the file has changed, until it is dropped.
    pub(super) async fn run(mut self, mut wishes: mpsc::Receiver<ReloadRequest>, mut hangups: Signal) {
        let clock = self.in_force.now().gateway.clock();
        let mut next = clock.tick().plus(LOOK);
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => drop(self.reload("SIGHUP", None).await),
                Some(wish) = wishes.recv() => {
                    let outcome = match wish.dry_run {
                        true => self.rehearse().await.map_err(|error| NotReloaded(described(&error))),
                        false => self.reload(&wish.actor, None).await,
                    };
                    // Whoever asked may have left meanwhile.
                    let _ = wish.answer.send(outcome);
                }
                () = clock.sleep_until(next) => {
                    if let Some(text) = self.changed().await {
                        let _ = self.reload("file", Some(text)).await;
                    }
                    self.fading.retain(|house| Arc::strong_count(house) > 1 || Arc::strong_count(&house.gateway) > 1);
                    next = clock.tick().plus(LOOK);
                }
            }
        }
    }

    /// The file's text, where it was not tried and is the same as at the last look: half of a file that is being written may
    /// be one without callers. One that cannot be read says nothing.
    async fn changed(&mut self) -> Option<String> {
        let text = self.read().await.ok()?;
        let settled = self.seen.as_ref() == Some(&text);
        self.seen = Some(text.clone());
        (settled && self.tried.as_ref() != Some(&text)).then_some(text)
    }

    async fn read(&self) -> std::io::Result<String> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await?
    }

    /// Puts the file in force, for `actor`; as it is now, unless a text of it is given.
    async fn reload(&mut self, actor: &str, text: Option<String>) -> Result<Reloaded, NotReloaded> {
        notify::reloading();
        let outcome = self.attempt(text).await.map_err(|error| NotReloaded(described(&error)));
        match &outcome {
            Ok(Reloaded { changes, restart, warnings }) => {
                let lines = changes.lines();
                for change in lines.iter().take(MOST_LOGGED) {
                    tracing::info!("reload: {change}");
                }
                if let more @ 1.. = lines.len().saturating_sub(MOST_LOGGED) {
                    tracing::info!("reload: and {more} changes more");
                }
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                if !restart.is_empty() {
                    tracing::warn!(keys = ?restart, "these settings take effect with a restart");
                }
                tracing::info!(target: "audit", actor, restart_needed = ?restart, "audit: configuration reloaded");
                notify::ready("serving");
            }
            Err(NotReloaded(faults)) => {
                self.in_force.refused(REFUSED.to_owned());
                tracing::error!("the configuration is refused; the one of before stays in force\n{faults}");
                tracing::warn!(target: "audit", actor, "audit: configuration refused");
                notify::ready("serving; the configuration file is refused");
            }
        }
        outcome
    }

    /// What a reload would change now.
    async fn rehearse(&self) -> anyhow::Result<Reloaded> {
        let text = self.read().await.with_context(|| self.file.display().to_string())?;
        let Planned { prepared, changes, .. } = self.plan(text).await?;
        Ok(Reloaded { changes, restart: prepared.restart, warnings: warnings(&prepared.config) })
    }

    /// All that can be made and said before anything is changed.
    async fn plan(&self, text: String) -> anyhow::Result<Planned> {
        let house = self.in_force.held();
        let given = Given { text: Some(text), ..self.given.clone() };
        let (started, was) = (Arc::clone(&self.started), Arc::clone(&self.config));
        let (before, roots) = (Arc::clone(&house.gateway), self.roots.clone());
        // Files are read on the way, and every key of the store may be looked at.
        let work = move || {
            let prepared = prepare(given, &started, (&was, &roots), &before)?;
            let entries = given_up(&before, &prepared.gateway);
            anyhow::Ok((prepared, entries))
        };
        let (mut prepared, entries) = tokio::task::spawn_blocking(work).await??;
        let settings = std::mem::take(&mut prepared.settings);
        let authority = house.authority.reconfigured(prepared.authority.clone(), Arc::clone(prepared.gateway.tokens()));
        let tokens = authority.foresee().await.context("state.dir")?.into_iter().map(Into::into).collect();
        Ok(Planned { prepared, authority, changes: Changes { settings, entries, tokens } })
    }

    async fn attempt(&mut self, text: Option<String>) -> anyhow::Result<Reloaded> {
        let text = match text {
            Some(text) => text,
            None => self.read().await.with_context(|| self.file.display().to_string())?,
        };
        (self.tried, self.seen) = (Some(text.clone()), Some(text.clone()));
        let Planned { prepared, authority, changes } = self.plan(text).await?;
        let Prepared { config, restart, gateway, roots, change, .. } = prepared;
        let authority = Arc::new(authority);
        // The last that can fail: from here on nobody who is not configured any more gets anything.
        authority.reconcile().await.context("state.dir")?;
        let gateway = Arc::new(gateway);
        let next = assemble::estate(&config, Arc::clone(&gateway), authority, &self.listener_infos);
        let before = self.in_force.put(next, gateway.clock().now().unix());
        let warnings = warnings(&config);
        self.config = Arc::new(config);
        self.roots = roots;
        let (old, config) = (Arc::clone(&before), Arc::clone(&self.config));
        self.fading.push(before);
        // Every key of the store may be looked at.
        let settled =
            tokio::task::spawn_blocking(move || assemble::settle_in(&gateway, &old.gateway, &config, &change));
        if let Err(error) = settled.await {
            tracing::error!(%error, "what no route can reach any more is still held");
        }
        Ok(Reloaded { changes, restart, warnings })
    }
}

fn prepare(
    given: Given,
    started: &Config,
    (was, roots_before): (&Config, &Roots),
    before: &House,
) -> anyhow::Result<Prepared> {
    let mut config = config::load(given)?;
    let differing = was.changes_to(&config);
    let restart = restart::hold_back(&mut config, started);
    let roots = change::roots(&config.upstream);
    let change = Change::between((was, roots_before), (&config, &roots));
    let gateway = assemble::reconfigured(&config, before, was, &change)?;
    let authority = super::authority::settings(&config)?;
    let waits = |key: &str| restart.iter().any(|held| key.starts_with(held)) && !key.ends_with("].ambient");
    let setting = |config::Changed { key, old, new }| Setting { restart: waits(&key), key, old, new };
    let settings = differing.into_iter().map(setting).collect();
    Ok(Prepared { settings, config, restart, gateway, authority, roots, change })
}

/// What is stored for routes that mean something else in the next house.
fn given_up(before: &House, next: &House) -> Vec<Entries> {
    let editions = next.routes().all().iter().map(|route| route.edition).collect();
    let lost = before.store().lost_outside(editions);
    let named = |(route, entries)| Entries {
        route: before.routes().at(route).map_or_else(String::new, |route| route.name.clone()),
        entries,
    };
    let changed = |index: &usize| {
        let edition = |house: &House| house.routes().at(*index).map(|route| route.edition);
        edition(before) != edition(next)
    };
    let all = (0..before.routes().all().len()).filter(changed);
    all.map(|route| named((route, lost.get(&route).copied().unwrap_or_default()))).collect()
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(|warning| warning.to_string()).collect()
}

/// All faults, as `check` prints them, or the one thing that cannot be had.
fn described(error: &anyhow::Error) -> String {
    match error.downcast_ref::<config::Faults>() {
        Some(faults) => faults.render(false),
        None => format!("error: {error:#}"),
    }
}
