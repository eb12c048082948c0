//! What shows why a run failed, gathered before the container goes.

use std::time::Duration;

use super::Phase;
use crate::install::InstallError;
use crate::machine::{Command, Guest, MachineError};
use crate::probe::listeners;
use crate::report::{CheckReport, Evidence};

/// How long gathering one piece may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many lines of a log are shown.
const LINES: usize = 40;

/// The title of what the container has written to its console.
pub(super) const CONSOLE: &str = "the last of the container's console";

/// Waits for the journal: the last words of a process that has just died may still be on their way.
pub(super) async fn sync_journal(guest: &Guest) {
    let sync = Command::new("/bin/journalctl", ["--sync"]);
    let _ = guest.run(&sync, PATIENCE).await;
}

/// The evidence for checks that failed.
pub(super) async fn of_checks(guest: &Guest, failed: &[(usize, &CheckReport)]) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    if !failed.is_empty() {
        sync_journal(guest).await;
    }
    for (number, check) in failed.iter().filter(|(_, check)| check.kind == "unit") {
        let lines = format!("--lines={LINES}");
        let command = Command::new(
            "/bin/systemctl",
            [
                "status",
                "--full",
                "--no-pager",
                &lines,
                "--",
                &check.target,
            ],
        );
        if let Ok(output) = guest.run(&command, PATIENCE).await {
            let title = format!("systemctl status {}", check.target);
            let missing = last_words(guest, &check.target, &output.text).await;
            evidence.push(Evidence::new(title, &output.text).about_checks(vec![*number]));
            if let Some(text) = missing {
                let title = format!("the journal of {}'s main process", check.target);
                evidence.push(Evidence::new(title, &text).about_checks(vec![*number]));
            }
        }
    }
    let is_about_ports = |kind| matches!(kind, "network" | "http" | "tcp" | "port");
    let of_network: Vec<usize> = failed
        .iter()
        .filter(|(_, check)| is_about_ports(check.kind))
        .map(|(number, _)| *number)
        .collect();
    if !of_network.is_empty() {
        let listening: Vec<String> = listeners(guest.leader())
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = if listening.is_empty() {
            "nothing".to_owned()
        } else {
            listening.join("\n")
        };
        let title = "what listens on TCP in the container";
        evidence.push(Evidence::new(title, &text).about_checks(of_network));
    }
    evidence
}

/// The evidence for an installation or a removal that failed.
pub(super) fn of_install(error: &InstallError, phase: Phase) -> Option<Evidence> {
    let title = "the last of the package manager's output";
    Some(Evidence::new(title, &tail(error.output()?)).about_phase(phase))
}

/// The evidence for a container that did not come up, or went away.
pub(super) fn of_machine(error: &MachineError) -> Option<Evidence> {
    let console = error
        .console()
        .filter(|console| !console.trim().is_empty())?;
    Some(Evidence::new(CONSOLE, &tail(console)))
}

/// What a unit's main process has said that the unit's status lacks: the journal does not know the unit
/// of a process that has gone before it could look.
async fn last_words(guest: &Guest, unit: &str, status: &str) -> Option<String> {
    let properties = guest.properties(unit).await.ok()?;
    let process = properties.get("ExecMainPID").filter(|id| *id != "0")?;
    let (lines, process) = (format!("--lines={LINES}"), format!("_PID={process}"));
    let command = Command::new(
        "/bin/journalctl",
        ["--no-pager", "--quiet", &lines, &process],
    );
    let output = guest.run(&command, PATIENCE).await.ok()?;
    let missing = output.text.lines().filter(|line| !status.contains(*line));
    let missing: Vec<&str> = missing.collect();
    (!missing.is_empty()).then(|| missing.join("\n"))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let start = lines.len().saturating_sub(LINES);
    lines[start..].join("\n")
}
