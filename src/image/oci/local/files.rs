//! The files of a local image: in a directory, or in an archive without unpacking it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::image::layer::{Compression, Limits, inflate, normalise};

/// More than any image has files beside those of its layers.
const ENTRIES_MAX: usize = 100_000;
/// What headers may take between two entries.
const HEADERS_MAX: u64 = 1 << 20;
/// How often a link may lead to another.
const LINKS_MAX: usize = 8;

/// What the files make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An OCI layout.
    Layout,
    /// What `docker save` writes.
    Docker,
}

/// A part of a file.
#[derive(Debug, Clone)]
pub(in crate::image) struct Section {
    file: Arc<File>,
    start: u64,
    size: u64,
}

impl Section {
    pub(in crate::image) fn size(&self) -> u64 {
        self.size
    }

    /// Reads it from its beginning.
    pub(in crate::image) fn reader(&self) -> SectionReader {
        SectionReader {
            section: self.clone(),
            at: 0,
        }
    }
}

/// Reads a [`Section`], whatever others read of the same file.
pub(in crate::image) struct SectionReader {
    section: Section,
    at: u64,
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.section.size - self.at;
        let want = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let offset = self.section.start + self.at;
        let length = self.section.file.read_at(&mut buffer[..want], offset)?;
        if length == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += length as u64;
        Ok(length)
    }
}

/// The files of an image.
pub(super) struct Files {
    kind: Kind,
    place: Place,
}

enum Place {
    Directory(OwnedFd),
    Archive {
        file: Arc<File>,
        entries: HashMap<Vec<u8>, Entry>,
    },
}

enum Entry {
    File {
        start: u64,
        size: u64,
    },
    /// Older versions of docker note a layer that comes twice as a link.
    Link(Vec<u8>),
}

impl Files {
    /// The files of the image at `path`; `None` if it is no image, but a root or the archive of one.
    pub(super) fn open(
        path: &Path,
        scratch: &Path,
        cancelled: &dyn Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let place = if path.is_dir() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Place::Directory(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
        } else {
            match archive(path, scratch, cancelled)? {
                Some(place) => place,
                None => return Ok(None),
            }
        };
        let mut files = Self {
            kind: Kind::Layout,
            place,
        };
        // What docker writes nowadays is both.
        if files.get("oci-layout")?.is_some() && files.get("index.json")?.is_some() {
            return Ok(Some(files));
        }
        files.kind = Kind::Docker;
        Ok(files.is_saved()?.then_some(files))
    }

    /// Whether `manifest.json` is docker's: a root may hold a file of that name too.
    fn is_saved(&self) -> io::Result<bool> {
        let Some(section) = self.get("manifest.json")? else {
            return Ok(false);
        };
        if section.size() > super::DOCUMENT_MAX {
            return Ok(false);
        }
        let mut body = Vec::new();
        section.reader().read_to_end(&mut body)?;
        Ok(serde_json::from_slice::<Vec<super::RawSaved>>(&body).is_ok())
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The regular file with this name.
    pub(super) fn get(&self, name: &str) -> io::Result<Option<Section>> {
        let Ok(mut path) = normalise(name.as_bytes()) else {
            return Ok(None);
        };
        match &self.place {
            Place::Directory(directory) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let file = match rustix::fs::openat2(
                    directory,
                    path.as_slice(),
                    flags,
                    Mode::empty(),
                    resolve,
                ) {
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
                    file => File::from(file?),
                };
                let metadata = file.metadata()?;
                Ok(metadata.is_file().then(|| Section {
                    file: Arc::new(file),
                    start: 0,
                    size: metadata.len(),
                }))
            }
            Place::Archive { file, entries } => {
                for _ in 0..LINKS_MAX {
                    match entries.get(&path) {
                        Some(Entry::File { start, size }) => {
                            return Ok(Some(Section {
                                file: Arc::clone(file),
                                start: *start,
                                size: *size,
                            }));
                        }
                        Some(Entry::Link(target)) => path.clone_from(target),
                        None => return Ok(None),
                    }
                }
                Ok(None)
            }
        }
    }
}

/// The entries of an archive; `None` if it cannot be that of an image.
fn archive(path: &Path, scratch: &Path, cancelled: &dyn Fn() -> bool) -> io::Result<Option<Place>> {
    let mut file = File::open(path)?;
    let mut start = [0; 6];
    let length = file.read(&mut start)?;
    file.rewind()?;
    if Compression::sniff(&start[..length]) != Compression::Plain {
        if !may_be_image(file.try_clone()?) {
            return Ok(None);
        }
        file.rewind()?;
        file = inflated(file, scratch, cancelled)?;
    }
    // What is no archive is told by who unpacks it.
    let Ok(entries) = index(&file, cancelled) else {
        return Ok(None);
    };
    Ok(Some(Place::Archive {
        file: Arc::new(file),
        entries,
    }))
}

