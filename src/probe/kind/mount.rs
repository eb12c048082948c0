//! Something is mounted.

use std::fs;

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
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
        /// Options that it has to have, such as "ro" or "nosuid", be they of the mount or of the file
        /// system; it is "rw" if both are.
        #[serde(default)]
        pub options: Many<String>,
        /// Options that the mount itself has to have: findmnt(8)'s VFS-OPTIONS.
        #[serde(default)]
        pub vfs_options: Many<String>,
        /// Options that the file system has to have, wherever it is mounted: findmnt(8)'s FS-OPTIONS.
        #[serde(default)]
        pub fs_options: Many<String>,
        /// How much of it may be used, in percent.
        pub max_usage: Option<u64>,
    }
}

/// A line of proc(5)'s `mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    path: String,
    kind: String,
    source: String,
    vfs_options: Vec<String>,
    fs_options: Vec<String>,
}

impl Mount {
    /// All options, as findmnt(8) puts them together.
    fn options(&self) -> Vec<String> {
        let both = || self.vfs_options.iter().chain(&self.fs_options);
        let access = if both().any(|option| option == "ro") {
            "ro"
        } else {
            "rw"
        };
        let others = both().filter(|option| !matches!(option.as_str(), "ro" | "rw"));
        std::iter::once(access.to_owned())
            .chain(others.cloned())
            .collect()
    }
}

fn parse(line: &str) -> Option<Mount> {
    let (ours, its) = line.split_once(" - ")?;
    let mut ours = ours.split(' ').skip(4);
    let path = unescaped(ours.next()?);
    let split = |options: &str| options.split(',').map(str::to_owned).collect();
    let vfs_options = split(ours.next()?);
    let mut its = its.split(' ');
    let kind = its.next()?.to_owned();
    let source = unescaped(its.next()?);
    Some(Mount {
        path,
        kind,
        source,
        vfs_options,
        fs_options: split(its.next().unwrap_or_default()),
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

impl MountCheck {
    /// How much of the file system is used, in percent.
    fn usage(&self, scene: Scene<'_>) -> Result<u64, ProbeError> {
        let root = scene.guest.root();
        let opened = root.open_at(&self.path, OFlags::PATH, Mode::empty());
        let stat = opened.and_then(|mount| Ok(rustix::fs::fstatvfs(&mount)?));
        let stat = stat.map_err(|source| ProbeError::Unreadable {
            what: self.path.clone(),
            source,
        })?;
        Ok(percent(
            stat.f_blocks.saturating_sub(stat.f_bfree),
            stat.f_blocks,
        ))
    }
}

/// A share in percent, to the nearest; of nothing, nothing is used.
fn percent(part: u64, whole: u64) -> u64 {
    let rounded = (u128::from(part) * 100 + u128::from(whole) / 2).checked_div(whole.into());
    rounded.map_or(0, |percent| u64::try_from(percent).unwrap_or(100))
}

#[async_trait]
impl Looking for MountCheck {
    fn target(&self) -> String {
        self.path.clone()
    }

    fn validate(&self) -> Result<(), String> {
        let asks = self.kind.is_some()
            || self.source.is_some()
            || !self.options.is_empty()
            || !self.vfs_options.is_empty()
            || !self.fs_options.is_empty()
            || self.max_usage.is_some();
        if self.mounted == Some(false) && asks {
            return Err("of a mount that must not be there nothing else can be asked".to_owned());
        }
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
        let mut seen = vec![format!("{} of type {}", mount.source, mount.kind)];
        let mut wrong = Vec::new();
        if self.mounted == Some(false) {
            wrong.push(format!("it is mounted: {}", seen[0]));
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
        for (what, expected, found) in [
            ("options", &self.options, mount.options()),
            ("vfs-options", &self.vfs_options, mount.vfs_options),
            ("fs-options", &self.fs_options, mount.fs_options),
        ] {
            let missing = expected.iter().filter(|option| !found.contains(option));
            wrong.extend(missing.map(|option| {
                let found = found.join(",");
                format!("its {what} lack {option}: {found}")
            }));
        }
        if let Some(most) = self.max_usage {
            let usage = self.usage(scene)?;
            seen.push(format!("{usage} % used"));
            if usage > most {
                wrong.push(format!("{usage} % of it is used"));
            }
        }
        Ok(Look::at(&seen, &wrong))
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
        assert_eq!(mount.vfs_options, ["rw", "noatime"]);
        assert_eq!(mount.fs_options, ["rw", "errors=go"]);
        assert_eq!(mount.options(), ["rw", "noatime", "errors=go"]);
        assert_eq!(parse("junk"), None);
    }

    #[test]
    fn what_is_read_only_in_one_way_is_not_writable() {
        for line in [
            "1 2 3:4 / /x ro,nosuid - tmpfs x rw",
            "1 2 3:4 / /x rw,nosuid - tmpfs x ro",
        ] {
            assert_eq!(parse(line).unwrap().options(), ["ro", "nosuid"], "{line}");
        }
    }

    #[test]
    fn shares_are_rounded() {
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(2, 3), 67);
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }
}
