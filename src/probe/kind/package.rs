//! A package is installed, as the distribution's own database has it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::looking::Looking;
use super::texts::quoted;
use crate::image::Family;
use crate::install::family;
use crate::machine::{Command, Guest};
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;
use crate::probe::value::{Many, Pattern};

/// How long the database may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

keys! {
    /// A package is installed.
    pub struct PackageCheck {
        /// Its name.
        pub name: String,
        /// Whether it has to be installed; true if nothing is said.
        pub installed: Option<bool>,
        /// Its version: all of it, or without the epoch, or without the epoch and the revision. Where
        /// several are installed, as rpm's kernels are, it is that of one of them.
        pub version: Option<String>,
        /// Expressions that its version has to match; where several are installed, each that of one of
        /// them.
        #[serde(default)]
        pub version_matches: Many<Pattern>,
    }
}

/// A database of packages.
struct Database {
    /// Whose distributions it is that of.
    families: &'static [Family],
    program: &'static str,
    /// What asks for a version.
    arguments: &'static [&'static str],
    /// What it says of a package that it does not know.
    unknown: &'static str,
}

const DATABASES: [Database; 3] = [
    Database {
        families: &[Family::Debian],
        program: "/usr/bin/dpkg-query",
        arguments: &["--show", "--showformat=${db:Status-Status} ${Version}\\n"],
        unknown: "no packages found",
    },
    Database {
        families: &[Family::Redhat, Family::Suse],
        program: "/usr/bin/rpm",
        arguments: &[
            "--query",
            "--queryformat=installed %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n",
        ],
        unknown: "is not installed",
    },
    Database {
        families: &[Family::Arch],
        program: "/usr/bin/pacman",
        arguments: &["--query"],
        unknown: "was not found",
    },
];

/// The container's own database: a Debian may have rpm as well, and a Fedora dpkg.
fn database(guest: &Guest) -> Option<&'static Database> {
    let family = family(guest);
    let is_own = |found: &&Database| family.is_some_and(|family| found.families.contains(&family));
    let mut there: Vec<&Database> = DATABASES
        .iter()
        .filter(|database| guest.has_file(database.program))
        .collect();
    there.sort_by_key(|database| !is_own(database));
    there.first().copied()
}

/// The versions that a database tells of.
fn versions_of(name: &str, output: &str) -> Vec<String> {
    let lines = output.lines().filter_map(|line| line.split_once(' '));
    let installed = lines.filter(|(word, _)| *word == "installed" || *word == name);
    installed.map(|(_, version)| version.to_owned()).collect()
}

/// Whether a version is the one that is wanted, be it without its epoch or revision. No epoch is 0.
fn is_version(found: &str, expected: &str) -> bool {
    let bare = found.split_once(':').map_or(found, |(_, rest)| rest);
    let upstream = bare.rsplit_once('-').map_or(bare, |(upstream, _)| upstream);
    let is_zero = bare == found && expected.strip_prefix("0:") == Some(found);
    is_zero || [found, bare, upstream].contains(&expected)
}

#[async_trait]
impl Looking for PackageCheck {
    fn target(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        // dpkg-query would take a pattern for all that are like it.
        let is_name =
            |character: char| character.is_ascii_alphanumeric() || "+-._~:()".contains(character);
        if self.name.is_empty() || !self.name.chars().all(is_name) {
            return Err(format!("{:?} is no package's name", self.name));
        }
        if self.installed == Some(false)
            && (self.version.is_some() || !self.version_matches.is_empty())
        {
            return Err("a package that must not be installed has no version".to_owned());
        }
        Ok(())
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        let Some(database) = database(scene.guest) else {
            return Err(ProbeError::NoProgram("dpkg-query, rpm or pacman"));
        };
        let arguments = database.arguments.iter().copied();
        let command = Command::new(database.program, arguments.chain(["--", &self.name]));
        let output = scene.guest.run(&command, LIMIT).await?;
        let found = if output.status.success() {
            versions_of(&self.name, &output.text)
        } else if output.text.contains(database.unknown) {
            Vec::new()
        } else {
            return Err(ProbeError::Program {
                program: database.program.to_owned(),
                reason: format!("{}, {}", output.status, quoted(&output.text)),
            });
        };
        if found.is_empty() {
            let words = "it is not installed".to_owned();
            return Ok(if self.installed == Some(false) {
                Look::Holds(words)
            } else {
                Look::NotYet(words)
            });
        }
        let shown = found.join(" and ");
        let seen = format!("version {shown}");
        let mut wrong = Vec::new();
        if self.installed == Some(false) {
            wrong.push(format!("it is installed, {seen}"));
        }
        if let Some(expected) = &self.version
            && !found.iter().any(|found| is_version(found, expected))
        {
            wrong.push(format!("its version is {shown}, not {expected}"));
        }
        for pattern in self.version_matches.iter() {
            if !found.iter().any(|found| pattern.matches(found)) {
                wrong.push(format!(
                    "its version is {shown}, which does not match {pattern}"
                ));
            }
        }
        Ok(Look::at(&[seen], &wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_with_and_without_their_ends() {
        for expected in ["1:2.3-4", "2.3-4", "2.3"] {
            assert!(is_version("1:2.3-4", expected), "{expected}");
        }
        assert!(!is_version("1:2.3-4", "2"));
        assert!(is_version("1.0", "1.0"));
        assert!(is_version("1.0-2", "0:1.0-2"));
        assert!(!is_version("1:1.0-2", "0:1.0-2"));
    }

    #[test]
    fn what_is_removed_and_configured_is_not_installed() {
        assert!(versions_of("a", "config-files 1.0\n").is_empty());
        assert_eq!(
            versions_of("a", "installed 1.0\ninstalled 1.1\n"),
            ["1.0", "1.1"]
        );
        assert_eq!(versions_of("a", "a 1.0-1\n"), ["1.0-1"]);
    }
}
