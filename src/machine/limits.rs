//! How much of the host a container may use.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::spec::Writable;

/// systemd's default for a container's unit.
const DEFAULT_PIDS: u64 = 16384;

/// What share of the host's memory is for what a container writes, as a divisor.
const MEMORY_SHARE: u64 = 2;

/// Where a control group's limit on memory is, on either version; the first is there in a container,
/// whose own group is its root.
const MEMORY_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// In what steps processor time is given out, in microseconds; the kernel's default.
const PERIOD: u64 = 100_000;

/// How much of the host a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The memory of its processes, and of what is written in memory, in bytes.
    pub memory: Option<u64>,
    /// That memory and what of it is moved to the host's swap, in bytes; as much as the memory if nothing
    /// is said, so that nothing is moved there.
    pub memory_swap: Option<u64>,
    /// Its processor time, in microseconds a second: a million is all of one processor.
    pub processor: Option<u64>,
    /// Its share of a processor that others want as well, in proportion to theirs; 1024 is everybody's
    /// share if nothing is said.
    pub shares: Option<u64>,
    /// The processors that it may use, as `0-2,5`; cpuset(7), "List format".
    pub processors: Option<String>,
    /// How many processes and threads it has at a time.
    pub pids: u64,
    /// What it writes.
    pub disk: Disk,
    /// How much of what it writes is in memory, in bytes, whatever `disk` says; half of
    /// [`usable_memory`] if nothing is said here. Who starts several containers lowers it.
    pub most_in_memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            memory_swap: None,
            processor: None,
            shares: None,
            processors: None,
            pids: DEFAULT_PIDS,
            disk: Disk::default(),
            most_in_memory: None,
        }
    }
}

/// Where a container writes, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Disk {
    /// In memory, as much as is for that.
    #[default]
    Share,
    /// So many bytes: in memory if that holds them, else on the disk.
    Anywhere(u64),
    /// So many bytes in memory, and not on the disk.
    Memory(u64),
    /// So many bytes on the disk.
    Disk(u64),
}

impl Limits {
    /// Where a container with these limits writes; `storage` is a directory on the disk.
    pub(super) fn writable(&self, storage: &Path) -> Writable {
        let disk = |bytes| Writable::Disk {
            bytes,
            storage: storage.to_owned(),
        };
        let share = self
            .most_in_memory
            .unwrap_or_else(|| usable_memory() / MEMORY_SHARE);
        match self.disk {
            Disk::Share => Writable::Memory(share),
            Disk::Anywhere(bytes) if bytes > share => disk(bytes),
            Disk::Anywhere(bytes) | Disk::Memory(bytes) => Writable::Memory(bytes),
            Disk::Disk(bytes) => disk(bytes),
        }
    }

    /// Whether a container with these limits writes on the disk, and so on what the host has left there.
    pub fn are_on_disk(&self) -> bool {
        matches!(self.writable(Path::new("")), Writable::Disk { .. })
    }

    /// The files of cgroups that set the limits, with what goes there, for version 1 or 2; whether
    /// somebody has asked for it.
    pub(super) fn files(&self, version: u8) -> Vec<(&'static str, String, bool)> {
        let mut files = vec![("pids.max", self.pids.to_string(), self.pids != DEFAULT_PIDS)];
        if let Some(memory) = self.memory {
            let name = if version == 1 {
                "memory.limit_in_bytes"
            } else {
                "memory.max"
            };
            files.push((name, memory.to_string(), true));
            // What does not fit is not to be moved elsewhere. Not every kernel counts that.
            let is_asked = self.memory_swap.is_some();
            files.push(if version == 1 {
                let both = memory + self.swap();
                ("memory.memsw.limit_in_bytes", both.to_string(), is_asked)
            } else {
                ("memory.swap.max", self.swap().to_string(), is_asked)
            });
        }
        if let Some(processor) = self.processor {
            let quota = processor * PERIOD / 1_000_000;
            if version == 1 {
                files.push(("cpu.cfs_period_us", PERIOD.to_string(), true));
                files.push(("cpu.cfs_quota_us", quota.to_string(), true));
            } else {
                files.push(("cpu.max", format!("{quota} {PERIOD}"), true));
            }
        }
        if let Some(shares) = self.shares {
            files.push(if version == 1 {
                ("cpu.shares", shares.to_string(), true)
            } else {
                ("cpu.weight", weight(shares).to_string(), true)
            });
        }
        if let Some(processors) = &self.processors {
            files.push(("cpuset.cpus", processors.clone(), true));
        }
        files
    }

    /// Whether the user has asked for one that a cgroup has to keep; processors are kept to by affinity
    /// as well.
    pub(super) fn is_any_asked(&self) -> bool {
        let needs =
            |(name, _, is_asked): &(&str, String, bool)| *is_asked && *name != "cpuset.cpus";
        self.files(1).iter().any(needs)
    }

    /// How much may be moved to swap, in bytes.
    pub(super) fn swap(&self) -> u64 {
        let both = self.memory_swap.unwrap_or_default();
        both.saturating_sub(self.memory.unwrap_or_default())
    }
}

/// The memory that this process may use, in bytes.
pub fn usable_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let limit = |path: &&str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    MEMORY_LIMITS.iter().filter_map(limit).fold(total, u64::min)
}

/// Version 1's shares as version 2's weight, of which everybody has 100; systemd.resource-control(5),
/// `CPUShares=`.
pub(super) fn weight(shares: u64) -> u64 {
    (shares * 100 / 1024).clamp(1, 10_000)
}

/// Processors as a bit for each, the first in the lowest bit of the first byte; nothing of a list that
/// is none.
pub(super) fn mask(processors: &str) -> Vec<u8> {
    let mut mask = Vec::new();
    for part in processors.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>())
        else {
            continue;
        };
        for number in usize::from(first)..=usize::from(last) {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_keep_their_proportion_as_weights() {
        assert_eq!((weight(1024), weight(256)), (100, 25));
        assert_eq!((weight(2), weight(1 << 30)), (1, 10_000));
    }

    #[test]
    fn processors_are_bits() {
        assert_eq!(mask("0-2,9"), [0b111, 0b10]);
        assert_eq!(mask("0"), [1]);
    }

    #[test]
    fn swap_is_what_goes_beyond_the_memory() {
        let limits = |memory, memory_swap| Limits {
            memory: Some(memory),
            memory_swap,
            ..Limits::default()
        };
        assert_eq!(limits(100, None).swap(), 0);
        assert_eq!(limits(100, Some(150)).swap(), 50);
    }
}
