//! Local directories as images: a snapshot, taken anew when the directory has changed.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::digest::Digest;

/// Why a directory cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct DirectoryError {
    /// The directory, or what in it is to blame.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// A digest over the listing of everything in the directory: paths, types, modes, owners, sizes,
/// times and inodes. It changes with any change that the kernel notes, without a file being read.
pub(super) fn fingerprint(
    root: &Path,
    cancelled: &dyn Fn() -> bool,
) -> Result<Digest, DirectoryError> {
    use std::fmt::Write as _;

    let device = metadata(root)?.dev();
    let mut listing = String::new();
    let mut digest = Digest::of(root.as_os_str().as_encoded_bytes());
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        if cancelled() {
            return Err(DirectoryError {
                path,
                source: io::Error::other("interrupted"),
            });
        }
        let found = metadata(&path)?;
        // Writing into a String cannot fail.
        let _ = writeln!(
            listing,
            "{} {:o} {}:{} {} {}.{} {}.{} {}",
            path.as_os_str().as_encoded_bytes().escape_ascii(),
            found.mode(),
            found.uid(),
            found.gid(),
            found.size(),
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
            found.ino()
        );
        if listing.len() > 1 << 20 {
            digest = Digest::of(format!("{digest}\n{listing}"));
            listing.clear();
        }
        // What is mounted below it is not taken.
        if found.is_dir() && found.dev() == device {
            let wrap = |source| DirectoryError {
                path: path.clone(),
                source,
            };
            let mut below = Vec::new();
            for entry in std::fs::read_dir(&path).map_err(wrap)? {
                below.push(entry.map_err(wrap)?.path());
            }
            below.sort();
            pending.extend(below);
        }
    }
    Ok(Digest::of(format!("{digest}\n{listing}")))
}

fn metadata(path: &Path) -> Result<std::fs::Metadata, DirectoryError> {
    std::fs::symlink_metadata(path).map_err(|source| DirectoryError {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_changes_the_fingerprint() {
        let directory = tempfile::tempdir().unwrap();
        let take = || fingerprint(directory.path(), &|| false).unwrap();
        let first = take();
        assert_eq!(take(), first);
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let second = take();
        assert_ne!(second, first);
        std::fs::write(directory.path().join("etc/x"), "1").unwrap();
        let third = take();
        assert_ne!(third, second);
        std::fs::write(directory.path().join("etc/x"), "2").unwrap();
        assert_ne!(take(), third);
    }
}
