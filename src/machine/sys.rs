//! The few system calls of this crate that Rust cannot prove harmless.
#![expect(
    unsafe_code,
    reason = "unshare(2), code between fork(2) and exec(2), and inherited descriptors have no safe form"
)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

/// Gives the calling process a mount namespace of its own. Call it while there is one thread.
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: the file descriptor table, which is what makes unshare(2) dangerous, stays shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// Closes every descriptor but the standard ones. Whoever started postroj may have left some open,
/// and would wait for their end as long as a container that is kept has them.
pub(super) fn close_inherited() -> io::Result<()> {
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: nothing in this process has opened a descriptor yet, and this one is borrowed
        // for the check only.
        let is_open = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok();
        if is_open {
            // SAFETY: as above, so nobody else owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(())
}

/// Lets `command` be born inside the cgroups whose `cgroup.procs` are given, and be sent `signal`
/// when the thread that starts it dies.
pub(super) fn confine(command: &mut Command, cgroup_procs: Vec<OwnedFd>, signal: Signal) {
    let prepare = move || {
        for procs in &cgroup_procs {
            rustix::io::write(procs, b"0")?;
        }
        set_parent_process_death_signal(Some(signal))?;
        Ok(())
    };
    // SAFETY: write(2) and prctl(2) are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(prepare);
    }
}
