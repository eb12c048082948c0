//! Making a generation.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};

use crate::image::Family;

use super::{Directory, Keep, Lease, UNUSED, of};

/// The largest file that is kept.
const FILE_LIMIT: u64 = 1 << 30;

/// Nothing of a package manager's is deeper.
const DEPTH: usize = 8;

/// Where a container's directories are read.
pub(crate) enum From {
    /// In a container that is up: each as it has it, or none.
    Container(Vec<Option<OwnedFd>>),
    /// In what one that has ended has written, in overlayfs' form: the directory that was given to
    /// [`Lease::overlaid_keeping`].
    Written(PathBuf),
}

impl From {
    /// The directories of the container that `open` opens them in.
    pub(crate) fn container(lease: &Lease, open: impl Fn(&str) -> io::Result<OwnedFd>) -> Self {
        let directories = of(lease.cache.family).iter();
        Self::Container(
            directories
                .map(|directory| open(directory.path).ok())
                .collect(),
        )
    }

    fn open(&self, number: usize) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::Container(directories) => match directories.get(number) {
                Some(Some(directory)) => Ok(Some(directory.try_clone()?)),
                _ => Ok(None),
            },
            Self::Written(kept) => {
                let path = kept.join(number.to_string()).join("upper");
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                match rustix::fs::open(path, flags, Mode::empty()) {
                    Ok(directory) => Ok(Some(directory)),
                    Err(rustix::io::Errno::NOENT) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

pub(super) fn harvest(
    lease: &mut Lease,
    from: &From,
    refreshed: bool,
    limit: u64,
) -> io::Result<()> {
    let cache = lease.cache.clone();
    let lock = File::create(cache.directory.join("lock"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    // Another container may have been here since: what it had is not to be lost.
    let base = cache.current()?;
    let scratch = Scratch::create(&cache.directory)?;
    let time = match (&base, refreshed) {
        (Some(base), false) => base.refreshed,
        _ => SystemTime::now(),
    };
    let directories = of(cache.family).iter().enumerate();
    let mut budget = limit;
    for (number, directory) in directories {
        let to = scratch.path.join(number.to_string());
        let base = base
            .as_ref()
            .map(|base| base.path.join(number.to_string()))
            .filter(|base| base.is_dir());
        let source = from.open(number)?;
        if source.is_none() && base.is_none() {
            continue;
        }
        let fill = |base: Option<&Path>, budget: &mut u64| {
            make(&to)?;
            if let (Some(base), true) = (base, keeps(*directory, from)) {
                link_tree(base, &to, budget)?;
            }
            let others = within(cache.family, *directory);
            // What is mounted in it has to be found there.
            for other in &others {
                fs::create_dir_all(to.join(other))?;
            }
            let mut taking = Taking {
                base,
                budget,
                others,
            };
            match &source {
                Some(source) => taking.take(source, &to, Path::new(""), DEPTH),
                None => Ok(()),
            }
        };
        let before = budget;
        match fill(base.as_deref(), &mut budget) {
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
                // Too much has come together: from now on, what is in use now.
                fs::remove_dir_all(&to)?;
                budget = before;
                fill(None, &mut budget)?;
            }
            outcome => outcome?,
        }
    }
    File::create(scratch.path.join("refreshed"))?.set_modified(time)?;
    // A power cut must not leave a package of the right size and the wrong bytes.
    rustix::fs::syncfs(File::open(&scratch.path)?)?;
    scratch.publish()?;
    let now = cache.current()?;
    let earlier = std::mem::replace(&mut lease.generation, now);
    lease.earlier.extend(earlier);
    drop(base);
    clean(&cache.directory)
}

/// Whether what an earlier generation has stays, if the container does not say otherwise.
fn keeps(directory: Directory, from: &From) -> bool {
    directory.keep == Keep::All || matches!(from, From::Written(_))
}

/// The directories within this one that are kept by themselves.
fn within(family: Family, directory: Directory) -> Vec<&'static Path> {
    let others = of(family).iter();
    others
        .filter_map(|other| Path::new(other.path).strip_prefix(directory.path).ok())
        .filter(|inner| *inner != Path::new(""))
        .collect()
}

/// A generation to be.
struct Scratch {
    path: PathBuf,
    directory: PathBuf,
    name: String,
}

impl Scratch {
    fn create(directory: &Path) -> io::Result<Self> {
        use std::hash::{BuildHasher as _, Hasher as _};
        // The keys of a RandomState are random.
        let random = std::hash::RandomState::new().build_hasher().finish();
        let name = format!("{random:016x}");
        let path = directory.join(format!("{name}.new"));
        make(&path)?;
        Ok(Self {
            path,
            directory: directory.to_owned(),
            name,
        })
    }

    fn publish(self) -> io::Result<()> {
        fs::rename(&self.path, self.directory.join(&self.name))?;
        let link = self.directory.join("current.new");
        let _ = fs::remove_file(&link);
        symlink(&self.name, &link)?;
        fs::rename(link, self.directory.join("current"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Not there any more if it was published; what cannot be removed now is cleaned later.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)
}

/// Makes a tree of hard links to the files of another one.
fn link_tree(from: &Path, to: &Path, budget: &mut u64) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let found = entry.metadata()?;
        if found.is_dir() {
            make(&target)?;
            link_tree(&entry.path(), &target, budget)?;
        } else {
            spend(budget, found.len())?;
            fs::hard_link(entry.path(), target)?;
        }
    }
    Ok(())
}

fn spend(budget: &mut u64, bytes: u64) -> io::Result<()> {
    *budget = budget
        .checked_sub(bytes)
        .ok_or_else(|| io::Error::from(io::ErrorKind::QuotaExceeded))?;
    Ok(())
}

struct Taking<'a> {
    base: Option<&'a Path>,
    budget: &'a mut u64,
    others: Vec<&'static Path>,
}

impl Taking<'_> {
    /// Takes what is in a container's directory; `path` is where that is below the one in the cache.
    fn take(&mut self, from: &OwnedFd, to: &Path, path: &Path, depth: usize) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(from)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if is_passing(name) {
                continue;
            }
            let stat = match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
                // A container is alive.
                Err(rustix::io::Errno::NOENT) => continue,
                stat => stat?,
            };
            let path = path.join(name);
            if self.others.contains(&path.as_path()) {
                continue;
            }
            let target = to.join(&path);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if depth > 0 => {
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let below = rustix::fs::openat(from, name, flags, Mode::empty())?;
                    if !target.is_dir() {
                        make(&target)?;
                    }
                    self.take(&below, to, &path, depth - 1)?;
                }
                FileType::RegularFile => self.take_file(from.as_fd(), name, &target, &path)?,
                // overlayfs' sign of a removal.
                FileType::CharacterDevice if stat.st_rdev == 0 => remove(&target)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn take_file(
        &mut self,
        from: impl AsFd,
        name: &str,
        target: &Path,
        path: &Path,
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() || found.len() > FILE_LIMIT {
            return Ok(());
        }
        let is_same = |path: &Path| {
            fs::symlink_metadata(path).is_ok_and(|other| {
                other.is_file()
                    && other.len() == found.len()
                    && (other.mtime(), other.mtime_nsec()) == (found.mtime(), found.mtime_nsec())
            })
        };
        if is_same(target) {
            return Ok(());
        }
        remove(target)?;
        spend(self.budget, found.len())?;
        if let Some(base) = self.base.map(|base| base.join(path))
            && is_same(&base)
        {
            return fs::hard_link(base, target);
        }
        let mut copy = File::options().write(true).create_new(true).open(target)?;
        io::copy(&mut io::Read::take(file, found.len()), &mut copy)?;
        copy.set_modified(found.modified()?)
    }
}

