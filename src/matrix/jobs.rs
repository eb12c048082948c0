//! How many runs there are at once when nobody says so.

use std::num::NonZero;
use std::thread::available_parallelism;

use crate::machine::usable_memory;

/// What a container may take while a package is installed in it, in bytes.
const MEMORY: u64 = 2 << 30;

/// One run for each processor that this process may use (its affinity and its quota count), but no
/// more than one for each 2 GiB of memory; at least one.
pub fn default_jobs() -> usize {
    jobs(
        available_parallelism().map_or(1, NonZero::get),
        usable_memory(),
    )
}

/// How much of what it writes each of so many containers has in memory, in bytes: half of the memory
/// for all of them.
pub(super) fn writable_share(jobs: usize) -> u64 {
    share(usable_memory(), jobs)
}

fn share(memory: u64, jobs: usize) -> u64 {
    memory / 2 / u64::try_from(jobs.max(1)).unwrap_or(u64::MAX)
}

fn jobs(processors: usize, memory: u64) -> usize {
    let by_memory = usize::try_from(memory / MEMORY).unwrap_or(usize::MAX);
    processors.min(by_memory).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_processors_nor_memory_are_promised_twice() {
        assert_eq!(jobs(2, 24 << 30), 2);
        assert_eq!(jobs(16, 8 << 30), 4);
        assert_eq!(jobs(8, 1 << 30), 1);
        assert!(default_jobs() >= 1);
        assert_eq!(share(16 << 30, 1), 8 << 30);
        assert_eq!(share(16 << 30, 4), 2 << 30);
    }
}
