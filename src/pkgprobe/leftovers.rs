//! What packages leave behind when they have been purged.
//!
//! Left behind is what was not there before the installation and belongs to no package that is
//! still installed: dependencies stay, and so does what they have made in directories of theirs.
//! What the package manager and the system write for themselves is passed over.

use std::collections::{BTreeSet, HashSet};

use super::snapshot::Snapshot;
use crate::install::unowned;
use crate::machine::{Guest, GuestError};
use crate::report::Leftovers;

/// What is nobody's leftover: `*` is any text, and what is below a directory goes with it.
const IGNORED: &[&str] = &[
    // Package managers: their databases, caches and logs.
    "/etc/dnf",
    "/usr/lib/sysimage",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/cache/dnf",
    "/var/cache/libdnf5",
    "/var/cache/pacman",
    "/var/cache/yum",
    "/var/cache/zypp*",
    "/var/lib/apt",
    "/var/lib/dnf",
    "/var/lib/dpkg",
    "/var/lib/pacman",
    "/var/lib/rpm",
    "/var/lib/rpm-state",
    "/var/lib/ucf",
    "/var/lib/yum",
    "/var/lib/zypp",
    "/var/log/alternatives.log*",
    "/var/log/apt",
    "/var/log/dnf*",
    "/var/log/dpkg.log*",
    "/var/log/hawkey.log*",
    "/var/log/libzypp",
    "/var/log/pacman.log",
    "/var/log/yum.log",
    "/var/log/zypp*",
    // What they save of the administrator's work.
    "*.pacsave",
    "*.rpmsave",
    // postroj's own.
    "/var/cache/postroj",
    // Caches that are made of what is installed.
    "*/__pycache__",
    "/etc/ld.so.cache*",
    "/usr/share/info/dir*",
    "/var/cache/fontconfig",
    "/var/cache/ldconfig",
    "/var/cache/man",
    // The system's own state.
    "/etc/*.lock",
    "/etc/.updated",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/passwd-",
    "/etc/resolv.conf*",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/root/.cache",
    "/root/.gnupg",
    "/root/.rpmdb",
    "/var/.updated",
    "/var/lib/dbus/machine-id",
    "/var/lib/logrotate",
    "/var/lib/systemd/catalog",
    "/var/lib/systemd/coredump",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/linger",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/rfkill",
    "/var/lib/systemd/timers",
    "/var/lib/systemd/timesync",
    "/var/log/btmp*",
    "/var/log/faillog",
    "/var/log/journal",
    "/var/log/lastlog",
    "/var/log/tallylog",
    "/var/log/wtmp*",
    "/var/tmp",
];

/// Directories that systemd makes when it first needs them, for what others put there.
const PARENTS: [&str; 3] = ["/var/cache/private", "/var/lib/private", "/var/log/private"];

/// What packages have left behind since `before`, but for what `ignored` covers as well.
pub(super) async fn find(
    guest: &Guest,
    before: &Snapshot,
    ignored: &[String],
) -> Result<Leftovers, GuestError> {
    let after = Snapshot::take(guest).await?;
    let is_ignored = |name: &str| covers(ignored.iter().map(String::as_str), name);
    let new: Vec<String> = after.files.difference(&before.files).cloned().collect();
    let asked: Vec<String> = new
        .into_iter()
        .filter(|path| !PARENTS.contains(&path.as_str()))
        .filter(|path| !covers(IGNORED.iter().copied(), path) && !is_ignored(path))
        .collect();
    let unowned = unowned(guest, &asked).await?;
    let (units, files) = only_nobodys(&asked, unowned)
        .into_iter()
        .partition(|path| is_unit_file(path));
    let scripts = Scripts::read(guest);
    let accounts = |after: &BTreeSet<String>, before: &BTreeSet<String>| {
        let new = after.difference(before);
        new.filter(|name| !is_ignored(name) && !scripts.mention(name))
            .cloned()
            .collect()
    };
    let mut leftovers = Leftovers {
        files,
        users: accounts(&after.users, &before.users),
        groups: accounts(&after.groups, &before.groups),
        units,
    };
    for (unit, state) in guest.units_without_file().await? {
        if !is_ignored(&unit) {
            leftovers.units.push(format!("{unit} ({state})"));
        }
    }
    Ok(leftovers)
}

/// Those of the files that belong to no package, without what a package that is installed has made
/// in a directory that came with it.
fn only_nobodys(asked: &[String], unowned: Vec<String>) -> Vec<String> {
    let nobodys: HashSet<&str> = unowned.iter().map(String::as_str).collect();
    let owned: HashSet<String> = asked
        .iter()
        .filter(|path| !nobodys.contains(path.as_str()))
        .cloned()
        .collect();
    unowned
        .into_iter()
        .filter(|path| !ancestors(path).any(|above| owned.contains(above)))
        .collect()
}

fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/')
        .map(|(at, _)| &path[..at])
        .filter(|above| !above.is_empty())
}

fn is_unit_file(path: &str) -> bool {
    path.contains("/systemd/system/") || path.contains("/systemd/user/")
}

/// Whether one of the patterns matches a name, or a directory that it is below.
fn covers<'a>(patterns: impl IntoIterator<Item = &'a str>, name: &str) -> bool {
    patterns.into_iter().any(|pattern| {
        matches(pattern.as_bytes(), name.as_bytes())
            || ancestors(name).any(|above| matches(pattern.as_bytes(), above.as_bytes()))
    })
}

/// Whether a pattern, in which `*` is any text and `?` any byte, matches all of a text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when what follows the last star does not match here.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// What makes the users and groups of the packages that are installed.
struct Scripts(Vec<String>);

impl Scripts {
    fn read(guest: &Guest) -> Self {
        let scripts = [
            ("/var/lib/dpkg/info", "inst"),
            ("/usr/lib/sysusers.d", ".conf"),
        ];
        let mut texts = Vec::new();
        for (directory, ending) in scripts {
            for name in guest.names(directory) {
                if name.ends_with(ending)
                    && let Ok(text) = guest.read_file(&format!("{directory}/{name}"))
                {
                    texts.push(String::from_utf8_lossy(&text).into_owned());
                }
            }
        }
        Self(texts)
    }

    /// Whether one of them has the name as a word.
    fn mention(&self, name: &str) -> bool {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        self.0
            .iter()
            .any(|text| text.split(|c| !is_part(c)).any(|word| word == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_is_below_it() {
        let is_ignored = |path| covers(IGNORED.iter().copied(), path);
        assert!(is_ignored("/var/lib/dpkg/info/x.list"));
        assert!(is_ignored("/usr/lib/python3/x/__pycache__/y.pyc"));
        assert!(is_ignored("/var/log/dpkg.log.1"));
        assert!(!is_ignored("/var/lib/dpkg-x"));
        assert!(!is_ignored("/etc/x.conf"));
        assert!(!is_ignored("/var/lib"));
        assert!(covers(["/srv/*/cache"], "/srv/a/b/cache/c"));
        assert!(covers(["data?"], "data1"));
        assert!(!covers(["data?"], "data"));
        assert!(covers(["**"], ""));
    }

    #[test]
    fn what_a_dependency_makes_in_its_directory_is_its_own() {
        let asked = ["/usr/share/dep", "/usr/share/dep/cache", "/var/lib/x"].map(str::to_owned);
        let unowned = vec![asked[1].clone(), asked[2].clone()];
        assert_eq!(only_nobodys(&asked, unowned), ["/var/lib/x"]);
    }
}
