//! Directories for work in progress.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::StoreError;
use super::reclaim::{Mission, reclaim};
use crate::locked;

/// A directory below `tmp` that is removed with the value, and swept by others if that is missed.
#[derive(Debug)]
pub(in crate::image) struct Scratch {
    path: PathBuf,
    /// Holds the lock that tells it from a leftover.
    lock: Option<File>,
}

impl Scratch {
    pub(super) fn create(parent: &Path) -> Result<Self, StoreError> {
        let created = locked::create(parent, "");
        let (path, lock) = created.map_err(|(path, error)| StoreError::io(&path, error))?;
        Ok(Self {
            path,
            lock: Some(lock),
        })
    }

    pub(in crate::image) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it to the next sweep.
    pub(super) fn leave(mut self) {
        self.lock = None;
    }

    /// Renames it to where it is found; false if there is one already, which then stays.
    pub(super) fn publish(&mut self, target: &Path) -> Result<bool, StoreError> {
        match std::fs::rename(&self.path, target) {
            Ok(()) => {
                self.lock = None;
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Ok(false)
            }
            Err(source) => Err(StoreError::io(target, source)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What cannot be removed now is swept later.
            if let Err(error) = std::fs::remove_dir_all(&self.path) {
                tracing::debug!(path = %self.path.display(), %error, "left behind");
            }
        }
    }
}

/// What a killed run has left below `tmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is, or was.
    pub path: PathBuf,
    /// How many bytes it takes on the disk.
    pub bytes: u64,
}

/// Measures or removes what killed runs have left. What cannot be removed is left to the next.
pub(super) fn sweep(
    parent: &Path,
    mission: Mission,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<Leftover>, StoreError> {
    let wrap = |source| StoreError::io(parent, source);
    let mut swept = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(wrap)? {
        let path = entry.map_err(wrap)?.path();
        let Ok(lock) = File::open(&path) else {
            continue;
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        match reclaim(&path, mission, cancelled) {
            Ok(bytes) => swept.push(Leftover { path, bytes }),
            Err(_) if cancelled() => break,
            Err(error) => tracing::debug!(path = %path.display(), %error, "cannot sweep"),
        }
    }
    swept.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(swept)
}
