//! What package managers know of the packages in a container, and of their files.

use std::time::Duration;

use super::{Item, detect};
use crate::machine::{Command, Guest, GuestError};

/// How long a question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How many files are asked about at once: a command line takes no more than 2 MiB (execve(2)).
const BATCH: usize = 500;

/// What a package manager can be asked about packages.
pub trait Inventory: Send + Sync {
    /// Writes the name of the package in a file, on a line.
    fn name_of(&self, file: &str) -> Command;

    /// The name in what an installation was given: `nginx` in `nginx=1.22`.
    fn bare_name<'a>(&self, given: &'a str) -> &'a str {
        given.split('=').next().unwrap_or(given)
    }

    /// Writes which packages files belong to.
    fn owners(&self, paths: &[String]) -> Command;

    /// What [`Self::owners`] writes of a file that belongs to no package.
    fn unowned_line(&self, path: &str) -> String;

    /// Writes the installed packages with their versions, one a line.
    fn listing(&self) -> Command;
}

/// Those of the files that belong to no package that is installed.
///
/// A file below `/usr` may be known by the name that it had before distributions merged the other
/// directories into that: it is asked for by both.
pub async fn unowned(guest: &Guest, paths: &[String]) -> Result<Vec<String>, GuestError> {
    let Some(manager) = detect(guest) else {
        return Ok(paths.to_vec());
    };
    let mut unowned = Vec::new();
    for batch in paths.chunks(BATCH) {
        let asked: Vec<String> = batch
            .iter()
            .flat_map(|path| std::iter::once(path.clone()).chain(unmerged(path)))
            .collect();
        let output = guest.run(&manager.owners(&asked), PATIENCE).await?.text;
        let lines: std::collections::HashSet<&str> = output.lines().map(str::trim_end).collect();
        let is_unowned = |path: &str| lines.contains(manager.unowned_line(path).as_str());
        let is_nobodys = |path: &&String| {
            is_unowned(path) && unmerged(path).is_none_or(|other| is_unowned(&other))
        };
        unowned.extend(batch.iter().filter(is_nobodys).cloned());
    }
    Ok(unowned)
}

/// The path that a file had before `/bin`, `/lib` and their like became links into `/usr`.
fn unmerged(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/usr")?;
    ["/bin/", "/sbin/", "/lib/", "/lib64/"]
        .iter()
        .any(|directory| rest.starts_with(directory))
        .then(|| rest.to_owned())
}

/// A package manager whose packages are in rpm's database, which is asked itself.
pub(super) trait OnRpm: Send + Sync {}

const RPM: &str = "/usr/bin/rpm";

impl<T: OnRpm> Inventory for T {
    fn name_of(&self, file: &str) -> Command {
        let options = ["--query", "--nosignature", "--queryformat", "%{NAME}\\n"];
        Command::new(RPM, options.into_iter().chain(["--package", file]))
    }

    fn owners(&self, paths: &[String]) -> Command {
        let options = ["--query", "--file", "--"].map(str::to_owned);
        Command::new(RPM, options.into_iter().chain(paths.iter().cloned()))
    }

    fn unowned_line(&self, path: &str) -> String {
        format!("file {path} is not owned by any package")
    }

    fn listing(&self) -> Command {
        Command::new(RPM, ["--query", "--all"])
    }
}

impl Item {
    /// Its name, where that is known without asking.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Name(name) => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_below_usr_may_go_by_an_older_name() {
        let unmerged = |path| unmerged(path);
        assert_eq!(
            unmerged("/usr/lib/systemd/system/x.service").as_deref(),
            Some("/lib/systemd/system/x.service")
        );
        assert_eq!(unmerged("/usr/share/x"), None);
        assert_eq!(unmerged("/etc/x"), None);
    }
}
