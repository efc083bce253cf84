//! How do lines get out without anybody waiting for them?
//! Given lines, puts them into a bounded buffer that a thread of its own writes to a file descriptor.
//! Never makes whoever writes wait for a disk, a pipe or a terminal: what finds no room, or is refused there, is counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bytes that wait, at most.
const SINK_CAPACITY: usize = 4 << 20;

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Nothing more comes.
    over: bool,
    /// Whether a thread writes.
    running: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    ended: Condvar,
    lost: AtomicU64,
}

/// A place where lines go. Copies are the same place.
#[derive(Clone, Default)]
pub struct Sink(Arc<Shared>);

impl Sink {
    /// Starts the thread that writes to a copy of this descriptor; lines are gathered for so long before they are written.
    ///
    /// # Errors
    /// Where there is no such descriptor, or no thread to be had.
    pub fn start(&self, name: &str, out: impl AsFd, gathered: Duration) -> io::Result<()> {
        let out = File::from(out.as_fd().try_clone_to_owned()?);
        let shared = Arc::clone(&self.0);
        let work = move || {
            shared.drain(out, gathered);
            shared.waiting.lock().running = false;
            shared.ended.notify_all();
        };
        // Nobody sees it before this is over.
        let mut waiting = self.0.waiting.lock();
        std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        waiting.running = true;
        Ok(())
    }

    /// Takes a line in; `false`, and counted, where there is no room.
    pub fn put(&self, line: &[u8]) -> bool {
        let mut waiting = self.0.waiting.lock();
        if waiting.lines.len() + line.len() > SINK_CAPACITY {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if waiting.lines.is_empty() {
            self.0.filled.notify_one();
        }
        waiting.lines.extend_from_slice(line);
        true
    }

    /// Lines that found no room, or that were refused where they should go.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Writes out what is left, for so long at most; whether that was enough. Nobody may be reading at the other end.
    pub fn close(&self, within: Duration) -> bool {
        let mut waiting = self.0.waiting.lock();
        waiting.over = true;
        self.0.filled.notify_one();
        self.0.ended.wait_while_for(&mut waiting, |waiting| waiting.running, within);
        !waiting.running
    }
}

/// Where the process log goes: the one of the process, as its subscriber is.
pub fn process_log() -> &'static Sink {
    static PROCESS: LazyLock<Sink> = LazyLock::new(Sink::default);
    &PROCESS
}

impl Write for &Sink {
    /// One line; what finds no room is counted, and no error.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn drain(&self, mut out: impl Write, gathered: Duration) {
        let (mut full, mut cut) = (Vec::new(), false);
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.lines.is_empty() && !waiting.over {
                self.filled.wait(&mut waiting);
            }
            // Woken once for many lines: for each of them it would cost a busy worker its core.
            if !waiting.over {
                self.filled.wait_for(&mut waiting, gathered);
            }
            let over = waiting.over;
            std::mem::swap(&mut full, &mut waiting.lines);
            drop(waiting);
            let written = write(&mut out, &full, &mut cut);
            let rest = full.get(written..).unwrap_or_default();
            let lost = memchr::memchr_iter(b'\n', rest).count();
            self.lost.fetch_add(lost as u64, Ordering::Relaxed);
            full.clear();
            if over {
                return;
            }
        }
    }
}

/// Writes as much as goes; how much that was. `cut`: the last line before was written in part.
fn write(out: &mut impl Write, lines: &[u8], cut: &mut bool) -> usize {
    let mut written = 0;
    // What was cut off stays alone in its line.
    if std::mem::take(cut) && out.write_all(b"\n").is_err() {
        *cut = true;
        return 0;
    }
    while let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    *cut = lines.get(..written).and_then(<[u8]>::last).is_some_and(|last| *last != b'\n');
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and refuses the rest.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1.min(bytes.len()).min(3);
            self.1 -= room;
            self.0.extend_from_slice(&bytes[..room]);
            if room == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(room) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines of a full disk were lost and not counted.
    #[test]
    fn what_a_full_disk_refuses_is_counted_by_lines() {
        let shared = Shared::default();
        *shared.waiting.lock() = Waiting { lines: b"one\ntwo\nthree\n".to_vec(), over: true, running: true };
        let mut disk = Disk(Vec::new(), 6);
        shared.drain(&mut disk, Duration::ZERO);
        assert_eq!((disk.0.as_slice(), shared.lost.load(Ordering::Relaxed)), (&b"one\ntw"[..], 2));
    }

    #[test]
    fn after_a_line_that_was_cut_off_the_next_begins_anew() {
        let (mut disk, mut cut) = (Disk(Vec::new(), 6), false);
        assert_eq!(write(&mut disk, b"one\ntwo\n", &mut cut), 6);
        disk.1 = 100;
        assert_eq!(write(&mut disk, b"four\n", &mut cut), 5);
        assert_eq!((disk.0.as_slice(), cut), (&b"one\ntw\nfour\n"[..], false));
    }

    /// The end waited for whoever did not read.
    #[test]
    fn a_pipe_that_nobody_reads_holds_up_neither_lines_nor_the_end() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = Sink::default();
        sink.start("log", &writer, Duration::ZERO).unwrap();
        let line = [b'x'; 1024];
        while sink.put(&line) {}
        assert!(sink.lost() > 0);
        assert!(!sink.close(Duration::from_millis(10)), "it is full");
        drop(reader);
    }
}
