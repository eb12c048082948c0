//! How much of the host a container may use.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::spec::Writable;

/// systemd's default for a container's unit.
const DEFAULT_PIDS: u64 = 16384;

/// What share of the host's memory is for what a container writes, as a divisor.
const MEMORY_SHARE: u64 = 2;

/// In what steps processor time is given out, in microseconds; the kernel's default.
const PERIOD: u64 = 100_000;

/// How much of the host a container may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The memory of its processes, and of what is written in memory, in bytes.
    pub memory: Option<u64>,
    /// Its processor time, in microseconds a second: a million is all of one processor.
    pub processor: Option<u64>,
    /// How many processes and threads it has at a time.
    pub pids: u64,
    /// What it writes.
    pub disk: Disk,
    /// How much of what it writes is in memory, in bytes, whatever `disk` says; half of the host's
    /// memory if nothing is said here. Who starts several containers lowers it.
    pub most_in_memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            processor: None,
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
        let share = self.most_in_memory.unwrap_or_else(|| {
            let info = rustix::system::sysinfo();
            info.totalram.saturating_mul(u64::from(info.mem_unit)) / MEMORY_SHARE
        });
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
            files.push(if version == 1 {
                ("memory.memsw.limit_in_bytes", memory.to_string(), false)
            } else {
                ("memory.swap.max", "0".to_owned(), false)
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
        files
    }
}
