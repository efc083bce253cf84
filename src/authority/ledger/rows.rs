//! What stands in the ledger?
//! Given a row, hands back its bytes, and the other way round.
//! Never holds a token or a secret.

use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::Broken;

/// The format that this version writes and reads.
pub(super) const FORMAT: u64 = 1;

/// `format`, [`FLOOR`] and [`FORGOTTEN`].
pub(super) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
/// Token id to its row.
pub(super) const TOKENS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tokens");
/// Id of a revoked token to its expiry.
pub(super) const REVOKED: TableDefinition<'_, &str, u64> = TableDefinition::new("revoked");
/// When a row is over, and its id, so that it is found without reading the rest.
pub(super) const EXPIRIES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("expiries");
/// Of an exchanged token: the id it came from and its own, to its expiry.
pub(super) const CHILDREN: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("children");
/// Caller to what is known of it.
pub(super) const CALLERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("callers");

/// In [`ABOUT`]: the last second of which no token of anybody counts.
pub(super) const FLOOR: &str = "nothing_until";
/// In [`ABOUT`]: the latest expiry of a revoked token that is remembered no more. What expires no later is refused, so that
/// a wall clock that is set back revives none of them.
pub(super) const FORGOTTEN: &str = "forgotten";

/// How a token was come by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// With the caller's secret.
    Secret,
    /// For the token of a trusted issuer.
    Subject {
        /// Its `iss`.
        issuer: String,
        /// Its `sub`.
        sub: String,
    },
    /// For another of our tokens.
    Exchange {
        /// That one's id.
        from: String,
    },
    /// By an administrator.
    Admin {
        /// Who.
        by: String,
    },
    /// By the command, with no gateway running.
    Command,
}

/// One issued token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose.
    pub caller: String,
    /// Its scopes, separated by spaces.
    pub scope: String,
    /// Its bounds, as its `authorization_details` has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<serde_json::Value>,
    /// Seconds since 1970.
    pub issued: u64,
    /// Seconds since 1970.
    pub expires: u64,
    /// Id of the key that signed it.
    pub kid: String,
    /// How it was come by.
    pub how: How,
    /// When it was last used, in seconds since 1970, a minute more or less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<u64>,
}

/// A row as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The token's id.
    pub jti: String,
    /// Whether it was taken back.
    pub revoked: bool,
    /// The rest.
    #[serde(flatten)]
    pub row: Row,
}

/// What is known of a caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Whether the configuration had it last time.
    pub configured: bool,
    /// The last second of which no token of it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing_until: Option<u64>,
    /// How many tokens of it are noted.
    #[serde(default)]
    pub tokens: u64,
    /// How many of them were taken back by their ids.
    #[serde(default)]
    pub revoked: u64,
    /// When it left the configuration, seconds since 1970, while its tokens may live on if it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// Marks of the secrets and subjects that proved it when it was configured last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<String>,
}

impl Seen {
    /// The last second of an end that is decided at `unix`: after another one, tokens that followed in the same second are of
    /// the next.
    pub(super) fn next_end(&self, unix: u64) -> u64 {
        unix.max(self.nothing_until.map_or(0, |last| last.saturating_add(1)))
    }
}

/// All that a caller was given up to and including a second was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whose.
    pub caller: String,
    /// That second.
    pub last: u64,
    /// Ids that need not be remembered any more, since this speaks of them too.
    pub covered: Vec<String>,
}

pub(super) fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Broken> {
    serde_json::from_slice(bytes).map_err(|error| Broken(format!("a row cannot be read: {error}")))
}

pub(super) fn bytes(row: &impl Serialize) -> Result<Vec<u8>, Broken> {
    serde_json::to_vec(row).map_err(|error| Broken(format!("a row cannot be written: {error}")))
}

/// Revoked tokens of a caller that were issued no later than `last`.
pub(super) fn covered(
    revoked: &impl ReadableTable<&'static str, u64>,
    tokens: &impl ReadableTable<&'static str, &'static [u8]>,
    caller: &str,
    last: u64,
) -> Result<Vec<String>, Broken> {
    let mut covered = Vec::new();
    for row in revoked.iter()? {
        let jti = row?.0;
        let Some(token) = tokens.get(jti.value())? else { continue };
        let token: Row = read(token.value())?;
        if token.caller == caller && token.issued <= last {
            covered.push(jti.value().to_owned());
        }
    }
    Ok(covered)
}

pub(super) fn seen(callers: &impl ReadableTable<&'static str, &'static [u8]>, name: &str) -> Result<Seen, Broken> {
    callers.get(name)?.map_or_else(|| Ok(Seen::default()), |seen| read(seen.value()))
}
