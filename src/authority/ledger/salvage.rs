//! What can be saved of a damaged ledger?
//! Given its folder, takes what can be read into a new one, and sets the damaged file aside.
//! Never lets anything live that was issued before: what cannot be read may have been a revocation.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, Key, ReadableDatabase, ReadableTable, TableDefinition, Value};

use super::rows::{self, ABOUT, CALLERS, CHILDREN, EXPIRIES, FLOOR, How, REVOKED, Row, Seen, TOKENS};
use super::{CACHE, FILE, Ledger, Unreadable};

/// Where redb's header says how the file was left, and the bits of it: a repair is due, the last commit had two phases.
const STATE: usize = 9;
const REPAIR: u8 = 2;
const TWO_PHASES: u8 = 4;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// Tokens that were read: known, and all revoked.
    pub tokens: usize,
    /// Revocations that were read.
    pub revoked: usize,
    /// Callers that were read.
    pub callers: usize,
    /// The last second of which no token of anybody counts.
    pub nothing_until: u64,
    /// Where the damaged file is now.
    pub aside: PathBuf,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NotSalvaged {
    /// There is no damage.
    #[error("{0}: it can be read; nothing was done")]
    Sound(PathBuf),
    /// There is no file.
    #[error("{0}: there is no ledger; nothing was done")]
    Absent(PathBuf),
    /// It cannot be had, or not be written.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What was read, in whatever state it is.
#[derive(Default)]
struct Found {
    tokens: BTreeMap<String, Row>,
    revoked: BTreeMap<String, u64>,
    callers: BTreeMap<String, Seen>,
}

/// Takes what can be read of the ledger in this folder into a new one at `unix` seconds.
///
/// # Errors
/// [`NotSalvaged`]; then the file is as it was.
pub fn salvage(folder: &Path, unix: u64) -> Result<Salvaged, NotSalvaged> {
    let path = folder.join(FILE);
    let disk = |error| NotSalvaged::Unreadable(Unreadable::Disk(path.clone(), error));
    if !path.try_exists().map_err(disk)? {
        return Err(NotSalvaged::Absent(path));
    }
    match Ledger::open(folder) {
        Ok(_) => return Err(NotSalvaged::Sound(path)),
        Err(Unreadable::Damaged(..)) => {}
        Err(other) => return Err(other.into()),
    }
    let copy = path.with_extension("copy");
    let mut found = Found::default();
    let bytes = std::fs::read(&path).map_err(disk)?;
    // As it is; and as it was before the last commit, to which redb goes back if that is not said to be whole.
    for clear in [0, TWO_PHASES] {
        let mut bytes = bytes.clone();
        if let Some(state) = bytes.get_mut(STATE).filter(|_| clear != 0) {
            *state = (*state & !clear) | REPAIR;
        }
        std::fs::write(&copy, &bytes).map_err(disk)?;
        found.read(&copy);
    }
    let _ = std::fs::remove_file(&copy);
    let draft = path.with_extension("new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(error)),
        _ => {}
    }
    let nothing_until = found.write(folder, &draft, unix)?;
    let aside = folder.join(format!("{FILE}.damaged-{unix}"));
    // The name is never without a ledger: a start would make one that knows of no revocation.
    std::fs::hard_link(&path, &aside).or_else(|_| std::fs::copy(&path, &aside).map(drop)).map_err(disk)?;
    std::fs::rename(&draft, &path).map_err(disk)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
    let (tokens, revoked, callers) = (found.tokens.len(), found.revoked.len(), found.callers.len());
    Ok(Salvaged { tokens, revoked, callers, nothing_until, aside })
}

impl Found {
    /// Reads as far as it goes. redb promises nothing for a damaged file, and may panic at one.
    fn read(&mut self, copy: &Path) {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let open = || Database::builder().set_cache_size(CACHE).open(copy);
        if let Ok(Ok(database)) = catch_unwind(open) {
            each(&database, TOKENS, |jti, row| {
                if let Ok(row) = rows::read(row) {
                    self.tokens.insert(jti.to_owned(), row);
                }
            });
            each(&database, REVOKED, |jti, expires| {
                self.revoked.insert(jti.to_owned(), expires);
            });
            each(&database, CALLERS, |name, seen| {
                if let Ok(seen) = rows::read(seen) {
                    self.callers.insert(name.to_owned(), seen);
                }
            });
            let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
        }
        std::panic::set_hook(quiet);
    }

    /// Writes all of it into a new ledger, with the last second of which nothing counts.
    fn write(&mut self, folder: &Path, draft: &Path, unix: u64) -> Result<u64, Unreadable> {
        // Tokens that followed an end within the same second are of the next.
        let last = self.callers.values().map(|seen| seen.next_end(unix)).max().unwrap_or(unix).min(unix + 60).max(unix);
        let database = Ledger::drafted(folder, draft)?;
        let mut work = || -> Result<(), super::Broken> {
            let mut writing = database.begin_write()?;
            writing.set_two_phase_commit(true);
            {
                writing.open_table(ABOUT)?.insert(FLOOR, last)?;
                let mut tokens = writing.open_table(TOKENS)?;
                let mut revoked = writing.open_table(REVOKED)?;
                let mut expiries = writing.open_table(EXPIRIES)?;
                let mut children = writing.open_table(CHILDREN)?;
                let mut callers = writing.open_table(CALLERS)?;
                let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
                for (jti, row) in &self.tokens {
                    tokens.insert(jti.as_str(), rows::bytes(row)?.as_slice())?;
                    // Listed as revoked, and also for a version that knows of no floor.
                    self.revoked.insert(jti.clone(), row.expires);
                    let count = counts.entry(&row.caller).or_default();
                    *count = (count.0 + 1, count.1 + 1);
                    if let How::Exchange { from } = &row.how {
                        children.insert((from.as_str(), jti.as_str()), row.expires)?;
                    }
                }
                for (jti, expires) in &self.revoked {
                    revoked.insert(jti.as_str(), *expires)?;
                    expiries.insert((*expires, jti.as_str()), ())?;
                }
                for (name, seen) in &self.callers {
                    let (tokens, revoked) = counts.get(name.as_str()).copied().unwrap_or_default();
                    let seen = Seen { nothing_until: Some(last), left: None, tokens, revoked, ..seen.clone() };
                    callers.insert(name.as_str(), rows::bytes(&seen)?.as_slice())?;
                }
            }
            writing.commit()?;
            Ok(())
        };
        work().map_err(|error| Unreadable::Damaged(draft.to_owned(), error.to_string()))?;
        Ok(last)
    }
}

/// Hands over the rows of a table until one cannot be read.
fn each<K: Key + 'static, V: Value + 'static>(
    database: &Database,
    table: TableDefinition<'_, K, V>,
    mut row: impl FnMut(K::SelfType<'_>, V::SelfType<'_>),
) {
    let read = || -> Result<(), redb::Error> {
        let reading = database.begin_read()?;
        for entry in reading.open_table(table)?.iter()? {
            let (key, value) = entry?;
            row(key.value(), value.value());
        }
        Ok(())
    };
    let _ = catch_unwind(AssertUnwindSafe(read));
}
