//! Writing a listing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rustix::fs::FileType;

use super::{Describer, Known, SIGNATURE, escape, names, open, stat};
use crate::image::digest::{Digest, Hasher};

/// A layer that has been listed.
#[derive(Debug, Clone, Copy)]
pub(in crate::image) struct Listed {
    /// The digest of the listing.
    pub(in crate::image) digest: Digest,
    /// How many entries it has, the root left out.
    pub(in crate::image) entries: u64,
    /// The bytes in its files, those with several names counted once for each.
    pub(in crate::image) bytes: u64,
}

/// Lists the directory `root` into the new file `listing`, reading every file in it.
pub(in crate::image) fn record(
    root: &Path,
    listing: &Path,
    cancel: &AtomicBool,
) -> io::Result<Listed> {
    let root = super::open(rustix::fs::CWD, root.as_os_str().as_encoded_bytes())?;
    let mut recorder = Recorder::create(listing, cancel)?;
    recorder.tree(root.as_fd())?;
    recorder.finish()
}

/// A listing in the making.
pub(in crate::image::layer) struct Recorder<'a> {
    out: BufWriter<File>,
    hasher: Hasher,
    describer: Describer<'a>,
    line: String,
    entries: u64,
    bytes: u64,
}

impl<'a> Recorder<'a> {
    pub(in crate::image::layer) fn create(path: &Path, cancel: &'a AtomicBool) -> io::Result<Self> {
        let mut recorder = Self {
            out: BufWriter::with_capacity(64 << 10, File::create_new(path)?),
            hasher: Hasher::new(),
            describer: Describer::new(cancel),
            line: SIGNATURE.to_owned(),
            entries: 0,
            bytes: 0,
        };
        recorder.put()?;
        Ok(recorder)
    }

    fn put(&mut self) -> io::Result<()> {
        self.hasher.update(self.line.as_bytes());
        self.out.write_all(self.line.as_bytes())?;
        self.line.clear();
        Ok(())
    }

    /// Lists one entry; `known` is what needs not be found out again.
    pub(in crate::image::layer) fn entry(
        &mut self,
        at: (BorrowedFd<'_>, &[u8]),
        path: &[u8],
        stat: &rustix::fs::Stat,
        known: Option<(Digest, bool)>,
    ) -> io::Result<()> {
        self.describer.go_on()?;
        self.line.push('.');
        if !path.is_empty() {
            self.line.push('/');
            escape(&mut self.line, path);
            self.entries += 1;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            self.bytes += u64::try_from(stat.st_size).unwrap_or_default();
        }
        self.line.push(' ');
        let known = known.map(|(digest, attributed)| Known { digest, attributed });
        self.describer.describe(&mut self.line, at, stat, known)?;
        self.line.push('\n');
        self.put()
    }

    pub(in crate::image::layer) fn finish(mut self) -> io::Result<Listed> {
        self.out.flush()?;
        Ok(Listed {
            digest: self.hasher.finish(),
            entries: self.entries,
            bytes: self.bytes,
        })
    }

    fn tree(&mut self, root: BorrowedFd<'_>) -> io::Result<()> {
        self.below(root, &mut Vec::new())?;
        self.entry((root, b"."), b"", &stat(root, b".")?, None)
    }

    fn below(&mut self, directory: BorrowedFd<'_>, path: &mut Vec<u8>) -> io::Result<()> {
        let length = path.len();
        for name in names(directory)? {
            let name = name?;
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let found = stat(directory, &name)?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                self.below(open(directory, &name)?.as_fd(), path)?;
            }
            self.entry((directory, &name), path, &found, None)?;
            path.truncate(length);
        }
        Ok(())
    }
}
