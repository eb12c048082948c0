//! The content listing: what a layer was verified to hold, so that its directory can be compared
//! with it at any later time.
//!
//! It is a file beside the layer's root, in the format of
//! [mtree(5)](https://man.freebsd.org/cgi/man.cgi?query=mtree&sektion=5), one line an entry:
//!
//! ```text
//! #mtree
//! ./etc/hosts type=file mode=0644 uid=0 gid=0 time=1000000000.000000000 size=9 sha256digest=…
//! ./etc/mtab type=link mode=0777 uid=0 gid=0 time=1000000000.000000000 link=/proc/mounts
//! ./etc type=dir mode=0755 uid=0 gid=0 time=1000000000.000000000
//! . type=dir mode=0755 uid=0 gid=0 time=1000000000.000000000
//! ```
//!
//! A directory comes after what is in it; beyond that the order means nothing. Bytes that are not
//! graphic ASCII, and `\`, `#` and `=`, are written as a backslash and three octal digits. Devices
//! have `device=native,MAJOR,MINOR`; extended attributes are `xattr.NAME=BASE64`. The signs of
//! overlayfs are listed as what they are to the file system: a whiteout is a character device 0,0,
//! an opaque directory has `xattr.trusted.overlay.opaque=eQ==`. How many names a file has is left
//! out: a store may be copied by links.
//!
//! [`record`] writes one; [`verify`] reads everything again and tells each difference. The listing
//! is trusted only if it has the digest that was noted when it was written.

mod record;
mod verify;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

pub(super) use record::Recorder;
pub(in crate::image) use record::{Listed, record};
pub use verify::{Difference, verify};

use crate::image::digest::{Digest, Hasher};
use crate::image::rootfs::{read_link_at, xattrs};

/// The first line, by which other tools know the format.
const SIGNATURE: &str = "#mtree\n";
const BUFFER: usize = 128 << 10;

/// Whether a listing tells the attribute: those that a layer may have, and those of overlayfs.
/// Others, such as labels, are the host's.
fn is_listed(name: &[u8]) -> bool {
    name == b"security.capability"
        || name.starts_with(b"user.")
        || name.starts_with(b"trusted.overlay.")
}

/// Writes a path, a link's target or an attribute's name as mtree does.
fn escape(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\\' | b'#' | b'=' => {
                let _ = write!(line, "\\{byte:03o}");
            }
            0x21..=0x7e => line.push(char::from(*byte)),
            _ => {
                let _ = write!(line, "\\{byte:03o}");
            }
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'\\' {
            let octal = std::str::from_utf8(tail.get(..3)?).ok()?;
            bytes.push(u8::from_str_radix(octal, 8).ok()?);
            rest = &tail[3..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}

/// Where descriptions are made: what is told of a file, and what is needed for it.
struct Describer<'a> {
    cancel: &'a AtomicBool,
    buffer: Vec<u8>,
}

/// What is known about a file without reading it.
#[derive(Debug, Clone, Copy)]
struct Known {
    digest: Digest,
    /// Whether it has extended attributes.
    attributed: bool,
}

impl<'a> Describer<'a> {
    fn new(cancel: &'a AtomicBool) -> Self {
        Self {
            cancel,
            buffer: vec![0; BUFFER],
        }
    }

    /// Writes the keywords of `name` in `parent` to `line`.
    fn describe(
        &mut self,
        line: &mut String,
        (parent, name): (BorrowedFd<'_>, &[u8]),
        stat: &rustix::fs::Stat,
        known: Option<Known>,
    ) -> io::Result<()> {
        // Writing into a String cannot fail, here and below.
        let kind = FileType::from_raw_mode(stat.st_mode);
        let word = match kind {
            FileType::RegularFile => "file",
            FileType::Directory => "dir",
            FileType::Symlink => "link",
            FileType::CharacterDevice => "char",
            FileType::BlockDevice => "block",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
            FileType::Unknown => return Err(io::Error::other("a file of no known kind")),
        };
        let _ = write!(
            line,
            "type={word} mode={:04o} uid={} gid={} time={}.{:09}",
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid,
            stat.st_mtime,
            stat.st_mtime_nsec,
        );
        match kind {
            FileType::RegularFile => {
                let _ = write!(line, " size={}", stat.st_size);
                let digest = match known {
                    Some(known) if !known.attributed => known.digest,
                    _ => {
                        let file = File::from(open(parent, name)?);
                        attributes(line, file.as_fd())?;
                        match known {
                            Some(known) => known.digest,
                            None => self.digest(file)?,
                        }
                    }
                };
                let _ = write!(line, " sha256digest={}", digest.hex());
            }
            FileType::Directory => attributes(line, open(parent, name)?.as_fd())?,
            FileType::Symlink => {
                line.push_str(" link=");
                escape(line, &read_link_at(parent, name)?);
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let _ = write!(
                    line,
                    " device=native,{},{}",
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev)
                );
            }
            _ => {}
        }
        Ok(())
    }

    fn digest(&mut self, mut file: File) -> io::Result<Digest> {
        let mut hasher = Hasher::new();
        loop {
            self.go_on()?;
            let length = file.read(&mut self.buffer)?;
            if length == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(&self.buffer[..length]);
        }
    }

    fn go_on(&self) -> io::Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        Ok(())
    }
}

fn attributes(line: &mut String, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut found = xattrs(file)?;
    found.retain(|(name, _)| is_listed(name));
    found.sort();
    for (name, value) in found {
        line.push_str(" xattr.");
        escape(line, &name);
        line.push('=');
        line.push_str(&BASE64.encode(value));
    }
    Ok(())
}

/// Opens a file or a directory, never anything else: `name` is no link, and its kind is known.
fn open(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn stat(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<rustix::fs::Stat> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The names in a directory, one after the other.
fn names(directory: impl AsFd) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let entries = rustix::fs::Dir::read_from(directory)?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) => match entry.file_name().to_bytes() {
            b"." | b".." => None,
            name => Some(Ok(name.to_owned())),
        },
        Err(error) => Some(Err(error.into())),
    }))
}

#[cfg(test)]
mod tests;
