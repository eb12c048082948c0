//! As whom a command runs: what an image's config or `--user` says, by the image's own files.

use serde::{Deserialize, Serialize};

use super::super::rootfs::Rootfs;

/// passwd(5) and group(5) of an image may be this large.
const MOST: u64 = 4 << 20;

/// The ids of a process, in the container's numbering.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) struct Identity {
    pub(in crate::machine) user: u32,
    pub(in crate::machine) group: u32,
    /// Supplementary groups.
    pub(in crate::machine) groups: Vec<u32>,
    /// The home directory that passwd(5) has.
    pub(in crate::machine) home: String,
}

impl Identity {
    /// Looks up `USER`, `USER:GROUP` or `:GROUP`, by name or number, in the image's files. A number
    /// needs no entry there.
    pub(in crate::machine) fn find(root: &Rootfs, name: &str) -> Result<Self, String> {
        let read = |path| {
            let bytes = root.read(path, MOST).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self::parse(name, &read("etc/passwd"), &read("etc/group"))
    }

    fn parse(name: &str, passwd: &str, groups: &str) -> Result<Self, String> {
        let (user, group) = match name.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (name, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let number = user.parse().ok();
        let entry = passwd
            .lines()
            .filter_map(Account::parse)
            .find(|account| account.name == user)
            .or_else(|| {
                let mut accounts = passwd.lines().filter_map(Account::parse);
                accounts.find(|account| Some(account.user) == number)
            });
        let mut identity = match (&entry, number) {
            (Some(account), _) => Self {
                user: account.user,
                group: account.group,
                groups: memberships(groups, account.name),
                home: account.home.to_owned(),
            },
            (None, Some(number)) => Self {
                user: number,
                home: "/".to_owned(),
                ..Self::default()
            },
            (None, None) => return Err(format!("the image has no user {user}")),
        };
        if let Some(group) = group {
            identity.group =
                group_id(groups, group).ok_or_else(|| format!("the image has no group {group}"))?;
            // Who names a group wants that one.
            identity.groups.clear();
        }
        Ok(identity)
    }
}

/// A line of passwd(5).
struct Account<'a> {
    name: &'a str,
    user: u32,
    group: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        Some(Self {
            name: fields.first()?,
            user: fields.get(2)?.parse().ok()?,
            group: fields.get(3)?.parse().ok()?,
            home: fields
                .get(5)
                .copied()
                .filter(|home| !home.is_empty())
                .unwrap_or("/"),
        })
    }
}

/// The lines of group(5): name, number, members.
fn entries(groups: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    groups.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let number = fields.get(2)?.parse().ok()?;
        Some((
            *fields.first()?,
            number,
            fields.get(3).copied().unwrap_or_default(),
        ))
    })
}

fn memberships(groups: &str, user: &str) -> Vec<u32> {
    entries(groups)
        .filter(|(_, _, members)| members.split(',').any(|member| member.trim() == user))
        .map(|(_, number, _)| number)
        .collect()
}

fn group_id(groups: &str, group: &str) -> Option<u32> {
    let named = entries(groups).find(|(name, ..)| *name == group);
    named.map(|(_, number, _)| number).or(group.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:/bin/false\n1000:x:7:8::/odd:\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nadm:x:4:syslog,www\ntty:x:5:\n";

    fn find(name: &str) -> Result<Identity, String> {
        Identity::parse(name, PASSWD, GROUP)
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let www = find("www").unwrap();
        assert_eq!((www.user, www.group, &*www.groups), (33, 33, &[4][..]));
        assert_eq!(www.home, "/var/www");
        assert_eq!(find("33").unwrap(), www);
        assert_eq!(find("").unwrap().home, "/root");
        // A name that looks like a number is a name first.
        assert_eq!(find("1000").unwrap().user, 7);
    }

    #[test]
    fn a_number_needs_no_entry() {
        let unknown = find("4711").unwrap();
        assert_eq!((unknown.user, unknown.group), (4711, 0));
        assert_eq!(find("4711:5").unwrap().group, 5);
        assert_eq!(find("www:tty").unwrap().group, 5);
        assert_eq!(find(":adm").unwrap().group, 4);
    }

    #[test]
    fn what_the_image_does_not_have_is_named() {
        assert_eq!(find("nobody").unwrap_err(), "the image has no user nobody");
        assert_eq!(find("www:none").unwrap_err(), "the image has no group none");
    }
}
