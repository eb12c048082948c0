//! Looking into a root that is still a list of layers, without mounting it.
//!
//! Links are followed within the root, by us, one component at a time; what an image says is
//! never resolved on the host.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

const LINKS_MAX: usize = 40;

/// A root as overlayfs would compose it.
pub(super) struct Rootfs {
    /// The roots of the layers, topmost first.
    layers: Vec<OwnedFd>,
}

/// Something in the root.
pub(super) struct Found {
    /// The layer that has it, counted from the topmost.
    layer: usize,
    /// Its path below the root, without links.
    path: Vec<u8>,
    /// What it is.
    pub(super) kind: FileType,
    /// Its mode bits.
    pub(super) mode: u32,
}

impl Rootfs {
    /// Opens the layers, topmost first.
    pub(super) fn open(lowers: &[PathBuf]) -> io::Result<Self> {
        let layers = lowers
            .iter()
            .map(|path| open_root(path))
            .collect::<io::Result<_>>()?;
        Ok(Self { layers })
    }

    /// What is at `path`, which holds no `..`; no link in it is followed, and none at its end.
    pub(super) fn locate(&self, path: &[u8]) -> io::Result<Option<Found>> {
        for (index, layer) in self.layers.iter().enumerate() {
            match look(layer.as_fd(), path)? {
                Look::Here(kind, mode) => {
                    return Ok(Some(Found {
                        layer: index,
                        path: path.to_owned(),
                        kind,
                        mode,
                    }));
                }
                Look::Hidden => return Ok(None),
                Look::Below => {}
            }
        }
        Ok(None)
    }

    /// What is at `path` once every link on the way has been followed within the root.
    pub(super) fn resolve(&self, path: &str) -> io::Result<Option<Found>> {
        let mut done: Vec<u8> = Vec::new();
        let mut left: Vec<Vec<u8>> = components(path.as_bytes());
        let mut links = 0;
        let mut found = None;
        while let Some(name) = left.pop() {
            if name == b".." {
                let end = done.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                done.truncate(end);
                found = None;
                continue;
            }
            let mut next = done.clone();
            if !next.is_empty() {
                next.push(b'/');
            }
            next.extend_from_slice(&name);
            let Some(here) = self.locate(&next)? else {
                return Ok(None);
            };
            if here.kind == FileType::Symlink {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(None);
                }
                let target = self.read_link(&here)?;
                if target.starts_with(b"/") {
                    done.clear();
                }
                left.extend(components(&target));
                found = None;
                continue;
            }
            done = next;
            found = Some(here);
        }
        match found {
            Some(found) => Ok(Some(found)),
            None => self.locate(&done),
        }
    }

    /// Whether there is something at `path`, links followed.
    pub(super) fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.resolve(path)?.is_some())
    }

    /// The text of the regular file at `path`, at most `limit` bytes of it; anything else is `None`.
    pub(super) fn read(&self, path: &str, limit: u64) -> io::Result<Option<String>> {
        let Some(found) = self.resolve(path)? else {
            return Ok(None);
        };
        if found.kind != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.file(&found)?.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Opens what was found; it must be a regular file or a directory.
    pub(super) fn file(&self, found: &Found) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path: &[u8] = if found.path.is_empty() {
            b"."
        } else {
            &found.path
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let root = &self.layers[found.layer];
        Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?.into())
    }

    /// The metadata of what was found, but for its attributes: links have none.
    pub(super) fn link_metadata(&self, found: &Found) -> io::Result<Stat> {
        let root = &self.layers[found.layer];
        let path = found.path.as_slice();
        Ok(rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The target of the symbolic link that was found.
    pub(super) fn read_link(&self, found: &Found) -> io::Result<Vec<u8>> {
        read_link_at(self.layers[found.layer].as_fd(), &found.path)
    }
}

enum Look {
    Here(FileType, u32),
    /// The layers below may have it.
    Below,
    /// The layers below must not show it.
    Hidden,
}

fn look(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<Look> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut opaque = is_opaque(root)?;
    let ends = (0..path.len())
        .filter(|at| path[*at] == b'/')
        .chain([path.len()]);
    for end in ends {
        let prefix: &[u8] = if end == 0 { b"." } else { &path[..end] };
        let (parent, name) = match prefix.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&prefix[..at], &prefix[at + 1..]),
            None => (&b"."[..], prefix),
        };
        let parent = rustix::fs::openat2(root, parent, flags, Mode::empty(), resolve)?;
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) if opaque => return Ok(Look::Hidden),
            Err(Errno::NOENT) => return Ok(Look::Below),
            Err(error) => return Err(error.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return Ok(Look::Hidden);
        }
        if end == path.len() {
            return Ok(Look::Here(kind, stat.st_mode & 0o7777));
        }
        if kind != FileType::Directory {
            return Ok(Look::Hidden);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat2(root, prefix, flags, Mode::empty(), resolve)?;
        opaque = opaque || is_opaque(directory.as_fd())?;
    }
    Ok(Look::Below)
}

pub(super) fn is_opaque(directory: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value = [0_u8; 8];
    match rustix::fs::fgetxattr(directory, "trusted.overlay.opaque", &mut value[..]) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The components of a path, the first one last.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

/// The names in an open directory, but for those of itself and its parent.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The target of the symbolic link `name` in `parent`.
pub(super) fn read_link_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}

/// The extended attributes of an open file.
pub(super) fn xattrs(file: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // Most files have none or few; all that a file can have is 64 KiB.
    let mut names = vec![0_u8; 512];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::RANGE) => {
            names.resize(64 << 10, 0);
            rustix::fs::flistxattr(file, &mut names[..])?
        }
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0_u8; 64 << 10];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                found.push((name.to_owned(), value));
            }
            Err(Errno::NODATA | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn layers() -> (tempfile::TempDir, Rootfs) {
        let directory = tempfile::tempdir().unwrap();
        let lower = directory.path().join("lower");
        let upper = directory.path().join("upper");
        std::fs::create_dir_all(lower.join("usr/lib/systemd")).unwrap();
        std::fs::create_dir_all(lower.join("gone")).unwrap();
        std::fs::create_dir_all(upper.join("etc")).unwrap();
        std::fs::write(lower.join("usr/lib/systemd/systemd"), "x").unwrap();
        std::fs::write(lower.join("gone/x"), "x").unwrap();
        symlink("usr/lib", lower.join("lib")).unwrap();
        symlink("/lib/systemd/systemd", lower.join("init")).unwrap();
        symlink("../../../../../etc/passwd", upper.join("etc/escape")).unwrap();
        symlink("loop", upper.join("loop")).unwrap();
        let mode = Mode::empty();
        rustix::fs::mknodat(CWD, upper.join("gone"), FileType::CharacterDevice, mode, 0).unwrap();
        let rootfs = Rootfs::open(&[upper, lower]).unwrap();
        (directory, rootfs)
    }

    #[test]
    fn links_are_followed_within_the_root() {
        let (_directory, rootfs) = layers();
        assert_eq!(rootfs.read("/init", 10).unwrap().as_deref(), Some("x"));
        assert!(rootfs.exists("lib/systemd").unwrap());
        assert!(
            !rootfs.exists("/etc/escape").unwrap(),
            "there is no passwd in this root"
        );
        assert!(!rootfs.exists("/loop").unwrap());
        assert!(rootfs.exists("/").unwrap());
    }

    #[test]
    fn whiteouts_hide() {
        let (_directory, rootfs) = layers();
        assert!(!rootfs.exists("gone").unwrap());
        assert!(!rootfs.exists("gone/x").unwrap());
    }
}
