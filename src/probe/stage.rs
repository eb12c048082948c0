//! At which point of the packages' life checks are made: that says who may start a unit.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{StartedBy, UnitName};
use crate::machine::UnitState;

/// What happens to the packages, after which the checks are made.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
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
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A point of the packages' life.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// What has just happened.
    pub phase: Phase,
    /// The units that nobody but postroj has started so far.
    pub by_hand: &'a HashSet<String>,
}

impl Stage<'_> {
    /// Whether a unit that is down is started for its check; `was_there` if it was before what has
    /// just happened.
    ///
    /// What the installation leaves down, postroj enables and starts. After that, what the package
    /// had started has to come up by itself again, and what postroj had to start, as far as enabling
    /// it can do that. What a removal leaves down stays so.
    pub(super) fn may_start(&self, state: &UnitState, unit: &UnitName, was_there: bool) -> bool {
        let by_hand = self.by_hand.contains(unit.as_str());
        match self.phase {
            Phase::Install => true,
            Phase::Reboot => by_hand && !can_be_enabled(state),
            // One that was not there comes with the new version.
            Phase::Upgrade => by_hand || !was_there,
            Phase::Remove | Phase::Purge => false,
        }
    }

    /// Who has started a unit, given who has since what has just happened began.
    pub(super) fn started_by(&self, since: StartedBy, unit: &UnitName) -> StartedBy {
        match (self.phase, since) {
            (Phase::Reboot, StartedBy::Package) => StartedBy::Boot,
            (Phase::Upgrade, StartedBy::Image) if self.by_hand.contains(unit.as_str()) => {
                StartedBy::Postroj
            }
            (Phase::Upgrade, StartedBy::Image) => StartedBy::Package,
            (_, since) => since,
        }
    }
}

/// Whether a boot would start the unit if it were enabled; systemctl(1), `is-enabled`.
fn can_be_enabled(state: &UnitState) -> bool {
    matches!(
        state.unit_file_state.as_str(),
        "enabled" | "enabled-runtime" | "disabled" | "masked" | "masked-runtime" | "bad"
    )
}
