//! The cache: `$POSTROJ_TEST_CACHE`, else `/var/cache/postroj-tests`.
//!
//! ```text
//! <name>/            an artefact: complete once it has this name, for it is renamed into place
//! <name>.partial/    one in the making, or left by a run that died
//! locks/<name>       held while an artefact is made, an image is pulled, …
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

pub(crate) fn root() -> PathBuf {
    static ONCE: Once = Once::new();
    let root = std::env::var_os("POSTROJ_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/postroj-tests"), PathBuf::from);
    fs::create_dir_all(root.join("locks")).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; the tests run as root: `make test`",
            root.display()
        )
    });
    ONCE.call_once(|| spread(&root));
    root
}

/// Has ext4 put each entry of a directory into block groups of its own; `T` in chattr(1).
///
/// Without a journal it uses no inode again that was freed in the last minutes, and passes over them one by one
/// whenever a file is made in their group: beside trees that have just been removed, a third of a test's time.
fn spread(directory: &Path) {
    let spread = File::open(directory).and_then(|directory| {
        let flags = ioctl_getflags(&directory)?;
        Ok(ioctl_setflags(&directory, flags | IFlags::TOPDIR)?)
    });
    // No other file system needs that.
    spread.ok();
}

/// Removes what no run has used for a day: stores of earlier states of the source, and what killed
/// runs have left.
pub(crate) fn prune() {
    for entry in fs::read_dir(root()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let passing = ["store-", "scratch-", "host-"]
            .iter()
            .any(|start| name.to_string_lossy().starts_with(start));
        // A directory's time is that of the last change to its entries: see `touch`.
        let age = entry
            .metadata()
            .and_then(|found| found.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if passing && age.is_some_and(|age| age > Duration::from_secs(24 * 3600)) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Marks a directory of the cache as used now.
pub(crate) fn touch(directory: &Path) {
    let mark = directory.join("used");
    fs::write(&mark, "")
        .and_then(|()| fs::remove_file(&mark))
        .ok();
}

/// Held until dropped, against threads and processes alike.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl Lock {
    fn open(name: &str) -> File {
        let path = root().join("locks").join(name);
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn exclusive(name: &str) -> Self {
        let file = Self::open(name);
        file.lock().expect("flock");
        Self(file)
    }

    pub(crate) fn shared(name: &str) -> Self {
        let file = Self::open(name);
        file.lock_shared().expect("flock");
        Self(file)
    }
}

/// The path of the artefact `name`, made by `make` in an empty directory if the cache lacks it.
///
/// The name ends in a number that whoever changes `make` counts up.
pub(crate) fn artefact(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let path = root().join(name);
    let _lock = Lock::exclusive(name);
    if !path.exists() {
        let partial = root().join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).expect("remove what a dead run left");
        }
        fs::create_dir(&partial).expect("create a directory in the cache");
        make(&partial);
        fs::rename(&partial, &path).expect("publish the artefact");
    }
    path
}
