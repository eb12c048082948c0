//! Directories that are locked for as long as somebody uses them: one that is not was left by somebody who
//! was killed, and may be swept.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Makes one in `parent`, for root alone, and locks it. Its name is `prefix` and what no other has. An
/// error comes with the path that it is about.
pub(crate) fn create(parent: &Path, prefix: &str) -> Result<(PathBuf, File), (PathBuf, io::Error)> {
    loop {
        let path = parent.join(format!("{prefix}{}", random_name()));
        match create_at(&path) {
            Ok(Some(lock)) => return Ok((path, lock)),
            Ok(None) => {}
            Err(error) => return Err((path, error)),
        }
    }
}

/// `None` if there is one already, or somebody has swept it meanwhile.
fn create_at(path: &Path) -> io::Result<Option<File>> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        made => made?,
    }
    // A sweep between these steps may take it for a leftover.
    let lock = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            // Out of descriptors, say: another attempt would only make another directory.
            let _ = std::fs::remove_dir(path);
            return Err(error);
        }
        Ok(lock) => lock,
    };
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let own = lock.metadata()?;
    let there = std::fs::symlink_metadata(path);
    let is_there = there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()));
    Ok(is_there.then_some(lock))
}

/// The directories in `parent`; none where it is missing.
pub(crate) fn directories(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect())
}

fn random_name() -> String {
    use std::hash::{BuildHasher, Hasher};
    // The keys of a RandomState are random; a name that is taken already is only tried again.
    let random = std::hash::RandomState::new().build_hasher().finish();
    format!("{random:016x}")
}
