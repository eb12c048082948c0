//! The phases of a package's life that a run goes through.

use serde::Serialize;

use crate::install::Package;

/// What happens to the packages, after which the checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// They are installed; where there are none, the container has been booted.
    Install,
    /// The container is rebooted.
    Reboot,
    /// They are installed over an earlier version of theirs.
    Upgrade,
    /// They are removed.
    Remove,
    /// They are removed with all that is theirs.
    Purge,
}

impl Phase {
    /// Its name, as a command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Reboot => "reboot",
            Self::Upgrade => "upgrade",
            Self::Remove => "remove",
            Self::Purge => "purge",
        }
    }

    /// What has been done when it has gone well.
    pub fn done(self) -> &'static str {
        match self {
            Self::Install => "installed",
            Self::Reboot => "rebooted",
            Self::Upgrade => "upgraded",
            Self::Remove => "removed",
            Self::Purge => "purged",
        }
    }

    /// Whether the packages are there after it.
    pub fn leaves_packages(self) -> bool {
        matches!(self, Self::Install | Self::Reboot | Self::Upgrade)
    }

    /// Its place in the order of a life. A reboot and an upgrade have the same: either can be first.
    fn rank(self) -> u8 {
        match self {
            Self::Install => 0,
            Self::Reboot | Self::Upgrade => 1,
            Self::Remove => 2,
            Self::Purge => 3,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The life that packages are led through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    phases: Vec<Phase>,
    /// What an upgrade begins with.
    pub upgrade_from: Option<UpgradeFrom>,
    /// A shell command that changes the configuration before the upgrade, as an administrator does.
    pub before_upgrade: Option<String>,
    /// Whether it counts against the packages that they leave something behind.
    pub strict_purge: bool,
    /// What may be left behind: patterns for paths, users, groups and units.
    pub purge_ignore: Vec<String>,
}

/// The version of the packages that is installed before they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeFrom {
    /// This version, from the distribution's repositories.
    Version(String),
    /// These packages.
    Packages(Vec<Package>),
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Lifecycle {
    /// A life with these phases. The installation comes first, asked for or not, and removals come
    /// last; a reboot and an upgrade come in the order in which they are given.
    pub fn new(phases: &[Phase]) -> Self {
        let mut ordered = vec![Phase::Install];
        for phase in phases {
            if !ordered.contains(phase) {
                ordered.push(*phase);
            }
        }
        // Stable: what has the same rank stays as it is.
        ordered.sort_by_key(|phase| phase.rank());
        Self {
            phases: ordered,
            upgrade_from: None,
            before_upgrade: None,
            strict_purge: false,
            purge_ignore: Vec::new(),
        }
    }

    /// The phases, in order.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Whether what is installed in the phase is still to be upgraded.
    pub fn is_before_upgrade(&self, phase: Phase) -> bool {
        let mut later = self.phases.iter().skip_while(|other| **other != phase);
        phase != Phase::Upgrade && later.any(|other| *other == Phase::Upgrade)
    }

    /// Whether it has the phase.
    pub fn has(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_begins_with_the_installation_and_ends_with_the_removal() {
        let phases = |given: &[Phase]| Lifecycle::new(given).phases().to_vec();
        assert_eq!(phases(&[]), [Phase::Install]);
        assert_eq!(
            phases(&[Phase::Purge, Phase::Remove, Phase::Purge, Phase::Reboot]),
            [Phase::Install, Phase::Reboot, Phase::Remove, Phase::Purge]
        );
        assert_eq!(
            phases(&[Phase::Upgrade, Phase::Reboot]),
            [Phase::Install, Phase::Upgrade, Phase::Reboot]
        );
        let life = Lifecycle::new(&[Phase::Reboot, Phase::Upgrade]);
        assert!(life.is_before_upgrade(Phase::Install) && life.is_before_upgrade(Phase::Reboot));
        assert!(!life.is_before_upgrade(Phase::Upgrade));
        assert!(!Lifecycle::new(&[Phase::Upgrade, Phase::Reboot]).is_before_upgrade(Phase::Reboot));
        assert_eq!(
            phases(&[Phase::Reboot, Phase::Upgrade]),
            [Phase::Install, Phase::Reboot, Phase::Upgrade]
        );
    }
}
