//! What package managers have downloaded, kept on the host for the next container.
//!
//! ```text
//! <cache>/packages/<distribution>/      debian-bookworm-linux-amd64; other images by a name of their own
//! ├── lock                              exclusive while a generation is made; its time: last used
//! ├── current -> <generation>           replaced by a rename
//! └── <generation>/                     never changes; stays while somebody has a shared flock(2) on it
//!     ├── refreshed                     its time: when the repositories were asked
//!     └── 0/ 1/ …                       the package manager's directories, in the order of `of`; who has
//!                                       mounted one has a lock on that
//! ```
//!
//! A container sees the current generation through an overlay of its own: it can neither change it,
//! nor wait for another container, and the package managers' own locks are in the container. What is
//! new in a container becomes another generation, of hard links to the files of the last one.
//!
//! # Why nothing can poison it
//!
//! apt-get takes an archive from its directory by its name and size; it checks digests only of what
//! it downloads itself. (dnf, zypper and pacman check what they take, but against an index that is
//! cached here as well.) So whatever is in here has to be beyond doubt:
//!
//! - It is taken out of a container before any package that is under test, or a dependency of one,
//!   has run a line of code: after the package manager has refreshed its index and downloaded, with
//!   all of its checks, and before it installs.
//! - Each distribution of the catalogue has a cache of its own, and so has every other image. An
//!   image that calls itself Debian has no say in what Debian gets.
//! - It is read without following a link, and what is no regular file is left out.
//! - A generation is written to the disk before it has its name.
//!
//! Its size is bounded ([`LIMIT`]), and what has not been used for [`UNUSED`] goes.

mod harvest;

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::image::Family;
use crate::machine::Overlaid;

pub(crate) use harvest::From;

/// How many bytes the cache of one distribution may have before it begins anew.
pub const LIMIT: u64 = 4 << 30;

/// After how long a cache that nobody uses is removed.
pub const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

/// For how long what is known of the repositories is taken for true without asking them.
///
/// A package that is newer than that may be missed in this time; one that has gone, or is not yet
/// known, makes the package manager fail before it has begun, and leads to another try with the
/// index of now.
pub const FRESH: Duration = Duration::from_secs(3600);

/// How a directory of a package manager is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// As the last container had it: an index.
    Last,
    /// All that any container had: packages.
    All,
}

/// A directory of a package manager.
#[derive(Debug, Clone, Copy)]
struct Directory {
    path: &'static str,
    keep: Keep,
}

/// The directories of the family's package managers. One that lies in another comes after it.
fn of(family: Family) -> &'static [Directory] {
    const fn keep(path: &'static str, keep: Keep) -> Directory {
        Directory { path, keep }
    }
    match family {
        Family::Debian => {
            &const {
                [
                    keep("/var/lib/apt/lists", Keep::Last),
                    // The index as apt-get has compiled it, which takes it a second.
                    keep("/var/cache/apt", Keep::Last),
                    keep("/var/cache/apt/archives", Keep::All),
                ]
            }
        }
        Family::Redhat => {
            &const {
                [
                    keep("/var/cache/dnf", Keep::All),
                    keep("/var/cache/libdnf5", Keep::All),
                    keep("/var/cache/yum", Keep::All),
                ]
            }
        }
        Family::Suse => &const { [keep("/var/cache/zypp", Keep::All)] },
        Family::Arch => {
            &const {
                [
                    keep("/var/lib/pacman/sync", Keep::Last),
                    keep("/var/cache/pacman/pkg", Keep::All),
                ]
            }
        }
    }
}

/// The cache of one distribution.
#[derive(Debug, Clone)]
pub struct PackageCache {
    directory: PathBuf,
    family: Family,
}

/// The current generation of a cache, which stays while this lives.
#[derive(Debug)]
pub struct Lease {
    cache: PackageCache,
    generation: Option<Generation>,
    /// A container has them mounted.
    earlier: Vec<Generation>,
}

#[derive(Debug)]
struct Generation {
    path: PathBuf,
    refreshed: SystemTime,
    _lock: OwnedFd,
}

