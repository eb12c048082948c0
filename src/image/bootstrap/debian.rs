//! Roots of Debian and Ubuntu, made by mmdebstrap.

use std::ffi::OsString;
use std::path::Path;

use super::{BootstrapError, Job, need};
use crate::image::catalogue::Debian;

const INCLUDE: &[&str] = &["systemd-sysv", "dbus", "ca-certificates"];

pub(super) fn job(debian: &Debian) -> Result<Job, BootstrapError> {
    for (program, package) in [("mmdebstrap", "mmdebstrap"), ("apt-get", "apt")] {
        need(program, package)?;
    }
    if let Some(keyring) = &debian.keyring
        && keyring.starts_with('/')
        && !Path::new(keyring).exists()
    {
        return Err(BootstrapError::Keyring {
            path: keyring.into(),
            package: if keyring.contains("ubuntu") {
                "ubuntu-keyring"
            } else {
                "debian-archive-keyring"
            },
        });
    }
    Ok(Job {
        tool: "mmdebstrap",
        subject: debian.suite.clone(),
        script: "",
        arguments: arguments(debian),
        environment: Vec::new(),
    })
}

fn arguments(debian: &Debian) -> Vec<OsString> {
    let mut include: Vec<&str> = INCLUDE.to_vec();
    include.extend(debian.include.iter().map(String::as_str));
    let mut arguments = vec![
        "mmdebstrap".to_owned(),
        "--variant=minbase".to_owned(),
        "--format=tar".to_owned(),
        format!("--include={}", include.join(",")),
        // A snapshot of a mirror, or a release that is archived, keeps its Release file for ever.
        "--aptopt=Acquire::Check-Valid-Until \"false\"".to_owned(),
    ];
    // The web document root of Debian Policy 11.5, which some web servers serve and none of them
    // makes.
    arguments.push("--customize-hook=mkdir -p \"$1/var/www/html\"".to_owned());
    if !debian.components.is_empty() {
        arguments.push(format!("--components={}", debian.components.join(",")));
    }
    if let Some(keyring) = &debian.keyring {
        arguments.push(format!("--keyring={keyring}"));
    }
    arguments.push(debian.suite.clone());
    arguments.push("-".to_owned());
    arguments.extend(debian.mirror.clone());
    arguments.into_iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_catalogue_says_becomes_arguments() {
        let mut entry = Debian {
            suite: "sid".to_owned(),
            mirror: None,
            components: Vec::new(),
            keyring: None,
            include: Vec::new(),
        };
        let plain = arguments(&entry);
        assert_eq!(plain[plain.len() - 2..], ["sid", "-"]);
        entry.mirror = Some("http://archive.debian.org/debian".to_owned());
        entry.components = vec!["main".to_owned(), "universe".to_owned()];
        entry.keyring = Some("/x.gpg".to_owned());
        entry.include = vec!["y".to_owned()];
        let full = arguments(&entry);
        assert_eq!(full.last().unwrap(), "http://archive.debian.org/debian");
        assert!(full.contains(&"--components=main,universe".into()));
        assert!(full.contains(&"--keyring=/x.gpg".into()));
        assert!(full.contains(&"--include=systemd-sysv,dbus,ca-certificates,y".into()));
    }
}
