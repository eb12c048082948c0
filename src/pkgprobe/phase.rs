//! The life of packages that a run goes through.

use crate::install::Package;
use crate::probe::Phase;

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

/// The place of a phase in the order of a life. A reboot and an upgrade have the same: either can be
/// first.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Install => 0,
        Phase::Reboot | Phase::Upgrade => 1,
        Phase::Remove => 2,
        Phase::Purge => 3,
    }
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
        ordered.sort_by_key(|phase| rank(*phase));
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