impl PackageCache {
    /// The cache below `cache` of the distribution, for one platform, that `name` stands for.
    pub fn new(cache: &Path, name: &str, family: Family) -> Self {
        Self {
            directory: packages(cache).join(name),
            family,
        }
    }

    /// Takes hold of the current generation.
    pub fn lease(&self) -> io::Result<Lease> {
        fs::create_dir_all(&self.directory)?;
        File::create(self.directory.join("lock"))?.set_modified(SystemTime::now())?;
        Ok(Lease {
            cache: self.clone(),
            generation: self.current()?,
            earlier: Vec::new(),
        })
    }

    fn current(&self) -> io::Result<Option<Generation>> {
        loop {
            let name = match fs::read_link(self.directory.join("current")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                name => name?,
            };
            let path = self.directory.join(name);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let lock = match rustix::fs::open(&path, flags, Mode::empty()) {
                // Another has taken its place at this moment, unless somebody has removed it by hand.
                Err(rustix::io::Errno::NOENT) if self.points_elsewhere(&path) => continue,
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                lock => lock?,
            };
            rustix::fs::flock(&lock, FlockOperation::LockShared)?;
            let refreshed = match fs::metadata(path.join("refreshed")) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.points_elsewhere(&path) {
                        continue;
                    }
                    return Ok(None);
                }
                found => found?.modified()?,
            };
            return Ok(Some(Generation {
                path,
                refreshed,
                _lock: lock,
            }));
        }
    }

    fn points_elsewhere(&self, path: &Path) -> bool {
        let now = fs::read_link(self.directory.join("current"));
        now.is_ok_and(|now| self.directory.join(now) != path)
    }
}

impl Lease {
    /// What a container is to see of the cache, whose writes stay in memory.
    pub fn overlaid(&self) -> Vec<Overlaid> {
        let Some(generation) = &self.generation else {
            return Vec::new();
        };
        self.each(|number| generation.path.join(number), |_| None)
    }

    /// What a container is to see of the cache, whose writes are kept below `kept`, from where
    /// `From::Written` takes them.
    pub fn overlaid_keeping(&self, kept: &Path) -> io::Result<Vec<Overlaid>> {
        let empty = kept.join("empty");
        fs::create_dir_all(&empty)?;
        Ok(self.each(
            |number| match &self.generation {
                Some(generation) => generation.path.join(number),
                None => empty.clone(),
            },
            |number| Some(kept.join(number)),
        ))
    }

    fn each(
        &self,
        source: impl Fn(&str) -> PathBuf,
        kept: impl Fn(&str) -> Option<PathBuf>,
    ) -> Vec<Overlaid> {
        let directories = of(self.cache.family).iter().enumerate();
        directories
            .map(|(number, directory)| (number.to_string(), directory.path))
            // A generation has what the container that it is from had.
            .filter(|(number, _)| source(number).is_dir())
            .map(|(number, path)| Overlaid {
                source: source(&number),
                target: path.to_owned(),
                kept: kept(&number),
            })
            .collect()
    }

    /// How long ago the repositories were last asked what they have; none if nothing is kept.
    pub fn age(&self) -> Option<Duration> {
        let refreshed = self.generation.as_ref()?.refreshed;
        // The clock may have been set back since.
        Some(refreshed.elapsed().unwrap_or(Duration::MAX))
    }

    /// Whether what is known of the repositories may be taken for true.
    pub fn is_fresh(&self) -> bool {
        self.age().is_some_and(|age| age < FRESH)
    }

    /// Makes a generation of what a container has now, and holds that one from now on. `refreshed`
    /// tells that the repositories have just been asked.
    ///
    /// To be called before any code of a package has run there.
    pub(crate) fn harvest(&mut self, from: &From, refreshed: bool) -> io::Result<()> {
        harvest::harvest(self, from, refreshed, LIMIT)
    }
}

/// Where the caches are.
fn packages(cache: &Path) -> PathBuf {
    cache.join("packages")
}
