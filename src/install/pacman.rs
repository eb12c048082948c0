//! pacman: Arch Linux.

use super::{Fault, Item, PackageManager};
use crate::machine::Command;

pub(super) const PROGRAM: &str = "/usr/bin/pacman";

/// pacman(8).
pub(super) struct Pacman;

/// What it writes when a repository is to blame.
const REPOSITORY_SIGNS: &[&str] = &[
    "failed retrieving file",
    "failed to synchronize",
    "failed to retrieve some files",
    "Could not resolve host",
];

impl PackageManager for Pacman {
    fn name(&self) -> &'static str {
        "pacman"
    }

    fn refresh(&self) -> Option<Command> {
        Some(Command::new(
            PROGRAM,
            ["--sync", "--refresh", "--noconfirm"],
        ))
    }

    fn install(&self, items: &[Item]) -> Vec<Command> {
        let (files, names): (Vec<&Item>, Vec<&Item>) =
            items.iter().partition(|item| matches!(item, Item::File(_)));
        // Names first: a file may depend on one of them.
        [("--sync", names), ("--upgrade", files)]
            .into_iter()
            .filter(|(_, items)| !items.is_empty())
            .map(|(operation, items)| {
                let mut arguments = vec![
                    operation.to_owned(),
                    "--noconfirm".to_owned(),
                    "--noprogressbar".to_owned(),
                    "--".to_owned(),
                ];
                arguments.extend(items.into_iter().map(Item::argument));
                Command::new(PROGRAM, arguments)
            })
            .collect()
    }

    fn has_begun(&self, output: &str) -> bool {
        output.contains("installing ") || output.contains("upgrading ")
    }

    fn fault(&self, output: &str) -> Fault {
        Fault::by_signs(REPOSITORY_SIGNS, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_take_two_commands() {
        let commands = Pacman.install(&[Item::File("/x.pkg.tar".into()), Item::Name("y".into())]);
        let commands: Vec<String> = commands.iter().map(ToString::to_string).collect();
        assert_eq!(commands.len(), 2);
        assert!(commands[0].ends_with("--sync --noconfirm --noprogressbar -- y"));
        assert!(commands[1].ends_with("--upgrade --noconfirm --noprogressbar -- /x.pkg.tar"));
    }
}
