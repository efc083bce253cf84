//! Which keys sign tokens?
//! Given the configuration, lists the folder's keys or makes a new one; a running gateway notices within seconds.
//! Never prints a private half.

use std::io::Write;

use anyhow::Context;
use clap::Subcommand;

use crate::clock::{Clock, time_text};
use crate::token::ring::Ring;

use super::table::texts;
use super::{Configured, running};

/// `keys …`.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Show the keys, oldest first, with when each was made and what it is used for.
    List {
        #[command(flatten)]
        configured: Configured,
    },
    /// Make a new key. It is published at once, signs after `tokens.key_notice`, and the old one verifies until its last
    /// token has expired.
    #[command(
        after_help = "Examples:\n  reseller-gateway keys rotate\n  reseller-gateway keys rotate --drop-old     a key got out: every token ends"
    )]
    Rotate {
        #[command(flatten)]
        configured: Configured,
        /// Take all other keys away at once: every token that is out becomes invalid. For a key that got out.
        #[arg(long)]
        drop_old: bool,
    },
}

/// Runs one of them.
///
/// # Errors
/// Where there is no folder, or it cannot be read or written.
pub(super) fn run(command: KeysCommand) -> anyhow::Result<()> {
    let (KeysCommand::List { configured } | KeysCommand::Rotate { configured, .. }) = &command;
    let reach = configured.reach()?;
    let folder = reach.keys_dir.as_deref().context(
        "state.dir is empty, so there is one key in the memory of the running gateway; a restart makes another",
    )?;
    let notice = reach.key_notice;
    let ring = match &command {
        KeysCommand::List { .. } => Ring::read(folder, notice),
        KeysCommand::Rotate { .. } => Ring::open(folder, notice),
    }
    .context("tokens.keys_dir")?;
    for path in ring.empty_files() {
        let path = path.display();
        writeln!(anstream::stderr(), "warning: {path}: nothing is in it; remove it, or restore it if a key was in it")?;
    }
    let now = Clock::real().now().unix();
    let mut out = std::io::stdout();
    match command {
        KeysCommand::List { .. } => {
            let signer = ring.signer(now).map(|key| key.kid.clone());
            let over = ring.superseded(now);
            let keys = ring.keys();
            let rows = keys.iter().map(|key| {
                let made = i64::try_from(key.made).ok().and_then(|made| jiff::Timestamp::from_second(made).ok());
                let state = match () {
                    () if signer.as_ref() == Some(&key.kid) => "signs",
                    () if over.iter().any(|(kid, _)| *kid == key.kid) => "verifies",
                    () => "is published",
                };
                [key.kid.clone(), made.unwrap_or_default().to_string(), state.to_owned()]
            });
            write!(out, "{}", texts(&["id", "made", "use"], rows))?;
        }
        KeysCommand::Rotate { drop_old, .. } => {
            super::log::audit();
            let actor = &format!("local:{}", running::user());
            let kid = ring.rotate()?.unwrap_or_default();
            tracing::info!(target: "audit", actor, %kid, "audit: a signing key was made");
            if drop_old {
                let others: Vec<String> = ring.keys().iter().map(|key| key.kid.clone()).filter(|k| *k != kid).collect();
                ring.remove(&others)?;
                tracing::info!(target: "audit", actor, kids = ?others, "audit: signing keys were removed");
            }
            writeln!(out, "{kid}")?;
            let told = match drop_old {
                true => "it signs at once; tokens of other keys are invalid within seconds".to_owned(),
                false => format!("it signs in {}", time_text(notice)),
            };
            writeln!(anstream::stderr(), "{told}")?;
        }
    }
    Ok(())
}
