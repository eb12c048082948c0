//! File systems of a test's own, which can be filled up, and whose power can be cut.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::process::{Outcome, run};

/// What a disk is formatted with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// In memory, at most so many bytes.
    Memory(u64),
    Ext4,
    Xfs,
}

/// Mounted in a mount namespace that goes with it, so that nobody else sees it and nothing is left.
pub(crate) struct Disk {
    kind: Kind,
    /// Has the namespace, until its standard input ends.
    holder: Child,
    image: PathBuf,
    /// Where it is mounted.
    pub(crate) path: PathBuf,
}

impl Disk {
    /// A disk mounted at `at`/disk.
    pub(crate) fn new(at: &Path, kind: Kind) -> Self {
        let path = at.join("disk");
        let image = at.join("disk.img");
        fs::create_dir_all(&path).expect("create a mount point");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(["sh", "-c", "echo up; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let out = holder.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert_eq!(line, "up\n");
        let disk = Self {
            kind,
            holder,
            image,
            path,
        };
        let image = disk.image.display().to_string();
        match kind {
            Kind::Memory(_) => {}
            Kind::Ext4 => {
                disk.allocate(256 << 20);
                disk.run(["mkfs.ext4", "-q", "-F", &image]).exits(0);
            }
            Kind::Xfs => {
                disk.allocate(320 << 20);
                disk.run(["mkfs.xfs", "-q", "-f", &image]).exits(0);
            }
        }
        disk.mount();
        disk
    }

    fn allocate(&self, bytes: u64) {
        let file = fs::File::create(&self.image).expect("create a disk's file");
        file.set_len(bytes).expect("size a disk's file");
    }

    fn mount(&self) {
        let path = self.path.display().to_string();
        let image = self.image.display().to_string();
        match self.kind {
            Kind::Memory(bytes) => {
                let options = format!("size={bytes}");
                self.run(["mount", "-t", "tmpfs", "-o", &options, "tmpfs", &path])
            }
            _ => self.run(["mount", "-o", "loop", &image, &path]),
        }
        .exits(0);
    }

    /// A command that sees the disk.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("--")
            .args(words);
        command
    }

    #[track_caller]
    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Outcome {
        run(self.command(words))
    }

    /// What is at `path` below the disk, as this process can reach it.
    pub(crate) fn reach(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix("/").expect("an absolute path");
        Path::new("/proc")
            .join(self.holder.id().to_string())
            .join("root")
            .join(below)
    }

    /// Drops everything that was not written to the disk: the file system takes no more writes, not
    /// even of its own journal.
    pub(crate) fn cut_power(&self) {
        let path = self.path.display().to_string();
        self.run(["xfs_io", "-x", "-c", "shutdown", &path]).exits(0);
    }

    /// Mounts what is left after a cut, when nobody has anything open on it any more.
    pub(crate) fn restore_power(&self) {
        self.run([OsStr::new("umount"), self.path.as_os_str()])
            .exits(0);
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().ok();
    }
}