/// What a package manager has while it works, and makes again.
fn is_passing(name: &str) -> bool {
    let ends = [".lock", "_lock.pid", ".lck", ".pid"];
    matches!(name, "." | ".." | "lock" | "partial")
        || name.starts_with("tmpdir.")
        || ends.iter().any(|end| name.ends_with(end))
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Removes the generations that nobody has any more, and the caches that nobody has used for long.
/// The caller has the lock of this one.
fn clean(directory: &Path) -> io::Result<()> {
    let current = fs::read_link(directory.join("current"))?;
    clean_but(directory, Some(&current))?;
    let Some(packages) = directory.parent() else {
        return Ok(());
    };
    for entry in fs::read_dir(packages)?.flatten() {
        let lock = entry.path().join("lock");
        let used = fs::metadata(&lock).and_then(|found| found.modified());
        let unused = |used: SystemTime| used.elapsed().unwrap_or(Duration::ZERO) > UNUSED;
        if entry.path() != directory && used.is_ok_and(unused) {
            let lock = File::open(&lock)?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                clean_but(&entry.path(), None)?;
            }
        }
    }
    Ok(())
}

fn clean_but(directory: &Path, current: Option<&Path>) -> io::Result<()> {
    if current.is_none() {
        remove(&directory.join("current"))?;
    }
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        let is_current = current.is_some_and(|current| *current == *entry.file_name());
        if is_current || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Some(_locks) = seize(&path)? {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// Takes a generation and its directories for oneself; none if somebody has one of them.
fn seize(generation: &Path) -> io::Result<Option<Vec<File>>> {
    let mut paths = vec![generation.to_owned()];
    for entry in fs::read_dir(generation)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            paths.push(entry.path());
        }
    }
    let mut locks = Vec::new();
    for path in paths {
        let lock = File::open(path)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => locks.push(lock),
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(locks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::PackageCache;

    /// A container's directories, in a directory of the test's.
    struct Container(tempfile::TempDir);

    impl Container {
        fn new() -> Self {
            let container = Self(tempfile::tempdir().unwrap());
            for path in ["lists", "apt/archives/partial"] {
                fs::create_dir_all(container.0.path().join(path)).unwrap();
            }
            container
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.0.path().join(path), text).unwrap();
        }

        fn open(&self, path: &str) -> io::Result<OwnedFd> {
            let name = path
                .trim_start_matches("/var/cache/")
                .trim_start_matches("/var/lib/apt/");
            Ok(File::open(self.0.path().join(name))?.into())
        }

        fn take(&self, lease: &mut Lease, refreshed: bool) {
            let from = From::container(lease, |path| self.open(path));
            lease.harvest(&from, refreshed).unwrap();
        }
    }

    fn seen(lease: &Lease) -> Vec<String> {
        let mut seen = Vec::new();
        for overlaid in lease.overlaid() {
            let mut pending = vec![overlaid.source.clone()];
            while let Some(path) = pending.pop() {
                for entry in fs::read_dir(path).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        pending.push(path);
                    } else {
                        let inner = path.strip_prefix(&overlaid.source).unwrap();
                        let text = fs::read_to_string(&path).unwrap();
                        seen.push(format!("{}/{} {text}", overlaid.target, inner.display()));
                    }
                }
            }
        }
        seen.sort();
        seen
    }

    #[test]
    fn packages_come_together_and_the_index_is_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let cache = PackageCache::new(directory.path(), "x", Family::Debian);
        let mut lease = cache.lease().unwrap();
        assert_eq!((lease.overlaid(), lease.age()), (Vec::new(), None));

        let one = Container::new();
        one.write("lists/one", "1");
        one.write("lists/lock", "");
        one.write("apt/pkgcache.bin", "2");
        one.write("apt/archives/one.deb", "3");
        one.write("apt/archives/partial/half.deb", "4");
        symlink("/etc/passwd", one.0.path().join("apt/archives/link.deb")).unwrap();
        one.take(&mut lease, true);
        assert!(lease.is_fresh());
        let first = [
            "/var/cache/apt/archives/one.deb 3",
            "/var/cache/apt/pkgcache.bin 2",
            "/var/lib/apt/lists/one 1",
        ];
        assert_eq!(seen(&lease), first);

        let two = Container::new();
        two.write("lists/two", "1");
        two.write("apt/archives/two.deb", "5");
        let mut other = cache.lease().unwrap();
        two.take(&mut other, true);
        let second = [
            "/var/cache/apt/archives/one.deb 3",
            "/var/cache/apt/archives/two.deb 5",
            "/var/lib/apt/lists/two 1",
        ];
        assert_eq!(seen(&other), second);
        // Who had the first goes on with it, and with the last of those it goes.
        assert_eq!(seen(&lease), first);
        let path = other.overlaid()[1].source.clone();
        let mounted = File::open(&path).unwrap();
        rustix::fs::flock(&mounted, FlockOperation::LockShared).unwrap();
        drop(lease);
        drop(other);
        let mut last = cache.lease().unwrap();
        two.take(&mut last, false);
        assert_eq!(seen(&last), second);
        assert!(path.exists(), "one that is mounted has gone");
        drop(mounted);
        drop(last);
        two.take(&mut cache.lease().unwrap(), false);
        assert!(!path.exists());
    }

    #[test]
    fn what_was_written_over_an_overlay_is_applied() {
        let directory = tempfile::tempdir().unwrap();
        let cache = PackageCache::new(directory.path(), "x", Family::Debian);
        let mut lease = cache.lease().unwrap();
        let one = Container::new();
        one.write("lists/one", "1");
        one.write("lists/old", "1");
        one.take(&mut lease, true);
        let kept = tempfile::tempdir().unwrap();
        let overlaid = lease.overlaid_keeping(kept.path()).unwrap();
        assert_eq!(overlaid.len(), 3);
        let upper = kept.path().join("0/upper");
        fs::create_dir_all(&upper).unwrap();
        fs::write(upper.join("one"), "changed").unwrap();
        let whiteout = upper.join("old");
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, whiteout, kind, Mode::empty(), 0).unwrap();
        lease
            .harvest(&From::Written(kept.path().to_owned()), true)
            .unwrap();
        assert_eq!(seen(&lease), ["/var/lib/apt/lists/one changed"]);
    }

    #[test]
    fn a_cache_that_is_too_large_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let cache = PackageCache::new(directory.path(), "x", Family::Debian);
        let mut lease = cache.lease().unwrap();
        for name in ["one", "two", "three"] {
            let container = Container::new();
            container.write(&format!("apt/archives/{name}.deb"), "1234");
            let open = |path: &str| container.open(path);
            let from = From::container(&lease, open);
            harvest(&mut lease, &from, true, 10).unwrap();
        }
        assert_eq!(seen(&lease), ["/var/cache/apt/archives/three.deb 1234"]);
    }

    #[test]
    fn a_cache_that_was_not_used_for_long_goes() {
        let directory = tempfile::tempdir().unwrap();
        let take = |name: &str| {
            let cache = PackageCache::new(directory.path(), name, Family::Debian);
            let mut lease = cache.lease().unwrap();
            let one = Container::new();
            one.write("lists/one", "1");
            one.take(&mut lease, true);
            cache
        };
        let old = take("old");
        let time = SystemTime::now() - 2 * UNUSED;
        let lock = File::options().write(true).open(old.directory.join("lock"));
        lock.unwrap().set_modified(time).unwrap();
        take("new");
        assert!(old.current().unwrap().is_none());
        assert_eq!(fs::read_dir(&old.directory).unwrap().count(), 1);
    }
}
