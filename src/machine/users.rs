//! Users and groups of a container's own, by a user namespace; `user_namespaces(7)`.
//!
//! Each container has a range of [`COUNT`] ids, and no other container has it at the time. What is
//! in its files stays as it is: each layer is mounted with its owners mapped into the range
//! (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`) before overlayfs puts the layers together, for overlayfs
//! itself cannot be mapped. Nothing is copied and no owner is changed. What the supervisor writes
//! into the root has to belong to the range from the beginning, because the writable layer is not
//! mapped.

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::isolation::Users;
use super::network::Uplink;
use super::spec::{Payload, Spec};
use super::sys;

/// How many ids a container has: as many as 16 bits tell apart.
pub(super) const COUNT: u32 = 1 << 16;

/// The ranges that systemd keeps for containers; `UIDS-GIDS.md` of its source, "Special systemd UID
/// ranges".
const FIRST: u32 = 0x0008_0000;
const LAST: u32 = 0x6FFF_0000;

/// Where systemd-nspawn locks the ranges that it picks itself.
const LOCKS: &str = "/run/systemd/nspawn-uid";

/// How many ranges are tried.
const ATTEMPTS: u32 = 100;

/// What an error begins with that says why a container cannot have users of its own.
pub(super) const CANNOT: &str = "cannot give the container users of its own";

/// Whether the container is to have users of its own.
pub(super) fn are_wanted(spec: &Spec) -> bool {
    // What a script writes stays, with the owners that the image has.
    let is_throw_away = !matches!(spec.payload, Payload::Script(_));
    // A device has an owner on the host, and belongs to nobody elsewhere.
    let needs_hosts = spec.shape.needs_hosts_users();
    is_throw_away
        && match spec.isolation.users {
            // The host's network would let nobody but the host's root listen below port 1024, and
            // a package's service would fail by that.
            Users::WherePossible => spec.uplink != Uplink::Host && !needs_hosts,
            Users::Private => true,
            Users::Host => false,
        }
}

/// Users of a container's own.
#[derive(Debug)]
pub(super) struct PrivateUsers {
    range: Range,
    namespace: OwnedFd,
}

impl PrivateUsers {
    /// Takes a range for `machine`.
    pub(super) fn create(machine: &str) -> io::Result<Self> {
        let range = Range::claim(Path::new(LOCKS), machine)?;
        let namespace = namespace(range.base)?;
        Ok(Self { range, namespace })
    }

    /// The host's number for the container's root.
    pub(super) fn base(&self) -> u32 {
        self.range.base
    }

    /// The tree at `path` with its owners mapped, as a mount that is nowhere yet.
    pub(super) fn map(&self, path: &Path) -> io::Result<OwnedFd> {
        mapped(path, &self.namespace)
    }

    /// As [`Self::map`], with what is mounted below.
    pub(super) fn map_all(&self, path: &Path) -> io::Result<OwnedFd> {
        let tree = tree(path, OpenTreeFlags::AT_RECURSIVE)?;
        sys::map_owners(tree.as_fd(), self.namespace.as_fd(), true)
            .map_err(|error| unmappable(path, &error))?;
        Ok(tree)
    }
}

fn namespace(base: u32) -> io::Result<OwnedFd> {
    sys::user_namespace(&format!("0 {base} {COUNT}\n"))
        .map_err(|error| because("there is no user namespace", &error))
}

fn mapped(path: &Path, namespace: &OwnedFd) -> io::Result<OwnedFd> {
    let tree = tree(path, OpenTreeFlags::empty())?;
    sys::map_owners(tree.as_fd(), namespace.as_fd(), false)
        .map_err(|error| unmappable(path, &error))?;
    Ok(tree)
}

/// The tree at `path` as a mount that is nowhere yet.
pub(super) fn tree(path: &Path, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    let flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(rustix::fs::CWD, path, flags)?)
}

fn unmappable(path: &Path, error: &io::Error) -> io::Error {
    let path = path.display();
    let text = format!("the file system of {path} has no id-mapped mounts");
    because(&text, error)
}

/// Tells whether containers whose images are below `path` can have users of their own here; the
/// error says why not.
pub fn check_private_users(path: &Path) -> io::Result<()> {
    mapped(path, &namespace(FIRST)?)?;
    let release = rustix::system::uname();
    if is_older(&release.release().to_string_lossy(), OVERLAY_MAPS) {
        let (major, minor) = OVERLAY_MAPS;
        return Err(io::Error::other(format!(
            "overlayfs takes id-mapped layers from Linux {major}.{minor} on"
        )));
    }
    Ok(())
}

/// The Linux whose overlayfs first took id-mapped layers; some distributions have it earlier.
const OVERLAY_MAPS: (u32, u32) = (5, 19);

/// Whether a kernel's release, `6.1.0-13-amd64` or the like, comes before a version.
fn is_older(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) < version)
}

fn because(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} ({error})"))
}

/// The host's number for what is `id` in a container whose root is `base`.
pub(super) fn shifted(base: u32, id: u32) -> u32 {
    // What is beyond the range is nobody's there. It is root's then, who has to be able to use it.
    if id < COUNT { base + id } else { base }
}

