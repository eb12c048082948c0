//! What was typed → what was meant: the one place where a plan is made.

use postroj::image::{PullOptions, Reference};
use postroj::install::Package;
use postroj::machine::Profile;
use postroj::pkgprobe::Plan;
use postroj::probe::{Check, NetworkTarget, Patience, UnitName};

use super::{BootProfile, Pkgprobe};
use crate::cli::config::Settings;
use crate::cli::error::CommandError;

impl Pkgprobe {
    /// What was typed → what was meant.
    pub(super) fn plan(&self, settings: &Settings) -> Result<Plan, CommandError> {
        let image = Reference::load(&self.image).map_err(CommandError::usage)?;
        let packages: Vec<Package> = collect(&self.packages, Package::parse)?;
        for package in &packages {
            package.check().map_err(CommandError::usage)?;
        }
        Ok(Plan {
            image,
            pull: PullOptions {
                policy: self.pull.into(),
                locked: self.getting.lock_file()?,
                offline: self.getting.is_offline(settings),
                platform: self.getting.platform.clone(),
                ..PullOptions::default()
            },
            packages,
            checks: self.checks()?,
            patience: Patience {
                unit: self.unit_timeout,
                settle: self.settle,
                network: self.network_timeout,
            },
            boot_timeout: self.boot_timeout,
            install_timeout: self.install_timeout,
            timeout: self.timeout,
            isolation: self.apart.isolation(self.getting.is_offline(settings)),
            profile: match self.boot {
                BootProfile::Trimmed => Profile::Trimmed,
                BootProfile::Full => Profile::Full,
            },
            keep: self.keep,
        })
    }

    fn checks(&self) -> Result<Vec<Check>, CommandError> {
        let units = collect(&self.units, UnitName::parse)?;
        let addresses = collect(&self.addresses, NetworkTarget::parse)?;
        Ok(units
            .into_iter()
            .map(Check::Unit)
            .chain(addresses.into_iter().map(Check::Network))
            .collect())
    }
}

fn collect<T, E: ToString>(
    given: &[String],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, CommandError> {
    given
        .iter()
        .map(|text| parse(text).map_err(CommandError::usage))
        .collect()
}
