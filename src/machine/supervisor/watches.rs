//! What a container watches by inotify(7), when it ends.
//!
//! To close such a descriptor the kernel waits until nobody can be looking at what it watched (a grace
//! period of SRCU, some 8 ms), and a process that ends closes its descriptors one after the other. systemd
//! has three, and all others wait for it. So we take copies of them before the container is killed: to close
//! its own costs the container nothing then, and when it is dead we close the copies side by side.

use std::fs;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::machine::cgroup::Payload;

/// What `/proc/<pid>/fd` shows of one; proc(5).
const INOTIFY: &str = "anon_inode:inotify";

/// Of how many they are taken: who has more of them, takes the time that it takes.
const MOST: usize = 16;

/// Copies of a container's; those that can be had.
pub(super) fn take(payload: &Payload) -> Vec<OwnedFd> {
    let mut taken = Vec::new();
    for number in payload.processes() {
        let Some(process) =
            Pid::from_raw(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        let entries = fs::read_dir(format!("/proc/{number}/fd"));
        for entry in entries.into_iter().flatten().flatten() {
            if fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == INOTIFY)
                && let Some(Ok(descriptor)) = entry.file_name().to_str().map(str::parse)
                && let Ok(copy) = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty())
            {
                taken.push(copy);
                if taken.len() == MOST {
                    return taken;
                }
            }
        }
    }
    taken
}

/// Closes them, and does not wait for it.
pub(super) fn close(watches: Vec<OwnedFd>) {
    for watch in watches {
        // Where there can be no thread, it is closed here.
        let _ = thread::Builder::new().spawn(move || drop(watch));
    }
}
