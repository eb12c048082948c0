//! At which point of the packages' life checks are made: that says who may start a unit.

use std::collections::HashSet;

use super::{StartedBy, UnitName};
use crate::machine::UnitState;

/// After what checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// An installation, or a first boot.
    Installation,
    /// A reboot.
    Reboot,
    /// An upgrade.
    Upgrade,
}

/// A point of the packages' life.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// What has just happened.
    pub moment: Moment,
    /// The units that nobody but postroj has started so far.
    pub by_hand: &'a HashSet<String>,
}

impl Stage<'_> {
    /// Whether a unit that is down is started for its check; `was_there` if it was before what has
    /// just happened.
    ///
    /// What the installation leaves down, postroj enables and starts. After that, what the package
    /// had started has to come up by itself again, and what postroj had to start, as far as enabling
    /// it can do that.
    pub(super) fn may_start(&self, state: &UnitState, unit: &UnitName, was_there: bool) -> bool {
        let by_hand = self.by_hand.contains(unit.as_str());
        match self.moment {
            Moment::Installation => true,
            Moment::Reboot => by_hand && !can_be_enabled(state),
            // One that was not there comes with the new version.
            Moment::Upgrade => by_hand || !was_there,
        }
    }

    /// Who has started a unit, given who has since what has just happened began.
    pub(super) fn started_by(&self, since: StartedBy, unit: &UnitName) -> StartedBy {
        match (self.moment, since) {
            (Moment::Reboot, StartedBy::Package) => StartedBy::Boot,
            (Moment::Upgrade, StartedBy::Image) if self.by_hand.contains(unit.as_str()) => {
                StartedBy::Postroj
            }
            (Moment::Upgrade, StartedBy::Image) => StartedBy::Package,
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
