//! apt-get: Debian, Ubuntu and those like them.

use super::{Fault, From, Inventory, Item, PackageManager, Removal};
use crate::machine::Command;

pub(super) const PROGRAM: &str = "/usr/bin/apt-get";

/// apt-get(8).
pub(super) struct Apt;

fn command(arguments: &[&str]) -> Command {
    let options = [
        "--quiet",
        "--yes",
        // A snapshot of a mirror, or a release past its end of life, is as good as on its day.
        "--option=Acquire::Check-Valid-Until=false",
        "--option=Acquire::Retries=3",
        "--option=Acquire::Languages=none",
        // A repository that can't be had is an error, not a warning.
        "--option=APT::Update::Error-Mode=any",
        // A name is a name, and no regular expression.
        "--option=APT::Cmd::Pattern-Only=true",
        "--option=Dpkg::Use-Pty=0",
        // A timer of the system's may be at it, after a reboot or a full boot. apt 1.9.11 and newer.
        "--option=DPkg::Lock::Timeout=120",
        // The container is thrown away: nothing in it has to outlive a power cut.
        "--option=Dpkg::Options::=--force-unsafe-io",
        "--option=Dpkg::Options::=--force-confdef",
        "--option=Dpkg::Options::=--force-confold",
    ];
    Command::new(
        PROGRAM,
        options.into_iter().chain(arguments.iter().copied()),
    )
    .env("DEBIAN_FRONTEND", "noninteractive")
    .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
    .env("APT_LISTCHANGES_FRONTEND", "none")
}

/// What it writes when a repository is to blame.
const REPOSITORY_SIGNS: &[&str] = &[
    "E: Failed to fetch",
    "E: Unable to fetch some archives",
    "Temporary failure resolving",
];

impl PackageManager for Apt {
    fn name(&self) -> &'static str {
        "apt-get"
    }

    fn refresh(&self) -> Option<Command> {
        Some(command(&["update"]))
    }

    fn install(&self, items: &[Item], from: From) -> Vec<Command> {
        let items: Vec<String> = items.iter().map(Item::argument).collect();
        let mut arguments = vec!["install"];
        if from == From::Cache {
            // With --no-download, it could not install a file either.
            arguments.extend([
                "--option=Dir::Bin::Methods::http=false",
                "--option=Dir::Bin::Methods::https=false",
                "--option=Dir::Bin::Methods::ftp=false",
            ]);
        }
        arguments.push("--");
        arguments.extend(items.iter().map(String::as_str));
        vec![command(&arguments)]
    }

    fn versioned(&self, name: &str, version: &str) -> Option<String> {
        Some(format!("{name}={version}"))
    }

    fn remove(&self, names: &[String], removal: Removal) -> Option<Command> {
        let mut arguments = vec![match removal {
            Removal::Remove => "remove",
            Removal::Purge | Removal::PurgeRemoved => "purge",
        }];
        arguments.push("--");
        arguments.extend(names.iter().map(String::as_str));
        Some(command(&arguments))
    }

    fn asks_only_the_cache(&self) -> bool {
        true
    }

    fn download(&self, items: &[Item]) -> Vec<Command> {
        let items: Vec<String> = items.iter().map(Item::argument).collect();
        let mut arguments = vec!["install", "--download-only", "--"];
        arguments.extend(items.iter().map(String::as_str));
        vec![command(&arguments)]
    }

    fn has_begun(&self, output: &str) -> bool {
        output.contains("\nUnpacking ") || output.contains("\nSetting up ")
    }

    fn fault(&self, output: &str) -> Fault {
        if self.has_begun(output) {
            Fault::Package
        } else {
            Fault::by_signs(REPOSITORY_SIGNS, output)
        }
    }
}

impl Inventory for Apt {
    fn name_of(&self, file: &str) -> Command {
        Command::new("/usr/bin/dpkg-deb", ["--field", file, "Package"])
    }

    fn owners(&self, paths: &[String]) -> Command {
        let options = ["--search", "--"].map(str::to_owned);
        let paths = paths.iter().map(|path| escaped(path));
        Command::new("/usr/bin/dpkg-query", options.into_iter().chain(paths))
    }

    fn unowned_line(&self, path: &str) -> String {
        format!(
            "dpkg-query: no path found matching pattern {}",
            escaped(path)
        )
    }

    fn listing(&self) -> Command {
        let form = "--showformat=${db:Status-Abbrev} ${binary:Package} ${Version}\\n";
        Command::new("/usr/bin/dpkg-query", ["--show", form])
    }
}

/// What dpkg-query(1) takes for a path and no pattern.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for character in path.chars() {
        if matches!(character, '*' | '?' | '[' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_an_option() {
        let items = [Item::Name("x".into()), Item::File("/a/b.deb".into())];
        let commands = Apt.install(&items, From::Anywhere);
        assert!(commands[0].to_string().ends_with("install -- x /a/b.deb"));
    }

    #[test]
    fn the_repository_is_to_blame_until_dpkg_runs() {
        let fetch = "E: Failed to fetch http://mirror.example/x.deb  404\n";
        assert_eq!(Apt.fault(fetch), Fault::Repository);
        let later = format!("{fetch}\nSetting up x (1.0) ...\nE: Sub-process returned an error\n");
        assert_eq!(Apt.fault(&later), Fault::Package);
        assert_eq!(
            Apt.fault("E: Unable to locate package nope\n"),
            Fault::Package
        );
    }
}
