//! Making an image bootable: systemd as its init, a system bus, services that may start.
//!
//! Images of container registries mostly lack all three. What is missing is installed once, by
//! the distribution's own package manager, into one more layer. It is found again by the digest of
//! what it was made from: the recipe, what the catalogue adds to it, and the layers below. Its own
//! name has the digest of what came of that in it, too: a mirror goes on, and a layer that was made
//! anew must not take the place of one that a machine has mounted.
//!
//! From the same inputs and the same state of the mirror comes the same layer: times are those of
//! the packages, and logs, caches, identities and seeds are removed. What stays is what a package
//! manager notes of the time of an installation: in rpm's database.

mod content;
mod make;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::catalogue::{Family, Provision};
use super::digest::Digest;
use super::layer::remove_at;
use super::rootfs::{Rootfs, names};
use super::store::LayerId;

/// To be counted up when what is done beside the recipe changes in a way that old layers must not
/// survive.
const RECIPE_VERSION: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What is found in a root that matters for booting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    /// It boots as it is.
    Ready,
    /// This is missing or in the way.
    Lacks(&'static str),
}

/// Looks whether the root boots as it is.
fn readiness(root: &Rootfs) -> io::Result<Readiness> {
    let exists = |paths: &[&str]| -> io::Result<bool> {
        for path in paths {
            if root.exists(path)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    if !exists(&["/usr/lib/systemd/systemd", "/lib/systemd/systemd"])? {
        return Ok(Readiness::Lacks("systemd"));
    }
    if !exists(&["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd"])? {
        return Ok(Readiness::Lacks("an init"));
    }
    let daemons = [
        "/usr/bin/dbus-broker-launch",
        "/usr/bin/dbus-daemon",
        "/bin/dbus-daemon",
    ];
    let sockets = [
        "/usr/lib/systemd/system/dbus.socket",
        "/lib/systemd/system/dbus.socket",
        "/etc/systemd/system/dbus.socket",
    ];
    if !exists(&daemons)? || !exists(&sockets)? {
        return Ok(Readiness::Lacks("a system bus"));
    }
    if exists(&["/usr/sbin/policy-rc.d"])? {
        return Ok(Readiness::Lacks("leave to start services"));
    }
    Ok(Readiness::Ready)
}

/// Tells the family by the root's os-release.
pub(super) fn family(root: &Rootfs) -> io::Result<Option<Family>> {
    let mut text = root.read("/etc/os-release", 64 << 10)?;
    if text.is_none() {
        text = root.read("/usr/lib/os-release", 64 << 10)?;
    }
    Ok(text.as_deref().and_then(Family::of_os_release))
}

/// The script that makes a root of the family bootable.
fn script(family: Family, provision: &Provision) -> String {
    let recipe = match family {
        Family::Debian => include_str!("../recipe/debian.sh"),
        Family::Redhat => include_str!("../recipe/redhat.sh"),
        Family::Suse => include_str!("../recipe/suse.sh"),
        Family::Arch => include_str!("../recipe/arch.sh"),
    };
    let packages: Vec<String> = provision.packages.iter().map(|name| quoted(name)).collect();
    let setup = provision.setup.as_deref().unwrap_or_default();
    format!(
        "set -e\nPOSTROJ_PACKAGES={}\n{setup}\n{recipe}\n{}",
        quoted(&packages.join(" ").replace('\'', "")),
        include_str!("../recipe/scrub.sh")
    )
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What the layer is made from that the script makes on top of these.
fn inputs(script: &str, layers: &[LayerId]) -> Digest {
    let below: Vec<String> = layers.iter().map(ToString::to_string).collect();
    let inputs = format!("{RECIPE_VERSION}\n{}\n{script}", below.join("\n"));
    Digest::of(inputs)
}

/// Removes from the layer what the run has left and the image must not keep: what lies in
/// temporary directories, and the file that only was there to mount the host's resolv.conf on.
fn scrub(layer: &Path) -> io::Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let root = File::open(layer)?;
    let open = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(io::Error::from(error)),
        }
    };
    // Package managers' caches, where they were not kept elsewhere.
    let caches = [
        "var/lib/apt/lists",
        "var/cache/apt",
        "var/cache/dnf",
        "var/cache/libdnf5",
        "var/cache/yum",
        "var/cache/zypp",
        "var/cache/pacman/pkg",
        "var/lib/pacman/sync",
    ];
    for path in ["tmp", "var/tmp", "run"].into_iter().chain(caches) {
        let Some(directory) = open(path)? else {
            continue;
        };
        for name in names(&directory)? {
            remove_at(directory.as_fd(), &name)?;
        }
    }
    if let Some(etc) = open("etc")? {
        for name in names(&etc)? {
            let stat = rustix::fs::statat(&etc, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            let mount_point = name == b"resolv.conf" && regular && stat.st_size == 0;
            if mount_point || name.ends_with(b".postroj") {
                remove_at(etc.as_fd(), &name)?;
            }
        }
    }
    Ok(())
}

/// The time of the image: when its distribution's release was packaged, in seconds since 1970.
fn epoch(root: &Rootfs) -> io::Result<i64> {
    for path in ["/usr/lib/os-release", "/etc/os-release"] {
        if let Some(found) = root.resolve(path)?
            && found.kind == FileType::RegularFile
        {
            return Ok(root.file(&found)?.metadata()?.mtime());
        }
    }
    Ok(0)
}

/// The mode that the root of the layer must have, so that the composed root keeps its own.
fn root_mode(root: &Rootfs) -> io::Result<u32> {
    Ok(match root.locate(b"")? {
        Some(found) if found.kind == FileType::Directory => found.mode,
        _ => 0o755,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_told_by_os_release() {
        for (text, family) in [
            ("ID=debian\n", Some(Family::Debian)),
            (
                "NAME=x\nID=mint\nID_LIKE=\"ubuntu debian\"\n",
                Some(Family::Debian),
            ),
            ("ID=\"rhel\"\nID_LIKE=\"fedora\"\n", Some(Family::Redhat)),
            ("ID='opensuse-leap'\n", Some(Family::Suse)),
            ("ID=arch\n", Some(Family::Arch)),
            ("ID=alpine\n", None),
            ("", None),
        ] {
            assert_eq!(Family::of_os_release(text), family, "{text}");
        }
    }

    #[test]
    fn the_layer_is_named_by_what_it_is_made_from() {
        let plain = Provision::default();
        let more = Provision {
            setup: None,
            packages: vec!["x".to_owned()],
        };
        let below = [LayerId::diff(Digest::of("x"))];
        let first = inputs(&script(Family::Debian, &plain), &below);
        assert_eq!(inputs(&script(Family::Debian, &plain), &below), first);
        assert_ne!(inputs(&script(Family::Debian, &more), &below), first);
        assert_ne!(inputs(&script(Family::Debian, &plain), &[]), first);
    }

    #[test]
    fn recipes_are_valid_shell() {
        for family in [Family::Debian, Family::Redhat, Family::Suse, Family::Arch] {
            let status = std::process::Command::new("sh")
                .args(["-n", "-c", &script(family, &Provision::default())])
                .status();
            assert!(status.unwrap().success(), "{family}");
        }
    }
}
