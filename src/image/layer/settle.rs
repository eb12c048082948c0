//! Completing a layer: with what it takes from those below it, then its directories, then its
//! listing, in one walk over what is there.

use std::collections::BTreeSet;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::LayerError;
use super::content::{Listed, Recorder};
use super::entry::Metadata;
use super::metadata::{SET_GROUP, apply, apply_early, metadata_from, metadata_of, times};
use super::notes::{Directory, Notes};
use super::tree::{Tree, Trouble, is_whiteout_stat};
use super::unpack::Unpacked;
use super::write::{Shape, Source};
use crate::image::digest::Digest;
use crate::image::rootfs::Rootfs;

const BUFFER: usize = 64 << 10;

impl Unpacked {
    /// Whether what it becomes depends on the layers below it.
    pub(in crate::image) fn needs_lower(&self) -> bool {
        self.tree.notes.needs_lower()
    }

    /// Takes from the layers below what the archive only refers to, gives the directories their
    /// times, and lists everything into the new file `listing`.
    ///
    /// A directory that is only implied has the metadata of the one below it, because in
    /// overlayfs the topmost one's count. The root, which many archives leave out, is 0755 then:
    /// whoever puts layers together has to see to it.
    pub(in crate::image) fn settle(
        mut self,
        lower: &Rootfs,
        listing: &Path,
        cancel: &AtomicBool,
    ) -> Result<Listed, LayerError> {
        let outcome = self.settle_all(lower, listing, cancel);
        match outcome {
            Err(_) if cancel.load(Ordering::Relaxed) => Err(LayerError::Interrupted),
            outcome => outcome,
        }
    }

    fn settle_all(
        &mut self,
        lower: &Rootfs,
        listing: &Path,
        cancel: &AtomicBool,
    ) -> Result<Listed, LayerError> {
        let mut made = BTreeSet::new();
        for (path, target) in self.tree.notes.take_links() {
            let own = self
                .tree
                .kind(&target)
                .map_err(|source| Trouble::from(source).at(&target))?;
            if own.is_some() && !made.contains(&target) {
                return Err(LayerError::refused(&path, "a hard link to a later entry"));
            }
            self.link_from_below(lower, &path, &target, own.is_some(), cancel)?;
            made.insert(path);
        }
        if self.root.implied {
            let plain = Metadata::plain_directory();
            apply_early(self.tree.root(), &plain, false)
                .map_err(|source| LayerError::write(b"", source))?;
        }
        complete(&mut self.tree, lower, listing, cancel)
            .map_err(|(path, source)| Trouble::from(source).at(&path))
    }

    /// Makes a hard link whose target a lower layer has: by a copy, as no link can lead there.
    fn link_from_below(
        &mut self,
        lower: &Rootfs,
        path: &[u8],
        target: &[u8],
        here: bool,
        cancel: &AtomicBool,
    ) -> Result<(), LayerError> {
        let wrap = |source: io::Error| Trouble::from(source).at(path);
        let trouble = |trouble: Trouble| trouble.at(path);
        if here {
            return self.tree.hard_link(path, target).map_err(trouble);
        }
        let Some(found) = lower.locate(target).map_err(wrap)? else {
            let reason = format!(
                "a hard link to \"{}\", which is not there",
                target.escape_ascii()
            );
            return Err(LayerError::refused(path, reason));
        };
        match found.kind {
            FileType::RegularFile => {
                let file = lower.file(&found).map_err(wrap)?;
                let metadata = metadata_of(&file).map_err(wrap)?;
                let size = file.metadata().map_err(wrap)?.len();
                let mut source = Source {
                    content: &mut BufReader::with_capacity(BUFFER, file),
                    shape: Shape::Holes(size),
                    cancel,
                };
                self.tree
                    .file(path, &metadata, &mut source)
                    .map_err(trouble)
            }
            FileType::Symlink => {
                let text = lower.read_link(&found).map_err(wrap)?;
                let found = lower.link_metadata(&found).map_err(wrap)?;
                let metadata = metadata_from(&found, Vec::new());
                self.tree.symlink(path, &text, &metadata).map_err(trouble)
            }
            _ => Err(LayerError::refused(
                path,
                "a hard link to something in a lower layer that is not a file",
            )),
        }
    }
}

