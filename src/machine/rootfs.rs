//! Reading and writing below a container's root without ever leaving it.
//!
//! A path in an image is the image's word: `/etc/resolv.conf` may be a symbolic link to anywhere.
//! Every access resolves below the root by `openat2(2)` with `RESOLVE_IN_ROOT`, so that an
//! absolute link means the container's own file and never the host's.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::users;

/// How often a path is resolved before it is held to be the host's doing that it cannot be.
const ATTEMPTS: u32 = 1000;

/// The root directory of a container, held open.
#[derive(Debug)]
pub(crate) struct Rootfs {
    root: OwnedFd,
    /// The host's number for the container's root, unless that is the host's.
    base: Option<u32>,
}

impl Rootfs {
    /// Opens the directory at `path`, which is one of ours or a process's `/proc/<pid>/root`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::open(path, flags, Mode::empty())?,
            base: None,
        })
    }

    /// What is made in it from now on belongs to the container's root, whose number on the host is
    /// `base`.
    pub(crate) fn owned_by(self, base: Option<u32>) -> Self {
        Self { base, ..self }
    }

    /// The host's number for the container's root, unless that is the host's.
    pub(super) fn base(&self) -> Option<u32> {
        self.base
    }

    /// Gives what `file` is open on to the container's root.
    pub(super) fn give(&self, file: impl AsFd) -> io::Result<()> {
        self.base.map_or(Ok(()), |base| users::give(file, base))
    }

    /// Gives it up: nothing is found in it from now on. Who is the last to have a root pays for what it takes
    /// the kernel to forget what was in it.
    pub(super) fn let_go(&mut self) {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        if let Ok(nothing) = rustix::fs::open("/dev/null", flags, Mode::empty()) {
            self.root = nothing;
        }
    }

    /// The root's descriptor.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens `path` below the root.
    pub(crate) fn open_at(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> io::Result<OwnedFd> {
        let path = relative(path.as_ref());
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut attempts = 1;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, mode, resolve) {
                // Anything that was renamed or mounted anywhere on the host meanwhile makes a way
                // through `..` look like one that may have left the root; openat2(2).
                Err(Errno::AGAIN) if attempts < ATTEMPTS => attempts += 1,
                opened => return Ok(opened?),
            }
        }
    }

    /// Whether `path` leads to something.
    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.open_at(path, OFlags::PATH, Mode::empty()).is_ok()
    }

    /// Whether a directory has an entry of that name, wherever that leads.
    pub(crate) fn has_entry(&self, directory: &str, name: &str) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_at(directory, flags, Mode::empty())
            .is_ok_and(|directory| {
                rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            })
    }

    /// Whether `directory/name` is a symbolic link to `target`.
    pub(crate) fn links_to(&self, directory: &str, name: &str, target: &str) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_at(directory, flags, Mode::empty())
            .is_ok_and(|directory| {
                rustix::fs::readlinkat(&directory, name, Vec::new())
                    .is_ok_and(|found| found.to_bytes() == target.as_bytes())
            })
    }

    /// The names in a directory, without those of itself and its parent; none where it is not there.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(directory) = self.open_at(path, flags, Mode::empty()) else {
            return Vec::new();
        };
        let Ok(entries) = rustix::fs::Dir::new(directory) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name != "." && name != "..")
            .collect()
    }

    /// Reads a regular file of at most `limit` bytes; anything else is an error, never a hang.
    pub(crate) fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_at(path, flags, Mode::empty())?;
        let metadata = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(metadata.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Puts a regular file at `directory/name`, whatever was there before; the directory is made
    /// if it is missing.
    pub(crate) fn replace(&self, directory: &str, name: &str, content: &[u8]) -> io::Result<()> {
        let (directory, file) = self.create(directory, name)?;
        drop(directory);
        File::from(file).write_all(content)
    }

    /// As [`Self::replace`], with the whole content of `source`; gives the number of bytes.
    pub(crate) fn copy(&self, directory: &str, name: &str, mut source: &File) -> io::Result<u64> {
        let (_directory, file) = self.create(directory, name)?;
        // It may have been copied before.
        source.rewind()?;
        io::copy(&mut source, &mut File::from(file))
    }

    /// Makes a symbolic link to `target` of each name in `directory`, where there is nothing yet.
    pub(crate) fn link_each(
        &self,
        directory: &str,
        names: &[String],
        target: &str,
    ) -> io::Result<()> {
        let directory = self.make_directories(directory)?;
        for name in names {
            match rustix::fs::symlinkat(target, &directory, name) {
                // The image says itself what becomes of it.
                Err(Errno::EXIST) => continue,
                made => made?,
            }
            if self.base.is_some() {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                self.give(rustix::fs::openat(&directory, name, flags, Mode::empty())?)?;
            }
        }
        Ok(())
    }

    /// Removes each name in `directory` that is a symbolic link to `target`.
    pub(crate) fn unlink_each(&self, directory: &str, names: &[String], target: &str) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(directory) = self.open_at(directory, flags, Mode::empty()) else {
            return;
        };
        for name in names {
            let found = rustix::fs::readlinkat(&directory, name, Vec::new());
            if found.is_ok_and(|found| found.to_bytes() == target.as_bytes()) {
                let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
            }
        }
    }

    /// Gives an entry of a directory another name, which is nobody's yet.
    pub(crate) fn rename(&self, directory: &str, from: &str, to: &str) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = self.open_at(directory, flags, Mode::empty())?;
        let flags = RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(
            &directory, from, &directory, to, flags,
        )?)
    }

    fn create(&self, directory: &str, name: &str) -> io::Result<(OwnedFd, OwnedFd)> {
        let directory = self.make_directories(directory)?;
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, name, flags, Mode::from_raw_mode(0o644))?;
        // The mode that was asked for, whatever the umask.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        self.give(&file)?;
        Ok((directory, file))
    }

    pub(super) fn make_directories(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut walked = String::new();
        let mut parent = self.open_at("/", flags, Mode::empty())?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            walked = format!("{walked}/{part}");
            parent = match self.open_at(&walked, flags, Mode::empty()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755))?;
                    let made = self.open_at(&walked, flags, Mode::empty())?;
                    self.give(&made)?;
                    made
                }
                other => other?,
            };
        }
        Ok(parent)
    }
}

