//! What takes the kernel long to close, when a container ends.
//!
//! To forget what is watched by inotify(7) the kernel waits until nobody can be looking at it (a grace
//! period of SRCU, some 8 ms). Who closes the descriptor waits for that, and a process that ends closes its
//! descriptors one after the other. systemd has three, and all others wait for it. So we take copies of them
//! before the container is killed: to close its own costs the container nothing then. What they watch is given
//! up at once, for which nobody waits; and when the container is dead we close the copies side by side.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use crate::machine::cgroup::Payload;
use crate::machine::descriptors::copies;

/// What `/proc/<pid>/fd` shows of one; proc(5).
const INOTIFY: &str = "anon_inode:inotify";

/// Of how many they are taken: who has more of them, takes the time that it takes.
const MOST: usize = 16;

/// Copies of a container's descriptors of inotify; those that can be had.
pub(super) fn of_container(payload: &Payload) -> Vec<OwnedFd> {
    let mut taken = Vec::new();
    for process in payload.processes() {
        let watches = copies(process, INOTIFY, MOST);
        watches.iter().for_each(give_up);
        taken.extend(watches);
        if taken.len() >= MOST {
            break;
        }
    }
    taken
}

/// Gives up all that is watched; proc(5), `/proc/<pid>/fdinfo`, has the numbers.
fn give_up(watches: &OwnedFd) {
    let number = watches.as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    for watch in info.lines().filter_map(watch) {
        let _ = inotify::remove_watch(watches, watch);
    }
}

fn watch(line: &str) -> Option<i32> {
    let rest = line.strip_prefix("inotify wd:")?;
    i32::from_str_radix(rest.split(' ').next()?, 16).ok()
}

/// The copies, while they are being closed.
pub(super) struct Closing(Vec<JoinHandle<()>>);

impl Closing {
    /// Begins to close them.
    pub(super) fn of(watches: Vec<OwnedFd>) -> Self {
        let close = |watch| thread::Builder::new().spawn(move || drop::<OwnedFd>(watch));
        // Where there can be no thread, it is closed here.
        Self(
            watches
                .into_iter()
                .filter_map(|watch| close(watch).ok())
                .collect(),
        )
    }

    /// Waits until they are closed; gives how long that took.
    pub(super) fn wait(self) -> Duration {
        let began = Instant::now();
        for thread in self.0 {
            let _ = thread.join();
        }
        began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_numbered_in_hexadecimal() {
        let line = "inotify wd:1f ino:9e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8";
        assert_eq!(watch(line), Some(31));
        assert_eq!(watch("flags:\t02004000"), None);
    }

    #[test]
    fn what_is_watched_is_given_up() {
        let watches = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        for path in ["/", "/proc"] {
            inotify::add_watch(&watches, path, inotify::WatchFlags::DELETE).unwrap();
        }
        let info = format!("/proc/self/fdinfo/{}", watches.as_raw_fd());
        let count = || {
            fs::read_to_string(&info)
                .unwrap()
                .lines()
                .filter_map(watch)
                .count()
        };
        assert_eq!(count(), 2);
        give_up(&watches);
        assert_eq!(count(), 0);
    }
}
