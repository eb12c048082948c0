//! Which containers of postroj there are on this host.
//!
//! ```text
//! /run/postroj/                    0700
//! └── <machine>/                   made by the supervisor, which so takes the name
//!     ├── record.json              what it is; written when it is up
//!     ├── control                  the supervisor's socket: one line asks it for something
//!     ├── notify                   systemd-nspawn's NOTIFY_SOCKET
//!     └── fs/                      a mount point; what is mounted is seen by the supervisor only
//! ```
//!
//! Whoever serves a container holds a `flock(2)` on its directory, which gets the machine's name only when it
//! is locked. Locks end with the process that holds them, however it ends, and unlike process numbers they are
//! not reused: a directory that can be locked is what a killed run left, and [`Runtime::sweep`] removes it and
//! its cgroups.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::cgroup::Hierarchies;
use crate::locked::{self, directories};

/// The longest name that a machine can have; `hostname(7)` says 64 bytes.
const MAX_NAME: usize = 64;

/// What every machine's name begins with.
pub const PREFIX: &str = "postroj-";

/// What the name of a directory begins with that has no machine's name yet.
const UNNAMED: &str = ".new-";

/// How long a killed machine's processes may take to be gone.
const SWEEP_PATIENCE: Duration = Duration::from_secs(5);

/// The directory of the containers that are up.
#[derive(Debug, Clone)]
pub struct Runtime {
    directory: PathBuf,
}

/// What is known of a container that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The machine's name.
    pub machine: String,
    /// The image that it was made from.
    pub image: String,
    /// The process that is its init, in the host's numbering.
    pub leader: i32,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// The process that postroj was, in the host's numbering.
    pub owner: u32,
    /// Whether it stays up when postroj has ended.
    pub kept: bool,
    /// The directories that its root is made of, topmost first.
    #[serde(default)]
    pub layers: Vec<PathBuf>,
    /// What was said about it when it was started.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/run/postroj"),
        }
    }
}

impl Runtime {
    /// The directory of `machine`, whether it is there or not.
    pub(super) fn path(&self, machine: &str) -> PathBuf {
        self.directory.join(machine)
    }

    /// The containers that are up, by name.
    pub fn machines(&self) -> io::Result<Vec<Record>> {
        let mut records: Vec<Record> = directories(&self.directory)?
            .iter()
            .filter_map(|path| fs::read(path.join("record.json")).ok())
            .filter_map(|json| serde_json::from_slice(&json).ok())
            .collect();
        records.sort_by(|a: &Record, b| a.machine.cmp(&b.machine));
        Ok(records)
    }

    /// The directory of `machine`, if it is up.
    pub(super) fn machine(&self, machine: &str) -> Option<PathBuf> {
        let is_name = !machine.contains('/') && machine.starts_with(PREFIX);
        let path = self.directory.join(machine);
        (is_name && path.join("record.json").exists()).then_some(path)
    }

    /// The names of the machines that killed runs have left, which [`Self::sweep`] would remove.
    pub fn leftovers(&self) -> io::Result<Vec<String>> {
        let directories = directories(&self.directory)?.into_iter();
        let directories = directories.filter(|path| abandoned(path).is_some());
        let names = directories.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.filter(|name| name.starts_with(PREFIX)).collect())
    }

    /// Removes what killed runs have left: their processes, cgroups and directories. Gives the
    /// names of the machines that were swept.
    pub fn sweep(&self) -> io::Result<Vec<String>> {
        let hierarchies = Hierarchies::load()?;
        let mut swept = Vec::new();
        for path in directories(&self.directory)? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let Some(_held) = abandoned(&path) else {
                continue;
            };
            match clean(&hierarchies, name, &path) {
                Ok(()) if name.starts_with(PREFIX) => swept.push(name.to_owned()),
                Ok(()) => {}
                // Its name stays taken; nobody else has to wait for it.
                Err(error) => tracing::info!(machine = name, %error, "cannot be removed yet"),
            }
        }
        for name in hierarchies.machines() {
            let path = self.directory.join(&name);
            // Whoever takes the name meanwhile would lose the cgroups that it has just made.
            if let Ok(Some(_name)) = claim(&path) {
                // Not ours to kill: another container may share the cgroups with us, but not
                // /run. What is empty goes, what is not cannot.
                let _ = hierarchies.of_machine(&name).remove(Duration::ZERO);
                remove_directory(&path)?;
            }
        }
        Ok(swept)
    }
}

