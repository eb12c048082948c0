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

/// What a trimmed boot leaves out. Each is masked for this boot only, so a package that needs one
/// can still unmask it.
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
    /// The arguments of the container's init, which takes them as it would take a kernel command
    /// line; systemd-debug-generator(8).
    pub(super) fn parameters(self) -> Vec<String> {
        match self {
            Self::Full => Vec::new(),
            Self::Trimmed => TRIMMED
                .iter()
                .map(|unit| format!("systemd.mask={unit}"))
                .collect(),
        }
    }
}
