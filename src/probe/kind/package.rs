//! A package is installed, as the distribution's own database has it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::looking::Looking;
use super::texts::quoted;
use crate::machine::Command;
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

/// A database of packages: the program, the arguments that ask for a version, and what it says of a
/// package that it does not know.
type Database = (&'static str, &'static [&'static str], &'static str);

const DATABASES: [Database; 3] = [
    (
        "/usr/bin/dpkg-query",
        &["--show", "--showformat=${db:Status-Status} ${Version}\\n"],
        "no packages found",
    ),
    (
        "/usr/bin/rpm",
        &[
            "--query",
            "--queryformat=installed %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n",
        ],
        "is not installed",
    ),
    ("/usr/bin/pacman", &["--query"], "was not found"),
];

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
        // A Debian may have rpm as well, but not the other way round.
        let database = DATABASES
            .iter()
            .find(|(program, ..)| scene.guest.has_file(program));
        let Some((program, arguments, unknown)) = database else {
            return Err(ProbeError::NoProgram("dpkg-query, rpm or pacman"));
        };
        let arguments = arguments.iter().copied().chain(["--", &self.name]);
        let command = Command::new(program, arguments);
        let output = scene.guest.run(&command, LIMIT).await?;
        let found = if output.status.success() {
            versions_of(&self.name, &output.text)
        } else if output.text.contains(unknown) {
            Vec::new()
        } else {
            return Err(ProbeError::Program {
                program: (*program).to_owned(),
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
