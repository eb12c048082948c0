//! `selftest`: the built-in probes on every image.

use postroj::matrix::PackageRule;

use super::pkgprobe::Pkgprobe;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;

/// Run a built-in probe on every image of the catalogue, or on those that are named
///
/// hostnamectl boots each image and asks it what it is; pkgprobe installs the Apache web
/// server from the distribution's own repositories, and checks its unit, its port and the journal. An
/// image that cannot work is left out, by name and with the reason. The options of `postroj pkgprobe`
/// are understood here too; a run file is not read.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("file", |arg| arg.hide(true)),
    mut_arg("packages", |arg| arg.hide(true)),
    mut_arg("all_images", |arg| arg.hide(true))
)]
pub(crate) struct Selftest {
    /// The probe
    #[arg(value_name = "PROBE")]
    probe: Probe,
    /// On every image of the catalogue that can work, which is so if none is named
    #[arg(long, conflicts_with = "images")]
    all: bool,
    #[command(flatten)]
    options: Pkgprobe,
}

/// A probe that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Probe {
    /// The image boots, and hostnamectl answers
    Hostnamectl,
    /// A service of the distribution installs, runs and answers
    Pkgprobe,
}

/// What the distributions call Apache's package, by family.
const APACHE: [&str; 4] = [
    "family=debian,apache2",
    "family=redhat,httpd",
    "family=suse,apache2",
    "family=arch,apache",
];

impl Selftest {
    pub(crate) async fn run(
        mut self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        if self.options.has_file() {
            return Err(CommandError::usage("selftest reads no run file"));
        }
        let rules = match self.probe {
            Probe::Hostnamectl => Vec::new(),
            Probe::Pkgprobe => APACHE.map(PackageRule::parse).into_iter().collect(),
        };
        let rules = rules.into_iter().collect::<Result<Vec<_>, _>>();
        let is_all = self.all;
        let rules = rules.map_err(CommandError::internal)?;
        self.options.take_over(is_all, rules, self.probe.name());
        let mut run = self.options.plan(settings)?;
        // Each distribution has one of them: that others go unused is no news.
        run.notes.clear();
        run.go(self.options.how(), settings, output).await
    }
}

impl Probe {
    /// The name of the file of checks.
    fn name(self) -> &'static str {
        match self {
            Self::Hostnamectl => "hostnamectl",
            Self::Pkgprobe => "pkgprobe",
        }
    }
}
