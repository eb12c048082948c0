//! Changes below the root of a layer, by descriptors only.
//!
//! A parent directory is opened with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`; all that
//! follows names one component relative to that descriptor and never follows a link.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::entry::{Metadata, is_wanted_xattr};
use crate::image::rootfs::{read_link_at, xattrs};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
const BUFFER: usize = 128 << 10;
const HOLE: usize = 4096;

/// The root of a layer in the making.
pub(in crate::image) struct Tree {
    root: OwnedFd,
    /// The parent that was used last: entries of one directory mostly come together.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// What goes through it on its way to a file.
    buffer: Vec<u8>,
}

/// A parent directory that had to be made because no entry had named it so far.
pub(super) type Implied = Vec<u8>;

/// The special files that a layer may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

impl Tree {
    /// Opens a directory as the root of a layer.
    pub(in crate::image) fn open(path: &Path) -> io::Result<Self> {
        let root = rustix::fs::openat(
            CWD,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            root,
            last: None,
            buffer: vec![0; BUFFER],
        })
    }

    fn open_directory(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            BENEATH,
        )
    }

    /// The descriptor of the parent of `path`; directories that are missing on the way are made
    /// and added to `implied`.
    fn parent<'p>(
        &mut self,
        path: &'p [u8],
        implied: &mut Vec<Implied>,
    ) -> io::Result<(BorrowedFd<'_>, &'p [u8])> {
        let (parent, name) = split(path);
        let known = self.last.as_ref().is_some_and(|(last, _)| last == parent);
        if !known {
            let descriptor = match self.open_directory(parent, OFlags::PATH) {
                Ok(descriptor) => descriptor,
                Err(Errno::NOENT) => self.make_parents(parent, implied)?,
                Err(error) => return Err(not_a_directory(error)),
            };
            self.last = Some((parent.to_owned(), descriptor));
        }
        let (_, descriptor) = self.last.as_ref().ok_or(Errno::NOENT)?;
        Ok((descriptor.as_fd(), name))
    }

    fn make_parents(&self, path: &[u8], implied: &mut Vec<Implied>) -> io::Result<OwnedFd> {
        let mut current = self.open_directory(b"", OFlags::PATH)?;
        let mut end = 0;
        for name in path.split(|byte| *byte == b'/') {
            end += name.len();
            match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => implied.push(path[..end].to_owned()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            end += 1;
            current = rustix::fs::openat2(
                &current,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
                BENEATH,
            )
            .map_err(not_a_directory)?;
        }
        Ok(current)
    }

    /// What kind of file is at `path`, if there is one; a parent that is none counts as nothing.
    pub(super) fn kind(&self, path: &[u8]) -> io::Result<Option<FileType>> {
        if path.is_empty() {
            return Ok(Some(FileType::Directory));
        }
        let (parent, name) = split(path);
        let found = self
            .open_directory(parent, OFlags::PATH)
            .and_then(|parent| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory, or keeps the one that is there; its metadata comes last, by
    /// [`Tree::finish_directory`]. Returns whether something else was removed for it.
    pub(super) fn directory(
        &mut self,
        path: &[u8],
        implied: &mut Vec<Implied>,
    ) -> io::Result<bool> {
        if path.is_empty() {
            return Ok(false);
        }
        let (parent, name) = self.parent(path, implied)?;
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => Ok(false),
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    return Ok(false);
                }
                rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file of `size` bytes from `content`; with `sparse`, what is zero stays a hole.
    pub(super) fn file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        content: &mut dyn Read,
        (size, sparse): (u64, bool),
        implied: &mut Vec<Implied>,
    ) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.create(path, implied).and_then(|mut file| {
            if sparse {
                copy_sparse(content, &mut file, size)?;
            } else {
                copy(content, &mut file, size, &mut buffer)?;
            }
            apply(&file, metadata)
        });
        self.buffer = buffer;
        outcome
    }

    /// Makes a new, empty file.
    fn create(&mut self, path: &[u8], implied: &mut Vec<Implied>) -> io::Result<File> {
        let (parent, name) = self.parent(path, implied)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600));
        let descriptor = match create() {
            Err(Errno::EXIST) => {
                remove_at(parent, name)?;
                create()?
            }
            other => other?,
        };
        Ok(File::from(descriptor))
    }

    /// Makes a symbolic link.
    pub(super) fn symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        metadata: &Metadata,
        implied: &mut Vec<Implied>,
    ) -> io::Result<()> {
        let (parent, name) = self.parent(path, implied)?;
        replacing(parent, name, || rustix::fs::symlinkat(target, parent, name))?;
        apply_at(parent, name, metadata)
    }

    /// Makes a device or a fifo.
    pub(super) fn node(
        &mut self,
        path: &[u8],
        node: Node,
        metadata: &Metadata,
        implied: &mut Vec<Implied>,
    ) -> io::Result<()> {
        let (parent, name) = self.parent(path, implied)?;
        let (kind, device) = match node {
            Node::Character(major, minor) => {
                (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
            }
            Node::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
            Node::Fifo => (FileType::Fifo, 0),
        };
        replacing(parent, name, || {
            rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
        })?;
        apply_at(parent, name, metadata)?;
        // Just made by us, so this is no symbolic link that could be followed.
        let mode = Mode::from_raw_mode(metadata.mode);
        Ok(rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?)
    }

    /// Links `path` to the file at `target`, which is below the same root.
    pub(super) fn hard_link(
        &mut self,
        path: &[u8],
        target: &[u8],
        implied: &mut Vec<Implied>,
    ) -> io::Result<()> {
        let (target_parent, target_name) = split(target);
        let target_parent = self.open_directory(target_parent, OFlags::PATH)?;
        let (parent, name) = self.parent(path, implied)?;
        replacing(parent, name, || {
            rustix::fs::linkat(&target_parent, target_name, parent, name, AtFlags::empty())
        })
    }

    /// Makes the sign by which overlayfs hides `path` in the layers below.
    pub(super) fn whiteout(&mut self, path: &[u8], implied: &mut Vec<Implied>) -> io::Result<()> {
        let (parent, name) = self.parent(path, implied)?;
        let mode = Mode::empty();
        rustix::fs::mknodat(parent, name, FileType::CharacterDevice, mode, 0)?;
        Ok(())
    }

    /// Makes the sign by which overlayfs hides what the layers below have in the directory.
    pub(super) fn opaque(&mut self, path: &[u8]) -> io::Result<()> {
        let directory = self.open_directory(path, OFlags::RDONLY)?;
        let name = "trusted.overlay.opaque";
        rustix::fs::fsetxattr(&directory, name, b"y", XattrFlags::empty())?;
        Ok(())
    }

    /// Gives a directory its metadata; one that is no longer there is left alone.
    pub(super) fn finish_directory(&self, path: &[u8], metadata: &Metadata) -> io::Result<()> {
        match self.open_directory(path, OFlags::RDONLY) {
            Ok(directory) => apply(&directory, metadata),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the parent that was used last, because it may have been replaced.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn not_a_directory(error: Errno) -> io::Error {
    match error {
        Errno::NOTDIR | Errno::LOOP | Errno::XDEV => io::Error::new(
            io::ErrorKind::NotADirectory,
            "it lies below something that is not a directory",
        ),
        error => error.into(),
    }
}

/// Makes something at `name`, after what is there, if anything is, has been unlinked.
fn replacing(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<()>,
) -> io::Result<()> {
    match make() {
        Err(Errno::EXIST) => {
            remove_at(parent, name)?;
            Ok(make()?)
        }
        other => Ok(other?),
    }
}

/// Removes `name` and, if it is a directory, all that is in it.
pub(in crate::image) fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_owned());
        }
    }
    for name in names {
        remove_at(directory.as_fd(), &name)?;
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: metadata.seconds,
        tv_nsec: metadata.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Owner first: changing it drops set-id bits and capabilities. The time comes last.
fn apply(file: impl AsFd, metadata: &Metadata) -> io::Result<()> {
    let file = file.as_fd();
    if (metadata.uid, metadata.gid) != (0, 0) {
        let owner = Some(Uid::from_raw(metadata.uid));
        rustix::fs::fchown(file, owner, Some(Gid::from_raw(metadata.gid)))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode))?;
    for (name, value) in &metadata.xattrs {
        rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(rustix::fs::futimens(file, &times(metadata))?)
}

fn apply_at(parent: BorrowedFd<'_>, name: &[u8], metadata: &Metadata) -> io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    if (metadata.uid, metadata.gid) != (0, 0) {
        let owner = Some(Uid::from_raw(metadata.uid));
        rustix::fs::chownat(
            parent,
            name,
            owner,
            Some(Gid::from_raw(metadata.gid)),
            nofollow,
        )?;
    }
    Ok(rustix::fs::utimensat(
        parent,
        name,
        &times(metadata),
        nofollow,
    )?)
}

