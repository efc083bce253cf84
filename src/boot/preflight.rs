//! Is everything there that the configuration refers to?
//! Given a configuration, opens its files and tries its addresses, and hands back what is missing, each with its key.
//! Never makes, migrates or keeps anything: `serve` may start while this looks, or run already.

mod addresses;

mod files;

use std::fmt;
use std::io;
use std::path::Path;

use crate::clock::Now;
use crate::config::{Config, Faults};

pub use super::lack::Lack;
pub(super) use addresses::{bound, bound_unix};
pub(super) use files::{open, unreadable};

/// What is missing, with its places in the file. The text of the configuration is fine, so a later try may succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Lacking(pub Faults);

/// All that was found.
#[derive(Debug, Default)]
pub struct Found {
    /// For want of these `serve` does not start.
    pub lacks: Vec<Lack>,
    /// Without these it starts, and something will not work.
    pub warnings: Vec<Lack>,
    /// What could not be looked at, and why that is no fault.
    pub notes: Vec<String>,
}

impl Found {
    fn lack(&mut self, key: impl Into<String>, reason: impl fmt::Display) {
        self.lacks.push(Lack::new(key, reason));
    }

    fn warn(&mut self, key: impl Into<String>, reason: impl fmt::Display) {
        self.warnings.push(Lack::new(key, reason));
    }

    /// Whether nothing is missing.
    ///
    /// # Errors
    /// [`Lacking`], with all of it at once.
    pub fn complete(&self, config: &Config) -> Result<(), Lacking> {
        match self.lacks.as_slice() {
            [] => Ok(()),
            lacks => Err(lacking(config, lacks)),
        }
    }
}

/// These, with their places in the file.
pub fn lacking(config: &Config, lacks: &[Lack]) -> Lacking {
    Lacking(Faults::new(lacks.iter().map(|lack| config.fault(&lack.key, lack.reason.as_str())).collect()))
}

/// What `serve` reads: keys, certificates, issuers, signing keys, and the folders that these are made in.
pub fn files(config: &Config, now: Now) -> Found {
    let mut found = Found::default();
    files::credentials(config, &mut found);
    files::certificates(config, now, &mut found);
    files::issuers(config, &mut found);
    files::state(config, &mut found);
    found
}

/// The same, and what `serve` takes for itself: the ledger and the addresses. What a running gateway of the same `state.dir`
/// holds is as it should be, and said.
pub fn all(config: &Config, now: Now) -> Found {
    let mut found = files(config, now);
    let running = files::ledger(config, &mut found);
    addresses::all(config, running, &mut found);
    found
}

/// What the operating system says of a file, with what to do.
fn describe(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{}: this user may not read or write it; run this as the gateway's user, or give it the right",
                path.display()
            )
        }
        _ => format!("{}: {error}", path.display()),
    }
}
