//! dnf and those that share its command line: dnf5, yum, microdnf.

use super::inventory::OnRpm;
use super::{Fault, From, Item, PackageManager, Removal};
use crate::machine::Command;

/// Those that there are, best first.
pub(super) const PROGRAMS: [(&str, &str); 4] = [
    ("dnf", "/usr/bin/dnf"),
    ("dnf5", "/usr/bin/dnf5"),
    ("yum", "/usr/bin/yum"),
    ("microdnf", "/usr/bin/microdnf"),
];

/// dnf(8), dnf5(8), yum(8), microdnf(8).
pub(super) struct Dnf {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
}

impl Dnf {
    /// microdnf has few options in RHEL 8.
    fn has_modern_options(&self) -> bool {
        self.name != "microdnf"
    }

    /// Whether it takes a package that is there in an older version for one that is installed, as dnf
    /// does unless its configuration says `best`; yum has no such word and takes the newest.
    fn leaves_what_is_older(&self) -> bool {
        self.has_modern_options() && self.name != "yum"
    }

    fn command(&self, options: &[&str], items: &[Item]) -> Command {
        let mut arguments = vec!["-y".to_owned(), "install".to_owned()];
        if self.leaves_what_is_older() {
            arguments.push("--best".to_owned());
        }
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        arguments.extend(items.iter().map(Item::argument));
        Command::new(self.path, arguments)
    }
}

/// What it writes when a repository is to blame.
const REPOSITORY_SIGNS: &[&str] = &[
    "Failed to download metadata",
    "Cannot download repomd.xml",
    "Cannot find a valid baseurl",
    "Cannot prepare internal mirrorlist",
    "Error downloading packages",
    "Error: Error downloading",
    "Curl error",
    "No more mirrors to try",
];

impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        self.name
    }

    fn refresh(&self) -> Option<Command> {
        // Without such a command, it fetches what it needs as it installs.
        self.has_modern_options()
            .then(|| Command::new(self.path, ["-y", "makecache"]))
    }

    fn install(&self, items: &[Item], from: From) -> Vec<Command> {
        vec![self.command(
            match from {
                From::Anywhere => &[],
                From::Cache => &["--cacheonly"],
            },
            items,
        )]
    }

    fn versioned(&self, name: &str, version: &str) -> Option<String> {
        Some(format!("{name}-{version}"))
    }

    fn remove(&self, names: &[String], removal: Removal) -> Option<Command> {
        // rpm knows no more than that a package is there or is not.
        (removal != Removal::PurgeRemoved).then(|| {
            let arguments = ["-y", "remove"].map(str::to_owned);
            Command::new(
                self.path,
                arguments.into_iter().chain(names.iter().cloned()),
            )
        })
    }

    fn asks_only_the_cache(&self) -> bool {
        self.has_modern_options()
    }

    fn download(&self, items: &[Item]) -> Vec<Command> {
        if self.has_modern_options() {
            vec![self.command(&["--downloadonly"], items)]
        } else {
            Vec::new()
        }
    }

    fn has_begun(&self, output: &str) -> bool {
        output.contains("Running transaction") || output.contains("Running Transaction")
    }

    fn fault(&self, output: &str) -> Fault {
        Fault::by_signs(REPOSITORY_SIGNS, output)
    }
}

impl OnRpm for Dnf {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_that_is_down_is_not_the_package() {
        let dnf = Dnf {
            name: "dnf",
            path: "/usr/bin/dnf",
        };
        assert_eq!(
            dnf.fault("Error: Failed to download metadata for repo 'baseos'"),
            Fault::Repository
        );
        assert_eq!(
            dnf.fault("Error: Unable to find a match: nope"),
            Fault::Package
        );
    }
}
