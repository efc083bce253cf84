//! How much memory may this process have?
//! Given a reader of the kernel's files, hands back the least limit of its control group, of those above it, and of the machine.
//! Never fails: what cannot be read limits nothing.

use std::path::{Path, PathBuf};

/// What the store may hold where the configuration says nothing: the lesser of 256 MiB and a quarter of what there is.
pub(super) fn store_bytes() -> u64 {
    share_of(limit_bytes())
}

/// The room for uploads and slow readers where the configuration says nothing: the lesser of 64 MiB and a sixteenth of what
/// there is, but enough for one upload of the largest size by each of four callers.
pub(super) fn buffer_bytes(max_request_body: u64) -> u64 {
    limit_bytes().map_or(64 << 20, |limit| (limit / 16).min(64 << 20)).max(4 * max_request_body)
}

/// The least limit there is.
pub(super) fn limit_bytes() -> Option<u64> {
    limit(&|path| std::fs::read_to_string(path).ok())
}

/// Less than this is no store.
const LEAST: u64 = 1 << 20;

fn share_of(limit: Option<u64>) -> u64 {
    limit.map_or(256 << 20, |limit| (limit / 4).clamp(LEAST, 256 << 20))
}

fn limit(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mut limits: Vec<u64> = Vec::new();
    for line in groups.lines() {
        // cgroups(7): number, controllers, path.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // A limit of a group above holds too. In a container the path may be the host's, and only the root is there.
        for above in Path::new(group.trim_start_matches('/')).ancestors() {
            let path: PathBuf = [Path::new(root), above, Path::new(file)].iter().collect();
            limits.extend(read(&path).and_then(|text| text.trim().parse::<u64>().ok()));
        }
    }
    let machine = read(Path::new("/proc/meminfo"));
    limits.extend(machine.as_deref().and_then(total_of));
    limits.into_iter().min()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limited(files: &[(&str, &str)]) -> Option<u64> {
        limit(&|path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn a_container_is_held_to_its_groups_limit() {
        let files = [("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "134217728\n")];
        assert_eq!(limited(&files), Some(128 * MIB));
        assert_eq!(share_of(limited(&files)), 32 * MIB);
        let open = [("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(share_of(limited(&open)), 256 * MIB);
    }

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let files = [
            ("/proc/self/cgroup", "0::/system.slice/gateway.service\n"),
            ("/sys/fs/cgroup/system.slice/gateway.service/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "536870912\n"),
            ("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n"),
        ];
        assert_eq!(limited(&files), Some(512 * MIB));
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_too() {
        let files = [
            ("/proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/x\n1:name=systemd:/\n"),
            ("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "67108864\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limited(&files), Some(64 * MIB));
    }

    #[test]
    fn without_a_limit_the_machine_is_one_and_without_that_nothing_is() {
        assert_eq!(limited(&[("/proc/meminfo", "MemTotal: 524288 kB\n")]), Some(512 * MIB));
        assert_eq!(share_of(None), 256 * MIB);
        assert_eq!(share_of(Some(1)), MIB);
    }
}
