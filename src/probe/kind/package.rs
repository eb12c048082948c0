//! A package is installed, as the distribution's own database has it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::looking::Looking;
use super::texts::quoted;
use crate::machine::Command;
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;
use crate::probe::value::Pattern;

/// How long the database may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

keys! {
    /// A package is installed.
    pub struct PackageCheck {
        /// Its name.
        pub name: String,
        /// Whether it has to be installed; true if nothing is said.
        pub installed: Option<bool>,
        /// Its version: all of it, or without the epoch, or without the epoch and the revision.
        pub version: Option<String>,
        /// An expression that its version has to match.
        pub version_matches: Option<Pattern>,
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
            "--queryformat=installed %{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n",
        ],
        "is not installed",
    ),
    ("/usr/bin/pacman", &["--query"], "was not found"),
];

/// The version that a database tells of.
fn version_of(name: &str, output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let (word, version) = line.split_once(' ')?;
        (word == "installed" || word == name).then(|| version.to_owned())
    })
}

/// Whether a version is the one that is wanted, be it without its epoch or revision.
fn is_version(found: &str, expected: &str) -> bool {
    let bare = found.split_once(':').map_or(found, |(_, rest)| rest);
    let upstream = bare.rsplit_once('-').map_or(bare, |(upstream, _)| upstream);
    [found, bare, upstream].contains(&expected)
}

#[async_trait]
impl Looking for PackageCheck {
    fn target(&self) -> String {
        self.name.clone()
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
            version_of(&self.name, &output.text)
        } else if output.text.contains(unknown) {
            None
        } else {
            return Err(ProbeError::Program {
                program: (*program).to_owned(),
                reason: format!("{}, {}", output.status, quoted(&output.text)),
            });
        };
        let Some(found) = found else {
            let words = "it is not installed".to_owned();
            return Ok(if self.installed == Some(false) {
                Look::Holds(words)
            } else {
                Look::NotYet(words)
            });
        };
        let seen = format!("version {found}");
        let mut wrong = Vec::new();
        if self.installed == Some(false) {
            wrong.push(format!("it is installed, {seen}"));
        }
        if let Some(expected) = &self.version
            && !is_version(&found, expected)
        {
            wrong.push(format!("its version is {found}, not {expected}"));
        }
        if let Some(pattern) = &self.version_matches
            && !pattern.matches(&found)
        {
            wrong.push(format!(
                "its version is {found}, which does not match {pattern}"
            ));
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
    }

    #[test]
    fn what_is_removed_and_configured_is_not_installed() {
        assert_eq!(version_of("a", "config-files 1.0\n"), None);
        assert_eq!(version_of("a", "installed 1.0\n").as_deref(), Some("1.0"));
        assert_eq!(version_of("a", "a 1.0-1\n").as_deref(), Some("1.0-1"));
    }
}
