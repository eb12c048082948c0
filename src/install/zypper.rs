//! zypper: openSUSE and SUSE Linux Enterprise.

use super::{Fault, Item, PackageManager};
use crate::machine::Command;

pub(super) const PROGRAM: &str = "/usr/bin/zypper";

/// zypper(8).
pub(super) struct Zypper;

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

    fn install(&self, items: &[Item]) -> Vec<Command> {
        let mut arguments: Vec<String> = [
            "--non-interactive",
            "--gpg-auto-import-keys",
            "install",
            // A package that is about to be released need not be signed yet.
            "--allow-unsigned-rpm",
            "--auto-agree-with-licenses",
            "--",
        ]
        .map(str::to_owned)
        .into();
        arguments.extend(items.iter().map(Item::argument));
        vec![Command::new(PROGRAM, arguments)]
    }

    fn has_begun(&self, output: &str) -> bool {
        output.contains("Installing: ")
    }

    fn fault(&self, output: &str) -> Fault {
        Fault::by_signs(REPOSITORY_SIGNS, output)
    }
}
