//! Changes below the root of a layer, by descriptors only.
//!
//! A parent directory is opened with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`; all that
//! follows names one component relative to that descriptor and never follows a link.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Advice, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::Errno;

use super::LayerError;
use super::entry::Metadata;
use super::metadata::{SET_GROUP, apply, apply_at, apply_early};
use super::notes::{Directory, Notes};
use super::write::Source;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
/// From this size on a file is worth being written to the disk before the layer is whole.
const EARLY: i64 = 64 << 10;
const OPAQUE: &str = "trusted.overlay.opaque";

/// The root of a layer in the making, and what has to be remembered of it.
pub(super) struct Tree {
    root: OwnedFd,
    /// The parent that was used last: entries of one directory mostly come together.
    last: Option<(Vec<u8>, OwnedFd)>,
    pub(super) notes: Notes,
}

/// The special files that a layer may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// Why a change is not made: the system does not, or the layer is more than it may be.
pub(super) enum Trouble {
    System(io::Error),
    Layer(LayerError),
}

impl Trouble {
    /// What it means for the entry at `path`.
    pub(super) fn at(self, path: &[u8]) -> LayerError {
        let source = match self {
            Self::Layer(error) => return error,
            Self::System(source) => source,
        };
        match source.kind() {
            io::ErrorKind::NotADirectory => LayerError::refused(path, source.to_string()),
            io::ErrorKind::UnexpectedEof => LayerError::refused(path, "the archive ends within it"),
            _ => LayerError::write(path, source),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

impl From<LayerError> for Trouble {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl Tree {
    /// Opens an empty directory as the root of a layer.
    pub(super) fn open(path: &Path, notes: Notes) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self {
            root,
            last: None,
            notes,
        })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn open_directory(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), BENEATH)
    }

    /// Has the parent of `path` open as the last one, and gives the name in it; directories that
    /// are missing on the way are made, and noted as implied.
    fn enter<'p>(&mut self, path: &'p [u8]) -> Result<&'p [u8], Trouble> {
        let (parent, name) = split(path);
        if self.last.as_ref().is_none_or(|(last, _)| last != parent) {
            let descriptor = match self.open_directory(parent, OFlags::PATH) {
                Ok(descriptor) => descriptor,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_directories(parent)?,
                Err(error) => return Err(not_a_directory(error).into()),
            };
            self.last = Some((parent.to_owned(), descriptor));
        }
        Ok(name)
    }

    /// The directory that was entered last.
    fn entered(&self) -> BorrowedFd<'_> {
        self.last
            .as_ref()
            .map_or(self.root.as_fd(), |(_, parent)| parent.as_fd())
    }

    /// Makes what is missing of the directory at `path` and of those above it.
    fn make_directories(&mut self, path: &[u8]) -> Result<OwnedFd, Trouble> {
        let mut current = self.open_directory(b"", OFlags::PATH)?;
        for name in path.split(|byte| *byte == b'/') {
            let mode = Mode::from_raw_mode(0o755);
            let note = match rustix::fs::mkdirat(&current, name, mode) {
                Ok(()) => Some(Directory::Implied),
                // Something new in the place of what a whiteout has hidden.
                Err(Errno::EXIST) if is_whiteout(current.as_fd(), name)? => {
                    rustix::fs::unlinkat(&current, name, AtFlags::empty())?;
                    rustix::fs::mkdirat(&current, name, mode)?;
                    Some(Directory::PLAIN)
                }
                Err(Errno::EXIST) => None,
                Err(error) => return Err(error.into()),
            };
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = |flags| rustix::fs::openat2(&current, name, flags, Mode::empty(), BENEATH);
            let next = open(flags | OFlags::RDONLY).map_err(not_a_directory)?;
            if let Some(note) = note {
                rustix::fs::fchmod(&next, mode)?;
                self.notes.directory(inode(&next)?, note)?;
                if note == Directory::PLAIN {
                    self.mark_opaque(next.as_fd())?;
                }
            }
            current = next;
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
            Ok(stat) if is_whiteout_stat(&stat) => Ok(None),
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory, or gives the one that is there other metadata.
    ///
    /// One that takes the place of something else, a whiteout say, has nothing to do with what the
    /// layers below have there.
    pub(super) fn directory(&mut self, path: &[u8], metadata: &Metadata) -> Result<(), Trouble> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, new, opaque) = if path.is_empty() {
            (self.open_directory(b"", OFlags::RDONLY)?, false, false)
        } else {
            let name = self.enter(path)?;
            let parent = self.entered();
            let mode = Mode::from_raw_mode(0o700);
            let (new, opaque) = match rustix::fs::mkdirat(parent, name, mode) {
                Ok(()) => (true, false),
                Err(Errno::EXIST) => {
                    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        (false, false)
                    } else {
                        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
                        rustix::fs::mkdirat(parent, name, mode)?;
                        (true, true)
                    }
                }
                Err(error) => return Err(error.into()),
            };
            let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            (directory, new, opaque)
        };
        let inode = inode(&directory)?;
        let had_attributes = !new && self.notes.is_attributed(inode);
        apply_early(directory.as_fd(), metadata, had_attributes)?;
        if !metadata.xattrs.is_empty() {
            self.notes.attributed(inode)?;
        }
        let note = Directory::Said {
            seconds: metadata.seconds,
            nanoseconds: metadata.nanoseconds,
            set_group: metadata.mode & SET_GROUP != 0,
        };
        self.notes.directory(inode, note)?;
        if opaque {
            self.mark_opaque(directory.as_fd())?;
        }
        // What is in it mostly comes next.
        self.last = Some((path.to_owned(), directory));
        Ok(())
    }

    /// Makes a file.
    pub(super) fn file(
        &mut self,
        path: &[u8],
        metadata: &Metadata,
        source: &mut Source<'_>,
    ) -> Result<(), Trouble> {
        let name = self.enter(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |parent: BorrowedFd<'_>| {
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
        };
        let created = create(self.entered());
        let descriptor = match created {
            Err(Errno::EXIST) => {
                self.remove(name)?;
                create(self.entered())?
            }
            other => other?,
        };
        let mut file = File::from(descriptor);
        let digest = source.write_to(&mut file)?;
        apply(&file, metadata)?;
        let stat = rustix::fs::fstat(&file)?;
        if stat.st_size >= EARLY {
            // Dirty pages are on their way to the disk then while the next file is inflated. They
            // are not dropped: that needs them to be clean.
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        if stat.st_size > 0 {
            self.notes.file(stat.st_ino, digest)?;
        }
        if !metadata.xattrs.is_empty() {
            self.notes.attributed(stat.st_ino)?;
        }
        Ok(())
    }

    /// Makes a symbolic link.
    pub(super) fn symlink(
        &mut self,
        path: &[u8],
        target: &[u8],
        metadata: &Metadata,
    ) -> Result<(), Trouble> {
        let name = self.enter(path)?;
        self.replacing(name, |parent| rustix::fs::symlinkat(target, parent, name))?;
        Ok(apply_at(self.entered(), name, metadata)?)
    }

    /// Makes a device or a fifo.
    pub(super) fn node(
        &mut self,
        path: &[u8],
        node: Node,
        metadata: &Metadata,
    ) -> Result<(), Trouble> {
        let name = self.enter(path)?;
        let (kind, device) = match node {
            Node::Character(major, minor) => {
                (FileType::CharacterDevice, rustix::fs::makedev(major, minor))
            }
            Node::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
            Node::Fifo => (FileType::Fifo, 0),
        };
        self.replacing(name, |parent| {
            rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)
        })?;
        apply_at(self.entered(), name, metadata)?;
        // Just made by us, so this is no symbolic link that could be followed.
        let mode = Mode::from_raw_mode(metadata.mode);
        rustix::fs::chmodat(self.entered(), name, mode, AtFlags::empty())?;
        let times = super::metadata::times(metadata.seconds, metadata.nanoseconds);
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(
            self.entered(),
            name,
            &times,
            nofollow,
        )?)
    }

    /// Links `path` to the file at `target`, which is below the same root.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Trouble> {
        let (target_parent, target_name) = split(target);
        let target_parent = self.open_directory(target_parent, OFlags::PATH)?;
        let name = self.enter(path)?;
        self.replacing(name, |parent| {
            rustix::fs::linkat(&target_parent, target_name, parent, name, AtFlags::empty())
        })
    }

    /// Hides `path` in the layers below by the sign that overlayfs has for it. What this layer has
    /// there stays, wherever in the archive it comes.
    pub(super) fn whiteout(&mut self, path: &[u8]) -> Result<(), Trouble> {
        let name = self.enter(path)?;
        let parent = self.entered();
        let kind = FileType::CharacterDevice;
        match rustix::fs::mknodat(parent, name, kind, Mode::empty(), 0) {
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        if self.notes.find_directory(stat.st_ino) == Some(Directory::Implied) {
            self.notes.directory(stat.st_ino, Directory::PLAIN)?;
        }
        self.mark_opaque(directory.as_fd())
    }

    /// Hides what the layers below have in the directory, which is made if it is not there.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Result<(), Trouble> {
        let directory = match self.open_directory(path, OFlags::RDONLY) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_directories(path)?,
            Err(error) => return Err(not_a_directory(error).into()),
        };
        self.mark_opaque(directory.as_fd())
    }

    fn mark_opaque(&mut self, directory: BorrowedFd<'_>) -> Result<(), Trouble> {
        rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())?;
        Ok(self.notes.opaque(inode(directory)?)?)
    }

    /// Makes something in the directory that was entered, after what is there has been removed.
    fn replacing(
        &mut self,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> Result<(), Trouble> {
        let first = make(self.entered());
        match first {
            Err(Errno::EXIST) => {
                self.remove(name)?;
                Ok(make(self.entered())?)
            }
            other => Ok(other?),
        }
    }

    /// Removes `name` from the directory that was entered, and what was noted about it.
    fn remove(&mut self, name: &[u8]) -> io::Result<()> {
        let parent = self
            .last
            .as_ref()
            .map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
        let notes = &mut self.notes;
        remove(parent, name, &mut |inode| notes.forget(inode))
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn inode(file: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(file)?.st_ino)
}

pub(super) fn is_whiteout_stat(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_whiteout(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(is_whiteout_stat(&stat))
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

/// Removes `name` and, if it is a directory, all that is in it.
pub(in crate::image) fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    remove(parent, name, &mut |_| {})
}

/// As [`remove_at`]; tells the inode of each directory that goes.
fn remove(parent: BorrowedFd<'_>, name: &[u8], gone: &mut dyn FnMut(u64)) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    gone(inode(&directory)?);
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            remove(directory.as_fd(), name, gone)?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}
