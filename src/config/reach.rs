//! How is the gateway that runs by this file reached?
//! Given what a configuration is made of, hands back its admin listener and its signing keys, though the rest be faulty.
//! Never guesses these: a fault in one of their own settings is an error.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Admin, Faults, Given, read};

/// The settings that everything here rests on.
const NEEDED: [&str; 6] = ["admin", "health", "state", "tokens.keys_dir", "tokens.key_notice", "server.public_url"];

/// What a command needs to speak to a running gateway. A running gateway goes by the last good text of its file, so it can be
/// reached while there is a fault in the file, and that is when its operator needs it.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Where it is administered.
    pub admin: Admin,
    /// Where health is shown.
    pub health: SocketAddr,
    /// Where its signing keys lie; `None`: in its memory.
    pub keys_dir: Option<PathBuf>,
    /// For how long a new key is published before it signs.
    pub key_notice: Duration,
    /// The issuer of its tokens.
    pub public_url: String,
    /// The callers' names, for whoever mistypes one.
    pub callers: Vec<String>,
    /// What is wrong with the rest of the file.
    pub faults: Option<Faults>,
}

/// Reads as much as it takes to reach a running gateway.
///
/// # Errors
/// A file that cannot be read, or faults of the settings that are needed here, with all others.
pub fn reach(given: Given) -> Result<Reach, Faults> {
    let (config, faults, _) = read(given)?;
    let is_needed = |key: &str| {
        let within =
            |start: &&str| key.strip_prefix(*start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        NEEDED.iter().any(within)
    };
    let blocked = faults.iter().any(|fault| is_needed(&fault.key));
    let faults = (!faults.is_empty()).then(|| Faults::new(faults));
    match faults {
        Some(faults) if blocked => Err(faults),
        faults => Ok(Reach {
            admin: config.admin,
            health: config.health.listen,
            keys_dir: config.tokens.keys_dir,
            key_notice: config.tokens.key_notice,
            public_url: config.server.public_url,
            callers: config.callers.into_iter().map(|caller| caller.name).collect(),
            faults,
        }),
    }
}
