//! What a container was before anything was installed.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use futures_util::future::{try_join_all, try_join3};

use super::{Baseline, Check, UnitName, baseline};
use crate::install;
use crate::machine::{Guest, GuestError};

/// What a container was before anything was installed, as far as checks have to know.
#[derive(Debug, Default)]
pub struct Before {
    units: HashMap<UnitName, Baseline>,
    failed_units: BTreeSet<String>,
    unit_files: BTreeSet<String>,
    since: Option<SystemTime>,
}

impl Before {
    /// Looks at what the checks have to know of.
    pub async fn look(guest: &Guest, checks: &[Check]) -> Result<Self, GuestError> {
        let family = install::family(guest);
        let checks: Vec<&Check> = checks.iter().filter(|check| check.is_for(family)).collect();
        let units = checks.iter().filter_map(|check| check.unit());
        let looked = units.map(|unit| async move {
            Ok::<_, GuestError>((unit.clone(), baseline(guest, unit).await?))
        });
        let unit_files = async {
            if checks.iter().any(|check| check.needs().unit_files) {
                guest.unit_files().await
            } else {
                Ok(Vec::new())
            }
        };
        let (units, failed_units, unit_files) =
            try_join3(try_join_all(looked), guest.failed_units(), unit_files).await?;
        Ok(Self {
            units: units.into_iter().collect(),
            failed_units: failed_units.into_iter().collect(),
            unit_files: unit_files.into_iter().collect(),
            since: None,
        })
    }

    /// Marks the moment at which the installation begins. Without it there is none, and all that has
    /// happened since the boot counts.
    pub fn mark(&mut self) {
        self.since = Some(SystemTime::now());
    }

    /// When the installation began; containers share the host's clock.
    pub fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// Whether all of the units that were looked at are there.
    pub fn are_loaded(&self) -> bool {
        self.units.values().all(Baseline::is_loaded)
    }

    /// Whether the unit was there.
    pub fn had(&self, unit: &UnitName) -> bool {
        self.units.get(unit).is_some_and(Baseline::is_loaded)
    }

    /// The units that had failed.
    pub fn failed_units(&self) -> &BTreeSet<String> {
        &self.failed_units
    }

    /// The paths of the unit files.
    pub fn unit_files(&self) -> &BTreeSet<String> {
        &self.unit_files
    }

    /// What a unit was; one that nobody has looked at then is looked at now.
    pub async fn unit(&self, guest: &Guest, unit: &UnitName) -> Result<Baseline, GuestError> {
        match self.units.get(unit) {
            Some(known) => Ok(known.clone()),
            None => baseline(guest, unit).await,
        }
    }
}
