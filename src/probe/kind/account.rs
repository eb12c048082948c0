//! Users and groups of a container, by its files.

use async_trait::async_trait;
use tokio::time::Instant;

use super::looking::Looking;
use super::owner::{groups, users};
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;
use crate::probe::value::Many;

keys! {
    /// A user is in the container's `/etc/passwd`.
    pub struct UserCheck {
        /// The user's name.
        pub name: String,
        /// Whether there has to be such a user; true if nothing is said.
        pub exists: Option<bool>,
        /// The user's number.
        pub uid: Option<u32>,
        /// The number of the user's first group.
        pub gid: Option<u32>,
        /// The home directory.
        pub home: Option<String>,
        /// The shell.
        pub shell: Option<String>,
        /// Groups that the user has to be in.
        #[serde(default)]
        pub groups: Many<String>,
        /// Whether the user may be in other groups too; true if nothing is said.
        pub other_groups: Option<bool>,
    }
}

keys! {
    /// A group is in the container's `/etc/group`.
    pub struct GroupCheck {
        /// The group's name.
        pub name: String,
        /// Whether there has to be such a group; true if nothing is said.
        pub exists: Option<bool>,
        /// The group's number.
        pub gid: Option<u32>,
        /// Users that have to be in it.
        #[serde(default)]
        pub members: Many<String>,
    }
}

/// Adds what is wrong with one value.
fn compare<T: PartialEq + std::fmt::Display>(
    wrong: &mut Vec<String>,
    what: &str,
    found: &T,
    expected: Option<&T>,
) {
    if let Some(expected) = expected
        && expected != found
    {
        wrong.push(format!("its {what} is {found}, not {expected}"));
    }
}

/// What to make of something that is not there.
fn missing(exists: Option<bool>, what: &str) -> Look {
    let words = format!("there is no such {what}");
    if exists == Some(false) {
        Look::Holds(words)
    } else {
        Look::NotYet(words)
    }
}

#[async_trait]
impl Looking for UserCheck {
    fn target(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        let asks = self.uid.or(self.gid).is_some()
            || self.home.is_some()
            || self.shell.is_some()
            || !self.groups.is_empty()
            || self.other_groups.is_some();
        if self.exists == Some(false) && asks {
            return Err("of a user that must not exist nothing else can be asked".to_owned());
        }
        Ok(())
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        let all = users(scene.guest)?;
        let Some(user) = all.iter().find(|user| user.name == self.name) else {
            return Ok(missing(self.exists, "user"));
        };
        let seen = format!("uid {}, gid {}", user.uid, user.gid);
        if self.exists == Some(false) {
            return Ok(Look::NotYet(format!("there is such a user: {seen}")));
        }
        let mut wrong = Vec::new();
        compare(&mut wrong, "uid", &user.uid, self.uid.as_ref());
        compare(&mut wrong, "gid", &user.gid, self.gid.as_ref());
        compare(&mut wrong, "home", &user.home, self.home.as_ref());
        compare(&mut wrong, "shell", &user.shell, self.shell.as_ref());
        let all = groups(scene.guest)?.into_iter();
        let of_user = all
            .filter(|group| group.gid == user.gid || group.members.contains(&self.name))
            .map(|group| group.name);
        let of_user: Vec<String> = of_user.collect();
        let missing = self.groups.iter().filter(|name| !of_user.contains(name));
        wrong.extend(missing.map(|name| format!("it is not in the group {name}")));
        if self.other_groups == Some(false) {
            let others = of_user.iter().filter(|name| !self.groups.contains(name));
            wrong.extend(others.map(|name| format!("it is in the group {name}")));
        }
        Ok(Look::at(&[seen], &wrong))
    }
}

#[async_trait]
impl Looking for GroupCheck {
    fn target(&self) -> String {
        self.name.clone()
    }

    fn validate(&self) -> Result<(), String> {
        if self.exists == Some(false) && (self.gid.is_some() || !self.members.is_empty()) {
            return Err("of a group that must not exist nothing else can be asked".to_owned());
        }
        Ok(())
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        let all = groups(scene.guest)?;
        let Some(group) = all.iter().find(|group| group.name == self.name) else {
            return Ok(missing(self.exists, "group"));
        };
        let seen = format!("gid {}", group.gid);
        if self.exists == Some(false) {
            return Ok(Look::NotYet(format!("there is such a group: {seen}")));
        }
        let mut wrong = Vec::new();
        compare(&mut wrong, "gid", &group.gid, self.gid.as_ref());
        let users = users(scene.guest)?;
        for name in self.members.iter() {
            let is_first = users
                .iter()
                .any(|user| user.name == *name && user.gid == group.gid);
            if !is_first && !group.members.contains(name) {
                wrong.push(format!("{name} is not in it"));
            }
        }
        Ok(Look::at(&[seen], &wrong))
    }
}
