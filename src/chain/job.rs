//! The directory that the stages of a chain have in common.
//!
//! ```text
//! <parent>/postroj-job-<random>/       for root alone; locked while the chain runs
//! <parent>/postroj-job-<random>/job/   for everybody: what the stages see
//! ```
//!
//! One that is not locked is that of a chain that was killed, and goes when the next one makes its own.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::locked;

const PREFIX: &str = "postroj-job-";

/// Those that are to stay have another name, so that nobody takes them for a killed chain's.
const KEPT: &str = "postroj-kept-job-";

/// The directory; removed when this is dropped, unless it is to stay.
pub(super) struct Directory {
    outer: PathBuf,
    inner: PathBuf,
    stays: bool,
    _lock: File,
}

impl Directory {
    /// Makes it in `parent`, which is made as well if it is missing.
    pub(super) fn make(parent: &Path, stays: bool) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        // What is shown to a container is named from the root.
        let parent = fs::canonicalize(parent)?;
        sweep(&parent);
        let prefix = if stays { KEPT } else { PREFIX };
        let (outer, lock) = locked::create(&parent, prefix).map_err(|(_, error)| error)?;
        let made = Self {
            inner: outer.join("job"),
            outer,
            stays,
            _lock: lock,
        };
        fs::create_dir(&made.inner)?;
        fs::set_permissions(&made.inner, Permissions::from_mode(0o777))?;
        Ok(made)
    }

    /// What the stages see.
    pub(super) fn path(&self) -> &Path {
        &self.inner
    }

    /// Removes it, unless it is to stay.
    pub(super) fn remove(mut self) -> io::Result<()> {
        // Once is enough.
        if std::mem::replace(&mut self.stays, true) {
            return Ok(());
        }
        fs::remove_dir_all(&self.outer)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.stays {
            let _ = fs::remove_dir_all(&self.outer);
        }
    }
}

/// Removes what killed chains have left.
fn sweep(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry
                .metadata()
                .is_ok_and(|found| found.is_dir() && found.uid() == own);
        let Some(lock) = is_ours.then(|| File::open(entry.path()).ok()).flatten() else {
            continue;
        };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_everybody_and_goes() {
        let parent = tempfile::tempdir().unwrap();
        let made = Directory::make(&parent.path().join("new"), false).unwrap();
        let permissions = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(permissions(made.path()), 0o777);
        assert_eq!(permissions(made.path().parent().unwrap()), 0o700);
        fs::write(made.path().join("file"), "x").unwrap();
        let path = made.path().to_owned();
        made.remove().unwrap();
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn a_killed_chains_goes_with_the_next_and_a_kept_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let running = Directory::make(parent.path(), false).unwrap();
        let kept = Directory::make(parent.path(), true).unwrap();
        let (stays, also_stays) = (running.path().to_owned(), kept.path().to_owned());
        drop(kept);
        let killed = parent.path().join("postroj-job-1-0");
        fs::create_dir_all(killed.join("job")).unwrap();
        let next = Directory::make(parent.path(), false).unwrap();
        assert!(!killed.exists());
        assert!(stays.exists() && also_stays.exists() && next.path().exists());
        drop((running, next));
        assert!(!stays.exists() && also_stays.exists());
    }
}