fn copy(content: &mut dyn Read, file: &mut File, size: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(BUFFER).min(buffer.len());
        let length = content.read(&mut buffer[..want])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all(&buffer[..length])?;
        left -= length as u64;
    }
    Ok(())
}

fn copy_sparse(content: &mut dyn Read, file: &mut File, size: u64) -> io::Result<()> {
    rustix::fs::ftruncate(&*file, size)?;
    let mut buffer = [0; HOLE];
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(HOLE).min(HOLE);
        let mut filled = 0;
        while filled < want {
            let length = content.read(&mut buffer[filled..want])?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += length;
        }
        if buffer[..filled].iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&buffer[..filled])?;
        }
        at += filled as u64;
    }
    Ok(())
}

/// The metadata of an open file, as a layer keeps it.
pub(in crate::image) fn metadata_of(file: impl AsFd) -> io::Result<Metadata> {
    let stat = rustix::fs::fstat(&file)?;
    let mut kept = xattrs(file.as_fd())?;
    kept.retain(|(name, _)| is_wanted_xattr(name));
    Ok(metadata_from(&stat, kept))
}

fn metadata_from(stat: &rustix::fs::Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Metadata {
    Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        xattrs,
    }
}

/// Copies the directory `from`, without leaving its file system, into the empty directory `to`.
///
/// Hard links within the tree stay links. Sockets are left out, as tar leaves them out.
pub(in crate::image) fn copy_tree(
    from: &Path,
    to: &Path,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(CWD, from, flags, Mode::empty())?;
    let mut copier = Copier {
        tree: Tree::open(to)?,
        device: rustix::fs::fstat(&source)?.st_dev,
        links: std::collections::HashMap::new(),
        cancelled,
    };
    copier.directory(source.as_fd(), b"", 0)
}

