//! Something is mounted.

use std::fs;

use async_trait::async_trait;
use tokio::time::Instant;

use super::file::validate_path;
use super::looking::Looking;
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;
use crate::probe::value::Many;

keys! {
    /// Something is mounted at a path of the container.
    pub struct MountCheck {
        /// Where.
        pub path: String,
        /// Whether something has to be mounted there; true if nothing is said.
        pub mounted: Option<bool>,
        /// The type of the file system.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// What is mounted: a device, say.
        pub source: Option<String>,
        /// Options that it has to have, such as "ro" or "nosuid".
        #[serde(default)]
        pub options: Many<String>,
    }
}

/// A line of proc(5)'s `mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    path: String,
    kind: String,
    source: String,
    options: Vec<String>,
}

fn parse(line: &str) -> Option<Mount> {
    let (ours, its) = line.split_once(" - ")?;
    let mut ours = ours.split(' ').skip(4);
    let path = unescaped(ours.next()?);
    let options = ours.next()?;
    let mut its = its.split(' ');
    let kind = its.next()?.to_owned();
    let source = unescaped(its.next()?);
    let of_all = its.next().unwrap_or_default();
    let options = options.split(',').chain(of_all.split(','));
    Some(Mount {
        path,
        kind,
        source,
        options: options.map(str::to_owned).collect(),
    })
}

/// Space, tab, newline and backslash are written as `\040` and the like.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}

#[async_trait]
impl Looking for MountCheck {
    fn target(&self) -> String {
        self.path.clone()
    }

    fn validate(&self) -> Result<(), String> {
        validate_path(&self.path)
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        let table = format!("/proc/{}/mountinfo", scene.guest.leader());
        let table = fs::read_to_string(table).map_err(|source| ProbeError::Unreadable {
            what: "the table of mounts".to_owned(),
            source,
        })?;
        let path = match self.path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        // The last one hides those below it.
        let found = table.lines().filter_map(parse);
        let Some(mount) = found.rev().find(|mount| mount.path == path) else {
            let words = "nothing is mounted there".to_owned();
            return Ok(if self.mounted == Some(false) {
                Look::Holds(words)
            } else {
                Look::NotYet(words)
            });
        };
        let seen = format!("{} of type {}", mount.source, mount.kind);
        let mut wrong = Vec::new();
        if self.mounted == Some(false) {
            wrong.push(format!("it is mounted: {seen}"));
        }
        let texts = [
            ("type", &self.kind, &mount.kind),
            ("source", &self.source, &mount.source),
        ];
        for (what, expected, found) in texts {
            if let Some(expected) = expected
                && expected != found
            {
                wrong.push(format!("its {what} is {found}, not {expected}"));
            }
        }
        let missing = self
            .options
            .iter()
            .filter(|option| !mount.options.contains(option));
        for option in missing {
            let options = mount.options.join(",");
            wrong.push(format!("its options lack {option}: {options}"));
        }
        Ok(Look::at(&[seen], &wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_understood() {
        let line = "36 35 98:0 /x /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=go";
        let mount = parse(line).unwrap();
        assert_eq!(mount.path, "/mnt/a b");
        assert_eq!(
            (mount.kind.as_str(), mount.source.as_str()),
            ("ext3", "/dev/root")
        );
        assert!(mount.options.contains(&"noatime".to_owned()));
        assert!(mount.options.contains(&"errors=go".to_owned()));
        assert_eq!(parse("junk"), None);
    }
}
