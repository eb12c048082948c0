//! The descriptors of other processes.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Copies of those descriptors of the process `number` that are open on `what`, in the words of
/// `/proc/<pid>/fd`, proc(5): at most so many, and those that can be had; `pidfd_getfd(2)`.
pub(super) fn copies(number: i32, what: &str, most: usize) -> Vec<OwnedFd> {
    let process = Pid::from_raw(number);
    let Some(process) = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(format!("/proc/{number}/fd"));
    let entries = entries.into_iter().flatten().flatten();
    let copies = entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let descriptor = entry.file_name().to_str()?.parse().ok()?;
        let is_one = target.as_os_str() == what;
        is_one.then(|| pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty()).ok())?
    });
    copies.take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_found_by_what_they_are_open_on() {
        let _kept = fs::File::open("/proc/self/environ").unwrap();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let path = format!("/proc/{own}/environ");
        assert_eq!(copies(own, &path, 16).len(), 1);
        assert_eq!(copies(own, &path, 0).len(), 0);
        assert_eq!(copies(own, "/dev/net/tun", 16).len(), 0);
        assert_eq!(copies(i32::MAX, &path, 16).len(), 0);
    }
}
