//! `task list`.

use std::fmt::Write as _;
use std::time::SystemTime;

use postroj::report::{printable, shortened};
use postroj::task::{Health, Status, Tasks};

use crate::cli::commands::machines::age;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;

/// How much of a command is shown.
const COMMAND: usize = 40;

/// List the tasks, those that have ended included
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Print JSON: what `postroj task health --json` has, of each
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(&self, tasks: &Tasks, output: &Output) -> Result<Exit, CommandError> {
        for error in tasks.unreadable() {
            output.note(&error.to_string());
        }
        // One that is removed at this moment is none any more.
        let healths = tasks
            .list()?
            .into_iter()
            .filter_map(|task| task.health().ok());
        let healths: Vec<Health> = healths.collect();
        if self.json {
            output.json(&healths)?;
        } else {
            output.result(&table(&healths));
        }
        Ok(Exit::Success)
    }
}

fn table(healths: &[Health]) -> String {
    let rows: Vec<[String; 6]> = healths.iter().map(row).collect();
    let heading = ["ID", "NAME", "IMAGE", "STATUS", "SINCE", "COMMAND"].map(str::to_owned);
    let all = || [&heading].into_iter().chain(&rows);
    let width = |column: usize| {
        let widths = all().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    let mut text = String::new();
    for [columns @ .., command] in all() {
        for (column, width) in columns.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{column:<width$}  ");
        }
        let _ = writeln!(text, "{command}");
    }
    text
}

fn row(health: &Health) -> [String; 6] {
    let status = match (health.exit_code, &health.signal) {
        (_, Some(signal)) => format!("{} ({signal})", health.status.name()),
        (Some(code), None) => format!("{} ({code})", health.status.name()),
        (None, None) => health.status.name().to_owned(),
    };
    let since = match health.status {
        Status::Exited => health.finished,
        _ => health.started,
    };
    let since = since.map(|since| SystemTime::now().duration_since(since).unwrap_or_default());
    [
        health.id.chars().take(12).collect(),
        printable(health.name.as_deref().unwrap_or_default()),
        printable(&health.image),
        status,
        since.map(age).unwrap_or_default(),
        shortened(&printable(&health.command.join(" ")), COMMAND),
    ]
}
