//! What shows why a run failed, gathered before the container goes.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::timeout;

use super::Phase;
use crate::install::InstallError;
use crate::machine::{Command, Guest, GuestError, MachineError};
use crate::probe::{Before, all_listeners, listeners, processes};
use crate::report::{CheckReport, Evidence};

/// How long gathering one piece may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long gathering all that is about a phase's checks may take. A system that is on its knees, or many
/// checks that fail, hold up the verdict no longer.
const PATIENCE_OF_ALL: Duration = Duration::from_secs(30);

/// How many lines of a log are shown.
const LINES: usize = 40;

/// How many of a unit that nobody has asked about.
const FEW_LINES: usize = 10;

/// How many such units are shown with their journal.
const UNITS: usize = 5;

/// The title of what the container has written to its console.
pub(super) const CONSOLE: &str = "the last of the container's console";

const JOURNALCTL: &str = "/bin/journalctl";

/// Waits for the journal: the last words of a process that has just died may still be on their way.
///
/// An error says that the container does not answer.
pub(super) async fn sync_journal(guest: &Guest) -> Result<(), GuestError> {
    let sync = Command::new(JOURNALCTL, ["--sync"]);
    match guest.run(&sync, PATIENCE).await {
        Ok(_) | Err(GuestError::Timeout { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The evidence for checks that failed.
pub(super) async fn of_checks(
    guest: &Guest,
    before: &Before,
    failed: &[(usize, &CheckReport)],
) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    let gathering = gather(guest, before, failed, &mut evidence);
    if timeout(PATIENCE_OF_ALL, gathering).await.is_err() {
        let text = format!(
            "gathering was given up after {} s",
            PATIENCE_OF_ALL.as_secs()
        );
        let about = failed.iter().map(|(number, _)| *number).collect();
        evidence.push(Evidence::new("what is missing here", &text).about_checks(about));
    }
    evidence
}

async fn gather(
    guest: &Guest,
    before: &Before,
    failed: &[(usize, &CheckReport)],
    evidence: &mut Vec<Evidence>,
) {
    let Some((first, _)) = failed.first() else {
        return;
    };
    if sync_journal(guest).await.is_err() {
        return;
    }
    let mut shown = Shown::default();
    let units = failed.iter().filter(|(_, check)| check.kind == "unit");
    for (number, check) in units {
        if let Some(text) = status(guest, &check.target).await {
            let title = format!("systemctl status {}", check.target);
            shown.add(&check.target, &text);
            evidence.push(Evidence::new(title, &text).about_checks(vec![*number]));
        }
    }
    let is_about_ports = |kind| matches!(kind, "network" | "http" | "tcp" | "port");
    let about_ports = failed
        .iter()
        .filter(|(_, check)| is_about_ports(check.kind));
    let of_network: Vec<usize> = about_ports.clone().map(|(number, _)| *number).collect();
    if !of_network.is_empty() {
        let is_about_udp = about_ports
            .clone()
            .any(|(_, check)| check.target.starts_with("udp/"));
        let (listening, title) = if is_about_udp {
            (
                all_listeners(guest.leader()),
                "what listens in the container",
            )
        } else {
            (
                listeners(guest.leader()),
                "what listens on TCP in the container",
            )
        };
        let listening: Vec<String> = listening.iter().map(ToString::to_string).collect();
        let text = if listening.is_empty() {
            "nothing".to_owned()
        } else {
            listening.join("\n")
        };
        evidence.push(Evidence::new(title, &text).about_checks(of_network));
    }
    let troubles = troubles(guest, before, shown).await;
    evidence.extend(troubles.map(|evidence| evidence.about_checks(vec![*first])));
}

/// The evidence for an installation or a removal that failed.
pub(super) fn of_install(error: &InstallError, phase: Phase) -> Option<Evidence> {
    let title = "the last of the package manager's output";
    Some(Evidence::new(title, &tail(error.output()?)).about_phase(phase))
}

/// What a phase that failed has done to the system.
pub(super) async fn of_phase(guest: &Guest, before: &Before, phase: Phase) -> Vec<Evidence> {
    if !guest.is_connected() {
        return vec![of_silence(guest).about_phase(phase)];
    }
    if sync_journal(guest).await.is_err() {
        return Vec::new();
    }
    let troubles = troubles(guest, before, Shown::default()).await;
    troubles
        .map(|evidence| evidence.about_phase(phase))
        .collect()
}

/// The evidence for a container that did not come up, or went away.
pub(super) fn of_machine(error: &MachineError) -> Option<Evidence> {
    of_console(error.console()?)
}

/// What a container has written to its console, if anything.
pub(super) fn of_console(console: &str) -> Option<Evidence> {
    let is_empty = console.trim().is_empty();
    (!is_empty).then(|| Evidence::new(CONSOLE, &tail(console)))
}

/// What can be seen from outside of a system that does not answer.
pub(super) fn of_silence(guest: &Guest) -> Evidence {
    let mut text = format!("the bus: {}\n", guest.bus_state());
    let daemons = processes(guest.leader());
    let daemons: Vec<_> = daemons
        .iter()
        .filter(|process| process.name.starts_with("dbus-"))
        .collect();
    if daemons.is_empty() {
        text.push_str("its daemon: no process\n");
    }
    for daemon in daemons {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {}", daemon.name, process_state(daemon.id));
    }
    let _ = write!(text, "PID 1: {}", process_state(guest.leader()));
    for unit in ["dbus.socket", "dbus.service", "dbus-broker.service"] {
        if guest.is_masked(unit) {
            let _ = write!(text, "\n{unit}: masked");
        }
    }
    Evidence::new("what is left of the container's system bus", &text)
}

/// The state of a process in the words of proc(5)'s `/proc/<pid>/status`.
fn process_state(id: i32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    let state = state.unwrap_or("gone").trim();
    // A letter comes before the word.
    let word = state.split_once(' ').map_or(state, |(_, word)| word);
    word.trim_matches(['(', ')']).to_owned()
}

/// What a report shows already.
#[derive(Default)]
struct Shown {
    units: HashSet<String>,
    lines: HashSet<String>,
}

impl Shown {
    fn add(&mut self, unit: &str, text: &str) {
        self.units.insert(unit.to_owned());
        self.lines.extend(text.lines().map(str::to_owned));
    }
}

/// What else has gone wrong since the installation: units that have failed, and errors in the journal.
/// What is shown already is left out.
async fn troubles(
    guest: &Guest,
    before: &Before,
    mut shown: Shown,
) -> impl Iterator<Item = Evidence> {
    let units = failed_units(guest, before, &mut shown).await;
    let errors = journal(guest, &["--priority=err".to_owned()], before, LINES).await;
    let errors: Vec<&str> = errors
        .lines()
        .filter(|line| !shown.lines.contains(*line) && !is_of_own_command(line))
        .collect();
    let errors = match before.since() {
        _ if errors.is_empty() => None,
        Some(_) => Some(("errors in the journal since the installation", errors)),
        None => Some(("errors in the journal", errors)),
    };
    let errors = errors.map(|(title, errors)| Evidence::new(title, &errors.join("\n")));
    let units = units.map(|text| Evidence::new("units that have failed", &text));
    units.into_iter().chain(errors)
}

/// The units that have failed, each with the last of its journal.
async fn failed_units(guest: &Guest, before: &Before, shown: &mut Shown) -> Option<String> {
    let mut failed = guest.failed_units().await.ok()?;
    failed.retain(|unit| !before.failed_units().contains(unit) && !shown.units.contains(unit));
    let mut text = String::new();
    for (number, unit) in failed.iter().enumerate() {
        let state = match guest.unit(unit).await {
            Ok(unit) => unit.state().await.map(|state| state.to_string()),
            Err(error) => Err(error),
        };
        let _ = writeln!(text, "{unit}: {}", state.unwrap_or_default());
        if number < UNITS {
            let said = about(guest, unit, FEW_LINES).await;
            for line in said.lines() {
                let _ = writeln!(text, "  {line}");
            }
            shown.add(unit, &said);
        }
    }
    (!text.is_empty()).then_some(text)
}

/// A unit's state, and what it and systemd about it have said.
async fn status(guest: &Guest, unit: &str) -> Option<String> {
    let command = ["status", "--full", "--no-pager", "--lines=0", "--", unit];
    let command = Command::new("/bin/systemctl", command);
    let (output, said) = tokio::join!(guest.run(&command, PATIENCE), about(guest, unit, LINES));
    let head = output.ok()?.text;
    Some(format!("{}\n\n{said}", head.trim_end()))
}

/// The last of what a unit, and systemd about it, have said since the boot.
async fn about(guest: &Guest, unit: &str, lines: usize) -> String {
    let Ok(matches) = guest.journal_matches(unit).await else {
        return String::new();
    };
    journal(guest, &matches, &Before::default(), lines).await
}

/// The last lines of the journal since the installation, or the boot where there was none.
async fn journal(guest: &Guest, matches: &[String], before: &Before, lines: usize) -> String {
    let since = match before.since() {
        Some(since) => {
            let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("--since=@{:.6}", since.as_secs_f64())
        }
        None => "--boot".to_owned(),
    };
    let fixed = ["--no-pager", "--quiet", "--all"].map(str::to_owned);
    let arguments = fixed
        .into_iter()
        .chain([since, format!("--lines={lines}")])
        .chain(matches.iter().cloned());
    let command = Command::new(JOURNALCTL, arguments);
    let output = guest.run(&command, PATIENCE).await;
    output.map(|output| output.text).unwrap_or_default()
}

/// Whether a line of the journal is about one of postroj's own commands, by the name of its unit or, as
/// old versions have it, by its description.
fn is_of_own_command(line: &str) -> bool {
    line.contains(crate::machine::COMMAND_UNITS) || line.contains("postroj: /")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let start = lines.len().saturating_sub(LINES);
    lines[start..].join("\n")
}
