//! What is in a layer that was made here: taken without what differs from one run to the next.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use sha2::{Digest as _, Sha256};

use crate::image::digest::Digest;

/// Counts and the digest of a layer's content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) entries: u64,
    /// In its files.
    pub(super) bytes: u64,
    /// Over names, types, modes, owners, times, targets, attributes and the files' bytes.
    pub(super) digest: Digest,
}

/// Gives everything that the run has written the time of the newest thing that it has brought
/// along, such as a package's file: the time of the run says nothing about the image. This is what
/// `SOURCE_DATE_EPOCH` is to a build. Where nothing was brought, `otherwise` is the time.
pub(super) fn clamp_times(layer: &Path, began: SystemTime, otherwise: i64) -> io::Result<()> {
    let began = began
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed());
    let mut newest = None;
    walk(layer, &mut |entry| {
        if entry.stat.st_mtime < began {
            newest = newest.max(Some(entry.stat.st_mtime));
        }
        Ok(())
    })?;
    let time = Timespec {
        tv_sec: newest.unwrap_or(otherwise),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    // Only times change, and those of a directory do not change by that: one after the other.
    walk(layer, &mut |entry| {
        if entry.stat.st_mtime >= began {
            rustix::fs::utimensat(entry.parent, entry.name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    })?;
    // The root of the layer is that of the image, once they are put together.
    Ok(rustix::fs::utimensat(
        rustix::fs::CWD,
        layer,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Reads all of a layer.
pub(super) fn content(layer: &Path) -> io::Result<Content> {
    use std::fmt::Write as _;

    let (mut entries, mut bytes) = (0, 0);
    let mut hasher = Sha256::new();
    let root = rustix::fs::stat(layer)?;
    hasher.update(format!(
        "{:o} {}:{} {}\n",
        root.st_mode, root.st_uid, root.st_gid, root.st_mtime
    ));
    walk(layer, &mut |entry| {
        let stat = &entry.stat;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "{} {:o} {}:{} {}.{:09}",
            entry.path.escape_ascii(),
            stat.st_mode,
            stat.st_uid,
            stat.st_gid,
            stat.st_mtime,
            stat.st_mtime_nsec
        );
        entries += 1;
        match kind {
            FileType::RegularFile => {
                bytes += stat.st_size.cast_unsigned();
                let file = open(entry.parent, entry.name, OFlags::empty())?;
                attributes(&file, &mut line)?;
                let _ = write!(line, " {}", hash(File::from(file))?);
            }
            FileType::Directory => {
                let directory = open(entry.parent, entry.name, OFlags::DIRECTORY)?;
                attributes(&directory, &mut line)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(entry.parent, entry.name, Vec::new())?;
                let _ = write!(line, " {}", target.to_bytes().escape_ascii());
            }
            _ => {
                let _ = write!(line, " {:x}", stat.st_rdev);
            }
        }
        line.push('\n');
        hasher.update(line.as_bytes());
        Ok(())
    })?;
    let digest = Digest::of_hash(hasher.finalize().into());
    Ok(Content {
        entries,
        bytes,
        digest,
    })
}

/// An entry below the layer's root.
struct Entry<'a> {
    parent: BorrowedFd<'a>,
    name: &'a [u8],
    /// Without a slash in front.
    path: &'a [u8],
    stat: Stat,
}

/// Visits everything below the root, by name; a directory comes before what is in it.
fn walk(root: &Path, visit: &mut impl FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())?;
    descend(&root, &mut Vec::new(), visit)
}

fn descend(
    directory: &OwnedFd,
    path: &mut Vec<u8>,
    visit: &mut impl FnMut(&Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut names = super::names(directory)?;
    names.sort();
    for name in names {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend(&name);
        let stat = rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        visit(&Entry {
            parent: directory.as_fd(),
            name: &name,
            path,
            stat,
        })?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let below = open(directory.as_fd(), &name, OFlags::DIRECTORY)?;
            descend(&below, path, visit)?;
        }
        path.truncate(length);
    }
    Ok(())
}

fn open(parent: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn hash(mut file: File) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::of_hash(hasher.finalize().into())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Adds the extended attributes, but for what overlayfs notes about where a copy came from.
fn attributes(file: &OwnedFd, line: &mut String) -> io::Result<()> {
    use std::fmt::Write as _;

    const PASSING: [&[u8]; 5] = [
        b"trusted.overlay.origin",
        b"trusted.overlay.impure",
        b"trusted.overlay.nlink",
        b"trusted.overlay.uuid",
        b"trusted.overlay.upper",
    ];
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(file, &mut list[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        length => length?,
    };
    let mut names: Vec<&[u8]> = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !PASSING.contains(name))
        .collect();
    names.sort_unstable();
    let mut value = vec![0; 64 << 10];
    for name in names {
        let length = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        let _ = write!(
            line,
            " {}={}",
            name.escape_ascii(),
            value[..length].escape_ascii()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn layer(text: &str, age: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let brought = directory.path().join("etc/brought");
        std::fs::write(&brought, "from a package").unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(&brought).unwrap().set_modified(time).unwrap();
        let written = directory.path().join("written");
        std::fs::write(&written, text).unwrap();
        std::os::unix::fs::symlink("written", directory.path().join("link")).unwrap();
        let time = SystemTime::now() + Duration::from_secs(age);
        File::open(&written).unwrap().set_modified(time).unwrap();
        directory
    }

    #[test]
    fn the_time_of_a_run_does_not_show() {
        let began = SystemTime::now();
        let (one, other) = (layer("x", 10), layer("x", 20));
        let digest = |layer: &tempfile::TempDir| content(layer.path()).unwrap().digest;
        assert_ne!(digest(&one), digest(&other));
        for layer in [&one, &other] {
            clamp_times(layer.path(), began, 0).unwrap();
        }
        assert_eq!(digest(&one), digest(&other));
        let found = std::fs::symlink_metadata(one.path().join("link")).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(found.modified().unwrap(), time);
    }

    #[test]
    fn any_difference_shows() {
        let began = SystemTime::now();
        let taken = |change: &dyn Fn(&Path)| {
            let layer = layer("x", 0);
            change(layer.path());
            clamp_times(layer.path(), began, 0).unwrap();
            content(layer.path()).unwrap().digest
        };
        let plain = taken(&|_| {});
        assert_eq!(taken(&|_| {}), plain);
        let set_id = || std::os::unix::fs::PermissionsExt::from_mode(0o4755);
        let changes: [&dyn Fn(&Path); 5] = [
            &|root| std::fs::write(root.join("written"), "y").unwrap(),
            &|root| std::fs::rename(root.join("written"), root.join("renamed")).unwrap(),
            &|root| std::fs::set_permissions(root.join("written"), set_id()).unwrap(),
            &|root| std::os::unix::fs::chown(root.join("written"), Some(1), None).unwrap(),
            &|root| std::fs::create_dir(root.join("empty")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(taken(change), plain, "change {number}");
        }
    }
}
