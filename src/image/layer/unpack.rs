//! Carrying out the operations of an archive, in its order.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;

use super::entry::{Action, Metadata, Operation, operation};
use super::inflate::inflate;
use super::tree::{Node, Tree, metadata_of};
use super::{Archive, LayerError, Limits, Options};
use crate::image::digest::Hashing;
use crate::image::rootfs::Rootfs;

/// What headers may take between two entries: names, extended headers, the map of a sparse file.
const HEADERS_MAX: u64 = 1 << 20;

/// A layer whose archive has been read to its end.
///
/// It is complete only after [`Unpacked::settle`], which may need the layers below it.
pub(in crate::image) struct Unpacked {
    pub(in crate::image) archive: Archive,
    tree: Tree,
    directories: BTreeMap<Vec<u8>, Metadata>,
    implied: BTreeSet<Vec<u8>>,
    /// Hard links whose target no earlier entry made: path and target.
    links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Unpacks the archive that `reader` holds into the empty directory `root`.
///
/// `cancel` ends it early; so does an error of the reader.
pub(in crate::image) fn unpack(
    reader: impl Read,
    root: &Path,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Unpacked, LayerError> {
    let outcome = unpack_all(reader, root, options, cancel);
    match outcome {
        Err(_) if cancel.load(Ordering::Relaxed) => Err(LayerError::Interrupted),
        outcome => outcome,
    }
}

fn unpack_all(
    reader: impl Read,
    root: &Path,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Unpacked, LayerError> {
    let broken = |source| LayerError::Archive { source };
    let compressed = Hashing::new(Counting {
        inner: reader,
        cancel,
        bytes: Rc::new(Cell::new(0)),
    });
    let taken = Rc::clone(&compressed.inner().bytes);
    let inflated = inflate(compressed, options.compression).map_err(broken)?;
    let budget = Rc::new(Cell::new(None));
    let mut bounded = Bounded {
        inner: Hashing::new(inflated),
        taken,
        given: 0,
        budget: Rc::clone(&budget),
        limits: options.limits,
        exceeded: None,
    };

    let tree = Tree::open(root).map_err(|source| LayerError::write(b"", source))?;
    let mut work = Work {
        tree,
        limits: options.limits,
        directories: BTreeMap::new(),
        implied: BTreeSet::new(),
        links: Vec::new(),
        whiteouts: BTreeSet::new(),
        opaques: BTreeSet::new(),
        entries: 0,
    };
    let outcome = work.read(&mut bounded, &budget, options, cancel);
    // The parser stops at the end marks; the digests are of everything.
    let outcome = outcome.and_then(|()| {
        budget.set(None);
        io::copy(&mut bounded, &mut io::sink()).map_err(broken)?;
        Ok(())
    });
    if let Some(limit) = bounded.exceeded {
        return Err(LayerError::TooLarge { limit });
    }
    outcome?;

    let (inflated, (diff_id, _)) = bounded.inner.into_parts();
    let (rest, (blob, blob_bytes)) = inflated.into_inner().into_parts();
    drop(rest);
    work.finish(Archive {
        blob,
        blob_bytes,
        diff_id,
    })
}

struct Work {
    tree: Tree,
    limits: Limits,
    directories: BTreeMap<Vec<u8>, Metadata>,
    implied: BTreeSet<Vec<u8>>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    whiteouts: BTreeSet<Vec<u8>>,
    opaques: BTreeSet<Vec<u8>>,
    entries: u64,
}

impl Work {
    fn read(
        &mut self,
        reader: &mut impl Read,
        budget: &Rc<Cell<Option<u64>>>,
        options: &Options,
        cancel: &AtomicBool,
    ) -> Result<(), LayerError> {
        let broken = |source| LayerError::Archive { source };
        let mut archive = tar::Archive::new(reader);
        let mut entries = archive.entries().map_err(broken)?;
        loop {
            budget.set(Some(HEADERS_MAX));
            let Some(entry) = entries.next() else {
                return Ok(());
            };
            budget.set(None);
            let mut entry = entry.map_err(broken)?;
            if cancel.load(Ordering::Relaxed) {
                return Err(LayerError::Interrupted);
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(LayerError::TooLarge {
                    limit: format!("{} entries", self.limits.entries),
                });
            }
            let operation = operation(&mut entry, options.whiteouts, &self.limits)?;
            let mut content = Content {
                inner: &mut entry,
                failed: None,
            };
            let done = self.apply(operation, &mut content);
            if let Some(source) = content.failed {
                return Err(LayerError::Archive { source });
            }
            done?;
            // What is left of it counts as headers otherwise.
            io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        }
    }

    fn apply(&mut self, operation: Operation, content: &mut dyn Read) -> Result<(), LayerError> {
        let Operation {
            path,
            action,
            metadata,
        } = operation;
        let implied = &mut Vec::new();
        if !self.links.is_empty() && !matches!(action, Action::Nothing) {
            self.links.retain(|(link, _)| *link != path);
        }
        let is_node = !matches!(
            action,
            Action::Directory | Action::Whiteout | Action::Opaque | Action::Nothing
        );
        if is_node && self.is_directory(&path) {
            self.forget_below(&path);
        }
        let tree = &mut self.tree;
        let made = match &action {
            Action::Nothing => Ok(()),
            Action::Whiteout => {
                self.whiteouts.insert(path.clone());
                Ok(())
            }
            Action::Opaque => {
                self.opaques.insert(path.clone());
                Ok(())
            }
            Action::Directory => {
                self.implied.remove(&path);
                self.directories.insert(path.clone(), metadata);
                tree.directory(&path, implied).map(|_| ())
            }
            Action::File { size, sparse } => {
                tree.file(&path, &metadata, content, (*size, *sparse), implied)
            }
            Action::Symlink(target) => tree.symlink(&path, target, &metadata, implied),
            Action::HardLink(target) => {
                return self.hard_link(path, target.clone());
            }
            Action::Character { major, minor } => {
                tree.node(&path, Node::Character(*major, *minor), &metadata, implied)
            }
            Action::Block { major, minor } => {
                tree.node(&path, Node::Block(*major, *minor), &metadata, implied)
            }
            Action::Fifo => tree.node(&path, Node::Fifo, &metadata, implied),
        };
        self.implied.append(&mut implied.drain(..).collect());
        made.map_err(|source| failed(&path, source))
    }

    fn hard_link(&mut self, path: Vec<u8>, target: Vec<u8>) -> Result<(), LayerError> {
        if path == target {
            return Err(LayerError::refused(&path, "a hard link to itself"));
        }
        let kind = self
            .tree
            .kind(&target)
            .map_err(|source| failed(&target, source))?;
        match kind {
            Some(FileType::Directory) => {
                Err(LayerError::refused(&path, "a hard link to a directory"))
            }
            None => {
                self.links.push((path, target));
                Ok(())
            }
            Some(_) => {
                let implied = &mut Vec::new();
                let made = self.tree.hard_link(&path, &target, implied);
                self.implied.append(&mut implied.drain(..).collect());
                made.map_err(|source| failed(&path, source))
            }
        }
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.directories.contains_key(path) || self.implied.contains(path)
    }

    /// A directory is about to be replaced: what was known about it and below it is void.
    fn forget_below(&mut self, path: &[u8]) {
        self.tree.forget();
        let below = |known: &[u8]| {
            known == path || (known.starts_with(path) && known.get(path.len()) == Some(&b'/'))
        };
        self.directories.retain(|known, _| !below(known));
        self.implied.retain(|known| !below(known));
        self.links.retain(|(link, _)| !below(link));
        self.opaques.retain(|known| !below(known));
    }

    /// Whiteouts come when everything else is there: they are about the layers below only, and so
    /// their place in the archive must not matter.
    fn finish(mut self, archive: Archive) -> Result<Unpacked, LayerError> {
        let mut implied = Vec::new();
        let tree = &mut self.tree;
        for path in &self.whiteouts {
            // Nothing shows through an opaque directory anyway, and overlayfs would list them.
            if ancestors(path).any(|above| self.opaques.contains(above)) {
                continue;
            }
            match tree.kind(path).map_err(|source| failed(path, source))? {
                Some(FileType::Directory) => {
                    self.opaques.insert(path.clone());
                }
                Some(_) => {}
                None => tree
                    .whiteout(path, &mut implied)
                    .map_err(|source| failed(path, source))?,
            }
        }
        for path in &self.opaques {
            match tree.kind(path).map_err(|source| failed(path, source))? {
                Some(FileType::Directory) => {}
                Some(_) => {
                    return Err(LayerError::refused(
                        path,
                        "an opaque marker in something that is not a directory",
                    ));
                }
                None => {
                    tree.directory(path, &mut implied)
                        .map_err(|source| failed(path, source))?;
                    implied.push(path.clone());
                }
            }
            tree.opaque(path)
                .map_err(|source| LayerError::write(path, source))?;
        }
        self.implied.extend(implied);
        self.implied
            .retain(|path| !self.directories.contains_key(path));
        Ok(Unpacked {
            archive,
            tree: self.tree,
            directories: self.directories,
            implied: self.implied,
            links: self.links,
        })
    }
}

impl Unpacked {
    /// Whether what it becomes depends on the layers below it.
    pub(in crate::image) fn needs_lower(&self) -> bool {
        !self.implied.is_empty() || !self.links.is_empty()
    }

    /// Takes from the layers below what the archive only refers to, then sets the metadata of the
    /// directories, deepest first.
    ///
    /// A directory that is only implied has the metadata of the one below it, because in
    /// overlayfs the topmost one's count. The root, which many archives leave out, is 0755 then.
    pub(in crate::image) fn settle(mut self, lower: &Rootfs) -> Result<(), LayerError> {
        for path in std::mem::take(&mut self.implied) {
            let wrap = |source| LayerError::write(&path, source);
            let metadata = match lower.locate(&path).map_err(wrap)? {
                Some(found) if found.kind == FileType::Directory => {
                    metadata_of(lower.file(&found).map_err(wrap)?).map_err(wrap)?
                }
                _ => Metadata::plain_directory(),
            };
            self.directories.insert(path, metadata);
        }
        self.directories
            .entry(Vec::new())
            .or_insert_with(Metadata::plain_directory);

        let mut made = BTreeSet::new();
        for (path, target) in std::mem::take(&mut self.links) {
            let own = self
                .tree
                .kind(&target)
                .map_err(|source| failed(&target, source))?;
            if own.is_some() && !made.contains(&target) {
                return Err(LayerError::refused(&path, "a hard link to a later entry"));
            }
            self.link_from_below(lower, &path, &target, own.is_some())?;
            made.insert(path);
        }
        for (path, metadata) in self.directories.iter().rev() {
            self.tree
                .finish_directory(path, metadata)
                .map_err(|source| failed(path, source))?;
        }
        Ok(())
    }

    /// Makes a hard link whose target a lower layer has: by a copy, as no link can lead there.
    fn link_from_below(
        &mut self,
        lower: &Rootfs,
        path: &[u8],
        target: &[u8],
        here: bool,
    ) -> Result<(), LayerError> {
        let wrap = |source| failed(path, source);
        let implied = &mut Vec::new();
        if here {
            return self.tree.hard_link(path, target, implied).map_err(wrap);
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
                let mut file = lower.file(&found).map_err(wrap)?;
                let metadata = metadata_of(&file).map_err(wrap)?;
                let size = file.metadata().map_err(wrap)?.len();
                let shape = (size, true);
                self.tree
                    .file(path, &metadata, &mut file, shape, implied)
                    .map_err(wrap)
            }
            FileType::Symlink => {
                let text = lower.read_link(&found).map_err(wrap)?;
                let plain = Metadata::plain_directory();
                self.tree
                    .symlink(path, &text, &plain, implied)
                    .map_err(wrap)
            }
            _ => Err(LayerError::refused(
                path,
                "a hard link to something in a lower layer that is not a file",
            )),
        }
    }
}

fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..path.len())
        .filter(|at| path[*at] == b'/')
        .map(|at| &path[..at])
        .chain(std::iter::once(&b""[..]))
}

