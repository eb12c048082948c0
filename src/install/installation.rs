//! One installation, from what is cached as far as that will do.
//!
//! What is known of the repositories is taken for true for a while ([`crate::packages::FRESH`]), and
//! a package manager that can is first asked to do with its cache alone. If it fails before it has
//! begun, nothing has been changed: the repositories are asked, what is needed is downloaded and
//! kept for the next container, and only the failure that comes after that is a verdict.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::removal::names;
use super::{Fault, From, InstallError, Installed, Item, PackageManager, Ready, detect, package};
use crate::machine::{Command, ExitStatus, Guest, GuestError, Space};
use crate::packages::{self, Lease};

/// Where packages from outside are put in a container.
const DIRECTORY: &str = "/var/cache/postroj";

/// What programs write that have no room to write to; strerror(3).
const NO_SPACE: &str = "No space left on device";

/// What may be used beside the network.
#[derive(Debug, Default)]
pub struct Caching {
    /// What the container sees of the package cache.
    pub lease: Option<Lease>,
    /// Whether the network is to be left alone.
    pub offline: bool,
}

/// Installs packages in a container, in at most `limit`.
pub async fn install(
    guest: &Guest,
    packages: &[Ready],
    limit: Duration,
    caching: &mut Caching,
) -> Result<Installed, InstallError> {
    let manager = detect(guest).ok_or(InstallError::NoManager)?;
    let items = copy_in(guest, packages)?;
    install_items(guest, manager.as_ref(), items, limit, caching).await
}

/// Installs another version of packages, from the distribution's repositories.
pub async fn install_version(
    guest: &Guest,
    packages: &[Ready],
    version: &str,
    limit: Duration,
    caching: &mut Caching,
) -> Result<Installed, InstallError> {
    let manager = detect(guest).ok_or(InstallError::NoManager)?;
    let items = copy_in(guest, packages)?;
    let name = manager.name();
    let names = names(guest, manager.as_ref(), &items).await?;
    let items = names
        .iter()
        .map(|name| Some(Item::Name(manager.versioned(name, version)?)));
    let items: Option<Vec<Item>> = items.collect();
    let items = items.ok_or(InstallError::NoVersions { manager: name })?;
    install_items(guest, manager.as_ref(), items, limit, caching).await
}

/// Puts what is a file of the host where the package manager finds it.
fn copy_in(guest: &Guest, packages: &[Ready]) -> Result<Vec<Item>, InstallError> {
    let items = packages.iter().enumerate().map(|(number, package)| {
        Ok(match package {
            Ready::Name(name) => Item::Name(name.clone()),
            Ready::File { name, file } => {
                let directory = format!("{DIRECTORY}/{number}");
                let name = package::safe_file_name(Path::new(name));
                let copied = guest.copy_in(file, &directory, &name);
                Item::File(copied.map_err(|error| not_copied(guest, error))?)
            }
        })
    });
    items.collect()
}

fn not_copied(guest: &Guest, error: GuestError) -> InstallError {
    match (&error, guest.space()) {
        (GuestError::File { source, .. }, Ok(space))
            if source.kind() == io::ErrorKind::StorageFull =>
        {
            InstallError::NoSpace {
                space,
                status: error.to_string(),
                output: String::new(),
                fault: Fault::Package,
            }
        }
        _ => error.into(),
    }
}

async fn install_items(
    guest: &Guest,
    manager: &dyn PackageManager,
    items: Vec<Item>,
    limit: Duration,
    caching: &mut Caching,
) -> Result<Installed, InstallError> {
    let mut installation = Installation {
        guest,
        manager,
        items: &items,
        limit,
        deadline: Instant::now() + limit,
        caching,
    };
    let output = installation.run().await?;
    Ok(Installed {
        manager: manager.name(),
        has_begun: manager.has_begun(&output),
        output,
        items,
    })
}