/// Whether a compressed archive may be an image's: its first entry tells, for a root does not begin
/// with those, and to inflate one only to look takes long.
fn may_be_image(file: File) -> bool {
    let first = || -> io::Result<Option<Vec<u8>>> {
        let mut archive = tar::Archive::new(inflate(file, None)?.take(HEADERS_MAX));
        for entry in archive.entries()? {
            let entry = entry?;
            let path = normalise(&entry.path_bytes()).map_err(io::Error::other)?;
            if !path.is_empty() {
                return Ok(Some(path));
            }
        }
        Ok(None)
    };
    let Ok(Some(path)) = first() else {
        return false;
    };
    let name = path.split(|byte| *byte == b'/').next().unwrap_or(&path);
    let is_hex = |name: &[u8]| name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit);
    let known: [&[u8]; 5] = [
        b"blobs",
        b"oci-layout",
        b"index.json",
        b"manifest.json",
        b"repositories",
    ];
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or(name);
    known.contains(&name) || is_hex(stem)
}

/// The inflated archive, which stays as long as it is open although `scratch` goes.
fn inflated(file: File, scratch: &Path, cancelled: &dyn Fn() -> bool) -> io::Result<File> {
    let packed = file.metadata()?.len();
    let mut reader = inflate(file, None)?;
    let mut out = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(scratch.join("inflated"))?;
    let limits = Limits::DEFAULT;
    let mut buffer = vec![0; 128 << 10];
    let mut given = 0;
    loop {
        if cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let length = reader.read(&mut buffer)?;
        if length == 0 {
            out.rewind()?;
            return Ok(out);
        }
        given += length as u64;
        if given > limits.bytes || (given > 1 << 30 && given / packed.max(1) > limits.ratio) {
            return Err(io::Error::other(
                "it inflates to more than an image may have",
            ));
        }
        out.write_all(&buffer[..length])?;
    }
}

/// Where each file is in an archive; of several with one name the last counts.
fn index(file: &File, cancelled: &dyn Fn() -> bool) -> io::Result<HashMap<Vec<u8>, Entry>> {
    let length = file.metadata()?.len();
    let mut archive = tar::Archive::new(Headers {
        file,
        left: HEADERS_MAX,
    });
    let mut entries = HashMap::new();
    for (number, entry) in archive.entries_with_seek()?.enumerate() {
        let entry = entry?;
        if number > ENTRIES_MAX || cancelled() {
            return Err(io::Error::other("too many entries"));
        }
        let Ok(path) = normalise(&entry.path_bytes()) else {
            continue;
        };
        let kind = entry.header().entry_type();
        let found = if kind.is_file() {
            let (start, size) = (entry.raw_file_position(), entry.size());
            if start.checked_add(size).is_none_or(|end| end > length) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Entry::File { start, size }
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default();
            match resolved(&path, &target, kind.is_symlink()) {
                Some(target) => Entry::Link(target),
                None => continue,
            }
        } else {
            continue;
        };
        entries.insert(path, found);
    }
    Ok(entries)
}

/// What a link in an archive leads to, if that is in the archive.
fn resolved(path: &[u8], target: &[u8], is_relative: bool) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    if is_relative && !target.starts_with(b"/") {
        parts.extend(path.split(|byte| *byte == b'/'));
        parts.pop();
    }
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// Reads an archive by its headers only, and bounds what the parser takes for those.
struct Headers<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        match self.left.checked_sub(length as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other("too long a header")),
        }
        Ok(length)
    }
}

impl Seek for Headers<'_> {
    /// The parser seeks over the content of an entry: then another begins.
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.left = HEADERS_MAX;
        self.file.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        let of = |path: &str, target: &str| {
            resolved(path.as_bytes(), target.as_bytes(), true)
                .map(|found| String::from_utf8(found).unwrap())
        };
        assert_eq!(of("a/layer.tar", "../b/layer.tar").unwrap(), "b/layer.tar");
        assert_eq!(of("layer.tar", "b").unwrap(), "b");
        assert_eq!(of("a/b", "/c").unwrap(), "c");
        assert_eq!(of("a/b", "../../c"), None);
    }
}
