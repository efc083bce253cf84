//! Could a ledger be opened here?
//! Given a folder, opens the file as a gateway would, its repairs in memory, and hands back whether there is one.
//! Never makes or writes a file, and never keeps a gateway from it for longer than the look takes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;
use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};

use super::{CACHE, FILE, Ledger, Unreadable, format_of, unreadable};

/// So many bytes are copied when one of them is written.
const BLOCK: u64 = 4096;

impl Ledger {
    /// Whether there is a ledger in `folder`, and that it can be read whole. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// What [`Ledger::open`] would say; [`Unreadable::Busy`] while another process has it open.
    pub fn look(folder: &Path) -> Result<bool, Unreadable> {
        let path = folder.join(FILE);
        let disk = |error| Unreadable::Disk(path.clone(), error);
        // For writing too, though nothing is written: a gateway must be allowed to.
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(disk)?,
        };
        let locks = FileBackend::new(file.try_clone().map_err(disk)?).map_err(|error| unreadable(&path, error))?;
        let length = file.metadata().map_err(disk)?.len();
        if length == 0 {
            return Err(Unreadable::empty(path));
        }
        let backend = Overlay { file, locks, over: Mutex::new(Over { length, blocks: BTreeMap::new() }) };
        let database = Database::builder()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
            .map_err(|error| unreadable(&path, error))?;
        format_of(&database, &path)?;
        super::read::standing(&database).map_err(|error| Unreadable::Damaged(path, error.to_string()))?;
        Ok(true)
    }
}

/// A file as it is, and over it what would have been written.
#[derive(Debug)]
struct Overlay {
    file: File,
    /// Shared locks: a gateway that writes excludes this look, and two looks do not exclude each other.
    locks: FileBackend,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    length: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// A block as it would be on the disk now; what lies beyond the file's end is zero.
    fn block(&self, over: &Over, nth: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = over.blocks.get(&nth) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK as usize];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, nth * BLOCK + filled as u64)? {
                0 => break,
                many => filled += many,
            }
        }
        Ok(block)
    }

    /// Every block that the bytes lie in, and the part of it that they are.
    fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
        let end = offset.saturating_add(length as u64);
        (offset / BLOCK..end.div_ceil(BLOCK)).map(move |nth| {
            let start = nth * BLOCK;
            let within = |at: u64| at.saturating_sub(start).min(BLOCK) as usize;
            (nth, within(offset)..within(end))
        })
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.over.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let over = self.over.lock();
        if offset.saturating_add(out.len() as u64) > over.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        for (nth, part) in Self::parts(offset, out.len()) {
            let block = self.block(&over, nth)?;
            let (into, from) = (out.get_mut(done..done + part.len()), block.get(part.clone()));
            if let (Some(into), Some(from)) = (into, from) {
                into.copy_from_slice(from);
            }
            done += part.len();
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let mut over = self.over.lock();
        over.length = length;
        over.blocks.retain(|nth, _| nth * BLOCK < length);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut over = self.over.lock();
        let mut done = 0;
        for (nth, part) in Self::parts(offset, data.len()) {
            let mut block = self.block(&over, nth)?;
            let (into, from) = (block.get_mut(part.clone()), data.get(done..done + part.len()));
            if let (Some(into), Some(from)) = (into, from) {
                into.copy_from_slice(from);
            }
            done += part.len();
            over.blocks.insert(nth, block);
        }
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.locks.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query_lock_range(start, end)
    }
}
