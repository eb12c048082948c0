//! What was typed → what was meant: the one place where a plan is made.

use postroj::image::{Platform, Reference};
use postroj::install::Package;
use postroj::matrix::{Facts, packages_for};
use postroj::pkgprobe::{Keep, Lifecycle, Plan};
use postroj::probe::Check;

use super::{KeepWhen, Pkgprobe};
use crate::cli::commands::running::Run;
use crate::cli::config::Settings;
use crate::cli::error::CommandError;

impl Pkgprobe {
    /// What was typed → what was meant.
    pub(in crate::cli) fn plan(&self, settings: &Settings) -> Result<Run, CommandError> {
        if !self.choosing.has_images() && !self.all_images {
            return Err(CommandError::usage("no image is named").with_hint(Some(
                "name one with --image, or --all-images, or write a postroj.toml that does",
            )));
        }
        let catalogue = settings.catalogue()?;
        let selection = self.choosing.images(&catalogue, self.all_images)?;
        let platform = self.getting.platform.clone();
        let platform = platform.unwrap_or_else(Platform::native);
        let facts = selection.images.iter();
        let facts: Vec<Facts> = facts
            .map(|image| Facts::of(&catalogue, image, &platform))
            .collect();
        let checks = self.checking.checks(&self.life.phases())?;
        let mut plans = Vec::with_capacity(facts.len());
        for (image, facts) in selection.images.iter().zip(&facts) {
            let packages = packages_for(&self.packages, facts).map_err(CommandError::usage)?;
            for package in &packages {
                package.check().map_err(CommandError::usage)?;
            }
            let lifecycle = self.life.lifecycle(&packages, facts)?;
            plans.push(self.plan_for(image.clone(), packages, lifecycle, &checks, settings)?);
        }
        let mut notes = Vec::new();
        for rule in &self.packages {
            let is_for = |facts| rule.is_for(facts).is_ok_and(|is_for| is_for);
            if !facts.iter().any(is_for) {
                // A mistake, or what a run file has for images that were not asked for this time.
                notes.push(format!(
                    "package {rule}: none of the images is one that it is for"
                ));
            }
        }
        Ok(Run {
            pace: self.choosing.pace(plans.len()),
            plans,
            left_out: selection.left_out,
            notes,
        })
    }

    fn plan_for(
        &self,
        image: Reference,
        packages: Vec<Package>,
        lifecycle: Lifecycle,
        checks: &[Check],
        settings: &Settings,
    ) -> Result<Plan, CommandError> {
        Ok(Plan {
            image,
            pull: self.getting.pull_options(self.pulling.policy(), settings)?,
            lifecycle,
            packages,
            checks: checks.to_vec(),
            patience: self.checking.patience(),
            boot_timeout: self.boot_timeout,
            install_timeout: self.install_timeout,
            timeout: self.timeout,
            isolation: self.apart.isolation(self.getting.is_offline(settings)),
            profile: self.boot.into(),
            artifacts: self.reporting.artifacts()?,
            keep: match self.keep {
                None | Some(KeepWhen::Never) => Keep::Never,
                Some(KeepWhen::OnFailure) => Keep::OnFailure,
                Some(KeepWhen::Always) => Keep::Always,
            },
        })
    }
}
