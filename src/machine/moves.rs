//! Quick moves of processes between cgroups while a container comes up.
//!
//! A boot moves processes between cgroups over and over: systemd-nspawn, the container's init, each of
//! its services. Every move takes the kernel's lock `cgroup_threadgroup_rwsem` for writing, and the
//! first one after a pause waits for a grace period of RCU, which takes ten milliseconds and more; a
//! move that comes soon after another does not. The kernel has a mount option that removes the wait
//! for the whole host (`favordynmods`; Documentation/admin-guide/cgroup-v2.rst), at a price for every
//! fork. A host's mounts are not ours to change, so we see to it that no move comes after a pause: this
//! process moves itself to where it is. Where nothing boots, there are systemd-nspawn's moves, and pasta's.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use super::cgroup::{Hierarchies, unified_path};

/// For how long at most; who takes longer to come up has other reasons.
const MOST: Duration = Duration::from_secs(10);

/// How often a move is made. A grace period is longer.
const PAUSE: Duration = Duration::from_millis(3);

/// Moves are quick for as long as this lives.
#[derive(Debug)]
pub(super) struct QuickMoves {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl QuickMoves {
    /// Begins, if this process may write to its own cgroup. Where it may not, moves take their time.
    pub(super) fn begin() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let thread = own_cgroup().and_then(|procs| {
            let ended = Arc::clone(&ended);
            let builder = std::thread::Builder::new().name("moves".to_owned());
            builder.spawn(move || keep_moving(&procs, &ended)).ok()
        });
        Self { ended, thread }
    }
}

impl Drop for QuickMoves {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            // It is not waited for: it may be in the middle of a move.
            thread.thread().unpark();
        }
    }
}

/// The file that moves who writes to it into the cgroup that this process is in already.
fn own_cgroup() -> Option<File> {
    let hierarchies = Hierarchies::load().ok()?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = unified_path(&own)?;
    let procs: PathBuf = hierarchies.unified()?.join(path).join("cgroup.procs");
    File::options().write(true).open(procs).ok()
}

fn keep_moving(mut procs: &File, ended: &AtomicBool) {
    // A refusal comes after the lock has been taken, and does as well.
    let began = Instant::now();
    while !ended.load(Ordering::Relaxed) && began.elapsed() < MOST {
        let _ = procs.write(b"0");
        park_timeout(PAUSE);
    }
}
