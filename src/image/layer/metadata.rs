//! Owners, modes, attributes and times, through descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::entry::{Metadata, is_wanted_xattr};
use crate::image::rootfs::xattrs;

pub(super) const SET_GROUP: u32 = 0o2000;

pub(super) fn times(seconds: i64, nanoseconds: u32) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Gives a new file its metadata. The owner comes first, for changing it drops set-id bits and
/// capabilities; the time comes last.
pub(in crate::image) fn apply(file: impl AsFd, metadata: &Metadata) -> io::Result<()> {
    let file = file.as_fd();
    if (metadata.uid, metadata.gid) != (0, 0) {
        let owner = Some(Uid::from_raw(metadata.uid));
        rustix::fs::fchown(file, owner, Some(Gid::from_raw(metadata.gid)))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(metadata.mode))?;
    for (name, value) in &metadata.xattrs {
        rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())?;
    }
    let times = times(metadata.seconds, metadata.nanoseconds);
    Ok(rustix::fs::futimens(file, &times)?)
}

/// As [`apply`], for something that can have no attributes and is not to be opened. A link's mode
/// cannot be set.
pub(super) fn apply_at(parent: BorrowedFd<'_>, name: &[u8], metadata: &Metadata) -> io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    if (metadata.uid, metadata.gid) != (0, 0) {
        let owner = Some(Uid::from_raw(metadata.uid));
        let group = Some(Gid::from_raw(metadata.gid));
        rustix::fs::chownat(parent, name, owner, group, nofollow)?;
    }
    let times = times(metadata.seconds, metadata.nanoseconds);
    Ok(rustix::fs::utimensat(parent, name, &times, nofollow)?)
}

/// Gives a directory, which may have had other metadata before, all but what has to wait until
/// nothing changes in it: its time, and the set-group bit that new files would inherit.
pub(super) fn apply_early(
    directory: BorrowedFd<'_>,
    metadata: &Metadata,
    had_attributes: bool,
) -> io::Result<()> {
    let owner = Some(Uid::from_raw(metadata.uid));
    rustix::fs::fchown(directory, owner, Some(Gid::from_raw(metadata.gid)))?;
    let mode = Mode::from_raw_mode(metadata.mode & !SET_GROUP);
    rustix::fs::fchmod(directory, mode)?;
    if had_attributes {
        for (name, _) in xattrs(directory)? {
            if is_wanted_xattr(&name) {
                rustix::fs::fremovexattr(directory, name.as_slice())?;
            }
        }
    }
    for (name, value) in &metadata.xattrs {
        rustix::fs::fsetxattr(directory, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

/// The metadata of an open file, as a layer keeps it.
pub(in crate::image) fn metadata_of(file: impl AsFd) -> io::Result<Metadata> {
    let stat = rustix::fs::fstat(&file)?;
    let mut kept = xattrs(file.as_fd())?;
    kept.retain(|(name, _)| is_wanted_xattr(name));
    Ok(metadata_from(&stat, kept))
}

pub(super) fn metadata_from(stat: &rustix::fs::Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Metadata {
    Metadata {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
        xattrs,
    }
}
