//! Downloads that were cut, and that nobody has gone on with.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// A download that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutDownload {
    /// What has come of the file.
    pub path: PathBuf,
    /// How many bytes that is.
    pub bytes: u64,
}

/// Removes from the cache what has come of downloads that were cut, or only tells what that is. Those
/// that somebody is at work on stay, and so do whole files.
pub fn sweep_cut_downloads(cache: &Path, dry_run: bool) -> io::Result<Vec<CutDownload>> {
    let entries = match fs::read_dir(cache.join("downloads")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut swept = Vec::new();
    for entry in entries {
        let directory = entry?.path();
        let path = directory.join("partial");
        // The fetcher's lock.
        let Ok(lock) = File::open(&directory) else {
            continue;
        };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !dry_run {
            fs::remove_file(&path)?;
            // It only tells which version that was the beginning of.
            let _ = fs::remove_file(directory.join("partial.json"));
        }
        swept.push(CutDownload {
            path,
            bytes: metadata.len(),
        });
    }
    swept.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_is_at_stays() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(sweep_cut_downloads(cache.path(), false).unwrap(), []);
        let at = |name: &str| cache.path().join("downloads").join(name);
        for name in ["cut", "busy", "whole"] {
            fs::create_dir_all(at(name)).unwrap();
            fs::write(at(name).join("file.deb"), "whole").unwrap();
        }
        fs::write(at("cut").join("partial"), "cut").unwrap();
        fs::write(at("busy").join("partial"), "more").unwrap();
        let busy = File::open(at("busy")).unwrap();
        rustix::fs::flock(&busy, FlockOperation::LockExclusive).unwrap();
        let cut = [CutDownload {
            path: at("cut").join("partial"),
            bytes: 3,
        }];
        assert_eq!(sweep_cut_downloads(cache.path(), true).unwrap(), cut);
        assert_eq!(sweep_cut_downloads(cache.path(), false).unwrap(), cut);
        assert_eq!(sweep_cut_downloads(cache.path(), false).unwrap(), []);
        assert!(at("busy").join("partial").exists());
        assert!(at("cut").join("file.deb").exists());
    }
}