/// `openat2(2)` with `RESOLVE_IN_ROOT` takes absolute paths too, but the root itself is `.`.
fn relative(path: &Path) -> &Path {
    if path == Path::new("/") {
        Path::new(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_host_stays_inside() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", directory.path().join("link")).unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        assert!(root.read("link", 100).is_err());
        root.replace("etc", "hostname", b"inside").unwrap();
        assert_eq!(root.read("link", 100).unwrap(), b"inside");
    }

    /// A host is never quiet: every move of a directory is one of which the kernel cannot know whether it
    /// has led a path out of the root.
    #[test]
    fn a_path_is_found_while_others_move() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        root.replace("usr/lib", "os-release", b"").unwrap();
        root.make_directories("etc").unwrap();
        let link = directory.path().join("etc/os-release");
        std::os::unix::fs::symlink("../usr/lib/os-release", link).unwrap();
        let others = tempfile::tempdir().unwrap();
        let (one, other) = (others.path().join("one"), others.path().join("other"));
        std::fs::create_dir(&one).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::fs::rename(&one, &other).unwrap();
                    std::fs::rename(&other, &one).unwrap();
                }
            });
            let missed = (0..20_000)
                .filter(|_| !root.exists("etc/os-release"))
                .count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(missed, 0);
        });
    }

    #[test]
    fn a_fifo_does_not_hang_the_reader() {
        let directory = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            directory.path().join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        assert!(root.read("fifo", 100).is_err());
    }

    #[test]
    fn a_replaced_link_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        root.replace("", "target", b"precious").unwrap();
        std::os::unix::fs::symlink("target", directory.path().join("link")).unwrap();
        root.replace("", "link", b"new").unwrap();
        assert_eq!(root.read("target", 100).unwrap(), b"precious");
        assert_eq!(root.read("link", 100).unwrap(), b"new");
    }

    #[test]
    fn a_large_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        root.replace("a/b", "large", &[0; 200]).unwrap();
        assert!(root.read("a/b/large", 100).is_err());
    }
}
