//! What there is in a container at a moment: its files, users and groups.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};

use crate::machine::{Guest, GuestError};

/// Directories of the root that hold nothing that stays.
const PASSING: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// What there is at a moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// All files but those of passing directories, by their absolute paths; links are not followed.
    pub(super) files: BTreeSet<String>,
    /// The users of `/etc/passwd`.
    pub(super) users: BTreeSet<String>,
    /// The groups of `/etc/group`.
    pub(super) groups: BTreeSet<String>,
}

impl Snapshot {
    /// Looks at all of it. Only names are read, which takes a tenth of a second for a large system.
    pub(super) async fn take(guest: &Guest) -> Result<Self, GuestError> {
        let failed = |source| GuestError::File {
            path: "/".to_owned(),
            source,
        };
        let root = guest.open_directory("/").map_err(failed)?;
        let walked = tokio::task::spawn_blocking(move || {
            let mut files = BTreeSet::new();
            walk(root, &mut files).map(|()| files)
        });
        let files = walked.await.map_err(io::Error::other).flatten();
        Ok(Self {
            files: files.map_err(failed)?,
            users: names(guest, "/etc/passwd"),
            groups: names(guest, "/etc/group"),
        })
    }
}

/// The first fields of a file like passwd(5).
fn names(guest: &Guest, path: &str) -> BTreeSet<String> {
    let text = guest.read_file(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .filter_map(|line| line.split(':').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Finds what is below a root, and does not go into other file systems.
fn walk(root: OwnedFd, files: &mut BTreeSet<String>) -> io::Result<()> {
    let device = rustix::fs::fstat(&root)?.st_dev;
    let mut open = vec![(String::new(), root)];
    while let Some((path, directory)) = open.pop() {
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            let is_passing = path.is_empty() && PASSING.contains(&name.as_ref());
            if name == "." || name == ".." || is_passing {
                continue;
            }
            let full = format!("{path}/{name}");
            if entry.file_type() == FileType::Directory
                && let Some(inside) = enter(&directory, entry.file_name(), device)?
            {
                open.push((full.clone(), inside));
            }
            files.insert(full);
        }
    }
    Ok(())
}

/// Opens a directory of the same file system; `None` for another's, and for one that has just gone.
fn enter(parent: &OwnedFd, name: &std::ffi::CStr, device: u64) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(parent.as_fd(), name, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Ok(None);
        }
        opened => opened?,
    };
    let is_same = rustix::fs::fstat(&opened)?.st_dev == device;
    Ok(is_same.then_some(opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_names_and_follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("etc/x")).unwrap();
        std::fs::create_dir_all(at("run/x")).unwrap();
        std::fs::write(at("etc/x/y"), "").unwrap();
        std::os::unix::fs::symlink("/", at("etc/all")).unwrap();
        let root = std::fs::File::open(directory.path()).unwrap();
        let mut files = BTreeSet::new();
        walk(root.into(), &mut files).unwrap();
        let expected = ["/etc", "/etc/all", "/etc/x", "/etc/x/y"].map(str::to_owned);
        assert_eq!(files, BTreeSet::from(expected));
    }
}
