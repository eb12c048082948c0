//! Whose something in a container is, in the container's own numbers and names.

use std::collections::HashMap;
use std::{fs, io};

use crate::machine::{Guest, GuestError};

/// A user of a container, as its `/etc/passwd` has it; passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
    pub(super) shell: String,
}

/// A group of a container, as its `/etc/group` has it; group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) gid: u32,
    pub(super) members: Vec<String>,
}

/// The users of a container.
pub(super) fn users(guest: &Guest) -> Result<Vec<User>, GuestError> {
    lines(guest, "/etc/passwd", |fields| {
        Some(User {
            name: fields.first()?.clone(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5)?.clone(),
            shell: fields.get(6)?.clone(),
        })
    })
}

/// The groups of a container.
pub(super) fn groups(guest: &Guest) -> Result<Vec<Group>, GuestError> {
    lines(guest, "/etc/group", |fields| {
        let members = fields.get(3)?.split(',').filter(|name| !name.is_empty());
        Some(Group {
            name: fields.first()?.clone(),
            gid: fields.get(2)?.parse().ok()?,
            members: members.map(str::to_owned).collect(),
        })
    })
}

/// What the lines of a file say. One that is not there says nothing.
fn lines<T>(
    guest: &Guest,
    path: &str,
    parse: fn(&[String]) -> Option<T>,
) -> Result<Vec<T>, GuestError> {
    let text = match guest.read_file(path) {
        Err(GuestError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        text => text?,
    };
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter_map(|line| {
        let fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        parse(&fields)
    });
    Ok(lines.collect())
}

/// Turns the numbers that the host has for a container's users and groups into the container's own.
pub(super) struct Ids {
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// A line of `uid_map`, which is described in `user_namespaces(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    length: u32,
}

impl Ids {
    /// Those of the container whose init is the process `leader`.
    pub(super) fn of(leader: i32) -> Self {
        let read = |name| {
            let text = fs::read_to_string(format!("/proc/{leader}/{name}"));
            ranges(&text.unwrap_or_default())
        };
        Self {
            users: read("uid_map"),
            groups: read("gid_map"),
        }
    }

    /// A user's number inside; none for one that the container does not have.
    pub(super) fn user(&self, outside: u32) -> Option<u32> {
        inside(&self.users, outside)
    }

    /// A group's number inside.
    pub(super) fn group(&self, outside: u32) -> Option<u32> {
        inside(&self.groups, outside)
    }
}

fn ranges(text: &str) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            let mut next = || numbers.next()?.ok();
            Some(Range {
                inside: next()?,
                outside: next()?,
                length: next()?,
            })
        })
        .collect()
}

fn inside(ranges: &[Range], outside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = outside.checked_sub(range.outside)?;
        (offset < range.length).then(|| range.inside.checked_add(offset))?
    })
}

/// A number with its name, for people: `33 (www-data)`.
pub(super) fn named(number: Option<u32>, names: &HashMap<u32, String>) -> String {
    match number {
        Some(number) => match names.get(&number) {
            Some(name) => format!("{name} ({number})"),
            None => number.to_string(),
        },
        None => "nobody of the container".to_owned(),
    }
}

/// Whether a number is the one that is wanted, by number or by name.
pub(super) fn is_wanted(number: Option<u32>, names: &HashMap<u32, String>, wanted: &str) -> bool {
    let Some(number) = number else { return false };
    wanted.parse() == Ok(number) || names.get(&number).is_some_and(|name| name == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_containers() {
        let identity = ranges("         0          0 4294967295\n");
        assert_eq!(inside(&identity, 33), Some(33));
        let shifted = ranges("0 1000000 65536\n");
        assert_eq!(inside(&shifted, 1_000_033), Some(33));
        assert_eq!(inside(&shifted, 33), None);
        assert_eq!(inside(&shifted, 1_065_536), None);
    }
}
