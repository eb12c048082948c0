//! A container's root: the image's layers with a writable one on top, put together by overlayfs.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::bind;
use super::init;
use super::isolation::Users;
use super::masks::{self, Masks};
use super::overlay;
use super::rootfs::Rootfs;
use super::spec::{CgroupOwner, Payload, Spec, Writable};
use super::users::{self, COUNT, PrivateUsers};
use super::volume;

/// The systemd that first refused version 1 and hybrid hosts; see its NEWS for 258.
const UNIFIED_ONLY: u32 = 258;

/// A root that stands, in the mount namespace of this process.
pub(super) struct Assembled {
    directory: PathBuf,
    /// What is left out until the container is up.
    masks: Masks,
    /// The generators that are to be masked from then on.
    idle_generators: Vec<String>,
    systemd: Option<u32>,
    users: Option<PrivateUsers>,
    notes: Vec<String>,
    /// Options of systemd-nspawn for what is bound.
    binds: Vec<String>,
    init: Option<init::Shown>,
}

impl Assembled {
    /// The root's path.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("fs/root")
    }

    /// Whether the container's systemd works with version 2 cgroups only.
    pub(super) fn needs_unified_hierarchy(&self) -> bool {
        self.systemd.is_some_and(|version| version >= UNIFIED_ONLY)
    }

    /// The host's number for the container's root, and how many follow; none if its users are the
    /// host's.
    pub(super) fn private_users(&self) -> Option<(u32, u32)> {
        self.users.as_ref().map(|users| (users.base(), COUNT))
    }

    /// Options of systemd-nspawn for what the container sees of the host.
    pub(super) fn binds(&self) -> &[String] {
        &self.binds
    }

    /// Our own init, if the container has that.
    pub(super) fn init(&self) -> Option<&init::Shown> {
        self.init.as_ref()
    }

    /// The root, to look at.
    pub(super) fn look(&self) -> io::Result<Rootfs> {
        let base = self.users.as_ref().map(PrivateUsers::base);
        Ok(Rootfs::open(&self.path())?.owned_by(base))
    }

    /// What the user should know.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Takes the mounts away, so that the directory can go.
    pub(super) fn detach(&self) -> io::Result<()> {
        detach(&self.directory)
    }

    /// Takes the masks of the boot away.
    pub(super) fn unmask(&mut self) {
        let masks = std::mem::take(&mut self.masks);
        if let Ok(root) = Rootfs::open(&self.path()) {
            self.idle_generators = masks.take_away(&root);
        }
    }

    /// Masks on what has nothing to do in the container that runs, whose init is `leader`. Nobody has
    /// to wait for it.
    pub(super) fn mask_generators(&mut self, leader: i32) {
        let names = std::mem::take(&mut self.idle_generators);
        if let Ok(root) = Rootfs::open(Path::new(&format!("/proc/{leader}/root")))
            && !names.is_empty()
        {
            let root = root.owned_by(self.users.as_ref().map(PrivateUsers::base));
            masks::mask_generators(&root, &names);
        }
    }
}

