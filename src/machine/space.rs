//! How much room there is where a container writes.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Less room than this is none: package managers and databases write more than that at a time.
const LEAST: u64 = 8 << 20;

/// The room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All that it holds, in bytes.
    pub size: u64,
    /// What is free of that.
    pub free: u64,
    /// Whether it holds as many files as it can.
    pub is_out_of_files: bool,
}

impl Space {
    /// That of the file system which `file` is on.
    pub(super) fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::read(&rustix::fs::fstatvfs(file)?))
    }

    /// That of the file system which `path` is on.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::read(&rustix::fs::statvfs(path)?))
    }

    fn read(stat: &rustix::fs::StatVfs) -> Self {
        Self {
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            // Some file systems do not count them.
            is_out_of_files: stat.f_files > 0 && stat.f_favail == 0,
        }
    }

    /// Whether next to nothing can be written there any more.
    pub fn is_full(&self) -> bool {
        self.free < LEAST || self.is_out_of_files
    }
}

impl fmt::Display for Space {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes >> 20;
        let (size, free) = (mebibytes(self.size), mebibytes(self.free));
        write!(formatter, "{size} MiB, {free} MiB of them free")?;
        if self.is_out_of_files {
            formatter.write_str(", and no more files")?;
        }
        Ok(())
    }
}
