//! Archives of roots, the same bytes for the same root.
//!
//! Entries are ustar's, with extended headers as POSIX has them where those fields do not suffice:
//! long names, fractions of seconds, extended attributes (`SCHILY.xattr.`, as docker, GNU tar and
//! bsdtar have them). A file with holes is an entry of GNU tar's old sparse format, which all of
//! them read too.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;

use rustix::fs::FileType;
use tar::{EntryType, Header};

use super::compose::Node;
use super::layer::is_wanted_xattr;
use super::rootfs::xattrs;

const BLOCK: usize = 512;
const BUFFER: usize = 128 << 10;
/// What ustar's fields of eight and of twelve bytes hold.
const SHORT_MAX: u64 = 0o777_7777;
const LONG_MAX: u64 = 0o777_7777_7777;

/// Writes an archive.
pub(super) struct Archiver<W> {
    out: W,
    /// The files with several names that have been written, by layer, device and inode.
    links: HashMap<(usize, u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Archiver<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            links: HashMap::new(),
            buffer: vec![0; BUFFER],
        }
    }

    /// Writes one entry, with the content of a file. A socket is left out, as tar leaves it out.
    pub(super) fn add(&mut self, node: &Node<'_>) -> io::Result<()> {
        let kind = node.kind();
        let mut path = match node.path {
            b"" => b".".to_vec(),
            path => path.to_vec(),
        };
        if kind != FileType::Directory && node.stat.st_nlink > 1 {
            let inode = (node.layer, node.stat.st_dev, node.stat.st_ino);
            if let Some(target) = self.links.get(&inode).cloned() {
                let entry = Entry::new(node, EntryType::Link).linked_to(&target);
                return entry.write(&path, 0, &mut self.out);
            }
            self.links.insert(inode, path.clone());
        }
        match kind {
            FileType::Directory => {
                path.push(b'/');
                let mut entry = Entry::new(node, EntryType::Directory);
                entry.attributes(&File::from(node.open()?))?;
                entry.write(&path, 0, &mut self.out)
            }
            FileType::RegularFile => self.file(node, &path),
            FileType::Symlink => {
                let target = node.read_link()?;
                let entry = Entry::new(node, EntryType::Symlink).linked_to(&target);
                entry.write(&path, 0, &mut self.out)
            }
            FileType::Fifo => Entry::new(node, EntryType::Fifo).write(&path, 0, &mut self.out),
            FileType::CharacterDevice | FileType::BlockDevice => {
                let kind = if kind == FileType::BlockDevice {
                    EntryType::Block
                } else {
                    EntryType::Char
                };
                let mut entry = Entry::new(node, kind);
                let device = node.stat.st_rdev;
                entry.header.set_device_major(rustix::fs::major(device))?;
                entry.header.set_device_minor(rustix::fs::minor(device))?;
                entry.write(&path, 0, &mut self.out)
            }
            _ => Ok(()),
        }
    }

    /// Ends the archive; gives what it was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn file(&mut self, node: &Node<'_>, path: &[u8]) -> io::Result<()> {
        let mut file = File::from(node.open()?);
        let metadata = rustix::fs::fstat(&file)?;
        let size = u64::try_from(metadata.st_size).unwrap_or_default();
        let blocks = u64::try_from(metadata.st_blocks).unwrap_or_default();
        let runs = if blocks * 512 < size {
            runs(&file, size)?
        } else {
            vec![(0, size)]
        };
        let mut entry = Entry::new(node, EntryType::Regular);
        let stored = runs.iter().map(|(_, length)| length).sum();
        if runs != [(0, size)] {
            entry = Entry::sparse(node, size, &runs);
        }
        entry.attributes(&file)?;
        entry.write(path, stored, &mut self.out)?;
        for (start, length) in runs {
            file.seek(SeekFrom::Start(start))?;
            self.copy(&mut file, length)?;
        }
        self.pad(stored)
    }

    fn copy(&mut self, file: &mut File, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let length = file.read(&mut self.buffer[..want])?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.out.write_all(&self.buffer[..length])?;
            left -= length as u64;
        }
        Ok(())
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        pad(length, &mut self.out)
    }
}

fn pad(length: u64, out: &mut impl Write) -> io::Result<()> {
    let block = BLOCK as u64;
    let rest = usize::try_from(length.next_multiple_of(block) - length).unwrap_or_default();
    out.write_all(&[0; BLOCK][..rest])
}

/// The parts of a file that are no holes, as start and length; an empty one at the end of the file
/// if that is a hole, so that the file's size can be told.
fn runs(file: &File, size: u64) -> io::Result<Vec<(u64, u64)>> {
    use rustix::fs::SeekFrom::{Data, Hole};
    let mut runs = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, Data(at)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, Hole(start))?.min(size);
        if end <= start {
            break;
        }
        runs.push((start, end - start));
        at = end;
    }
    if at < size {
        runs.push((size, 0));
    }
    Ok(runs)
}

/// An entry before it is written.
struct Entry {
    header: Header,
    /// The records of its extended header.
    records: Vec<u8>,
    /// The blocks that follow the header of a sparse file.
    extension: Vec<u8>,
}

