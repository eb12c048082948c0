//! The package managers of the distributions, and getting packages to them.
//!
//! A package is fetched by postroj, copied into the container, and installed there with the
//! distribution's own package manager, which takes dependencies from the distribution's
//! repositories and asks nothing.

mod apt;
mod cut;
mod dnf;
mod fetch;
mod installation;
mod inventory;
mod package;
mod pacman;
mod removal;
mod zypper;

use std::fs::File;

pub use cut::{CutDownload, sweep_cut_downloads};
pub use fetch::{FetchError, Fetcher};
pub use installation::{Caching, install, install_version};
pub use inventory::{Inventory, unowned};
pub use package::{Package, PackageError};
pub use removal::{Removal, remove};

use crate::image::Family;
use crate::machine::{Command, ExitStatus, Guest, GuestError, Space};

/// What a package manager is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A file in the container, by its absolute path.
    File(String),
    /// A name that the distribution's repositories know.
    Name(String),
}

impl Item {
    /// As a command line has it.
    fn argument(&self) -> String {
        match self {
            Self::File(path) => path.clone(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// Who is to blame when a package manager fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The package: it says nothing about the world around it.
    Package,
    /// The repositories or the way to them: it says nothing about the package.
    Repository,
}

impl Fault {
    /// The repository's, if the output has one of its signs.
    fn by_signs(signs: &[&str], output: &str) -> Self {
        if signs.iter().any(|sign| output.contains(sign)) {
            Self::Repository
        } else {
            Self::Package
        }
    }
}

/// Where a package manager takes packages from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// From its repositories, as far as they are not in its cache.
    Anywhere,
    /// From its cache alone: it fails, before it begins, if that does not do.
    Cache,
}

/// A distribution's package manager.
pub trait PackageManager: Inventory {
    /// Its name, which is its program's.
    fn name(&self) -> &'static str;

    /// Brings what it knows of the repositories up to date.
    fn refresh(&self) -> Option<Command>;

    /// Installs packages, asking nothing.
    fn install(&self, items: &[Item], from: From) -> Vec<Command>;

    /// A version of a package in its repositories, as an installation takes it; `None` if it has no
    /// word for that.
    fn versioned(&self, name: &str, version: &str) -> Option<String>;

    /// Removes packages by name, asking nothing; `None` where there is nothing left to do.
    fn remove(&self, names: &[String], removal: Removal) -> Option<Command>;

    /// Whether [`From::Cache`] means something to it.
    fn asks_only_the_cache(&self) -> bool {
        false
    }

    /// Downloads what an installation would, and installs nothing. Some cannot do that.
    fn download(&self, items: &[Item]) -> Vec<Command>;

    /// Whether an end is a good one.
    fn is_success(&self, status: ExitStatus) -> bool {
        status.success()
    }

    /// Whether it has begun to install, by what it wrote: all has been fetched by then.
    fn has_begun(&self, output: &str) -> bool;

    /// Who is to blame, by what it wrote before it failed.
    fn fault(&self, output: &str) -> Fault;
}

/// The family of a container's distribution, by its `os-release`.
pub fn family(guest: &Guest) -> Option<Family> {
    let text = guest
        .read_file("/etc/os-release")
        .or_else(|_| guest.read_file("/usr/lib/os-release"))
        .unwrap_or_default();
    Family::of_os_release(&String::from_utf8_lossy(&text))
}

/// The package manager of a container: by the family in its `os-release`, else by what is there.
pub fn detect(guest: &Guest) -> Option<Box<dyn PackageManager>> {
    let family = family(guest);
    let mut candidates = all();
    // A Debian with dnf installed is a Debian.
    candidates.sort_by_key(|candidate| Some(candidate.0) != family);
    candidates
        .into_iter()
        .find(|(_, path, _)| guest.has_file(path))
        .map(|(_, _, manager)| manager)
}

type Candidate = (Family, &'static str, Box<dyn PackageManager>);

fn all() -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = vec![(Family::Debian, apt::PROGRAM, Box::new(apt::Apt))];
    for (name, path) in dnf::PROGRAMS {
        candidates.push((Family::Redhat, path, Box::new(dnf::Dnf { name, path })));
    }
    candidates.push((Family::Suse, zypper::PROGRAM, Box::new(zypper::Zypper)));
    candidates.push((Family::Arch, pacman::PROGRAM, Box::new(pacman::Pacman)));
    candidates
}

/// A package that is ready to be installed.
#[derive(Debug)]
pub enum Ready {
    /// A file of the host, open.
    File {
        /// Its name, which says by its ending what it is.
        name: String,
        /// The file.
        file: File,
    },
    /// A name for the repositories.
    Name(String),
}

/// An installation that went well.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The package manager.
    pub manager: &'static str,
    /// What it wrote.
    pub output: String,
    /// What was installed, as it was given to the package manager.
    pub items: Vec<Item>,
    /// Whether there was anything to do.
    pub has_begun: bool,
}

/// Why packages were not installed or removed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The image has no package manager that postroj knows.
    #[error("the image has none of apt-get, dnf, yum, microdnf, zypper and pacman")]
    NoManager,
    /// The package manager failed over a package.
    #[error("{manager} did not install the packages: {status}")]
    Package {
        /// The package manager.
        manager: &'static str,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// The package manager did not reach its repositories.
    #[error("{manager} could not get what it needs from the distribution's repositories: {status}")]
    Repository {
        /// The package manager.
        manager: &'static str,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// The network is to be left alone, and the caches do not do.
    #[error(
        "{manager} needs what is not in its cache, and --offline leaves the network alone: {status}"
    )]
    Offline {
        /// The package manager.
        manager: &'static str,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// What the container may write is full.
    #[error("no space is left on the container's disk ({space}): {status}")]
    NoSpace {
        /// What there is of it.
        space: Space,
        /// What failed for the want of it.
        status: String,
        /// What the package manager wrote.
        output: String,
        /// Who has filled it.
        fault: Fault,
    },
    /// The package manager failed to remove the packages.
    #[error("{manager} did not {removal} the packages: {status}")]
    Removal {
        /// The package manager.
        manager: &'static str,
        /// What it was to do.
        removal: Removal,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// The package manager cannot say what a package is.
    #[error("{manager} cannot tell the name of a package's file: {status}")]
    Name {
        /// The package manager.
        manager: &'static str,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// The package manager takes no versions.
    #[error(
        "{manager} cannot install an older version from its repositories: name a package's URL or file to upgrade from"
    )]
    NoVersions {
        /// The package manager.
        manager: &'static str,
    },
    /// The package manager had nothing to do for an upgrade.
    #[error(
        "{manager} had nothing to upgrade: what is installed to upgrade from is as new as the packages"
    )]
    NothingNewer {
        /// The package manager.
        manager: &'static str,
        /// What it wrote.
        output: String,
    },
    /// The container could not be talked to.
    #[error(transparent)]
    Guest(#[from] GuestError),
}

