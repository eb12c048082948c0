//! What of an image's system is started.

/// How much of its system a container starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Without what no test of a package needs: logins on consoles, the timers that look for
    /// updates, the records for utmp, mounts for huge pages, moving the journal to the disk. It
    /// saves a third of the boot.
    #[default]
    Trimmed,
    /// All that the image would start.
    Full,
}

/// What a trimmed boot leaves out. Each is masked until the container is up, and no longer: a package
/// may bring one of them, or want it started.
const TRIMMED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "container-getty@.service",
    "dev-hugepages.mount",
    "dnf-automatic.timer",
    "dnf-makecache.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "ldconfig.service",
    "man-db.timer",
    "sys-fs-fuse-connections.mount",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-remount-fs.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
    "unbound-anchor.timer",
];

impl Profile {
    /// The units that are not started by the boot.
    pub fn masked(self) -> &'static [&'static str] {
        match self {
            Self::Full => &[],
            Self::Trimmed => TRIMMED,
        }
    }
}
