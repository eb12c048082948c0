//! The arguments for what becomes of packages after their installation.

use postroj::install::Package;
use postroj::matrix::{Facts, PackageRule, packages_for};
use postroj::pkgprobe::{Lifecycle, Phase, UpgradeFrom};

use crate::cli::error::CommandError;

/// What becomes of the packages.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Life {
    /// What the packages go through, a list of install, reboot, upgrade, remove and purge, with the
    /// checks after each. The installation comes first, removals last; a reboot and an upgrade come in the order
    /// given [default: install]
    #[arg(
        long,
        value_name = "PHASES",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    lifecycle: Vec<PhaseName>,
    /// What is installed at first, for --package to upgrade it: a version that the distribution's
    /// repositories have, a URL or a file; may be repeated, and be for some images only, as --package [implies
    /// --lifecycle install,upgrade]
    #[arg(long, value_name = "FROM")]
    upgrade_from: Vec<PackageRule>,
    /// A shell command that is run in the container before the upgrade, to change the configuration
    /// as an administrator does: the lines that it adds to files in /etc have to outlive the upgrade
    #[arg(long, value_name = "LINE")]
    before_upgrade: Option<String>,
    /// Fail when a purge leaves something behind
    #[arg(long)]
    strict_purge: bool,
    /// What a purge may leave behind: a path (with all below it), a user, group or unit, in which *
    /// is any text; may be repeated
    #[arg(long, value_name = "GLOB")]
    purge_ignore: Vec<String>,
}

/// A phase by the name that a command line has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PhaseName {
    Install,
    Reboot,
    Upgrade,
    Remove,
    Purge,
}

impl From<PhaseName> for Phase {
    fn from(name: PhaseName) -> Self {
        match name {
            PhaseName::Install => Self::Install,
            PhaseName::Reboot => Self::Reboot,
            PhaseName::Upgrade => Self::Upgrade,
            PhaseName::Remove => Self::Remove,
            PhaseName::Purge => Self::Purge,
        }
    }
}

impl Life {
    /// The phases, in their order.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<Phase> = self.lifecycle.iter().copied().map(Phase::from).collect();
        if phases.is_empty() && !self.upgrade_from.is_empty() {
            phases.push(Phase::Upgrade);
        }
        Lifecycle::new(&phases).phases().to_vec()
    }

    /// What was typed → what was meant.
    pub(crate) fn lifecycle(
        &self,
        packages: &[Package],
        facts: &Facts,
    ) -> Result<Lifecycle, CommandError> {
        let mut lifecycle = Lifecycle::new(&self.phases());
        lifecycle.upgrade_from = self.upgrade_from(facts)?;
        lifecycle.before_upgrade.clone_from(&self.before_upgrade);
        lifecycle.strict_purge = self.strict_purge;
        lifecycle.purge_ignore.clone_from(&self.purge_ignore);
        let usage = |text: &str| Err(CommandError::usage(text));
        let has_upgrade = lifecycle.has(Phase::Upgrade);
        if has_upgrade && lifecycle.upgrade_from.is_none() {
            return usage("an upgrade needs --upgrade-from: what is installed at first");
        }
        if !has_upgrade && lifecycle.upgrade_from.is_some() {
            return usage("--upgrade-from is for an upgrade, which --lifecycle does not have");
        }
        if !has_upgrade && self.before_upgrade.is_some() {
            return usage("--before-upgrade is for an upgrade, which needs --upgrade-from");
        }
        if self.strict_purge && !lifecycle.has(Phase::Purge) {
            return usage("--strict-purge is for a purge, which --lifecycle does not have");
        }
        let needs_packages = [Phase::Upgrade, Phase::Remove, Phase::Purge];
        if let Some(phase) = needs_packages.iter().find(|phase| lifecycle.has(**phase))
            && packages.is_empty()
        {
            return usage(&format!("--lifecycle {phase} needs a --package"));
        }
        Ok(lifecycle)
    }

    fn upgrade_from(&self, facts: &Facts) -> Result<Option<UpgradeFrom>, CommandError> {
        let packages = packages_for(&self.upgrade_from, facts)
            .map_err(|error| CommandError::usage(format!("--upgrade-from: {error}")))?;
        if let [Package::Name(version)] = packages.as_slice() {
            return Ok(Some(UpgradeFrom::Version(version.clone())));
        }
        for package in &packages {
            if let Package::Name(name) = package {
                return Err(CommandError::usage(format!(
                    "--upgrade-from {name}: a version goes for all packages, and beside no other"
                )));
            }
            package.check().map_err(CommandError::usage)?;
        }
        Ok((!packages.is_empty()).then_some(UpgradeFrom::Packages(packages)))
    }
}
