//! Which tokens were issued, and which were taken back?
//! Given a folder, keeps one file there whose every answered change survives a kill; or the same in memory.
//! Never holds a token, only its id; never guesses what a damaged or newer file may have said.

mod rows;

mod write;

mod read;

mod callers;

mod look;

mod salvage;

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, StorageError};
use tokio::sync::mpsc;

pub use callers::{Fate, Moment, Moved, Present};
use rows::{ABOUT, FORMAT};
pub use rows::{Ended, How, Listed, Row};
pub use salvage::{NotSalvaged, Salvaged, salvage};
use write::Job;
pub(super) use write::SWEEP;
pub use write::{Changed, Revocation, Swept};

/// The file's name in `state.dir`.
pub const FILE: &str = "ledger.redb";

/// Of redb's own cache; its default of a gigabyte is for other uses.
const CACHE: usize = 4 << 20;

/// The ledger. Changes go through one thread that writes them in batches, one flush for each.
#[derive(Clone)]
pub struct Ledger {
    ledger_file: Arc<LedgerFile>,
    jobs: mpsc::Sender<Job>,
}

/// Where the rows are. redb refuses all work after one failed write until it is opened anew: so it is.
struct LedgerFile {
    /// `None` in memory.
    path: Option<PathBuf>,
    /// `None` while it cannot be opened.
    database: RwLock<Option<Database>>,
    /// How often each caller was taken out of the configuration, since the process started.
    departures: Mutex<HashMap<String, u64>>,
    /// Batches that could not be written.
    failures: AtomicU64,
    /// Whether the last one was one of them.
    failing: AtomicBool,
}

impl LedgerFile {
    /// Opens the file again, the disk having failed.
    fn reopen(&self) {
        let Some(path) = &self.path else { return };
        let mut database = self.database.write();
        // Closed first: it locks its file against everybody else.
        drop(database.take());
        match Database::builder().set_cache_size(CACHE).open(path) {
            Ok(opened) => *database = Some(opened),
            Err(error) => tracing::error!(%error, "the ledger cannot be opened again"),
        }
    }
}

/// Why there is no ledger. A gateway that cannot know what was revoked does not start.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Another process has it: a gateway is running on the same `state.dir`.
    #[error("{0}: in use by another process; a gateway is running on this state.dir")]
    Busy(PathBuf),
    /// Written by a later version.
    #[error(
        "{0}: written in format {1}, and this version reads format {FORMAT}; run the version that wrote it, or a later one"
    )]
    Newer(PathBuf, u64),
    /// Not what was written there.
    #[error(
        "{0}: damaged ({1}); restore it from a backup, or run `token salvage`: it takes what can be read into a new ledger, and ends every token that was issued before, since one that was revoked may be among them"
    )]
    Damaged(PathBuf, String),
    /// The disk.
    #[error("{0}: {1}")]
    Disk(PathBuf, std::io::Error),
}

impl Unreadable {
    fn empty(path: PathBuf) -> Self {
        Self::Damaged(path, "it is empty".to_owned())
    }
}

/// The ledger cannot be read or written now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger failed: {0}")]
pub struct Broken(String);

impl Broken {
    /// The file could not be opened again.
    fn closed() -> Self {
        Self("the file cannot be opened; the log says why".to_owned())
    }

    /// The work on it was cut off.
    pub(super) fn ended() -> Self {
        Self("the work on it was cut off".to_owned())
    }
}

impl<E: Into<redb::Error>> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}

/// What the path must know from the start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Ids of revoked tokens with their expiries.
    pub tokens: Vec<(String, u64)>,
    /// Callers with the last second of which no token counts.
    pub callers: Vec<(String, u64)>,
    /// The same of everybody.
    pub floor: Option<u64>,
    /// No token counts that expires no later: it may be one that is remembered no more.
    pub forgotten: u64,
}

impl Ledger {
    /// A ledger that ends with the process.
    ///
    /// # Errors
    /// [`Unreadable`], if the machine has no memory for it.
    pub fn in_memory() -> Result<Self, Unreadable> {
        let path = Path::new("(memory)");
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().set_cache_size(CACHE).create_with_backend(backend);
        let database = database.map_err(|error| unreadable(path, error))?;
        Self::begin(&database, path)?;
        Self::of(database, path, None)
    }