impl Entry {
    fn new(node: &Node<'_>, kind: EntryType) -> Self {
        Self::with(Header::new_ustar(), node, kind)
    }

    fn with(mut header: Header, node: &Node<'_>, kind: EntryType) -> Self {
        let stat = &node.stat;
        let mut records = Vec::new();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        for (key, id) in [("uid", stat.st_uid), ("gid", stat.st_gid)] {
            if u64::from(id) > SHORT_MAX {
                record(&mut records, key.as_bytes(), id.to_string().as_bytes());
            }
        }
        header.set_uid(u64::from(stat.st_uid).min(SHORT_MAX));
        header.set_gid(u64::from(stat.st_gid).min(SHORT_MAX));
        let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
        if stat.st_mtime_nsec != 0 || seconds > LONG_MAX {
            let time = format!("{seconds}.{:09}", stat.st_mtime_nsec);
            let time = time.trim_end_matches('0').trim_end_matches('.');
            record(&mut records, b"mtime", time.as_bytes());
        }
        header.set_mtime(seconds.min(LONG_MAX));
        Self {
            header,
            records,
            extension: Vec::new(),
        }
    }

    /// A file of `size` bytes of which only `runs` are there; see "Old GNU Format" in GNU tar's
    /// manual.
    fn sparse(node: &Node<'_>, size: u64, runs: &[(u64, u64)]) -> Self {
        let mut entry = Self::with(Header::new_gnu(), node, EntryType::GNUSparse);
        let Some(header) = entry.header.as_gnu_mut() else {
            return entry;
        };
        header.set_real_size(size);
        let (first, rest) = runs.split_at(runs.len().min(header.sparse.len()));
        for (field, (start, length)) in header.sparse.iter_mut().zip(first) {
            field.set_offset(*start);
            field.set_length(*length);
        }
        header.set_is_extended(!rest.is_empty());
        let mut rest = rest.chunks(21).peekable();
        while let Some(runs) = rest.next() {
            let mut block = tar::GnuExtSparseHeader::new();
            for (field, (start, length)) in block.sparse_mut().iter_mut().zip(runs) {
                field.set_offset(*start);
                field.set_length(*length);
            }
            block.set_is_extended(rest.peek().is_some());
            entry.extension.extend_from_slice(block.as_bytes());
        }
        entry
    }

    fn linked_to(mut self, target: &[u8]) -> Self {
        if let Some(fields) = self.header.as_ustar_mut() {
            put(&mut fields.linkname, target);
            if target.len() > fields.linkname.len() {
                record(&mut self.records, b"linkpath", target);
            }
        }
        self
    }

    /// Takes over the extended attributes of a file.
    fn attributes(&mut self, file: &File) -> io::Result<()> {
        let mut attributes = xattrs(file.as_fd())?;
        attributes.retain(|(name, _)| is_wanted_xattr(name));
        attributes.sort();
        for (name, value) in attributes {
            let key = [b"SCHILY.xattr.", name.as_slice()].concat();
            record(&mut self.records, &key, &value);
        }
        Ok(())
    }

    /// Writes the headers of an entry, of whose content `size` bytes follow.
    fn write(mut self, path: &[u8], size: u64, out: &mut impl Write) -> io::Result<()> {
        let name = &mut self.header.as_old_mut().name;
        put(name, path);
        if path.len() > name.len() {
            record(&mut self.records, b"path", path);
        }
        if size > LONG_MAX {
            record(&mut self.records, b"size", size.to_string().as_bytes());
        }
        self.header.set_size(size);
        if !self.records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let length = self.records.len() as u64;
            header.set_size(length);
            put(&mut header.as_old_mut().name, b"PaxHeaders/x");
            header.set_cksum();
            out.write_all(header.as_bytes())?;
            out.write_all(&self.records)?;
            pad(length, out)?;
        }
        self.header.set_cksum();
        out.write_all(self.header.as_bytes())?;
        out.write_all(&self.extension)
    }
}

/// Fills a field with as much of a text as it takes.
fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// Adds a record of an extended header: its length, which counts itself, then `KEY=VALUE`.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // Blank, equals sign and newline.
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, start) in [(1, "9 "), (2, "11 "), (90, "99 "), (91, "101 ")] {
            let mut records = Vec::new();
            record(&mut records, b"path", &vec![b'x'; value]);
            let text = String::from_utf8(records.clone()).unwrap();
            let length: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, records.len());
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn holes_are_found() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(runs(&file, 0).unwrap(), []);
        file.set_len(1 << 20).unwrap();
        assert_eq!(runs(&file, 1 << 20).unwrap(), [(1 << 20, 0)]);
        file.seek(SeekFrom::Start(1 << 19)).unwrap();
        file.write_all(&vec![1; 65536]).unwrap();
        file.sync_all().unwrap();
        let found = runs(&file, 1 << 20).unwrap();
        assert_eq!(found, [(1 << 19, 65536), (1 << 20, 0)]);
    }
}
