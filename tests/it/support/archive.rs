//! Archives written entry by entry, however bad the entries are.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// An archive in the making.
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

/// One entry; what is not said is a file of root's with the mode 0644 from 2001.
pub(crate) struct Entry {
    header: Header,
    records: Vec<(Vec<u8>, Vec<u8>)>,
    content: Vec<u8>,
}

impl Entry {
    /// An entry whose path is written as it is. One that is too long for the header goes before it.
    pub(crate) fn new(kind: EntryType, path: impl AsRef<[u8]>) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_device_major(0).expect("a small number");
        header.set_device_minor(0).expect("a small number");
        let mut entry = Self {
            header,
            records: Vec::new(),
            content: Vec::new(),
        };
        let path = path.as_ref();
        if path.len() > 100 {
            entry = entry.pax("path", path);
        }
        let length = path.len().min(100);
        entry.header.as_old_mut().name[..length].copy_from_slice(&path[..length]);
        entry
    }

    pub(crate) fn file(path: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            content: content.into(),
            ..Self::new(EntryType::Regular, path)
        }
    }

    pub(crate) fn directory(path: impl AsRef<[u8]>) -> Self {
        Self::new(EntryType::Directory, path)
    }

    pub(crate) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(EntryType::Symlink, path).target(target)
    }

    pub(crate) fn hard_link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self::new(EntryType::Link, path).target(target)
    }

    fn target(mut self, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref();
        if target.len() > 100 {
            self = self.pax("linkpath", target);
        }
        let length = target.len().min(100);
        self.header.as_old_mut().linkname[..length].copy_from_slice(&target[..length]);
        self
    }

    pub(crate) fn content(self, content: impl Into<Vec<u8>>) -> Self {
        Self {
            content: content.into(),
            ..self
        }
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.header.set_uid(uid);
        self.header.set_gid(gid);
        self
    }

    /// An extended attribute, or anything else that goes into the entry's extended header.
    pub(crate) fn pax(mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.records
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Changes the header, whose checksum is made afterwards.
    pub(crate) fn header(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }
}

/// A record of an extended header: `LENGTH KEY=VALUE\n`.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// What postroj looks for before it boots an image, as empty files: a pull ends well then, and
    /// nothing has to be installed.
    pub(crate) fn bootable() -> Self {
        [
            "usr/lib/systemd/systemd",
            "usr/sbin/init",
            "usr/bin/dbus-daemon",
            "usr/lib/systemd/system/dbus.socket",
        ]
        .into_iter()
        .fold(Self::new().with(Entry::directory("./")), |tar, path| {
            tar.with(Entry::file(path, ""))
        })
    }

    /// A root with Debian's static busybox as `/bin/busybox`, and nothing else.
    pub(crate) fn busybox() -> Self {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static of Debian");
        Self::new()
            .with(Entry::directory("bin"))
            .with(Entry::file("bin/busybox", busybox).mode(0o755))
    }

    pub(crate) fn with(mut self, entry: Entry) -> Self {
        let Entry {
            mut header,
            records,
            content,
        } = entry;
        if !records.is_empty() {
            let body: Vec<u8> = records
                .iter()
                .flat_map(|(key, value)| record(key, value))
                .collect();
            let mut extended = Header::new_ustar();
            extended.set_entry_type(EntryType::XHeader);
            extended.as_old_mut().name[..3].copy_from_slice(b"pax");
            extended.set_mode(0o644);
            extended.set_size(body.len() as u64);
            extended.set_cksum();
            self = self.raw(extended.as_bytes()).raw(&body).pad();
        }
        if !content.is_empty() || header.size().is_err() {
            header.set_size(content.len() as u64);
        }
        header.set_cksum();
        self.raw(header.as_bytes()).raw(&content).pad()
    }

    /// Bytes as they are.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn pad(mut self) -> Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    /// The archive with its end marks.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    /// The archive without its end marks.
    pub(crate) fn without_end(self) -> Vec<u8> {
        self.bytes
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}