/// Takes a machine's name by making its directory; `None` where that is there already. Whoever
/// claims it removes it: nobody else knows of it yet.
pub(super) fn claim(path: &Path) -> io::Result<Option<OwnedFd>> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    loop {
        // The parent goes with the last machine, which may end at this moment.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
        // It has its name only when it is locked: a sweep would take it for a leftover until then, and
        // whoever wants the name would find it taken.
        let (unnamed, lock) = match locked::create(parent, UNNAMED) {
            Ok(made) => made,
            Err((_, error)) if error.kind() == io::ErrorKind::NotFound => continue,
            Err((_, error)) => return Err(error),
        };
        match rustix::fs::renameat_with(CWD, &unnamed, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Some(lock.into())),
            Err(error) => {
                let _ = fs::remove_dir(&unnamed);
                return match error {
                    Errno::EXIST => Ok(None),
                    error => Err(error.into()),
                };
            }
        }
    }
}

/// Holds a layer for as long as the result is open: nobody removes it from its store then.
pub(crate) fn hold(layer: &Path) -> io::Result<OwnedFd> {
    match lock(layer, FlockOperation::NonBlockingLockShared) {
        Ok(Some(lock)) if is_still(&lock, layer) => Ok(lock),
        Ok(_) => Err(io::Error::other(format!(
            "{} is being removed",
            layer.display()
        ))),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", layer.display()),
        )),
    }
}

/// Removes what is left of a machine whose supervisor has ended, which is nothing unless that was
/// killed.
pub(super) fn bury(name: &str, path: &Path) {
    if let Some(_lock) = abandoned(path)
        && let Ok(hierarchies) = Hierarchies::load()
    {
        let _ = clean(&hierarchies, name, path);
    }
}

/// Takes the directory of a machine that nobody serves any more. One that has been made anew since it
/// was opened is somebody else's.
fn abandoned(path: &Path) -> Option<OwnedFd> {
    let held = lock(path, FlockOperation::NonBlockingLockExclusive).ok()??;
    is_still(&held, path).then_some(held)
}

/// Ends what is left of a machine that nobody serves any more, and removes it.
fn clean(hierarchies: &Hierarchies, name: &str, path: &Path) -> io::Result<()> {
    let cgroups = hierarchies.of_machine(name);
    cgroups.kill();
    cgroups.remove(SWEEP_PATIENCE)?;
    remove_directory(path)
}

/// Removes a machine's directory, and the parent after the last one.
pub(super) fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    if let Some(parent) = path.parent() {
        // Other machines may be in it.
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

fn lock(path: &Path, operation: FlockOperation) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        directory => directory?,
    };
    match rustix::fs::flock(&directory, operation) {
        Ok(()) => Ok(Some(directory)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the directory that `lock` holds is the one that is at `path` now.
fn is_still(lock: &OwnedFd, path: &Path) -> bool {
    match (rustix::fs::fstat(lock), fs::metadata(path)) {
        (Ok(held), Ok(there)) => held.st_ino == there.ino() && held.st_dev == there.dev(),
        _ => false,
    }
}

/// The names that a machine may have: `postroj-x`, `postroj-x-2`, `postroj-x-3`, …, none longer
/// than a host name may be.
pub(super) fn names(wanted: &str) -> impl Iterator<Item = String> {
    (1..=9999).map(move |number| numbered(wanted, number))
}

fn numbered(wanted: &str, number: u32) -> String {
    let suffix = if number == 1 {
        String::new()
    } else {
        format!("-{number}")
    };
    let length = wanted.len().min(MAX_NAME - suffix.len());
    let stem = wanted[..length].trim_end_matches(['-', '.']);
    format!("{stem}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(directory: &tempfile::TempDir) -> Runtime {
        Runtime {
            directory: directory.path().join("postroj"),
        }
    }

    #[test]
    fn a_long_name_leaves_room_for_its_number() {
        let long = format!("postroj-{}", "a".repeat(80));
        assert_eq!(numbered(&long, 1).len(), 64);
        assert_eq!(numbered(&long, 12).len(), 64);
        assert!(numbered(&long, 12).ends_with("a-12"));
    }

    #[test]
    fn a_name_is_claimed_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = runtime(&directory).path("postroj-x");
        let held = claim(&path).unwrap().expect("the name is free");
        assert!(claim(&path).unwrap().is_none());
        bury("postroj-x", &path);
        assert!(path.exists(), "somebody holds it");
        drop(held);
        bury("postroj-x", &path);
        assert!(!directory.path().join("postroj").exists());
    }

    #[test]
    fn whoever_sweeps_takes_no_name_away() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = runtime(&directory);
        let path = runtime.path("postroj-x");
        let (ending, ended) = std::sync::mpsc::channel::<()>();
        let sweeping = std::thread::spawn(move || {
            while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                assert_eq!(runtime.leftovers().unwrap(), [""; 0]);
            }
        });
        for _ in 0..2000 {
            let held = claim(&path).unwrap().expect("the name is free");
            remove_directory(&path).unwrap();
            drop(held);
        }
        drop(ending);
        sweeping.join().unwrap();
    }
}