/// Takes away what was mounted in a machine's directory.
pub(super) fn detach(directory: &Path) -> io::Result<()> {
    match rustix::mount::unmount(directory.join("fs"), UnmountFlags::DETACH) {
        // It was not mounted, or not even made.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Puts the root together. The caller has a mount namespace of its own.
pub(super) fn assemble(spec: &Spec) -> io::Result<Assembled> {
    let propagation = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
    rustix::mount::mount_change("/", propagation).map_err(|error| named("/", error))?;
    let scratch = spec.directory.join("fs");
    fs::create_dir_all(&scratch)?;
    mount_scratch(spec, &scratch)?;
    let root = scratch.join("root");
    fs::create_dir(&root)?;
    let mut notes = Vec::new();
    // Before systemd-nspawn's directories are hidden: the locks on ranges of ids are the host's.
    let users = stack(spec, &scratch, &root, &mut notes)?;
    let mut binds = bind::take(&spec.shape.mounts, &scratch, users.as_ref())?;
    hide_nspawn_state(spec)?;
    let inside = Rootfs::open(&root)?.owned_by(users.as_ref().map(PrivateUsers::base));
    let masks = match &spec.payload {
        Payload::Boot { masks, .. } => Masks::put(masks, &inside)?,
        Payload::Script(_) | Payload::Command(_) => Masks::default(),
    };
    furnish(spec, &inside)?;
    bind::make_targets(&spec.shape.mounts, &inside)?;
    if let Payload::Command(_) = &spec.payload {
        // First, for more may be bound below.
        binds.splice(0..0, bind::keep_run(&inside, &scratch)?);
    }
    let init = match &spec.payload {
        Payload::Command(_) | Payload::Boot { has_init: true, .. } => {
            Some(init::show(&scratch.join("init"))?)
        }
        Payload::Boot { .. } | Payload::Script(_) => None,
    };
    // What is written to them has to fit where the rest is written.
    let below = match &spec.writable {
        Writable::Disk { .. } => disk(&scratch),
        Writable::Memory(_) | Writable::Layer { .. } => scratch,
    };
    overlay::show(&spec.overlaid, &below, &inside, users.as_ref())?;
    Ok(Assembled {
        directory: spec.directory.clone(),
        masks,
        idle_generators: Vec::new(),
        systemd: systemd_version(&inside),
        users,
        notes,
        binds,
        init,
    })
}

fn mount_scratch(spec: &Spec, scratch: &Path) -> io::Result<()> {
    let size = match &spec.writable {
        Writable::Memory(bytes) => *bytes,
        // Only the links to the layers are in it, and mount points.
        Writable::Disk { .. } | Writable::Layer { .. } => 4 << 20,
    };
    mount_tmpfs(scratch, size)
}

fn mount_tmpfs(target: &Path, bytes: u64) -> io::Result<()> {
    let options = CString::new(format!("mode=0755,size={bytes}"))?;
    let flags = MountFlags::empty();
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options.as_c_str())
        .map_err(|error| named(&target.display().to_string(), error))
}

/// Keeps systemd-nspawn's locks and sockets out of the host's `/run`: when it is killed, it leaves
/// them behind. machined needs the other parts to be where they are.
fn hide_nspawn_state(spec: &Spec) -> io::Result<()> {
    let directory = match spec.cgroups {
        CgroupOwner::Supervisor => "/run/systemd",
        CgroupOwner::Systemd => "/run/systemd/nspawn/locks",
    };
    fs::create_dir_all(directory)?;
    mount_tmpfs(Path::new(directory), 1 << 20)
}

/// Puts the layers together, with users of the container's own where those are wanted and can be.
fn stack(
    spec: &Spec,
    scratch: &Path,
    root: &Path,
    notes: &mut Vec<String>,
) -> io::Result<Option<PrivateUsers>> {
    if !users::are_wanted(spec) {
        mount_overlay(spec, scratch, root, None)?;
        return Ok(None);
    }
    let stacked = PrivateUsers::create(&spec.machine).and_then(|users| {
        for overlaid in &spec.overlaid {
            users.map(&overlaid.source)?;
        }
        mount_overlay(spec, scratch, root, Some(&users))?;
        Ok(users)
    });
    match stacked {
        Ok(users) => Ok(Some(users)),
        Err(error) if spec.isolation.users == Users::Private => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", users::CANNOT),
        )),
        Err(error) => {
            detach(&spec.directory)?;
            mount_scratch(spec, scratch)?;
            fs::create_dir(root)?;
            mount_overlay(spec, scratch, root, None)?;
            notes.push(format!(
                "{}: its root is this host's root, for {error}",
                spec.machine
            ));
            Ok(None)
        }
    }
}

/// Where the disk is mounted that a container may write to.
fn disk(scratch: &Path) -> PathBuf {
    scratch.join("disk")
}

fn mount_overlay(
    spec: &Spec,
    scratch: &Path,
    root: &Path,
    users: Option<&PrivateUsers>,
) -> io::Result<()> {
    let (upper, work) = match &spec.writable {
        Writable::Memory(_) => {
            let (upper, work) = (scratch.join("upper"), scratch.join("work"));
            fs::create_dir(&upper)?;
            fs::create_dir(&work)?;
            (upper, work)
        }
        Writable::Disk { bytes, storage } => {
            let disk = disk(scratch);
            fs::create_dir(&disk)?;
            volume::mount(storage, *bytes, scratch, &disk).map_err(|error| {
                let text = format!("cannot make a writable layer on the disk: {error}");
                io::Error::new(error.kind(), text)
            })?;
            let (upper, work) = (disk.join("upper"), disk.join("work"));
            fs::create_dir(&upper)?;
            fs::create_dir(&work)?;
            (upper, work)
        }
        Writable::Layer { upper, work } => (upper.clone(), work.clone()),
    };
    copy_root_attributes(&spec.lowers, &upper, users)?;
    let links = scratch.join("l");
    let parts = |options| overlay::Parts {
        lowers: &spec.lowers,
        upper: &upper,
        work: &work,
        users,
        options,
    };
    let mounted = match spec.writable {
        // A rename of an image's directory works as on any file system.
        Writable::Memory(_) => overlay::mount(&links, &parts(",redirect_dir=on"), root),
        // It is gone before anybody could miss what has not been written yet.
        Writable::Disk { .. } => overlay::mount_volatile(&links, &parts(",redirect_dir=on"), root),
        // A layer that is kept has to mean the same on any host: whole files, no marks. Whoever
        // keeps it writes all of it to the disk at once, in the end.
        Writable::Layer { .. } => {
            let parts = parts(",redirect_dir=off,metacopy=off,index=off");
            overlay::mount_volatile(&links, &parts, root)
        }
    };
    mounted.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "cannot put the layers of {} together with overlayfs: {error}",
                spec.image
            ),
        )
    })
}

