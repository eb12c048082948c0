//! What systemd-analyze says of units.

use std::time::Duration;

use async_trait::async_trait;

use super::texts::quoted;
use crate::machine::{Command, ExitStatus, Streams};
use crate::probe::check::{Needs, Probe, ProbeError, Scene};
use crate::probe::{Many, Outcome, UnitName};

const ANALYZE: &str = "/usr/bin/systemd-analyze";

/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How many complaints an observation shows.
const SHOWN: usize = 3;

keys! {
    /// `systemd-analyze verify` finds nothing to complain of in units.
    pub struct VerifyCheck {
        /// The units; those that the installation has brought, if none is named.
        #[serde(default)]
        pub unit: Many<UnitName>,
    }
}

keys! {
    /// `systemd-analyze security` finds services no more exposed than they may be.
    pub struct SecurityCheck {
        /// The services; those that the installation has brought, if none is named.
        #[serde(default)]
        pub unit: Many<UnitName>,
        /// The greatest level of exposure, from 0 (little) to 10.
        pub exposure: f64,
    }
}

/// The unit files that the installation has brought, by path.
async fn new_files(scene: Scene<'_>) -> Result<Vec<String>, ProbeError> {
    let mut files = scene.guest.unit_files().await?;
    // Below /run are those of generators and of postroj's own commands.
    let is_packaged = |path: &String| !path.starts_with("/run/");
    files.retain(|path| is_packaged(path) && !scene.before.unit_files().contains(path));
    Ok(files)
}

async fn analyze(scene: Scene<'_>, arguments: Vec<String>) -> Result<Streams, ProbeError> {
    if !scene.guest.has_file(ANALYZE) {
        return Err(ProbeError::NoProgram("systemd-analyze"));
    }
    let command = Command::new(ANALYZE, arguments);
    Ok(scene.guest.run_apart(&command, LIMIT).await?)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn names(units: &Many<UnitName>) -> String {
    if units.is_empty() {
        return "the installed units".to_owned();
    }
    let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
    names.join(" ")
}

fn needs(units: &Many<UnitName>) -> Needs {
    Needs {
        unit_files: units.is_empty(),
    }
}

const NOTHING_NEW: &str = "the installation has brought no such unit";

#[async_trait]
impl Probe for VerifyCheck {
    fn target(&self) -> String {
        names(&self.unit)
    }

    fn needs(&self) -> Needs {
        needs(&self.unit)
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let mut files = if self.unit.is_empty() {
            new_files(scene).await?
        } else {
            Vec::new()
        };
        for unit in self.unit.iter() {
            let mut properties = scene.guest.properties(unit.as_str()).await?;
            match properties.remove("FragmentPath") {
                Some(path) if !path.is_empty() => files.push(path),
                _ => return Ok(Outcome::failed(format!("{unit} has no unit file"))),
            }
        }
        if files.is_empty() {
            return Ok(Outcome::failed(NOTHING_NEW));
        }
        let options = ["verify", "--man=no"].map(str::to_owned);
        let arguments = options.into_iter().chain(files.iter().cloned());
        let streams = analyze(scene, arguments.collect()).await?;
        // It complains of all that the units draw in, which may be the distribution's.
        let about: Vec<&str> = files.iter().map(|path| file_name(path)).collect();
        let complaints: Vec<&str> = streams
            .stderr
            .lines()
            .filter(|line| about.iter().any(|name| mentions(line, name)))
            .collect();
        let is_silent = streams.stderr.trim().is_empty();
        if !matches!(streams.status, ExitStatus::Code(code) if code == 0 || !is_silent) {
            return Err(ProbeError::Program {
                program: "systemd-analyze".to_owned(),
                reason: format!("{}, {}", streams.status, quoted(&streams.stderr)),
            });
        }
        Ok(match complaints.len() {
            0 => Outcome::passed(format!("no complaints about {}", about.join(", "))),
            number => {
                let mut words = complaints[..number.min(SHOWN)].join("; ");
                if number > SHOWN {
                    words = format!("{words} and {} more", number - SHOWN);
                }
                Outcome::failed(words)
            }
        })
    }
}

/// Whether a line is about a unit of that name, and not one whose name ends or begins so.
fn mentions(line: &str, name: &str) -> bool {
    let is_of_name =
        |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = &line[start + name.len()..];
        // It may end a sentence, stand before a colon, or be a part of the path of a drop-in.
        let goes_on = match after.strip_prefix('.') {
            Some(rest) => !rest.starts_with("d/") && rest.starts_with(char::is_alphanumeric),
            None => !after.starts_with(':') && after.starts_with(is_of_name),
        };
        !before.is_some_and(is_of_name) && !goes_on
    })
}

/// The level in the last line of `systemd-analyze security UNIT`.
fn exposure(output: &str) -> Option<f64> {
    let (_, about) = output.rsplit_once("Overall exposure level for ")?;
    let (_, level) = about.split_once(": ")?;
    level.split_whitespace().next()?.parse().ok()
}

#[async_trait]
impl Probe for SecurityCheck {
    fn target(&self) -> String {
        names(&self.unit)
    }

    fn validate(&self) -> Result<(), String> {
        if (0.0..=10.0).contains(&self.exposure) {
            Ok(())
        } else {
            Err("exposure: a level from 0 to 10".to_owned())
        }
    }

    fn needs(&self) -> Needs {
        needs(&self.unit)
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let mut units: Vec<String> = self.unit.iter().map(ToString::to_string).collect();
        if units.is_empty() {
            let files = new_files(scene).await?;
            units = files
                .iter()
                .map(|path| file_name(path).to_owned())
                // A template has no level of its own.
                .filter(|name| name.strip_suffix(".service").is_some() && !name.contains("@."))
                .collect();
        }
        if units.is_empty() {
            return Ok(Outcome::failed(NOTHING_NEW));
        }
        let mut seen = Vec::new();
        let mut is_good = true;
        for unit in units {
            let state = scene.guest.unit(&unit).await?.state().await?;
            if state.load_state == "not-found" {
                return Ok(Outcome::failed(format!("there is no unit {unit}")));
            }
            let arguments = ["security", "--no-pager", &unit].map(str::to_owned);
            let streams = analyze(scene, arguments.to_vec()).await?;
            let Some(level) = exposure(&streams.stdout) else {
                return Err(ProbeError::Program {
                    program: "systemd-analyze".to_owned(),
                    reason: format!("no level for {unit}: {}", quoted(&streams.stderr)),
                });
            };
            is_good &= level <= self.exposure;
            seen.push(format!("{unit} has {level}"));
        }
        let words = seen.join(", ");
        Ok(if is_good {
            Outcome::passed(words)
        } else {
            Outcome::failed(words)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_a_part_of_another() {
        for line in [
            "/usr/lib/systemd/system/a.service:3: Unknown key",
            "a.service: Command /x is not executable",
            "Unit a.service has a bad setting",
            "Failed to load a.service.",
            "/etc/systemd/system/a.service.d/x.conf:2: Unknown key",
        ] {
            assert!(mentions(line, "a.service"), "{line}");
        }
        for line in [
            "data.service: no",
            "x-a.service: no",
            "a.service.wants: no",
            "a.services: no",
        ] {
            assert!(!mentions(line, "a.service"), "{line}");
        }
    }

    #[test]
    fn the_level_is_read() {
        let output = "\n→ Overall exposure level for a.service: 9.6 UNSAFE 😨\n";
        assert_eq!(exposure(output), Some(9.6));
        assert_eq!(exposure(""), None);
    }
}
