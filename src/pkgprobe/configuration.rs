//! Whether an upgrade keeps what the administrator has changed.
//!
//! Debian Policy 10.7.3: local changes to configuration files must be preserved during an upgrade.
//! A file may be written anew by it; the lines that were added have to be in it.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use super::Phase;
use super::snapshot::Snapshot;
use crate::machine::{Guest, GuestError};
use crate::probe::Outcome;
use crate::report::CheckReport;

/// Where configuration is.
const DIRECTORY: &str = "/etc/";

/// The text files of `/etc`.
pub(super) struct Configuration(BTreeMap<String, String>);

/// What an administrator has changed: files, and the lines that were added to each.
pub(super) struct Edits(Vec<(String, Vec<String>)>);

impl Configuration {
    /// Reads all of it.
    pub(super) async fn read(guest: &Guest) -> Result<Self, GuestError> {
        let snapshot = Snapshot::take(guest).await?;
        let files = snapshot.files.into_iter();
        let files = files.filter(|path| path.starts_with(DIRECTORY));
        // What is no text, or no file, is nobody's edit.
        let texts = files.filter_map(|path| {
            let text = String::from_utf8(guest.read_file(&path).ok()?).ok()?;
            Some((path, text))
        });
        Ok(Self(texts.collect()))
    }

    /// What has been changed from this to `later`.
    pub(super) fn edits(&self, later: &Self) -> Edits {
        let changed = later.0.iter().filter_map(|(path, text)| {
            let earlier = self.0.get(path).map_or("", String::as_str);
            let had: HashSet<&str> = earlier.lines().collect();
            let added = text.lines().filter(|line| !had.contains(line));
            (text != earlier).then(|| (path.clone(), added.map(str::to_owned).collect()))
        });
        Edits(changed.collect())
    }
}

impl Edits {
    /// Looks for each file, and for the lines that were added to it.
    pub(super) fn check(&self, guest: &Guest, phase: Phase) -> Vec<CheckReport> {
        let check = |(path, lines): &(String, Vec<String>)| {
            let began = Instant::now();
            let now = guest.read_file(path).ok();
            let now = now.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let outcome = judge(now.as_deref(), lines);
            CheckReport::unasked(phase, "config", path, outcome, began)
        };
        self.0.iter().map(check).collect()
    }
}

fn judge(now: Option<&str>, lines: &[String]) -> Outcome {
    let Some(text) = now else {
        return Outcome::failed("the file is gone");
    };
    let has: HashSet<&str> = text.lines().collect();
    match lines.iter().find(|line| !has.contains(line.as_str())) {
        Some(lost) => Outcome::failed(format!("the change is lost: {lost:?} is not in it")),
        None => Outcome::passed("the change is kept"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_the_lines_that_were_added() {
        let of = |text: &str| {
            Configuration(BTreeMap::from([
                ("/etc/x".to_owned(), text.to_owned()),
                ("/etc/y".to_owned(), "same\n".to_owned()),
            ]))
        };
        let edits = of("a\nb\n").edits(&of("a\nc\n"));
        assert_eq!(edits.0, [("/etc/x".to_owned(), vec!["c".to_owned()])]);
        let lines = &edits.0[0].1;
        assert!(judge(Some("new\nc\n"), lines).passed);
        assert!(!judge(Some("a\nb\n"), lines).passed);
        assert!(!judge(None, lines).passed);
    }
}