/// The upper directory's own attributes are those of the root: they have to be the image's.
fn copy_root_attributes(
    lowers: &[PathBuf],
    upper: &Path,
    users: Option<&PrivateUsers>,
) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(topmost) = lowers.first() else {
        return Err(io::Error::other("the image has no layer"));
    };
    let metadata = fs::metadata(topmost)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", topmost.display())))?;
    let owner = |id| users.map_or(id, |users| users::shifted(users.base(), id));
    std::os::unix::fs::chown(
        upper,
        Some(owner(metadata.uid())),
        Some(owner(metadata.gid())),
    )?;
    fs::set_permissions(upper, metadata.permissions())
}

/// Writes what differs from container to container.
fn furnish(spec: &Spec, root: &Rootfs) -> io::Result<()> {
    if let Payload::Script(_) = &spec.payload {
        return cover_resolv_conf(spec, root);
    }
    root.replace("etc", "resolv.conf", resolv_conf(spec).as_bytes())?;
    let hostname = spec.hostname();
    root.replace("etc", "hostname", format!("{hostname}\n").as_bytes())?;
    furnish_hosts(spec, root)?;
    if let Payload::Command(_) = &spec.payload {
        // systemd-nspawn takes a root without it for a mistake.
        return root.make_directories("usr").map(drop);
    }
    // With an identity the system does not take this for its first boot, which would enable and
    // disable units by preset.
    root.replace("etc", "machine-id", machine_id()?.as_bytes())
}

/// Adds to hosts(5) what the image lacks and what was asked for.
fn furnish_hosts(spec: &Spec, root: &Rootfs) -> io::Result<()> {
    let mut hosts = root.read("etc/hosts", 1 << 20).unwrap_or_default();
    let has_localhost = String::from_utf8_lossy(&hosts).contains("localhost");
    let is_system = matches!(spec.payload, Payload::Boot { .. });
    if is_system && has_localhost && spec.shape.hosts.is_empty() {
        return Ok(());
    }
    if !has_localhost {
        hosts = DEFAULT_HOSTS.to_vec();
    }
    if hosts.last().is_some_and(|byte| *byte != b'\n') {
        hosts.push(b'\n');
    }
    if !is_system {
        // A system finds its own name by itself; nss-myhostname(8).
        hosts.extend(format!("127.0.1.1\t{}\n", spec.hostname()).bytes());
    }
    for (name, address) in &spec.shape.hosts {
        hosts.extend(format!("{address}\t{name}\n").bytes());
    }
    root.replace("etc", "hosts", &hosts)
}

fn resolv_conf(spec: &Spec) -> String {
    let named = &spec.shape.nameservers;
    if named.is_empty() {
        return spec.resolv_conf.clone();
    }
    let lines = named
        .iter()
        .map(|address| format!("nameserver {address}\n"));
    lines.collect()
}

/// Mounts the host's `resolv.conf` over an empty file: the layer that comes of it is to say
/// nothing about this host.
fn cover_resolv_conf(spec: &Spec, root: &Rootfs) -> io::Result<()> {
    root.replace("etc", "resolv.conf", b"")?;
    let content = spec.directory.join("fs/resolv.conf");
    fs::write(&content, &spec.resolv_conf)?;
    let target = root.open_at("etc/resolv.conf", OFlags::PATH, Mode::empty())?;
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    rustix::mount::mount_bind(&content, &target).map_err(|error| named("resolv.conf", error))
}

/// What images for other container tools lack, because those mount it.
const DEFAULT_HOSTS: &[u8] = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// A random machine ID; machine-id(5).
fn machine_id() -> io::Result<String> {
    use std::fmt::Write as _;
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let mut id: String = uuid.trim().chars().filter(|c| *c != '-').collect();
    let _ = writeln!(id);
    Ok(id)
}

/// The version of the image's systemd, by the name of its private library.
fn systemd_version(root: &Rootfs) -> Option<u32> {
    let mut directories = vec![
        "usr/lib/systemd".to_owned(),
        "lib/systemd".to_owned(),
        "usr/lib64/systemd".to_owned(),
    ];
    for triplet in ["x86_64-linux-gnu", "aarch64-linux-gnu"] {
        directories.push(format!("usr/lib/{triplet}/systemd"));
    }
    directories
        .iter()
        .flat_map(|directory| root.names(directory))
        .find_map(|name| library_version(&name))
}

/// The version in `libsystemd-shared-252.so`, `libsystemd-shared-257.9-1.fc42.so` and the like.
fn library_version(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("libsystemd-shared-")?;
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn named(what: &str, error: rustix::io::Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("cannot mount {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_tells_the_version() {
        assert_eq!(library_version("libsystemd-shared-252.so"), Some(252));
        assert_eq!(library_version("libsystemd-shared-262-1.so"), Some(262));
        assert_eq!(
            library_version("libsystemd-shared-257.9-1.fc42.so"),
            Some(257)
        );
        assert_eq!(library_version("libsystemd-core-257.so"), None);
    }
}
