//! The directory that the stages of a chain have in common.
//!
//! ```text
//! <parent>/postroj-job-<id>-<n>/       for root alone; locked while the chain runs
//! <parent>/postroj-job-<id>-<n>/job/   for everybody: what the stages see
//! ```
//!
//! One that is not locked is that of a chain that was killed, and goes when the next one makes its own.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const PREFIX: &str = "postroj-job-";

/// Those that are to stay have another name, so that nobody takes them for a killed chain's.
const KEPT: &str = "postroj-kept-job-";

/// How many names are tried.
const NAMES: u32 = 1000;

/// The directory; removed when this is dropped, unless it is to stay.
pub(super) struct Directory {
    outer: PathBuf,
    inner: PathBuf,
    is_kept: bool,
    is_removed: bool,
    _lock: File,
}

impl Directory {
    /// Makes it in `parent`, which is made as well if it is missing.
    pub(super) fn make(parent: &Path, is_kept: bool) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        // What is shown to a container is named from the root.
        let parent = fs::canonicalize(parent)?;
        sweep(&parent);
        let prefix = if is_kept { KEPT } else { PREFIX };
        let id = std::process::id();
        for number in 0..NAMES {
            let outer = parent.join(format!("{prefix}{id}-{number}"));
            match DirBuilder::new().mode(0o700).create(&outer) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let lock = File::open(&outer)?;
            lock.lock()?;
            let inner = outer.join("job");
            match fs::create_dir(&inner) {
                // Somebody took it for a killed chain's before it was locked.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                made => made?,
            }
            let made = Self {
                outer,
                inner,
                is_kept,
                is_removed: false,
                _lock: lock,
            };
            fs::set_permissions(&made.inner, Permissions::from_mode(0o777))?;
            return Ok(made);
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// What the stages see.
    pub(super) fn path(&self) -> &Path {
        &self.inner
    }

    /// Removes it, unless it is to stay.
    pub(super) fn remove(mut self) -> io::Result<()> {
        self.is_removed = true;
        if self.is_kept {
            return Ok(());
        }
        fs::remove_dir_all(&self.outer)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.is_removed && !self.is_kept {
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