/// A range of ids, and the lock on it. systemd-nspawn, which picks ranges as well, takes the same
/// locks.
#[derive(Debug)]
struct Range {
    base: u32,
    directory: OwnedFd,
    _lock: OwnedFd,
}

impl Range {
    /// Takes one that nobody has. The same machine gets the same again if it can.
    fn claim(locks: &Path, machine: &str) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(locks)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(locks, flags, Mode::empty())?;
        for attempt in 0..ATTEMPTS {
            let base = candidate(machine, attempt);
            if let Some(lock) = lock(&directory, base)? {
                return Ok(Self {
                    base,
                    directory,
                    _lock: lock,
                });
            }
        }
        Err(io::Error::other("no range of ids is free"))
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // By the directory, for a mount may cover the path by now. Whoever has opened the file and
        // waits for the lock sees that it has gone.
        let _ = rustix::fs::unlinkat(&self.directory, self.base.to_string(), AtFlags::empty());
    }
}

fn candidate(machine: &str, attempt: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    (machine, attempt).hash(&mut hasher);
    let ranges = u64::from((LAST - FIRST) / COUNT + 1);
    let number = u32::try_from(hasher.finish() % ranges).unwrap_or_default();
    FIRST + number * COUNT
}

/// Takes the lock on a range; `None` where somebody has it.
fn lock(directory: &OwnedFd, base: u32) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    loop {
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(directory, base.to_string(), flags, mode)?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Its last owner may have removed it in between.
        if rustix::fs::fstat(&file)?.st_nlink > 0 {
            return Ok(Some(file));
        }
    }
}

/// The host's number for the root of the container whose init is the process `leader`; none if it
/// is the host's root.
pub(super) fn base_of(leader: i32) -> io::Result<Option<u32>> {
    Ok(root_in(&fs::read_to_string(format!(
        "/proc/{leader}/uid_map"
    ))?))
}

/// The first id outside in a map of proc(5)'s `/proc/<pid>/uid_map`, unless it is 0.
fn root_in(map: &str) -> Option<u32> {
    map.lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .find_map(|(inside, outside): (u32, u32)| (inside == 0).then_some(outside))
        .filter(|outside| *outside != 0)
}

/// Connects as the container's root, whose number on the host is `base`: who listens there is told
/// so by the kernel (unix(7), `SO_PEERCRED`), and would not know the host's root.
pub(super) fn connect_as(
    base: u32,
    connect: impl FnOnce() -> io::Result<UnixStream> + Send,
) -> io::Result<UnixStream> {
    // For the kernel each thread has its own credentials, and a thread that ends takes them along.
    let connecting = || {
        let (user, group) = (Uid::from_raw(base), Gid::from_raw(base));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
        connect()
    };
    std::thread::scope(|scope| scope.spawn(connecting).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread that connects has failed")))
}

/// Gives what `descriptor` is open on to a user of the container if it is a pipe or a socket. A file or a
/// device has a name on the host, and others who use it.
pub(super) fn give_stream(descriptor: &OwnedFd, user: u32) -> io::Result<()> {
    let mode = rustix::fs::fstat(descriptor)?.st_mode;
    match FileType::from_raw_mode(mode) {
        FileType::Fifo | FileType::Socket => give(descriptor, user),
        _ => Ok(()),
    }
}

/// Gives what `file` is open on to the container's root, whose number on the host is `base`.
pub(super) fn give(file: impl std::os::fd::AsFd, base: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(base), Gid::from_raw(base));
    let flags = AtFlags::EMPTY_PATH;
    Ok(rustix::fs::chownat(
        file,
        c"",
        Some(user),
        Some(group),
        flags,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_one_of_systemds_ranges() {
        for attempt in 0..1000 {
            let base = candidate("postroj-debian-bookworm", attempt);
            assert!((FIRST..=LAST).contains(&base), "{base:#x}");
            assert_eq!(base % COUNT, 0, "{base:#x}");
        }
        assert_eq!(candidate("postroj-x", 0), candidate("postroj-x", 0));
        assert_ne!(candidate("postroj-x", 0), candidate("postroj-y", 0));
    }

    #[test]
    fn a_range_leaves_no_lock_behind() {
        let directory = tempfile::tempdir().unwrap();
        let range = Range::claim(directory.path(), "postroj-x").unwrap();
        assert!(directory.path().join(range.base.to_string()).exists());
        drop(range);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(is_older("5.10.0-28-amd64", OVERLAY_MAPS));
        assert!(!is_older("5.19", OVERLAY_MAPS));
        assert!(!is_older("6.1.0-13-amd64", OVERLAY_MAPS));
        assert!(!is_older("unknown", OVERLAY_MAPS));
    }

    #[test]
    fn the_map_tells_who_is_root() {
        assert_eq!(root_in("         0     524288      65536\n"), Some(524_288));
        assert_eq!(root_in("         0          0 4294967295\n"), None);
        assert_eq!(root_in("1 100 1\n0 200 1\n"), Some(200));
        assert_eq!(root_in(""), None);
    }
}
