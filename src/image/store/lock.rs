//! Locks between processes: `flock` on files that are never removed.
//!
//! The kernel drops a lock with the last descriptor of its file, however a process ends; so
//! nothing has to be cleaned up, and a lock that is held means that somebody is at work.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::StoreError;

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(in crate::image) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) async fn shared(path: PathBuf) -> Result<Self, StoreError> {
        let (now, later) = (
            FlockOperation::NonBlockingLockShared,
            FlockOperation::LockShared,
        );
        Self::take(path, now, later, || {}).await
    }

    pub(super) async fn exclusive(
        path: PathBuf,
        waiting: impl FnOnce(),
    ) -> Result<Self, StoreError> {
        let (now, later) = (
            FlockOperation::NonBlockingLockExclusive,
            FlockOperation::LockExclusive,
        );
        Self::take(path, now, later, waiting).await
    }

    async fn take(
        path: PathBuf,
        now: FlockOperation,
        later: FlockOperation,
        waiting: impl FnOnce(),
    ) -> Result<Self, StoreError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| StoreError::io(&path, source))?;
        match rustix::fs::flock(&file, now) {
            Ok(()) => return Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(StoreError::io(path, error)),
        }
        waiting();
        // A thread of its own and nobody's to join: when the wait is given up, the thread stays
        // in the system call, and the lock that it gets in the end is dropped at once.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("lock".to_owned())
            .spawn(move || {
                let outcome = rustix::fs::flock(&file, later).map(|()| file);
                let _ = sender.send(outcome);
            })
            .map_err(|source| StoreError::io(&path, source))?;
        match receiver.await {
            Ok(Ok(file)) => Ok(Self { _file: file }),
            Ok(Err(error)) => Err(StoreError::io(path, error)),
            Err(_) => Err(StoreError::io(path, Errno::INTR)),
        }
    }
}
