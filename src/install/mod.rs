//! The package managers of the distributions, and getting packages to them.
//!
//! A package is fetched by postroj, copied into the container, and installed there with the
//! distribution's own package manager, which takes dependencies from the distribution's
//! repositories and asks nothing.

mod apt;
mod dnf;
mod fetch;
mod package;
mod pacman;
mod zypper;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

pub use fetch::{FetchError, Fetcher};
pub use package::{Package, PackageError};

use crate::image::Family;
use crate::machine::{Command, ExitStatus, Guest, GuestError};

/// Where packages from outside are put in a container.
const DIRECTORY: &str = "/var/cache/postroj";

/// Below so many free bytes a failed installation is put down to the want of space.
const NO_SPACE: u64 = 8 << 20;

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

/// A distribution's package manager.
pub trait PackageManager: Send + Sync {
    /// Its name, which is its program's.
    fn name(&self) -> &'static str;

    /// Brings what it knows of the repositories up to date.
    fn refresh(&self) -> Option<Command>;

    /// Installs packages, asking nothing.
    fn install(&self, items: &[Item]) -> Vec<Command>;

    /// Whether it has begun to install, by what it wrote: all has been fetched by then.
    fn has_begun(&self, output: &str) -> bool;

    /// Who is to blame, by what it wrote before it failed.
    fn fault(&self, output: &str) -> Fault;
}

/// The package manager of a container: by the family in its `os-release`, else by what is there.
pub fn detect(guest: &Guest) -> Option<Box<dyn PackageManager>> {
    let text = guest
        .read_file("/etc/os-release")
        .or_else(|_| guest.read_file("/usr/lib/os-release"))
        .unwrap_or_default();
    let family = Family::of_os_release(&String::from_utf8_lossy(&text));
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
}

/// Why packages were not installed.
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
    /// The container's writable layer is full.
    #[error("no space is left in the container's writable layer, {manager}: {status}")]
    NoSpace {
        /// The package manager.
        manager: &'static str,
        /// How it ended.
        status: String,
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
        matches!(self, Self::Package { .. })
    }

    /// What the package manager wrote.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Package { output, .. }
            | Self::Repository { output, .. }
            | Self::NoSpace { output, .. } => Some(output),
            Self::NoManager | Self::Guest(_) => None,
        }
    }
}

/// Installs packages in a container, in at most `limit`.
pub async fn install(
    guest: &Guest,
    packages: &[Ready],
    limit: Duration,
) -> Result<Installed, InstallError> {
    let manager = detect(guest).ok_or(InstallError::NoManager)?;
    let deadline = Instant::now() + limit;
    let mut items = Vec::new();
    for (number, package) in packages.iter().enumerate() {
        items.push(match package {
            Ready::Name(name) => Item::Name(name.clone()),
            Ready::File { name, file } => {
                let directory = format!("{DIRECTORY}/{number}");
                let name = package::safe_file_name(Path::new(name));
                Item::File(guest.copy_in(file, &directory, &name)?)
            }
        });
    }
    let mut output = String::new();
    let mut commands: Vec<(Command, bool)> = Vec::new();
    commands.extend(manager.refresh().map(|command| (command, true)));
    commands.extend(
        manager
            .install(&items)
            .into_iter()
            .map(|command| (command, false)),
    );
    for (command, is_refresh) in commands {
        let left = deadline.saturating_duration_since(Instant::now());
        let (status, text) = match guest.run(&command, left).await {
            Ok(done) => (Some(done.status), done.text),
            Err(GuestError::Timeout { output: done, .. }) => (None, done.text),
            Err(error) => return Err(error.into()),
        };
        output.push_str(&text);
        if status.is_some_and(ExitStatus::success) {
            continue;
        }
        tracing::debug!(%command, "failed");
        let fault = if is_refresh || (status.is_none() && !manager.has_begun(&text)) {
            Fault::Repository
        } else {
            manager.fault(&text)
        };
        let status = match status {
            Some(status) => format!("it ended with {status}"),
            None => format!("it did not end within {} s", limit.as_secs_f64()),
        };
        return Err(failure(guest, manager.as_ref(), fault, status, output));
    }
    Ok(Installed {
        manager: manager.name(),
        output,
    })
}

fn failure(
    guest: &Guest,
    manager: &dyn PackageManager,
    fault: Fault,
    status: String,
    output: String,
) -> InstallError {
    let manager = manager.name();
    if guest.free_space().is_ok_and(|free| free < NO_SPACE) {
        return InstallError::NoSpace {
            manager,
            status,
            output,
        };
    }
    match fault {
        Fault::Package => InstallError::Package {
            manager,
            status,
            output,
        },
        Fault::Repository => InstallError::Repository {
            manager,
            status,
            output,
        },
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
