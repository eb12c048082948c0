//! `task health`.

use std::fmt::Write as _;
use std::time::SystemTime;

use postroj::report::printable;
use postroj::task::{Health as Found, TaskError, Tasks};
use serde::Serialize;

use super::TASK;
use crate::cli::commands::images::human_size;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;

/// Tell how a task is
///
/// The exit code is 0 if there is such a task, however it is, and 1 if there is none. What its command does
/// is told as the kernel has it: sleeping, running, disk-sleep, stopped or zombie; exited if it has ended,
/// and dead if it has ended and nobody knows how, for its keeper was killed or the host went down.
#[derive(Debug, clap::Args)]
pub(super) struct Health {
    /// The task: its name, its id, or the beginning of that
    #[arg(value_name = TASK)]
    task: String,
    /// Print JSON: the memory in bytes, the CPU time in seconds
    #[arg(long)]
    json: bool,
}

/// What is told of a task that is none.
#[derive(Debug, Serialize)]
struct Missing {
    exists: bool,
}

impl Health {
    pub(super) fn run(&self, tasks: &Tasks, output: &Output) -> Result<Exit, CommandError> {
        let health = tasks.find(&self.task).and_then(|task| task.health());
        let health = match health {
            Err(TaskError::Unknown(_)) => {
                if self.json {
                    output.json(&Missing { exists: false })?;
                } else {
                    output.result("exists: false\n");
                }
                return Ok(Exit::Failed);
            }
            health => health?,
        };
        if self.json {
            output.json(&health)?;
        } else {
            output.result(&text(&health));
        }
        Ok(Exit::Success)
    }
}

fn text(health: &Found) -> String {
    let time = |time: Option<SystemTime>| {
        time.map(|time| humantime::format_rfc3339_millis(time).to_string())
    };
    let yes = |is_so: bool| Some(is_so.to_string());
    let lines = [
        ("exists", yes(health.exists)),
        ("id", Some(health.id.clone())),
        ("name", health.name.clone()),
        ("image", Some(health.image.clone())),
        ("command", Some(health.command.join(" "))),
        ("status", Some(health.status.name().to_owned())),
        ("exit code", health.exit_code.map(|code| code.to_string())),
        ("signal", health.signal.clone()),
        ("started", time(health.started)),
        ("finished", time(health.finished)),
        (
            "cpu time",
            health
                .cpu_time
                .map(|time| format!("{:.3} s", time.as_secs_f64())),
        ),
        ("memory", health.memory.map(human_size)),
        ("oom-killed", yes(health.oom_killed)),
        ("timed out", yes(health.timed_out)),
        ("restarts", Some(health.restarts.to_string())),
        ("error", health.error.clone()),
        (
            "log lost",
            Some(health.log_lost)
                .filter(|lost| *lost > 0)
                .map(human_size),
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}: {}", printable(&value));
        }
    }
    text
}
