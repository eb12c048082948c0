//! pacman: Arch Linux.

use super::{Fault, From, Inventory, Item, PackageManager, Removal};
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

    fn versioned(&self, _name: &str, _version: &str) -> Option<String> {
        // Its repositories have one version of a package.
        None
    }

    fn remove(&self, names: &[String], removal: Removal) -> Option<Command> {
        let options: &[&str] = match removal {
            Removal::Remove => &[],
            Removal::Purge => &["--nosave"],
            // What it saves then, it knows no more of.
            Removal::PurgeRemoved => return None,
        };
        let arguments = ["--remove", "--noconfirm", "--noprogressbar"];
        let arguments = arguments.iter().chain(options).chain(&["--"]);
        let arguments = arguments.map(|argument| (*argument).to_owned());
        Some(Command::new(
            PROGRAM,
            arguments.chain(names.iter().cloned()),
        ))
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

impl Inventory for Pacman {
    fn name_of(&self, file: &str) -> Command {
        Command::new(PROGRAM, ["--query", "--quiet", "--file", "--", file])
    }

    fn owners(&self, paths: &[String]) -> Command {
        let options = ["--query", "--owns", "--"].map(str::to_owned);
        Command::new(PROGRAM, options.into_iter().chain(paths.iter().cloned()))
    }

    fn unowned_line(&self, path: &str) -> String {
        format!("error: No package owns {path}")
    }

    fn listing(&self) -> Command {
        Command::new(PROGRAM, ["--query"])
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