/// What an error on the way to or at `path` means.
fn failed(path: &[u8], source: io::Error) -> LayerError {
    match source.kind() {
        io::ErrorKind::NotADirectory => LayerError::refused(path, source.to_string()),
        io::ErrorKind::UnexpectedEof => LayerError::refused(path, "the archive ends within it"),
        _ => LayerError::write(path, source),
    }
}

/// The content of an entry; keeps its own error apart from those of writing the file.
struct Content<R> {
    inner: R,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            copy
        })
    }
}

/// Counts the compressed bytes and ends when asked to.
struct Counting<'a, R> {
    inner: R,
    cancel: &'a AtomicBool,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
        let length = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + length as u64);
        Ok(length)
    }
}

/// Holds the uncompressed bytes to the limits.
struct Bounded<R> {
    inner: R,
    /// How many compressed bytes were taken.
    taken: Rc<Cell<u64>>,
    /// How many bytes were given.
    given: u64,
    /// How many bytes the parser may take for headers; none while it reads content.
    budget: Rc<Cell<Option<u64>>>,
    limits: Limits,
    /// The limit that was hit.
    exceeded: Option<String>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let exceed = |this: &mut Self, limit: String| {
            this.exceeded = Some(limit);
            Err(io::Error::other("a limit is exceeded"))
        };
        let length = self.inner.read(buffer)?;
        self.given += length as u64;
        if self.given > self.limits.bytes {
            let limit = format!("{} bytes", self.limits.bytes);
            return exceed(self, limit);
        }
        let ratio = self.given / self.taken.get().max(1);
        if self.given > 1 << 30 && ratio > self.limits.ratio {
            let limit = format!("{} times its compressed size", self.limits.ratio);
            return exceed(self, limit);
        }
        if let Some(left) = self.budget.get() {
            let Some(left) = left.checked_sub(length as u64) else {
                let limit = format!("{HEADERS_MAX} bytes of headers for one entry");
                return exceed(self, limit);
            };
            self.budget.set(Some(left));
        }
        Ok(length)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
