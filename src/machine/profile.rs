//! What of an image's system is started.

use serde::{Deserialize, Serialize};

/// How much of its system a container starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Profile {
    /// Without what no test of a package needs: logins on consoles, the timers that look for
    /// updates, the records for utmp, mounts for huge pages, moving the journal to the disk, units
    /// for disks, kernel modules and measured boots, which would find in any container that they
    /// have nothing to do. It saves half of the boot. What takes long and may be needed after all, for
    /// logins, is for [`Profile::deferred`].
    #[default]
    Trimmed,
    /// All that the image would start.
    Full,
}

/// Where units are masked; systemd.unit(5).
pub(super) const UNITS: &str = "etc/systemd/system";

/// Where generators of units are masked; systemd.generator(7).
pub(super) const GENERATORS: &str = "etc/systemd/system-generators";

/// The units that a trimmed boot leaves out. Each is masked until the container is up, and no longer:
/// a package may bring one of them, or want it started.
const TRIMMED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "container-getty@.service",
    "cryptsetup.target",
    "dev-hugepages.mount",
    "dnf-automatic.timer",
    "dnf-makecache.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "integritysetup.target",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "man-db.timer",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-journald-audit.socket",
    "systemd-modules-load.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-update-done.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "unbound-anchor.timer",
    "veritysetup.target",
];

/// The generators that a trimmed boot leaves out: for disks, which a container does not have, for
/// consoles, and for what the kernel's command line may ask for.
const TRIMMED_GENERATORS: &[&str] = &[
    "systemd-bless-boot-generator",
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-factory-reset-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-import-generator",
    "systemd-integritysetup-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-tpm2-generator",
    "systemd-veritysetup-generator",
];

/// Whether a generator has nothing to do in any container.
pub(super) fn is_for_no_container(generator: &str) -> bool {
    TRIMMED_GENERATORS.contains(&generator)
}

/// The units that a trimmed boot does not wait for.
const DEFERRED: &[&str] = &["systemd-logind.service", "systemd-user-sessions.service"];

impl Profile {
    /// What is masked until the container is up, as paths below its root, but for the units that
    /// are `wanted`.
    pub(super) fn masks(self, wanted: &[String]) -> Vec<String> {
        if self == Self::Full {
            return Vec::new();
        }
        let units = TRIMMED
            .iter()
            .chain(DEFERRED)
            .filter(|unit| !wanted.iter().any(|wanted| wanted == *unit))
            .map(|unit| format!("{UNITS}/{unit}"));
        let generators = TRIMMED_GENERATORS
            .iter()
            .map(|generator| format!("{GENERATORS}/{generator}"));
        units.chain(generators).collect()
    }

    /// The units that belong to the system and are not started by the boot: to be started once it
    /// is up, before anything is done in it that may need them.
    pub fn deferred(self) -> &'static [&'static str] {
        match self {
            Self::Full => &[],
            Self::Trimmed => DEFERRED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_not_masked() {
        let logind = "systemd-logind.service".to_owned();
        let path = format!("{UNITS}/{logind}");
        assert!(Profile::Trimmed.masks(&[]).contains(&path));
        assert!(!Profile::Trimmed.masks(&[logind]).contains(&path));
        assert!(Profile::Full.masks(&[]).is_empty());
    }
}
