//! Files and directories of the host that a container sees.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::OpenTreeFlags;

use super::overlay::attach;
use super::rootfs::Rootfs;
use super::shape::{Mount, escaped};
use super::users::{self, CANNOT, PrivateUsers};

/// Makes the places where something is mounted, for systemd-nspawn cannot where the root is read-only.
pub(super) fn make_targets(mounts: &[Mount], root: &Rootfs) -> io::Result<()> {
    for mount in mounts {
        let (target, is_directory) = match mount {
            Mount::Tmpfs { target, .. } => (target, true),
            Mount::Bind { source, target, .. } => (target, source.is_dir()),
        };
        if root.exists(target) {
            continue;
        }
        let made = match target.rsplit_once('/') {
            Some((parent, name)) if !is_directory => root.replace(parent, name, b""),
            _ => root.make_directories(target).map(drop),
        };
        made.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot make {target} in the container: {error}"),
            )
        })?;
    }
    Ok(())
}

/// What systemd-nspawn makes in a container's `/run`.
const OWN: [&str; 2] = ["host", "systemd"];

/// Takes what is to be bound, each to a name below `scratch`, with the owners that the container's
/// users make of it; gives systemd-nspawn's options for it. Nothing that is mounted later in this
/// namespace hides it.
pub(super) fn take(
    mounts: &[Mount],
    scratch: &Path,
    users: Option<&PrivateUsers>,
) -> io::Result<Vec<String>> {
    let mut options = Vec::new();
    for (number, mount) in mounts.iter().enumerate() {
        let Mount::Bind {
            source,
            target,
            read_only,
        } = mount
        else {
            continue;
        };
        let named = |error: io::Error| {
            let text = format!("cannot show {}: {error}", source.display());
            io::Error::new(error.kind(), text)
        };
        let tree = match users {
            None => users::tree(source, OpenTreeFlags::AT_RECURSIVE).map_err(named)?,
            Some(users) => users
                .map_all(source)
                .map_err(|error| io::Error::new(error.kind(), format!("{CANNOT}: {error}")))?,
        };
        let at = scratch.join(format!("b{number}"));
        if fs::metadata(source).map_err(named)?.is_dir() {
            fs::create_dir(&at)?;
        } else {
            File::create(&at)?;
        }
        attach(&tree, &at).map_err(named)?;
        let option = if *read_only { "--bind-ro" } else { "--bind" };
        let (at, target) = (at.to_string_lossy(), escaped(target));
        options.push(format!("{option}={}:{target}", escaped(&at)));
    }
    Ok(options)
}

/// Keeps what the image has in `/run` in sight, where systemd-nspawn mounts an empty file system: images
/// without a system of their own count on it.
pub(super) fn keep_run(root: &Rootfs, scratch: &Path) -> io::Result<Vec<String>> {
    let mut options = Vec::new();
    // systemd-nspawn's own are there, and it looks after them.
    let names = root.names("run").into_iter();
    for (number, name) in names.filter(|name| !OWN.contains(&&**name)).enumerate() {
        let entry = root.open_at(format!("run/{name}"), OFlags::PATH, Mode::empty());
        // One that leads nowhere is nothing to be seen.
        let Ok(entry) = entry else {
            continue;
        };
        let at = scratch.join(format!("r{number}"));
        match FileType::from_raw_mode(rustix::fs::fstat(&entry)?.st_mode) {
            FileType::Directory => fs::create_dir(&at)?,
            _ => drop(File::create(&at)?),
        }
        rustix::mount::mount_bind(format!("/proc/self/fd/{}", entry.as_raw_fd()), &at)?;
        let (at, target) = (at.to_string_lossy(), escaped(&name));
        options.push(format!("--bind={}:/run/{target}", escaped(&at)));
    }
    Ok(options)
}
