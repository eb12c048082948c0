//! What shows why a run failed, gathered before the container goes.

use std::time::Duration;

use crate::install::InstallError;
use crate::machine::{Command, Guest, MachineError};
use crate::probe::listeners;
use crate::report::{CheckReport, Evidence};

/// How long gathering one piece may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many lines of a log are shown.
const LINES: usize = 40;

/// The evidence for checks that failed.
pub(super) async fn of_checks(guest: &Guest, failed: &[&CheckReport]) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    for check in failed.iter().filter(|check| check.kind == "unit") {
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
            evidence.push(Evidence {
                title: format!("systemctl status {}", check.target),
                text: output.text,
            });
        }
    }
    if failed.iter().any(|check| check.kind == "network") {
        let listening: Vec<String> = listeners(guest.leader())
            .iter()
            .map(ToString::to_string)
            .collect();
        let text = if listening.is_empty() {
            "nothing".to_owned()
        } else {
            listening.join("\n")
        };
        evidence.push(Evidence {
            title: "what listens on TCP in the container".to_owned(),
            text,
        });
    }
    evidence
}

/// The evidence for an installation that failed.
pub(super) fn of_install(error: &InstallError) -> Option<Evidence> {
    Some(Evidence {
        title: "the last of the package manager's output".to_owned(),
        text: tail(error.output()?),
    })
}

/// The evidence for a container that did not come up, or went away.
pub(super) fn of_machine(error: &MachineError) -> Option<Evidence> {
    let console = error
        .console()
        .filter(|console| !console.trim().is_empty())?;
    Some(Evidence {
        title: "the last of the container's console".to_owned(),
        text: tail(console),
    })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let start = lines.len().saturating_sub(LINES);
    lines[start..].join("\n")
}
