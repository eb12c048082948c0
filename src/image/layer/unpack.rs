//! Carrying out the operations of an archive, in its order.

use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;

use super::archive::Archive as Reader;
use super::entry::{Action, Operation, operation};
use super::notes::Notes;
use super::pipeline::uncompressed;
use super::tree::{Node, Tree, Trouble};
use super::write::{Shape, Source};
use super::{Archive, LayerError, Limits, Options, Root};

/// A layer whose archive has been read to its end.
///
/// It is complete only after [`Unpacked::settle`], which may need the layers below it.
pub(in crate::image) struct Unpacked {
    pub(in crate::image) archive: Archive,
    pub(in crate::image) root: Root,
    pub(super) tree: Tree,
}

/// Unpacks the archive that `reader` holds into the empty directory `root`.
///
/// `cancel` ends it early; so does an error of the reader.
pub(in crate::image) fn unpack(
    reader: impl Read + Send,
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
    reader: impl Read + Send,
    root: &Path,
    options: &Options,
    cancel: &AtomicBool,
) -> Result<Unpacked, LayerError> {
    let notes = Notes::new(&options.memory);
    let tree = Tree::open(root, notes).map_err(|source| LayerError::write(b"", source))?;
    let mut work = Work {
        tree,
        limits: options.limits,
        cancel,
        root: Root {
            implied: true,
            opaque: false,
        },
        entries: 0,
        holes: 0,
    };
    let (compression, limits) = (options.compression, options.limits);
    let ((), archive) = uncompressed(reader, compression, limits, cancel, |chunks| {
        work.read(chunks, options.whiteouts)
    })?;
    Ok(Unpacked {
        archive,
        tree: work.tree,
        root: work.root,
    })
}

struct Work<'a> {
    tree: Tree,
    limits: Limits,
    cancel: &'a AtomicBool,
    root: Root,
    entries: u64,
    holes: u64,
}

impl Work<'_> {
    fn read(&mut self, reader: impl BufRead, whiteouts: bool) -> Result<(), LayerError> {
        let mut archive = Reader::new(reader);
        while let Some(member) = archive.next()? {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(LayerError::Interrupted);
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(LayerError::TooLarge {
                    limit: format!("{} entries", self.limits.entries),
                });
            }
            let content = member.size;
            let operation = operation(member, whiteouts, &self.limits)?;
            self.apply(operation, content, &mut archive)?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        operation: Operation,
        stored: u64,
        content: &mut dyn BufRead,
    ) -> Result<(), LayerError> {
        let Operation {
            path,
            action,
            metadata,
        } = operation;
        if !matches!(action, Action::Nothing | Action::Whiteout | Action::Opaque) {
            self.tree.notes.replaced(&path);
        }
        let tree = &mut self.tree;
        let done = match &action {
            Action::Nothing => Ok(()),
            Action::Whiteout => tree.whiteout(&path),
            Action::Opaque => {
                self.root.opaque |= path.is_empty();
                tree.opaque(&path)
            }
            Action::Directory => {
                self.root.implied &= !path.is_empty();
                tree.directory(&path, &metadata)
            }
            Action::File { size, sparse } => {
                self.holes += size - stored;
                if self.holes > self.limits.holes {
                    return Err(LayerError::TooLarge {
                        limit: format!("{} bytes of holes in sparse files", self.limits.holes),
                    });
                }
                let shape = match sparse {
                    Some(sparse) => Shape::Regions(*size, &sparse.regions),
                    None => Shape::Dense(*size),
                };
                let mut source = Source {
                    content,
                    shape,
                    cancel: self.cancel,
                };
                tree.file(&path, &metadata, &mut source)
            }
            Action::Symlink(target) => tree.symlink(&path, target, &metadata),
            Action::HardLink(target) => return self.hard_link(path, target.clone()),
            Action::Character { major, minor } => {
                tree.node(&path, Node::Character(*major, *minor), &metadata)
            }
            Action::Block { major, minor } => {
                tree.node(&path, Node::Block(*major, *minor), &metadata)
            }
            Action::Fifo => tree.node(&path, Node::Fifo, &metadata),
        };
        done.map_err(|trouble| trouble.at(&path))
    }

    fn hard_link(&mut self, path: Vec<u8>, target: Vec<u8>) -> Result<(), LayerError> {
        if path == target {
            return Err(LayerError::refused(&path, "a hard link to itself"));
        }
        let kind = self
            .tree
            .kind(&target)
            .map_err(|source| Trouble::from(source).at(&target))?;
        match kind {
            Some(FileType::Directory) => {
                Err(LayerError::refused(&path, "a hard link to a directory"))
            }
            None => self.tree.notes.link(path, target),
            Some(_) => self
                .tree
                .hard_link(&path, &target)
                .map_err(|trouble| trouble.at(&path)),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
