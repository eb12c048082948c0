//! The processes of a container as the host sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroup::{Hierarchies, has_run_out_of_memory};

/// The first child of a process; proc(5), `/proc/<pid>/task/<tid>/children`.
pub(super) fn first_child(pid: i32) -> Option<i32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .ok()?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The init of the container that systemd-nspawn makes, as soon as it has a network namespace of its own.
pub(super) fn init_with_network(nspawn: i32) -> Option<i32> {
    let child = first_child(nspawn)?;
    let network = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let is_init = innermost_number(format!("/proc/{child}/status")) == Some(1);
    (is_init && network(child)? != network(nspawn)?).then_some(child)
}

/// The number of a process in the container that it is in, from its `status`; proc(5).
fn innermost_number(status: impl AsRef<Path>) -> Option<i32> {
    let status = fs::read_to_string(status).ok()?;
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The process that has the number `inside` in the container whose init is `leader`, in the host's
/// numbering; `pid_namespaces(7)`.
pub(super) fn in_host(leader: i32, inside: i32) -> Option<i32> {
    let namespace = |pid: &str| fs::read_link(Path::new("/proc").join(pid).join("ns/pid")).ok();
    let wanted = namespace(&leader.to_string())?;
    let entries = fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let name = entry.file_name();
        let name = name.to_str()?;
        let pid: i32 = name.parse().ok()?;
        let innermost = innermost_number(entry.path().join("status"))?;
        (innermost == inside && namespace(name)? == wanted).then_some(pid)
    })
}

/// What a process does at this moment; proc(5), the third field of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It runs, or would if there were a processor for it.
    Running,
    /// It waits for something.
    Sleeping,
    /// It waits for a disk, say, and no signal disturbs it.
    DiskSleep,
    /// A signal has stopped it, or a debugger.
    Stopped,
    /// It has ended, and its parent has not looked yet.
    Zombie,
    /// It is on its way out.
    Dead,
}

/// What a process does; `None` where there is none of that number.
pub fn doing(pid: i32) -> Option<Doing> {
    letter(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn letter(stat: &str) -> Option<Doing> {
    // The name before it may hold anything, brackets and spaces included.
    let rest = stat.rsplit_once(')')?.1.trim_start();
    Some(match rest.chars().next()? {
        'R' => Doing::Running,
        'D' => Doing::DiskSleep,
        'T' | 't' => Doing::Stopped,
        'Z' => Doing::Zombie,
        'X' | 'x' => Doing::Dead,
        _ => Doing::Sleeping,
    })
}

/// What a container has taken of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The processor time of all that has run in it.
    pub processor: Option<Duration>,
    /// The memory of its processes and of what they have written in memory, in bytes.
    pub memory: Option<u64>,
    /// Whether the kernel has killed a process of it for want of memory.
    pub out_of_memory: bool,
}

impl Usage {
    /// That of the container whose init is `leader`, as far as the host counts it.
    pub fn of(leader: i32) -> Self {
        let Ok(hierarchies) = Hierarchies::load() else {
            return Self::default();
        };
        let read = |path: PathBuf| fs::read_to_string(path).ok();
        let processor = hierarchies
            .processor_statistics(leader)
            .and_then(read)
            .and_then(|text| microseconds(&text));
        let memory = hierarchies.memory_usage(leader).and_then(read);
        Self {
            processor: processor.map(Duration::from_micros),
            memory: memory.and_then(|bytes| bytes.trim().parse().ok()),
            out_of_memory: hierarchies
                .memory_events(leader)
                .is_some_and(|events| has_run_out_of_memory(&events)),
        }
    }
}

fn microseconds(statistics: &str) -> Option<u64> {
    let of = |line: &str| line.strip_prefix("usage_usec ")?.trim().parse().ok();
    statistics.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_behind_the_name() {
        assert_eq!(letter("12 (sh) S 1 12"), Some(Doing::Sleeping));
        assert_eq!(letter("12 (a) R) T 1 12"), Some(Doing::Stopped));
        assert_eq!(letter("12 (x"), None);
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        assert_eq!(doing(own), Some(Doing::Running));
    }

    #[test]
    fn processor_time_is_read() {
        assert_eq!(
            microseconds("usage_usec 1234\nuser_usec 1000\n"),
            Some(1234)
        );
        assert_eq!(microseconds("user_usec 1000\n"), None);
    }
}
