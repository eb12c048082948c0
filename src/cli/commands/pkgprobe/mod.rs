//! `pkgprobe`: the main job.

mod plan;

use std::path::PathBuf;
use std::time::Duration;

use postroj::duration;
use postroj::matrix::PackageRule;
use postroj::probe::Checks;

use super::boot::BootProfile;
use super::checking::Checking;
use super::choosing::Choosing;
use super::getting::{Getting, Pulling};
use super::isolation::Apart;
use super::lifecycle::Life;
use super::reporting::Reporting;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;

/// The command's name.
pub(crate) const NAME: &str = "pkgprobe";

/// Boot an image, install packages there, and check that their services run and answer
///
/// The image is pulled if it is not in the store, and never changes: everything is written to a
/// layer that goes with the container. A unit that the package has not started is enabled and
/// started. When a check fails, the report shows why.
#[derive(Debug, clap::Args)]
pub(crate) struct Pkgprobe {
    /// Take the options that are not given from FILE [default: postroj.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    choosing: Choosing,
    /// Test on every image of the catalogue that can work
    #[arg(long, conflicts_with = "images")]
    all_images: bool,
    #[command(flatten)]
    pulling: Pulling,
    #[command(flatten)]
    getting: Getting,
    /// A package to install: an http(s) URL, a file, or a name that the distribution's
    /// repositories know; may be repeated
    ///
    /// In it, {image}, {distribution}, {version}, {codename}, {family} and {arch} stand for what each
    /// image has: debian-bookworm, debian, 12, bookworm, debian and amd64, say; {arch} is amd64 or
    /// arm64 in Debian's family, `x86_64` or `aarch64` in the others. `family=redhat,PACKAGE` is for the images of that
    /// family (debian, redhat, suse, arch), `image=PATTERN,PACKAGE` for those with such a name. An
    /// image that no package is for is a mistake if there are packages for others.
    #[arg(long = "package", short = 'p', value_name = "PACKAGE")]
    packages: Vec<PackageRule>,
    #[command(flatten)]
    checking: Checking,
    /// How long the boot may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "60")]
    boot_timeout: Duration,
    /// How long the installation may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "15m")]
    install_timeout: Duration,
    /// How long all of it may take [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    #[command(flatten)]
    life: Box<Life>,
    #[command(flatten)]
    apart: Apart,
    /// How much of the image's system is started
    #[arg(long, value_name = "PROFILE", default_value = "trimmed")]
    boot: BootProfile,
    /// Leave the container up, and say how to get in and how to end it: always, if nothing else is
    /// said, or on-failure, when not all is well
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        default_missing_value = "always",
        hide_possible_values = true
    )]
    keep: Option<KeepWhen>,
    #[command(flatten)]
    reporting: Reporting,
}

/// When a container is left up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum KeepWhen {
    /// In no case
    #[value(alias = "false")]
    Never,
    /// When the verdict is not that all is well
    OnFailure,
    /// In any case
    #[value(alias = "true")]
    Always,
}

impl Pkgprobe {
    pub(crate) async fn run(
        self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        let run = self.plan(settings)?;
        run.go(self.how(), settings, output).await
    }

    /// How images are got, and what is written about the run.
    pub(super) fn how(&self) -> (&Getting, &Reporting) {
        (&self.getting, &self.reporting)
    }

    /// Whether a run file was named.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Puts in what another command means: packages, a built-in probe, and all images if none is named
    /// or they are asked for.
    pub(super) fn take_over(&mut self, all: bool, packages: Vec<PackageRule>, probe: &str) {
        self.all_images |= all || !self.choosing.has_images();
        self.packages.extend(packages);
        self.checking.add_probe(probe);
    }

    /// Adds checks that a run file declares.
    pub(crate) fn declare(&mut self, checks: Checks) {
        self.checking.declare(checks);
    }
}