    /// The ledger in `folder`, made if there is none; whether it was there already.
    ///
    /// # Errors
    /// [`Unreadable`] says what to do.
    pub fn open(folder: &Path) -> Result<(Self, bool), Unreadable> {
        let path = folder.join(FILE);
        let found = match std::fs::metadata(&path) {
            // An empty file is what a full disk or a backup tool leaves, and no new ledger.
            Ok(about) if about.len() == 0 => return Err(Unreadable::empty(path)),
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Unreadable::Disk(path, error)),
        };
        if !found {
            Self::make(folder, &path)?;
        }
        let database = Database::builder()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .open(&path)
            .map_err(|error| unreadable(&path, error))?;
        Ok((Self::of(database, &path, Some(path.clone()))?, found))
    }

    /// Makes the file beside its final name, so that a kill leaves either a whole one or none.
    fn make(folder: &Path, path: &Path) -> Result<(), Unreadable> {
        let disk = |error| Unreadable::Disk(path.to_owned(), error);
        let draft = path.with_extension("new");
        drop(Self::drafted(folder, &draft)?);
        std::fs::rename(&draft, path).map_err(disk)?;
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk)
    }

    /// A new one under another name.
    fn drafted(folder: &Path, draft: &Path) -> Result<Database, Unreadable> {
        let disk = |error| Unreadable::Disk(draft.to_owned(), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(disk)?;
        let open = || {
            let mut options = std::fs::OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(draft)?;
            Database::builder().set_cache_size(CACHE).create_with_backend(FileBackend::new(file)?)
        };
        let database = match open() {
            Err(error @ DatabaseError::DatabaseAlreadyOpen) => return Err(unreadable(draft, error)),
            // Half of one, from a process that was killed while it made it.
            Err(_) => {
                std::fs::remove_file(draft).map_err(disk)?;
                open().map_err(|error| unreadable(draft, error))?
            }
            Ok(database) => database,
        };
        Self::begin(&database, draft)?;
        Ok(database)
    }

    /// The tables and the format, in one step.
    fn begin(database: &Database, path: &Path) -> Result<(), Unreadable> {
        let write = || -> Result<(), redb::Error> {
            let mut writing = database.begin_write()?;
            writing.set_two_phase_commit(true);
            writing.open_table(ABOUT)?.insert("format", FORMAT)?;
            write::open_tables(&writing)?;
            writing.commit()?;
            Ok(())
        };
        write().map_err(|error| Unreadable::Damaged(path.to_owned(), error.to_string()))
    }

    /// How often it could not be written.
    pub fn failures(&self) -> u64 {
        self.ledger_file.failures.load(Ordering::Relaxed)
    }

    /// Whether it could not be written when that was tried last.
    pub fn is_failing(&self) -> bool {
        self.ledger_file.failing.load(Ordering::Relaxed)
    }

    fn of(database: Database, path: &Path, again: Option<PathBuf>) -> Result<Self, Unreadable> {
        format_of(&database, path)?;
        let (database, departures) = (RwLock::new(Some(database)), Mutex::default());
        let ledger_file = Arc::new(LedgerFile {
            path: again,
            database,
            departures,
            failures: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        let (jobs, todo) = mpsc::channel(1024);
        let theirs = Arc::clone(&ledger_file);
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || write::work(&theirs, todo))
            .map_err(|error| Unreadable::Disk(path.to_owned(), error))?;
        Ok(Self { ledger_file, jobs })
    }
}

/// That the file is one of ours, in the format that this version reads.
fn format_of(database: &Database, path: &Path) -> Result<(), Unreadable> {
    let damaged = |why: String| Unreadable::Damaged(path.to_owned(), why);
    let format = || -> Result<u64, redb::Error> {
        let reading = database.begin_read()?;
        let format = reading.open_table(ABOUT)?.get("format")?.map(|format| format.value());
        Ok(format.unwrap_or_default())
    };
    match format().map_err(|error| damaged(error.to_string()))? {
        FORMAT => Ok(()),
        0 => Err(damaged("it names no format".to_owned())),
        newer => Err(Unreadable::Newer(path.to_owned(), newer)),
    }
}

fn unreadable(path: &Path, error: DatabaseError) -> Unreadable {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => Unreadable::Busy(path),
        DatabaseError::UpgradeRequired(version) => Unreadable::Newer(path, u64::from(version)),
        DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
            // No ledger's bytes, or too few of them.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                Unreadable::Damaged(path, error.to_string())
            }
            _ => Unreadable::Disk(path, error),
        },
        other => Unreadable::Damaged(path, other.to_string()),
    }
}

#[cfg(test)]
mod tests;
