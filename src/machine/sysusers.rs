//! Whether an image has the users and groups that it declares; sysusers.d(5).
//!
//! systemd-sysusers.service makes them at the first boot, before nearly everything else, and packages
//! have mostly done so when they were installed. To compare is quicker than to start it.

use std::collections::{HashMap, HashSet};

use super::rootfs::Rootfs;

/// The unit.
pub(super) const UNIT: &str = "systemd-sysusers.service";

/// The most that is read of a file; what is longer is systemd-sysusers'.
const LIMIT: u64 = 256 << 10;

const DIRECTORIES: [&str; 2] = ["usr/lib/sysusers.d", "etc/sysusers.d"];

/// Whether all that is declared is there, so that systemd-sysusers would find nothing to do.
pub(super) fn are_there(root: &Rootfs) -> bool {
    let known = (Known::read(root, "passwd"), Known::read(root, "group"));
    let (Some(users), Some(groups)) = known else {
        return false;
    };
    DIRECTORIES
        .iter()
        .flat_map(|directory| {
            root.names(directory)
                .into_iter()
                .map(move |name| (directory, name))
        })
        .filter(|(_, name)| name.strip_suffix(".conf").is_some())
        .all(|(directory, name)| {
            let text = root.read(format!("{directory}/{name}"), LIMIT);
            text.is_ok_and(|text| {
                let text = String::from_utf8_lossy(&text);
                text.lines().all(|line| is_done(line, &users, &groups))
            })
        })
}

/// Whether nothing is left to do of a line. One that is not understood is left to systemd-sysusers.
fn is_done(line: &str, users: &Known, groups: &Known) -> bool {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return true;
    }
    let mut fields = line.split_ascii_whitespace();
    let (Some(kind), Some(name)) = (fields.next(), fields.next()) else {
        return false;
    };
    match (kind.trim_end_matches('!'), fields.next()) {
        ("u", id) => {
            // `UID:GROUP` names a group that has to be there already.
            let own_group = !id.is_some_and(|id| id.contains(':'));
            users.has(name) && (!own_group || groups.has(name))
        }
        ("g", _) => groups.has(name),
        ("m", Some(group)) => groups.has_member(group, name),
        ("r", _) => true,
        _ => false,
    }
}

/// What passwd(5) or group(5) lists: names, and a group's members.
struct Known(HashMap<String, HashSet<String>>);

impl Known {
    fn read(root: &Rootfs, file: &str) -> Option<Self> {
        let text = root.read(format!("etc/{file}"), LIMIT).ok()?;
        let text = String::from_utf8_lossy(&text);
        Some(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let entries = text.lines().filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let members = rest.rsplit(':').next().unwrap_or_default();
            let members = members.split(',').map(str::to_owned).collect();
            Some((name.to_owned(), members))
        });
        Self(entries.collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn has_member(&self, group: &str, user: &str) -> bool {
        self.0
            .get(group)
            .is_some_and(|members| members.contains(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_left_to_do() {
        let users = Known::parse("root:x:0:0:root:/root:/bin/bash\nmessagebus:x:100:107::/x:/y\n");
        let groups = Known::parse("root:x:0:\nmessagebus:x:107:\nadm:x:4:syslog,me\n");
        let is_done = |line| is_done(line, &users, &groups);
        for done in [
            "",
            "# a comment",
            "u root 0 \"Super User\" /root",
            "u! messagebus - \"D-Bus\"",
            "u messagebus 100:messagebus -",
            "g adm 4 - -",
            "m me adm",
            "r - 500-900",
        ] {
            assert!(is_done(done), "{done}");
        }
        for left in [
            "u nobody 65534 -",
            "g utmp - -",
            "m root adm",
            "m root wheel",
            "u %i -",
            "u",
            "z root",
        ] {
            assert!(!is_done(left), "{left}");
        }
    }

    #[test]
    fn an_image_without_declarations_has_nothing_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let root = Rootfs::open(directory.path()).unwrap();
        assert!(!are_there(&root), "there is no /etc/passwd");
        root.replace("etc", "passwd", b"root:x:0:0::/root:/bin/sh\n")
            .unwrap();
        root.replace("etc", "group", b"root:x:0:\n").unwrap();
        assert!(are_there(&root));
        root.replace("usr/lib/sysusers.d", "x.conf", b"u x -\n")
            .unwrap();
        assert!(!are_there(&root));
    }
}
