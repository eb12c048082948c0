//! The files of a task, all in a directory of its own: who has that locked looks after the task.
//!
//! | file | holds |
//! |---|---|
//! | `task.json` | what is to be run; without it the directory is one that is being made, or was left |
//! | `state.json` | how it is, as its keeper has written it down last |
//! | `log` | what the command has written |
//! | `control` | the socket of its keeper |

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::state::{Phase, State};
use crate::locked::directories;

pub(super) fn definition(directory: &Path) -> PathBuf {
    directory.join("task.json")
}

pub(super) fn state(directory: &Path) -> PathBuf {
    directory.join("state.json")
}

pub(super) fn log(directory: &Path) -> PathBuf {
    directory.join("log")
}

/// The name of the socket, which is spoken of by a descriptor of its directory: the path of a socket may
/// have 107 bytes only; unix(7).
pub(super) const CONTROL: &str = "control";

/// Makes an empty log.
pub(super) fn make_log(directory: &Path) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    options.open(log(directory)).map(drop)
}

/// Locks the directory of all tasks, which is made if it is missing: nobody else makes one, or removes
/// what is left of one, until the result is closed.
pub(super) fn lock_all(parent: &Path) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)?;
    // It may have been made by somebody with another mind about it.
    fs::set_permissions(parent, Permissions::from_mode(0o700))?;
    let directory = File::open(parent)?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory)
}

/// Makes the directory of a task, and locks it.
pub(super) fn make(directory: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().mode(0o700).create(directory)?;
    let lock = File::open(directory)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock.into())
}

/// Whether somebody has it locked.
pub(super) fn is_locked(directory: &Path) -> bool {
    let Ok(file) = File::open(directory) else {
        return false;
    };
    let taken = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
    taken == Err(rustix::io::Errno::WOULDBLOCK)
}

/// Removes a task's directory as soon as nobody looks after it; one that is gone is fine.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    let lock = match File::open(directory) {
        Ok(lock) => lock,
        Err(error) => return gone(error),
    };
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    remove_locked(directory).or_else(gone)
}

/// Removes a task's directory, which the caller has locked. What is left where this is cut short is no task
/// any more, and removed with the next.
pub(super) fn remove_locked(directory: &Path) -> io::Result<()> {
    match fs::remove_file(definition(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    fs::remove_dir_all(directory)
}

/// Whether the directory is one that somebody has left who was killed while making or removing a task: of no
/// task, or of one that never ran.
pub(super) fn is_left(directory: &Path) -> bool {
    if is_locked(directory) {
        return false;
    }
    let has_begun = || State::load(&state(directory)).map(|state| state.phase != Phase::Starting);
    !definition(directory).exists() || matches!(has_begun(), Ok(false))
}

/// Removes what is left so. The caller has locked all.
pub(super) fn sweep(parent: &Path) {
    for directory in directories(parent).unwrap_or_default() {
        if is_left(&directory)
            && let Err(error) = remove_locked(&directory)
        {
            // Somebody else may have been quicker; and nobody else has to wait for it.
            tracing::info!(directory = %directory.display(), %error, "cannot be removed");
        }
    }
}

/// Writes a file, for root alone, that is whole at any time.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("new");
    let write = || {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&partial)?;
        file.write_all(content)?;
        // A name must not be there before what it stands for is, should the power fail.
        file.sync_data()?;
        fs::rename(&partial, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}
