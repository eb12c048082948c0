//! pacman: Arch Linux.

use super::{Fault, From, Item, PackageManager};
use crate::machine::Command;

pub(super) const PROGRAM: &str = "/usr/bin/pacman";

/// pacman(8).
pub(super) struct Pacman;

/// Names first: a file may depend on one of them.
fn commands(items: &[Item], options: &[&str]) -> Vec<Command> {
    let (files, names): (Vec<&Item>, Vec<&Item>) =
        items.iter().partition(|item| matches!(item, Item::File(_)));
    [("--sync", names), ("--upgrade", files)]
        .into_iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(operation, items)| {
            let mut arguments = vec![
                operation.to_owned(),
                "--noconfirm".to_owned(),
                "--noprogressbar".to_owned(),
            ];
            arguments.extend(options.iter().map(|option| (*option).to_owned()));
            arguments.push("--".to_owned());
            arguments.extend(items.into_iter().map(Item::argument));
            Command::new(PROGRAM, arguments)
        })
        .collect()
}

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

    fn install(&self, items: &[Item], _from: From) -> Vec<Command> {
        commands(items, &[])
    }

    fn download(&self, items: &[Item]) -> Vec<Command> {
        commands(items, &["--downloadonly"])
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
        let items = [Item::File("/x.pkg.tar".into()), Item::Name("y".into())];
        let commands = Pacman.install(&items, From::Anywhere);
        let commands: Vec<String> = commands.iter().map(ToString::to_string).collect();
        assert_eq!(commands.len(), 2);
        assert!(commands[0].ends_with("--sync --noconfirm --noprogressbar -- y"));
        assert!(commands[1].ends_with("--upgrade --noconfirm --noprogressbar -- /x.pkg.tar"));
    }
}
