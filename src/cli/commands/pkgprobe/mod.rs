//! `pkgprobe`: the main job.

mod plan;
mod tell;

use std::time::Duration;

use postroj::install::Fetcher;
use postroj::pkgprobe::{Cancelled, Context, run};
use postroj::report::RunReport;

use super::getting::{Getting, Pull};
use super::isolation::Apart;
use super::reporting::Reporting;
use crate::cli::config::Settings;
use crate::cli::duration;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// Boot an image, install packages there, and check that their services run and answer
///
/// The image is pulled if it is not in the store, and never changes: everything is written to a
/// layer that goes with the container. A unit that the package has not started is enabled and
/// started. When a check fails, the report shows why.
#[derive(Debug, clap::Args)]
pub(crate) struct Pkgprobe {
    /// The image: a name of `postroj list-images`, a registry's NAME:TAG or `docker://NAME`, the URL
    /// or the path (with a /) of a root-filesystem tarball, or a directory
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// When to ask the image's source: always takes what the store has only if there is nothing
    /// newer, missing (the default) whenever the store has the image, never in any case
    #[arg(
        long,
        value_name = "WHEN",
        hide_possible_values = true,
        default_value = "missing",
        hide_default_value = true
    )]
    pull: Pull,
    #[command(flatten)]
    getting: Getting,
    /// A package to install: an http(s) URL, a file, or a name that the distribution's
    /// repositories know; may be repeated
    #[arg(long = "package", short = 'p', value_name = "PACKAGE")]
    packages: Vec<String>,
    /// A unit that has to be up and stay up; without an ending it is a .service; may be repeated
    #[arg(long = "check-unit", value_name = "UNIT")]
    units: Vec<String>,
    /// An address that has to answer, tcp://HOST:PORT or http(s)://HOST:PORT/PATH (status below
    /// 400); localhost is the container; may be repeated
    #[arg(long = "check-network", value_name = "URL")]
    addresses: Vec<String>,
    /// How long a unit may take to become active
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30")]
    unit_timeout: Duration,
    /// How long a unit that was started in this run has to stay up
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1")]
    settle: Duration,
    /// How long an address may take to answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "5")]
    network_timeout: Duration,
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
    apart: Apart,
    /// How much of the image's system is started
    #[arg(long, value_name = "PROFILE", default_value = "trimmed")]
    boot: BootProfile,
    /// Leave the container up, and say how to get in and how to end it
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    reporting: Reporting,
}

/// How much of the image's system is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BootProfile {
    /// Without logins on consoles, update timers and the like
    Trimmed,
    /// All of it
    Full,
}

impl Pkgprobe {
    pub(crate) async fn run(
        self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        let plan = self.plan(settings)?;
        postroj::image::check(&settings.catalogue()?, &plan.image)?;
        let reports = self.reporting.prepare()?;
        require_root()?;
        // Signals from now on end the run in order.
        let mut signals = Signals::listen()?;
        let progress = output.progress();
        let images = self.getting.images(settings, &progress)?;
        let fetcher = if plan.pull.offline {
            Fetcher::offline(&settings.cache_dir, progress.clone())
        } else {
            Fetcher::new(&settings.cache_dir, progress.clone())
        };
        let context = Context {
            images: &images,
            fetcher: &fetcher,
            progress,
        };
        let mut received = 0;
        let cancelled = async { received = signals.next().await };
        match run(&plan, &context, cancelled).await {
            Err(Cancelled(report)) => {
                let total = report.timings.total;
                let report = RunReport::new(reports.invocation(), vec![*report], total);
                reports.write_or_tell(&report);
                Ok(Exit::Signal(received))
            }
            Ok(report) => {
                let total = report.timings.total;
                let report = RunReport::new(reports.invocation(), vec![report], total);
                tell::tell(&report, &reports, output)
            }
        }
    }
}