struct Installation<'a> {
    guest: &'a Guest,
    manager: &'a dyn PackageManager,
    items: &'a [Item],
    limit: Duration,
    deadline: Instant,
    caching: &'a mut Caching,
}

/// A command that did not end well.
struct Failed {
    end: End,
    output: String,
}

/// How a command that failed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By itself.
    Status(ExitStatus),
    /// It had not, when its time was over.
    Timeout,
    /// Nobody knows: the system bus went away.
    Unknown,
}

/// Why a step has failed.
enum Stop {
    Failed(Failed),
    Guest(GuestError),
}

impl std::convert::From<GuestError> for Stop {
    fn from(error: GuestError) -> Self {
        Self::Guest(error)
    }
}

impl Failed {
    /// Whether it did not come to an end of its own that is known.
    fn is_cut(&self) -> bool {
        !matches!(self.end, End::Status(_))
    }
}

impl Installation<'_> {
    async fn run(&mut self) -> Result<String, InstallError> {
        let lease = self.caching.lease.as_ref();
        let is_fresh = lease.is_some_and(Lease::is_fresh);
        if is_fresh || self.caching.offline {
            match self.without_refresh().await {
                Ok(output) => return Ok(output),
                Err(Stop::Guest(error)) => return Err(error.into()),
                Err(Stop::Failed(failed)) if self.manager.has_begun(&failed.output) => {
                    let fault = self.manager.fault(&failed.output);
                    return Err(self.failure(fault, failed));
                }
                Err(Stop::Failed(failed)) if failed.is_cut() => {
                    return Err(self.failure(Fault::Repository, failed));
                }
                Err(Stop::Failed(failed)) if self.caching.offline => {
                    return Err(self.offline(failed));
                }
                Err(Stop::Failed(failed)) => {
                    tracing::debug!(output = failed.output, "the cache does not do");
                }
            }
        }
        let mut output = self.refresh().await?;
        if self.caching.lease.is_some() {
            let download = self.manager.download(self.items);
            let downloaded = self.run_all(download).await;
            // The time to take what there is: no package has run any code yet. What failed may be
            // one package of several, and will be told by the installation.
            self.harvest(true).await;
            match downloaded {
                Ok(text) => output.push_str(&text),
                Err(Stop::Failed(failed)) if !failed.is_cut() => {}
                Err(stop) => return Err(self.stopped(stop)),
            }
        }
        let install = self.manager.install(self.items, From::Anywhere);
        let installed = self.run_all(install).await;
        match installed {
            Ok(text) => output.push_str(&text),
            Err(Stop::Failed(failed)) => {
                output.push_str(&failed.output);
                let failed = Failed { output, ..failed };
                return Err(self.stopped(Stop::Failed(failed)));
            }
            Err(stop) => return Err(self.stopped(stop)),
        }
        Ok(output)
    }

    /// Installs without asking the repositories what they have.
    async fn without_refresh(&mut self) -> Result<String, Stop> {
        let install = || self.manager.install(self.items, From::Cache);
        if self.caching.offline {
            return self.run_all(install()).await;
        }
        if self.manager.asks_only_the_cache() {
            match self.run_all(install()).await {
                Err(Stop::Failed(failed))
                    if !failed.is_cut() && !self.manager.has_begun(&failed.output) => {}
                outcome => return outcome,
            }
        }
        let download = self.manager.download(self.items);
        self.run_all(download).await?;
        self.harvest(false).await;
        let install = self.manager.install(self.items, From::Cache);
        self.run_all(install).await
    }

    async fn run_all(&self, commands: Vec<Command>) -> Result<String, Stop> {
        let mut output = String::new();
        for command in commands {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let (end, text) = match self.guest.run(&command, left).await {
                Ok(done) => (End::Status(done.status), done.text),
                Err(GuestError::Timeout { output, .. }) => (End::Timeout, output.text),
                Err(GuestError::BusGoneMeanwhile { output, .. }) => (End::Unknown, output.text),
                Err(error) => return Err(error.into()),
            };
            output.push_str(&text);
            let is_good = matches!(end, End::Status(status) if self.manager.is_success(status));
            if !is_good {
                tracing::debug!(%command, "failed");
                return Err(Stop::Failed(Failed { end, output }));
            }
        }
        Ok(output)
    }

    /// Keeps for the next container what is in the package manager's directories now.
    async fn harvest(&mut self, refreshed: bool) {
        let Some(mut lease) = self.caching.lease.take() else {
            return;
        };
        let from = packages::From::container(&lease, |path| self.guest.open_directory(path));
        // What it reads may be as large as an index.
        let harvested = tokio::task::spawn_blocking(move || {
            let outcome = lease.harvest(&from, refreshed);
            (lease, outcome)
        });
        match harvested.await {
            Ok((lease, outcome)) => {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "packages are not kept");
                }
                self.caching.lease = Some(lease);
            }
            Err(error) => tracing::warn!(%error, "packages are not kept"),
        }
    }

    fn stopped(&self, stop: Stop) -> InstallError {
        match stop {
            Stop::Guest(error) => error.into(),
            Stop::Failed(failed) => {
                let began = self.manager.has_begun(&failed.output);
                let fault = if failed.is_cut() && !began {
                    Fault::Repository
                } else {
                    self.manager.fault(&failed.output)
                };
                self.failure(fault, failed)
            }
        }
    }

    fn offline(&self, failed: Failed) -> InstallError {
        InstallError::Offline {
            manager: self.manager.name(),
            status: self.status(failed.end),
            output: failed.output,
        }
    }

    fn status(&self, end: End) -> String {
        match end {
            End::Status(status) => format!("it ended with {status}"),
            End::Timeout => format!("it did not end within {} s", self.limit.as_secs_f64()),
            End::Unknown => {
                "the container's D-Bus system bus went away meanwhile, and did not come back"
                    .to_owned()
            }
        }
    }

    fn failure(&self, fault: Fault, failed: Failed) -> InstallError {
        if self.lacks_room(fault, &failed) {
            return self.no_space(Fault::Package, failed, &self.guest.space());
        }
        let manager = self.manager.name();
        let status = self.status(failed.end);
        let output = failed.output;
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

    /// Whether it was for the want of room. What was downloaded in vain may be gone again.
    fn lacks_room(&self, fault: Fault, failed: &Failed) -> bool {
        let is_full = self.guest.space().is_ok_and(|space| space.is_full());
        is_full || (fault == Fault::Repository && failed.output.contains(NO_SPACE))
    }

    fn no_space(&self, fault: Fault, failed: Failed, space: &io::Result<Space>) -> InstallError {
        let manager = self.manager.name();
        let status = self.status(failed.end);
        match space {
            Ok(space) => InstallError::NoSpace {
                space: *space,
                status: format!("{manager}, {status}"),
                output: failed.output,
                fault,
            },
            Err(_) => InstallError::Repository {
                manager,
                status,
                output: failed.output,
            },
        }
    }

    /// Asks the repositories what they have. What they say may have no room: that is the packages'
    /// doing if there is enough without their files.
    async fn refresh(&self) -> Result<String, InstallError> {
        let refresh = || self.run_all(Vec::from_iter(self.manager.refresh()));
        let failed = match refresh().await {
            Ok(output) => return Ok(output),
            Err(Stop::Guest(error)) => return Err(error.into()),
            Err(Stop::Failed(failed)) => failed,
        };
        if !self.lacks_room(Fault::Repository, &failed) {
            return Err(self.failure(Fault::Repository, failed));
        }
        let space = self.guest.space();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let remove = Command::new("/bin/rm", ["-rf", DIRECTORY]);
        self.guest.run(&remove, left).await?;
        let fault = match refresh().await {
            Ok(_) => Fault::Package,
            Err(_) => Fault::Repository,
        };
        Err(self.no_space(fault, failed, &space))
    }
}
