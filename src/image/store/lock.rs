//! Locks between processes: `flock` on what is never replaced.
//!
//! The kernel drops a lock with the last descriptor of its file, however a process ends; so
//! nothing has to be cleaned up, and a lock that is held means that somebody is at work.
//!
//! Whoever makes something holds the file in `locks` that is named after it. Whoever uses a layer,
//! a container among them, holds a shared lock on the layer's root itself: a layer whose root can
//! be locked exclusively is used by nobody.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{LayerId, Store, StoreError};

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(in crate::image) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes a file for oneself; `waiting` is called if somebody else has it.
    pub(super) async fn exclusive(
        path: PathBuf,
        waiting: impl FnOnce(),
    ) -> Result<Self, StoreError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| StoreError::io(&path, source))?;
        let file = take(file, &path, FlockOperation::LockExclusive, waiting).await?;
        Ok(Self { _file: file })
    }
}

/// Locks on the roots of layers, by which they stay where they are until this is dropped.
#[derive(Debug, Default)]
pub(in crate::image) struct Holds(Vec<File>);

impl Holds {
    /// Holds the root of a layer that is still below `tmp`, and thereby the layer once it is
    /// published: a rename takes locks along.
    pub(super) fn of_made(root: &Path) -> Result<File, StoreError> {
        let wrap = |source| StoreError::io(root, source);
        let file = open(root).map_err(wrap)?;
        rustix::fs::flock(&file, FlockOperation::LockShared).map_err(|error| wrap(error.into()))?;
        Ok(file)
    }

    pub(super) fn push(&mut self, hold: File) {
        self.0.push(hold);
    }

    pub(in crate::image) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

impl Store {
    /// Holds layers where they are; `None` if one of them is not there.
    pub(in crate::image) async fn hold(
        &self,
        layers: impl IntoIterator<Item = &LayerId>,
    ) -> Result<Option<Holds>, StoreError> {
        let mut holds = Holds::default();
        for id in layers {
            let path = self.layer_root(id);
            let file = match open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.map_err(|source| StoreError::io(&path, source))?,
            };
            // Somebody who removes layers has them only for as long as it takes to look.
            let file = take(file, &path, FlockOperation::LockShared, || {}).await?;
            if !is_still(&file, &path) {
                return Ok(None);
            }
            holds.push(file);
        }
        Ok(Some(holds))
    }

    /// Takes a layer away from everybody else; `None` if somebody uses it or it is not there.
    pub(super) fn seize(&self, id: &LayerId) -> Result<Option<File>, StoreError> {
        let path = self.layer_root(id);
        let file = match open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|source| StoreError::io(&path, source))?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(is_still(&file, &path).then_some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(StoreError::io(path, error)),
        }
    }
}

fn open(directory: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?.into())
}

/// Whether what is locked is what is at `path` now.
fn is_still(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Locks an open file; `waiting` is called if that takes waiting.
async fn take(
    file: File,
    path: &Path,
    operation: FlockOperation,
    waiting: impl FnOnce(),
) -> Result<File, StoreError> {
    let now = match operation {
        FlockOperation::LockShared => FlockOperation::NonBlockingLockShared,
        _ => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::fs::flock(&file, now) {
        Ok(()) => return Ok(file),
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
            let outcome = rustix::fs::flock(&file, operation).map(|()| file);
            let _ = sender.send(outcome);
        })
        .map_err(|source| StoreError::io(path, source))?;
    match receiver.await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(StoreError::io(path, error)),
        Err(_) => Err(StoreError::io(path, Errno::INTR)),
    }
}