/// Gives the directories what had to wait, and lists everything; an error comes with the path.
pub(super) fn complete(
    tree: &mut Tree,
    lower: &Rootfs,
    listing: &Path,
    cancel: &AtomicBool,
) -> Result<Listed, (Vec<u8>, io::Error)> {
    let at_root = |source| (Vec::new(), source);
    tree.notes.sort();
    let root = tree.root();
    let inode = stat(root, b".").map_err(at_root)?.st_ino;
    let mut walk = Walk {
        notes: &tree.notes,
        lower,
        recorder: Recorder::create(listing, cancel).map_err(at_root)?,
        empty: Digest::of(""),
        path: Vec::new(),
    };
    let note = walk.notes.find_directory(inode);
    let outcome = walk.directory(root, note.unwrap_or(Directory::PLAIN), false);
    match outcome {
        Ok(()) => walk.recorder.finish().map_err(at_root),
        Err(source) => Err((walk.path, source)),
    }
}

struct Walk<'a> {
    notes: &'a Notes,
    lower: &'a Rootfs,
    recorder: Recorder<'a>,
    /// The digest of no content, which is not noted.
    empty: Digest,
    /// Where the walk is; where it was, after an error.
    path: Vec<u8>,
}

impl Walk<'_> {
    /// Completes the directory at the walk's path and all that is in it; `hidden` tells that
    /// nothing below an ancestor shows.
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        note: Directory,
        hidden: bool,
    ) -> io::Result<()> {
        let own = stat(directory, b".")?;
        let inside = hidden || self.notes.is_opaque(own.st_ino);
        let length = self.path.len();
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            self.entry(directory, name, inside)?;
            self.path.truncate(length);
        }
        let directory_times = match note {
            Directory::Said {
                seconds,
                nanoseconds,
                set_group,
            } => {
                if set_group {
                    let mode = (own.st_mode & 0o7777) | SET_GROUP;
                    rustix::fs::fchmod(directory, Mode::from_raw_mode(mode))?;
                }
                times(seconds, nanoseconds)
            }
            Directory::Implied => {
                let metadata = self.metadata_below(hidden)?;
                apply(directory, &metadata)?;
                times(metadata.seconds, metadata.nanoseconds)
            }
        };
        rustix::fs::futimens(directory, &directory_times)?;
        let own = stat(directory, b".")?;
        self.recorder
            .entry((directory, b"."), &self.path, &own, None)
    }

    /// What a directory that is only implied takes from the layers below.
    fn metadata_below(&self, hidden: bool) -> io::Result<Metadata> {
        if !hidden
            && let Some(found) = self.lower.locate(&self.path)?
            && found.kind == FileType::Directory
        {
            return metadata_of(self.lower.file(&found)?);
        }
        Ok(Metadata::plain_directory())
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, name: &[u8], hidden: bool) -> io::Result<()> {
        let found = stat(parent, name)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            let note = self.notes.find_directory(found.st_ino);
            return self.directory(directory.as_fd(), note.unwrap_or(Directory::PLAIN), hidden);
        }
        if hidden && is_whiteout_stat(&found) {
            // Nothing shows through anyway, and overlayfs would list it.
            return Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?);
        }
        let known = if found.st_size == 0 {
            Some(self.empty)
        } else {
            self.notes.find_file(found.st_ino)
        };
        let known = known.map(|digest| (digest, self.notes.is_attributed(found.st_ino)));
        self.recorder
            .entry((parent, name), &self.path, &found, known)
    }
}

fn stat(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
}
