//! zypper: openSUSE and SUSE Linux Enterprise.

use super::inventory::OnRpm;
use super::{Fault, From, Item, PackageManager, Removal};
use crate::machine::{Command, ExitStatus};

pub(super) const PROGRAM: &str = "/usr/bin/zypper";

/// zypper(8).
pub(super) struct Zypper;

fn command(options: &[&str], items: &[Item]) -> Command {
    let mut arguments: Vec<String> = [
        "--non-interactive",
        "--gpg-auto-import-keys",
        // It has been refreshed where that was due.
        "--no-refresh",
        "install",
        // A package that is about to be released need not be signed yet.
        "--allow-unsigned-rpm",
        "--auto-agree-with-licenses",
    ]
    .map(str::to_owned)
    .into();
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    arguments.push("--".to_owned());
    arguments.extend(items.iter().map(Item::argument));
    Command::new(PROGRAM, arguments)
}

/// What it writes when a repository is to blame.
const REPOSITORY_SIGNS: &[&str] = &[
    "Download (curl) error",
    "Could not resolve host",
    "Failed to download",
    "Failed to provide Package",
    "Valid metadata not found",
    "Repositories disabled",
];

impl PackageManager for Zypper {
    fn name(&self) -> &'static str {
        "zypper"
    }

    fn refresh(&self) -> Option<Command> {
        Some(Command::new(
            PROGRAM,
            ["--non-interactive", "--gpg-auto-import-keys", "refresh"],
        ))
    }

    fn install(&self, items: &[Item], _from: From) -> Vec<Command> {
        vec![command(&[], items)]
    }

    fn download(&self, items: &[Item]) -> Vec<Command> {
        vec![command(&["--download-only"], items)]
    }

    fn versioned(&self, name: &str, version: &str) -> Option<String> {
        Some(format!("{name}={version}"))
    }

    fn remove(&self, names: &[String], removal: Removal) -> Option<Command> {
        // rpm knows no more than that a package is there or is not.
        (removal != Removal::PurgeRemoved).then(|| {
            let arguments = ["--non-interactive", "--no-refresh", "remove", "--"];
            let arguments = arguments.map(str::to_owned).into_iter();
            Command::new(PROGRAM, arguments.chain(names.iter().cloned()))
        })
    }

    fn is_success(&self, status: ExitStatus) -> bool {
        matches!(status, ExitStatus::Code(0 | 100..=103 | 106))
    }

    fn has_begun(&self, output: &str) -> bool {
        // An upgrade is an installation to it.
        output.contains("Installing: ")
    }

    fn fault(&self, output: &str) -> Fault {
        Fault::by_signs(REPOSITORY_SIGNS, output)
    }
}

impl OnRpm for Zypper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_no_failures() {
        let good = |code| Zypper.is_success(ExitStatus::Code(code));
        for code in [0, 100, 101, 102, 103, 106] {
            assert!(good(code), "{code}");
        }
        // An unknown package, an interruption, a script that failed.
        for code in [1, 4, 8, 104, 105, 107] {
            assert!(!good(code), "{code}");
        }
        assert!(!Zypper.is_success(ExitStatus::Signal(9)));
    }
}
