//! What does the ledger say?
//! Given an id, a caller or nothing, hands back rows as of the last change.
//! Never waits for a writer; each call blocks on the disk, so none is for the threads that serve.

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};

use super::rows::{self, ABOUT, CALLERS, CHILDREN, FLOOR, FORGOTTEN, Listed, REVOKED, Row, Seen, TOKENS};
use super::{Broken, Ledger, Standing};

/// What was taken back, as an open file has it.
pub(super) fn standing(database: &Database) -> Result<Standing, Broken> {
    let reading = database.begin_read()?;
    let about = reading.open_table(ABOUT)?;
    let named = |name| Ok::<_, Broken>(about.get(name)?.map(|value| value.value()));
    let (floor, forgotten) = (named(FLOOR)?, named(FORGOTTEN)?.unwrap_or_default());
    let mut standing = Standing { floor, forgotten, ..Standing::default() };
    for row in reading.open_table(REVOKED)?.iter()? {
        let (jti, expires) = row?;
        standing.tokens.push((jti.value().to_owned(), expires.value()));
    }
    for row in reading.open_table(CALLERS)?.iter()? {
        let (name, seen) = row?;
        let seen: Seen = rows::read(seen.value())?;
        standing.callers.extend(seen.nothing_until.map(|last| (name.value().to_owned(), last)));
    }
    Ok(standing)
}

/// What was taken back by the caller, or by all: a token's own row says nothing of it.
struct Ended {
    callers: ReadOnlyTable<&'static str, &'static [u8]>,
    floor: Option<u64>,
}

impl Ended {
    fn of(reading: &ReadTransaction) -> Result<Self, Broken> {
        let floor = reading.open_table(ABOUT)?.get(FLOOR)?.map(|last| last.value());
        Ok(Self { callers: reading.open_table(CALLERS)?, floor })
    }

    fn has(&self, row: &Row) -> Result<bool, Broken> {
        let Some(seen) = self.callers.get(row.caller.as_str())? else {
            return Ok(self.floor.is_some_and(|last| row.issued <= last));
        };
        let seen: Seen = rows::read(seen.value())?;
        Ok(seen.nothing_until.max(self.floor).is_some_and(|last| row.issued <= last))
    }
}

impl Ledger {
    pub(super) fn reading(&self) -> Result<ReadTransaction, Broken> {
        let database = self.ledger_file.database.read();
        Ok(database.as_ref().ok_or_else(Broken::closed)?.begin_read()?)
    }

    /// What was taken back, for the path. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn standing(&self) -> Result<Standing, Broken> {
        let database = self.ledger_file.database.read();
        standing(database.as_ref().ok_or_else(Broken::closed)?)
    }

    /// A token and those that were exchanged from it, with their expiries. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn family(&self, jti: &str, expires: u64) -> Result<Vec<(String, u64)>, Broken> {
        super::write::family(&self.reading()?.open_table(CHILDREN)?, jti.to_owned(), expires)
    }

    /// One token's row. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn find(&self, jti: &str) -> Result<Option<Listed>, Broken> {
        let reading = self.reading()?;
        let Some(row) = reading.open_table(TOKENS)?.get(jti)? else { return Ok(None) };
        let row = rows::read(row.value())?;
        let revoked = reading.open_table(REVOKED)?.get(jti)?.is_some();
        Ok(Some(Listed { jti: jti.to_owned(), revoked, row }))
    }

    /// At most `most` rows after `after` in the order of ids, of one caller or of all. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn list(&self, caller: Option<&str>, after: Option<&str>, most: usize) -> Result<Vec<Listed>, Broken> {
        use std::ops::Bound::{Excluded, Unbounded};
        let reading = self.reading()?;
        let revoked = reading.open_table(REVOKED)?;
        let ended = Ended::of(&reading)?;
        let from = after.map_or(Unbounded, Excluded);
        let mut found = Vec::new();
        for row in reading.open_table(TOKENS)?.range::<&str>((from, Unbounded))? {
            if found.len() == most {
                break;
            }
            let (jti, row) = row?;
            let row: Row = rows::read(row.value())?;
            if caller.is_none_or(|caller| row.caller == caller) {
                let revoked = revoked.get(jti.value())?.is_some() || ended.has(&row)?;
                found.push(Listed { jti: jti.value().to_owned(), revoked, row });
            }
        }
        Ok(found)
    }

    /// Whether a token that this key signed lives beyond `unix` seconds. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn needs_key(&self, kid: &str, unix: u64) -> Result<bool, Broken> {
        let reading = self.reading()?;
        for row in reading.open_table(TOKENS)?.iter()? {
            let row: Row = rows::read(row?.1.value())?;
            if row.kid == kid && row.expires > unix {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
