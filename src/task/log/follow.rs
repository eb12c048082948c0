//! Waiting for what is written next.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::machine::sys;
use crate::task::Task;

/// Hears of a log's growing, and of its task's end; inotify(7).
pub(super) struct Follow {
    changes: AsyncFd<OwnedFd>,
    ended: Pin<Box<dyn Future<Output = ()>>>,
    has_ended: bool,
}

impl Follow {
    pub(super) fn new(task: &Task, log: &Path) -> std::io::Result<Self> {
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&changes, log, WatchFlags::MODIFY)?;
        let task = task.clone();
        Ok(Self {
            changes: sys::watch(changes)?,
            ended: Box::pin(async move {
                // However it has ended, nobody writes any more.
                let _ = task.wait().await;
            }),
            has_ended: false,
        })
    }

    /// Waits until there may be more; whether there may.
    pub(super) async fn more(&mut self) -> bool {
        if self.has_ended {
            return false;
        }
        tokio::select! {
            () = &mut self.ended => {
                self.has_ended = true;
                true
            }
            ready = self.changes.readable() => {
                if let Ok(mut ready) = ready {
                    let mut space = [MaybeUninit::uninit(); 4096];
                    let mut reader = inotify::Reader::new(self.changes.get_ref(), &mut space);
                    while reader.next().is_ok() {}
                    ready.clear_ready();
                }
                true
            }
        }
    }
}
