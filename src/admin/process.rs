//! What does the kernel know of this process?
//! Given a reader of its files below `/proc`, hands back memory, files, processor time and start.
//! Never fails: what cannot be read is not known.

use std::path::Path;

use crate::trail::count::Process;

/// Of `/proc/self/stat`: Linux tells times in hundredths of a second, whatever its own clock's beat (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS: f64 = 100.0;

/// As it is now. A few small reads of memory that looks like files.
pub(super) fn figures(memory_limit: Option<u64>) -> Process {
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    // The folder itself was open while it was counted.
    let open_fds = open.map(|files| files.saturating_sub(1));
    Process { memory_limit, open_fds, ..read(&|path| std::fs::read_to_string(path).ok()) }
}

fn read(file: &dyn Fn(&Path) -> Option<String>) -> Process {
    let status = file(Path::new("/proc/self/status"));
    let resident = status.as_deref().and_then(|text| field(text, "VmRSS:")).map(|kib| kib << 10);
    let limits = file(Path::new("/proc/self/limits"));
    let max_fds = limits.as_deref().and_then(|text| field(text, "Max open files"));
    let stat = file(Path::new("/proc/self/stat"));
    // The program's name stands in parentheses and may hold anything; what follows is numbers, the third field first.
    let numbers: Vec<f64> = stat.as_deref().and_then(|text| text.rsplit_once(')')).map_or(Vec::new(), |(_, rest)| {
        rest.split_whitespace().map(|number| number.parse().unwrap_or_default()).collect()
    });
    let cpu = numbers.get(11).zip(numbers.get(12)).map(|(user, system)| (user + system) / TICKS);
    let boot = file(Path::new("/proc/stat")).as_deref().and_then(|text| field(text, "btime"));
    let started = boot.zip(numbers.get(19)).map(|(boot, since)| boot as f64 + since / TICKS);
    Process { resident, max_fds, cpu, started, ..Process::default() }
}

/// The first number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_as_they_are_documented() {
        let file = |path: &Path| {
            let text = match path.to_str()? {
                "/proc/self/status" => "Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t   20480 kB\n",
                "/proc/self/limits" => {
                    "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   4096   files\n"
                }
                "/proc/self/stat" => "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 12345 1 2",
                "/proc/stat" => "cpu  1 2\nbtime 1700000000\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let expected = Process {
            resident: Some(20 << 20),
            max_fds: Some(1024),
            cpu: Some(3.0),
            started: Some(1_700_000_123.45),
            ..Process::default()
        };
        assert_eq!(read(&file), expected);
        assert_eq!(read(&|_| None), Process::default());
    }

    #[test]
    fn this_very_process_has_all_of_them() {
        let Process { resident, memory_limit, open_fds, max_fds, cpu, started } = figures(Some(1));
        assert!(resident.is_some_and(|bytes| bytes > 1 << 20));
        assert!(open_fds.zip(max_fds).is_some_and(|(open, most)| open > 0 && open <= most));
        assert!(cpu.is_some() && started.is_some_and(|at| at > 1.6e9) && memory_limit == Some(1));
    }
}
