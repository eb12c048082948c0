//! Copying a directory tree of the host.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::content::Listed;
use super::metadata::{metadata_from, metadata_of};
use super::notes::{Memory, Notes};
use super::settle::complete;
use super::tree::{Node, Tree, Trouble};
use super::write::{Shape, Source};
use crate::image::rootfs::{Rootfs, read_link_at};

const DEPTH_MAX: usize = 256;
/// The tree is the user's own and may be large: ten million files.
const MEMORY: u64 = 1 << 30;
const BUFFER: usize = 64 << 10;

/// Copies the directory `from`, without leaving its file system, into the empty directory `to`,
/// and lists what is there then into the new file `listing`.
///
/// Hard links within the tree stay links. Sockets are left out, as tar leaves them out.
pub(in crate::image) fn copy_tree(
    from: &Path,
    to: &Path,
    listing: &Path,
    cancel: &AtomicBool,
) -> io::Result<Listed> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(CWD, from, flags, Mode::empty())?;
    let mut copier = Copier {
        tree: Tree::open(to, Notes::new(&Memory::new(MEMORY)))?,
        device: rustix::fs::fstat(&source)?.st_dev,
        links: HashMap::new(),
        cancel,
    };
    copier.directory(source.as_fd(), b"", 0)?;
    complete(&mut copier.tree, &Rootfs::open(&[])?, listing, cancel).map_err(|(_, source)| source)
}

struct Copier<'a> {
    tree: Tree,
    device: u64,
    links: HashMap<u64, Vec<u8>>,
    cancel: &'a AtomicBool,
}

fn system(trouble: Trouble) -> io::Error {
    match trouble {
        Trouble::System(error) => error,
        Trouble::Layer(error) => io::Error::other(error.to_string()),
    }
}

impl Copier<'_> {
    fn directory(&mut self, source: BorrowedFd<'_>, path: &[u8], depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other("the directories are nested too deeply"));
        }
        let metadata = metadata_of(source)?;
        self.tree.directory(path, &metadata).map_err(system)?;
        for entry in rustix::fs::Dir::read_from(source)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if self.cancel.load(Ordering::Relaxed) {
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
        Ok(())
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
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(target) = self.links.get(&stat.st_ino) {
                return self.tree.hard_link(path, target).map_err(system);
            }
            self.links.insert(stat.st_ino, path.to_owned());
        }
        let plain = metadata_from(&stat, Vec::new());
        let done = match kind {
            FileType::Directory => {
                // What is mounted there belongs to the host, such as /proc.
                if stat.st_dev == self.device {
                    let directory = open(OFlags::DIRECTORY)?;
                    return self.directory(directory.as_fd(), path, depth + 1);
                }
                self.tree.directory(path, &plain)
            }
            FileType::RegularFile => {
                let file = File::from(open(OFlags::NONBLOCK)?);
                let metadata = metadata_of(&file)?;
                let size = file.metadata()?.len();
                let blocks = u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
                let shape = if blocks < size {
                    Shape::Holes(size)
                } else {
                    Shape::Dense(size)
                };
                let mut source = Source {
                    content: &mut BufReader::with_capacity(BUFFER, file),
                    shape,
                    cancel: self.cancel,
                };
                self.tree.file(path, &metadata, &mut source)
            }
            FileType::Symlink => {
                let target = read_link_at(parent, name)?;
                self.tree.symlink(path, &target, &plain)
            }
            FileType::Fifo => self.tree.node(path, Node::Fifo, &plain),
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
                self.tree.node(path, node, &plain)
            }
            _ => Ok(()),
        };
        done.map_err(system)
    }
}
