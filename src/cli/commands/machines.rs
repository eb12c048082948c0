//! `machines`, `stop` and `shell`: containers that are up.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postroj::machine::{ExitStatus, Record, Runtime, shell, stop};

use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;

/// List the containers that are up
#[derive(Debug, clap::Args)]
pub(crate) struct Machines {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Machines {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, CommandError> {
        let machines = sweep_and_list()?;
        if self.json {
            output.json(&machines)?;
        } else {
            output.result(&table(&machines));
        }
        Ok(Exit::Success)
    }
}

/// Lists the containers, without those that a killed run has left.
fn sweep_and_list() -> Result<Vec<Record>, CommandError> {
    require_root()?;
    let runtime = Runtime::default();
    let failed = |error| CommandError::internal(format!("cannot read /run/postroj: {error}"));
    runtime.sweep().map_err(failed)?;
    runtime.machines().map_err(failed)
}

fn table(machines: &[Record]) -> String {
    let width = machines
        .iter()
        .map(|record| record.machine.len())
        .chain([7])
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for record in machines {
        let since = UNIX_EPOCH + Duration::from_secs(record.started);
        let up = SystemTime::now().duration_since(since).unwrap_or_default();
        let kept = if record.kept { "kept" } else { "in use" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<width$}  {kept:<6}  up {:<8}  {}",
            record.machine,
            age(up),
            record.image
        );
    }
    text
}

pub(in crate::cli) fn age(up: Duration) -> String {
    let seconds = up.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

/// End containers
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Their names, as `postroj machines` lists them
    #[arg(value_name = "MACHINE", required_unless_present = "all")]
    machines: Vec<String>,
    /// End every container that was kept
    #[arg(long, conflicts_with = "machines")]
    all: bool,
}

impl Stop {
    pub(crate) async fn run(&self, output: &Output) -> Result<Exit, CommandError> {
        let up = sweep_and_list()?;
        let names: Vec<String> = if self.all {
            up.into_iter()
                .filter(|record| record.kept)
                .map(|record| record.machine)
                .collect()
        } else {
            self.machines.clone()
        };
        let mut first_error = None;
        for name in &names {
            match stop(&Runtime::default(), name).await {
                Ok(()) => output.note(&format!("{name}: ended")),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match first_error {
            Some(error) => Err(error.into()),
            None => Ok(Exit::Success),
        }
    }
}

/// Open a login shell in a container that was kept with --keep
///
/// Its exit code is the shell's.
#[derive(Debug, clap::Args)]
pub(crate) struct Shell {
    /// The container's name, as `postroj machines` lists it
    #[arg(value_name = "MACHINE")]
    machine: String,
}

impl Shell {
    pub(crate) async fn run(&self) -> Result<Exit, CommandError> {
        sweep_and_list()?;
        Ok(match shell(&Runtime::default(), &self.machine).await? {
            ExitStatus::Code(code) => Exit::Code(code),
            ExitStatus::Signal(signal) => Exit::Signal(signal),
            ExitStatus::Unknown => Exit::NoVerdict,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        assert_eq!(age(Duration::from_secs(5)), "5 s");
        assert_eq!(age(Duration::from_secs(300)), "5 min");
        assert_eq!(age(Duration::from_secs(90_000)), "25 h");
    }
}