struct Copier<'a> {
    tree: Tree,
    device: u64,
    links: std::collections::HashMap<u64, Vec<u8>>,
    cancelled: &'a dyn Fn() -> bool,
}

impl Copier<'_> {
    fn directory(&mut self, source: BorrowedFd<'_>, path: &[u8], depth: usize) -> io::Result<()> {
        if depth > 256 {
            return Err(io::Error::other("the directories are nested too deeply"));
        }
        let metadata = metadata_of(source)?;
        self.tree.directory(path, &mut Vec::new())?;
        for entry in rustix::fs::Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if (self.cancelled)() {
                return Err(io::Error::other("interrupted"));
            }
            let mut below = path.to_owned();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name);
            self.entry(source, name, &below, depth).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", below.escape_ascii()))
            })?;
        }
        self.tree.finish_directory(path, &metadata)
    }

    fn entry(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let open = |flags| {
            let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        };
        let implied = &mut Vec::new();
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(target) = self.links.get(&stat.st_ino).cloned() {
                return self.tree.hard_link(path, &target, implied);
            }
            self.links.insert(stat.st_ino, path.to_owned());
        }
        let plain = metadata_from(&stat, Vec::new());
        match kind {
            FileType::Directory => {
                // What is mounted there belongs to the host, such as /proc.
                if stat.st_dev != self.device {
                    self.tree.directory(path, implied)?;
                    return self.tree.finish_directory(path, &plain);
                }
                let directory = open(OFlags::DIRECTORY)?;
                self.directory(directory.as_fd(), path, depth + 1)
            }
            FileType::RegularFile => {
                let mut file = File::from(open(OFlags::NONBLOCK)?);
                let metadata = metadata_of(&file)?;
                let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
                let blocks = u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
                let shape = (size, blocks < size);
                self.tree.file(path, &metadata, &mut file, shape, implied)
            }
            FileType::Symlink => {
                let target = read_link_at(parent, name)?;
                self.tree.symlink(path, &target, &plain, implied)
            }
            FileType::Fifo => self.tree.node(path, Node::Fifo, &plain, implied),
            FileType::CharacterDevice | FileType::BlockDevice => {
                let number = (
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev),
                );
                let node = match kind {
                    FileType::BlockDevice => Node::Block(number.0, number.1),
                    // An overlay's own whiteout, which must not act as ours.
                    _ if number == (0, 0) => return Ok(()),
                    _ => Node::Character(number.0, number.1),
                };
                self.tree.node(path, node, &plain, implied)
            }
            _ => Ok(()),
        }
    }
}
