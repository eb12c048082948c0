//! Trees that are to go: how much they take, and taking them away.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::image::rootfs::names;

/// Whether trees are removed or only looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mission {
    Measure,
    Remove,
}

/// Measures or removes what is at `path`; gives the bytes that it takes on the disk.
///
/// It may be long about it, and ends early, with an error, once `cancelled` says so: what is left
/// then is removed by the next who does this.
pub(super) fn reclaim(
    path: &Path,
    mission: Mission,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<u64> {
    let mut walk = Walk {
        mission,
        cancelled,
        linked: HashSet::new(),
        bytes: 0,
    };
    let name = path.as_os_str().as_encoded_bytes();
    match walk.entry(CWD, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        outcome => outcome?,
    }
    Ok(walk.bytes)
}

struct Walk<'a> {
    mission: Mission,
    cancelled: &'a dyn Fn() -> bool,
    /// The inodes with several names that have been counted.
    linked: HashSet<u64>,
    bytes: u64,
}

impl Walk<'_> {
    fn entry(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        if (self.cancelled)() {
            return Err(io::Error::other("interrupted"));
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_new = if is_directory || stat.st_nlink == 1 {
            // The last of several names.
            !self.linked.contains(&stat.st_ino)
        } else {
            self.linked.insert(stat.st_ino)
        };
        if is_new {
            self.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        }
        if !is_directory {
            return match self.mission {
                Mission::Measure => Ok(()),
                Mission::Remove => Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?),
            };
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        for name in names(&directory)? {
            match self.entry(directory.as_fd(), &name) {
                // Somebody else is at it too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
        match self.mission {
            Mission::Measure => Ok(()),
            Mission::Remove => match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("t/a/b")).unwrap();
        std::fs::write(directory.path().join("t/a/x"), vec![1; 100_000]).unwrap();
        std::fs::hard_link(directory.path().join("t/a/x"), directory.path().join("t/y")).unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("t/a/etc")).unwrap();
        directory
    }

    #[test]
    fn what_is_measured_is_what_is_freed() {
        let directory = tree();
        let path = directory.path().join("t");
        let measured = reclaim(&path, Mission::Measure, &|| false).unwrap();
        assert!((100_000..200_000).contains(&measured), "{measured}");
        let freed = reclaim(&path, Mission::Remove, &|| false).unwrap();
        assert_eq!(freed, measured);
        assert!(!path.exists());
        assert_eq!(reclaim(&path, Mission::Remove, &|| false).unwrap(), 0);
    }

    #[test]
    fn it_ends_early_when_asked_to() {
        let directory = tree();
        let path = directory.path().join("t");
        assert!(reclaim(&path, Mission::Remove, &|| true).is_err());
        assert!(path.join("a/x").exists());
    }
}
