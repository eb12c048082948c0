//! Mounting overlayfs: for a container's root, and for directories of the host that a container
//! sees and writes over without changing them.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use super::rootfs::Rootfs;
use super::users::{self, PrivateUsers};

/// A directory of the host that a container sees in place of one of its own. What it writes there
/// goes elsewhere: the host's directory never changes by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlaid {
    /// The directory of the host.
    pub source: PathBuf,
    /// The directory of the container.
    pub target: String,
    /// Where what it writes is kept: this directory gets an `upper` and a `work` for overlayfs. If
    /// the image has no such directory, it sees nothing, for it is not to get one.
    /// Without one, all of it is in memory and goes with the container.
    pub kept: Option<PathBuf>,
}

/// What a mount is made of.
pub(super) struct Parts<'a> {
    /// Topmost first.
    pub(super) lowers: &'a [PathBuf],
    pub(super) upper: &'a Path,
    pub(super) work: &'a Path,
    /// Whose the files of the lower ones are, if not the host's users'.
    pub(super) users: Option<&'a PrivateUsers>,
    /// Further options, each with a comma in front.
    pub(super) options: &'a str,
}

/// Mounts at `target`; `links` is a directory to be made.
pub(super) fn mount(links: &Path, parts: &Parts<'_>, target: &Path) -> io::Result<()> {
    fs::create_dir(links)?;
    // mount(2) takes one page of options. Short links hold hundreds of layers in it, and need no
    // escapes whatever is in a path.
    let mut lowers = Vec::with_capacity(parts.lowers.len());
    for (number, lower) in parts.lowers.iter().enumerate() {
        let link = links.join(number.to_string());
        match parts.users {
            Some(users) => {
                fs::create_dir(&link)?;
                attach(&users.map(lower)?, &link)?;
            }
            None => std::os::unix::fs::symlink(lower, link)?,
        }
        lowers.push(number.to_string());
    }
    std::os::unix::fs::symlink(parts.upper, links.join("u"))?;
    std::os::unix::fs::symlink(parts.work, links.join("w"))?;
    let options = format!(
        "lowerdir={},upperdir=u,workdir=w{}",
        lowers.join(":"),
        parts.options
    );
    let options = CString::new(options)?;
    let before = std::env::current_dir()?;
    std::env::set_current_dir(links)?;
    let flags = MountFlags::empty();
    let mounted = rustix::mount::mount("postroj", target, "overlay", flags, options.as_c_str());
    std::env::set_current_dir(before)?;
    if parts.users.is_some() {
        // overlayfs has mounts of its own by now.
        for number in lowers {
            rustix::mount::unmount(links.join(number), UnmountFlags::DETACH)?;
        }
    }
    mounted.map_err(Into::into)
}

/// Mounts a tree that is nowhere yet.
pub(super) fn attach(tree: &OwnedFd, at: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, c"", CWD, at, flags)?)
}

/// Shows directories of the host in a root that stands; what is written to them, unless it is kept, is
/// written below `scratch`.
pub(super) fn show(
    overlaid: &[Overlaid],
    scratch: &Path,
    root: &Rootfs,
    users: Option<&PrivateUsers>,
) -> io::Result<()> {
    for (number, overlaid) in overlaid.iter().enumerate() {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let target = match root.open_at(&overlaid.target, flags, Mode::empty()) {
            Err(_) if overlaid.kept.is_some() => continue,
            Err(_) => root.make_directories(&overlaid.target)?,
            Ok(target) => target,
        };
        let kept = match &overlaid.kept {
            Some(kept) => kept.clone(),
            None => scratch.join(format!("o{number}")),
        };
        let (upper, work) = (kept.join("upper"), kept.join("work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        if let Some(users) = users {
            users::give(fs::File::open(&upper)?, users.base())?;
        }
        let parts = Parts {
            lowers: std::slice::from_ref(&overlaid.source),
            upper: &upper,
            work: &work,
            users,
            // A package manager renames directories that are there already.
            options: ",redirect_dir=on",
        };
        let links = scratch.join(format!("l{number}"));
        // The descriptor has been resolved below the root: no link leads the mount elsewhere.
        let path = format!("/proc/self/fd/{}", target.as_raw_fd());
        mount(&links, &parts, Path::new(&path)).map_err(|error| {
            let text = format!("cannot show {}: {error}", overlaid.target);
            io::Error::new(error.kind(), text)
        })?;
    }
    Ok(())
}

/// Mounts with the option by which overlayfs leaves out all syncs, where the kernel has it (5.10).
/// A mount that was not taken down in order is then refused as an upper layer: it is for what is
/// thrown away unless it came to a good end.
pub(super) fn mount_volatile(links: &Path, parts: &Parts<'_>, target: &Path) -> io::Result<()> {
    let options = format!("{},volatile", parts.options);
    let volatile = Parts {
        options: &options,
        ..*parts
    };
    match mount(links, &volatile, target) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            fs::remove_dir_all(links)?;
            mount(links, parts, target)
        }
        outcome => outcome,
    }
}
