//! What has to be remembered of a layer until it is settled, and how much that may be.
//!
//! Files and directories are remembered by their inodes: a few dozen bytes each, however long
//! their paths are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::LayerError;
use crate::image::digest::Digest;

/// What a directory's note takes, in a table that may be half empty.
const DIRECTORY: u64 = 80;
const FILE: u64 = 48;
const LINK: u64 = 100;

/// The memory that the layers of one image may take together until they are settled.
#[derive(Debug, Clone)]
pub struct Memory {
    left: Arc<AtomicU64>,
}

impl Memory {
    /// Enough for a million files.
    pub const DEFAULT: u64 = 48 << 20;

    /// That many bytes.
    pub fn new(bytes: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(bytes)),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

/// What one layer has taken of it; given back with the value.
#[derive(Debug)]
struct Share {
    memory: Memory,
    taken: u64,
}

impl Share {
    fn take(&mut self, bytes: u64) -> Result<(), LayerError> {
        let take = |left: u64| left.checked_sub(bytes);
        let relaxed = Ordering::Relaxed;
        match self.memory.left.fetch_update(relaxed, relaxed, take) {
            Ok(_) => {
                self.taken += bytes;
                Ok(())
            }
            Err(_) => Err(LayerError::TooLarge {
                limit: "entries than can be kept in mind at once".to_owned(),
            }),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// What is known about a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directory {
    /// An entry named it. Its time is set when nothing in it changes any more; so is the set-group
    /// bit, which new files would inherit.
    Said {
        seconds: i64,
        nanoseconds: u32,
        set_group: bool,
    },
    /// It had to be made for what is in it.
    Implied,
}

impl Directory {
    /// One that the archive says nothing about and no lower layer has.
    pub(super) const PLAIN: Self = Self::Said {
        seconds: 0,
        nanoseconds: 0,
        set_group: false,
    };
}

/// The notes of one layer.
#[derive(Debug)]
pub(super) struct Notes {
    share: Share,
    files: Vec<(u64, Digest)>,
    attributed: HashSet<u64>,
    directories: HashMap<u64, Directory>,
    implied: u64,
    /// Directories in which nothing of the layers below shows.
    opaques: HashSet<u64>,
    /// Hard links whose target no earlier entry made, with their place in the archive.
    links: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    count: u64,
}

impl Notes {
    pub(super) fn new(memory: &Memory) -> Self {
        Self {
            share: Share {
                memory: memory.clone(),
                taken: 0,
            },
            files: Vec::new(),
            attributed: HashSet::new(),
            directories: HashMap::new(),
            implied: 0,
            opaques: HashSet::new(),
            links: BTreeMap::new(),
            count: 0,
        }
    }

    /// Whether the layer depends on those below it.
    pub(super) fn needs_lower(&self) -> bool {
        self.implied > 0 || !self.links.is_empty()
    }

    /// Notes the digest of a file that is not empty.
    pub(super) fn file(&mut self, inode: u64, digest: Digest) -> Result<(), LayerError> {
        self.share.take(FILE)?;
        self.files.push((inode, digest));
        Ok(())
    }

    /// Notes that a file or directory may have extended attributes.
    pub(super) fn attributed(&mut self, inode: u64) -> Result<(), LayerError> {
        self.share.take(DIRECTORY)?;
        self.attributed.insert(inode);
        Ok(())
    }

    pub(super) fn is_attributed(&self, inode: u64) -> bool {
        self.attributed.contains(&inode)
    }

    pub(super) fn directory(&mut self, inode: u64, note: Directory) -> Result<(), LayerError> {
        self.share.take(DIRECTORY)?;
        self.implied += u64::from(note == Directory::Implied);
        let before = self.directories.insert(inode, note);
        self.implied -= u64::from(before == Some(Directory::Implied));
        Ok(())
    }

    pub(super) fn find_directory(&self, inode: u64) -> Option<Directory> {
        self.directories.get(&inode).copied()
    }

    pub(super) fn opaque(&mut self, inode: u64) -> Result<(), LayerError> {
        self.share.take(DIRECTORY)?;
        self.opaques.insert(inode);
        Ok(())
    }

    pub(super) fn is_opaque(&self, inode: u64) -> bool {
        self.opaques.contains(&inode)
    }

    /// Forgets a directory that is removed: its inode may come again.
    pub(super) fn forget(&mut self, inode: u64) {
        if self.directories.remove(&inode) == Some(Directory::Implied) {
            self.implied -= 1;
        }
        self.opaques.remove(&inode);
        self.attributed.remove(&inode);
    }

    /// Notes a hard link that has to wait for the layers below.
    pub(super) fn link(&mut self, path: Vec<u8>, target: Vec<u8>) -> Result<(), LayerError> {
        self.share.take(LINK + (path.len() + target.len()) as u64)?;
        self.links.insert(path, (self.count, target));
        self.count += 1;
        Ok(())
    }

    /// Something else is at `path` from now on, and nothing that was noted is below it.
    pub(super) fn replaced(&mut self, path: &[u8]) {
        if self.links.is_empty() {
            return;
        }
        self.links.remove(path);
        let (mut start, mut end) = (path.to_owned(), path.to_owned());
        start.push(b'/');
        end.push(b'/' + 1);
        let below: Vec<Vec<u8>> = self
            .links
            .range(start..end)
            .map(|(path, _)| path.clone())
            .collect();
        for path in below {
            self.links.remove(&path);
        }
    }

    /// The links that wait, in the archive's order: path and target.
    pub(super) fn take_links(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        links.sort_by_key(|(_, (at, _))| *at);
        let links = links.into_iter();
        links.map(|(path, (_, target))| (path, target)).collect()
    }

    /// To be called before [`Self::find_file`], once no more files come.
    pub(super) fn sort(&mut self) {
        // Stable: the last one of an inode that was used again counts.
        self.files.sort_by_key(|(inode, _)| *inode);
    }

    pub(super) fn find_file(&self, inode: u64) -> Option<Digest> {
        let end = self.files.partition_point(|(known, _)| *known <= inode);
        let (known, digest) = self.files.get(end.checked_sub(1)?)?;
        (*known == inode).then_some(*digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_file_of_an_inode_counts() {
        let mut notes = Notes::new(&Memory::default());
        for (inode, text) in [(5, "a"), (3, "b"), (5, "c"), (4, "d")] {
            notes.file(inode, Digest::of(text)).unwrap();
        }
        notes.sort();
        assert_eq!(notes.find_file(5), Some(Digest::of("c")));
        assert_eq!(notes.find_file(3), Some(Digest::of("b")));
        assert_eq!(notes.find_file(2), None);
        assert_eq!(notes.find_file(6), None);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let memory = Memory::new(1000);
        let mut notes = Notes::new(&memory);
        let outcome = (0..100).try_for_each(|inode| notes.directory(inode, Directory::Implied));
        assert!(matches!(outcome, Err(LayerError::TooLarge { .. })));
        drop(notes);
        assert_eq!(memory.left.load(Ordering::Relaxed), 1000);
    }

    #[test]
    fn links_below_what_is_replaced_are_forgotten() {
        let mut notes = Notes::new(&Memory::default());
        for path in ["d/x", "d", "d.x", "d/y/z", "da"] {
            notes.link(path.into(), b"target".to_vec()).unwrap();
        }
        notes.replaced(b"d");
        let left: Vec<Vec<u8>> = notes
            .take_links()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(left, [b"d.x".to_vec(), b"da".to_vec()]);
    }
}