impl InstallError {
    /// Whether it speaks against the package, and not against the world around it.
    pub fn is_packages_fault(&self) -> bool {
        matches!(
            self,
            Self::Package { .. }
                | Self::Removal { .. }
                | Self::NoSpace {
                    fault: Fault::Package,
                    ..
                }
        )
    }

    /// Whether it is a mistake in what was asked for.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NoVersions { .. } | Self::NothingNewer { .. })
    }

    /// What the package manager wrote.
    pub fn output(&self) -> Option<&str> {
        match self {
            // The package's file did not even fit.
            Self::NoSpace { output, .. } if output.is_empty() => None,
            Self::Package { output, .. }
            | Self::Repository { output, .. }
            | Self::Offline { output, .. }
            | Self::NoSpace { output, .. }
            | Self::Removal { output, .. }
            | Self::Name { output, .. }
            | Self::NothingNewer { output, .. } => Some(output),
            Self::NoManager | Self::NoVersions { .. } | Self::Guest(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::image::Family;

    #[test]
    fn the_family_is_read_from_os_release() {
        assert_eq!(Family::of_os_release("ID=debian\n"), Some(Family::Debian));
        assert_eq!(
            Family::of_os_release("NAME=x\nID=ubuntu\nID_LIKE=debian\n"),
            Some(Family::Debian)
        );
        assert_eq!(
            Family::of_os_release("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Some(Family::Redhat)
        );
        assert_eq!(
            Family::of_os_release("ID=\"amzn\"\nID_LIKE=\"fedora\"\n"),
            Some(Family::Redhat)
        );
        assert_eq!(
            Family::of_os_release("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"),
            Some(Family::Suse)
        );
        assert_eq!(
            Family::of_os_release("ID=\"sles\"\nID_LIKE=\"suse\"\n"),
            Some(Family::Suse)
        );
        assert_eq!(Family::of_os_release("ID=arch\n"), Some(Family::Arch));
        assert_eq!(Family::of_os_release("ID=alpine\n"), None);
    }
}
