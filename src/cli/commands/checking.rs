//! The options that say what is checked, and for how long.

use std::time::Duration;

use postroj::duration;
use postroj::pkgprobe::Phase;
use postroj::probe::{
    Autostart, Check, CheckError, Checks, NetworkCheck, NetworkTarget, Patience, ProbeFile,
    UnitCheck, UnitName,
};

use crate::cli::error::CommandError;
use crate::cli::output::tell;

/// What has to hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Checking {
    /// A unit that has to be up and stay up; without an ending it is a .service; may be repeated
    #[arg(long = "check-unit", value_name = "UNIT")]
    units: Vec<String>,
    /// An address that has to answer, tcp://HOST:PORT or http(s)://HOST:PORT/PATH (status below
    /// 400); localhost is the container; may be repeated
    #[arg(long = "check-network", value_name = "URL")]
    addresses: Vec<String>,
    /// Anything else that has to hold, as KIND:TARGET,KEY=VALUE,… (`file:/etc/x,mode=0644`,
    /// `port:tcp/80,unit=nginx`); a comma in a value is written \,; README.rst has the kinds and
    /// their keys; may be repeated
    #[arg(long = "check", value_name = "CHECK", allow_hyphen_values = true)]
    checks: Vec<String>,
    /// A TOML file of checks, a goss file (.yaml, .yml or .json), or the name of built-in checks
    /// (hostnamectl, pkgprobe); may be repeated
    #[arg(long = "probe", value_name = "FILE|NAME")]
    probes: Vec<String>,
    /// Hold packages to starting their units by themselves (yes) or to leaving them alone (no);
    /// without a word, to what the distribution's presets say
    #[arg(
        long,
        value_name = "WHEN",
        value_parser = Autostart::parse,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "preset"
    )]
    expect_autostart: Option<Autostart>,
    /// How long a unit may take to become active
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30")]
    unit_timeout: Duration,
    /// How long a unit that was started in this run has to stay up
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1")]
    settle: Duration,
    /// How long an address may take to answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "5")]
    network_timeout: Duration,
    /// How long anything else is tried
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "5")]
    check_timeout: Duration,
    /// What a run file declares.
    #[arg(skip)]
    declared: Checks,
}

impl Checking {
    /// Adds a probe, by its name or path.
    pub(crate) fn add_probe(&mut self, probe: &str) {
        self.probes.push(probe.to_owned());
    }

    /// Adds checks that a run file declares.
    pub(crate) fn declare(&mut self, checks: Checks) {
        self.declared.extend(checks);
    }

    /// What was typed → what was meant, for packages that go through these phases.
    ///
    /// A check that is typed for phases that there are not is a mistake; one of a file is noted, which
    /// may be meant for other runs as well.
    pub(crate) fn checks(&self, phases: &[Phase]) -> Result<Vec<Check>, CommandError> {
        let is_made = |check: &Check| phases.iter().any(|phase| check.is_after(*phase));
        let mut typed = Checks::default();
        for unit in &self.units {
            let name = UnitName::parse(unit).map_err(CommandError::usage)?;
            typed.unit.push(UnitCheck::of(name));
        }
        for address in &self.addresses {
            let target = NetworkTarget::parse(address).map_err(CommandError::usage)?;
            typed.network.push(NetworkCheck::of(target));
        }
        for check in &self.checks {
            typed.add_words(check).map_err(wrong)?;
        }
        let made = typed.clone().into_checks().map_err(wrong)?;
        if let Some(check) = made.iter().find(|check| !is_made(check)) {
            return Err(CommandError::usage(never(check)));
        }
        for probe in &self.probes {
            let file = ProbeFile::load(probe).map_err(CommandError::usage)?;
            file.notes.iter().for_each(|note| tell(note));
            typed.extend(file.checks);
        }
        typed.extend(self.declared.clone());
        if let Some(expected) = self.expect_autostart {
            typed.expect_autostart(expected);
        }
        let all = typed.into_checks().map_err(wrong)?;
        for check in all.iter().filter(|check| !is_made(check)) {
            tell(&format!("{}: it is left out", never(check)));
        }
        Ok(all)
    }

    /// How long checks may take.
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            unit: self.unit_timeout,
            settle: self.settle,
            network: self.network_timeout,
            check: self.check_timeout,
        }
    }
}

/// Says of a check that it is made after phases that the run does not have.
fn never(check: &Check) -> String {
    let phases: Vec<&str> = check.phases().iter().map(|phase| phase.name()).collect();
    format!(
        "check {} {}: it is made after {}, which --lifecycle does not have",
        check.kind(),
        check.target(),
        phases.join(" and ")
    )
}

fn wrong(error: CheckError) -> CommandError {
    CommandError::usage(error)
}
