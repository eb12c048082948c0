//! `task`: commands that outlive whoever has started them.

mod attach;
pub(super) mod create;
mod health;
mod list;
mod logs;

use postroj::task::{Task as Found, TaskError, Tasks};

use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;

/// Look after commands that run in containers of their own and outlive postroj
#[derive(Debug, clap::Args)]
pub(crate) struct Task {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(Box<create::Create>),
    List(list::List),
    Health(health::Health),
    Logs(logs::Logs),
    Signal(Signal),
    Wait(Wait),
    Attach(attach::Attach),
    Rm(Rm),
}

impl Task {
    pub(crate) async fn run(
        self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        if let Command::Create(command) = self.command {
            return Box::pin(command.run(settings, output)).await;
        }
        require_root()?;
        let tasks = Tasks::in_state(&settings.state_dir);
        match self.command {
            Command::Create(_) => unreachable!("run above"),
            Command::List(command) => command.run(&tasks, output),
            Command::Health(command) => command.run(&tasks, output),
            Command::Logs(command) => command.run(&tasks).await,
            Command::Signal(command) => command.run(&tasks).await,
            Command::Wait(command) => command.run(&tasks, output).await,
            Command::Attach(command) => command.run(&tasks, output).await,
            Command::Rm(command) => command.run(&tasks, output).await,
        }
    }
}

/// How a task is named in a command.
const TASK: &str = "TASK";

/// Send the command of a task a signal
#[derive(Debug, clap::Args)]
struct Signal {
    /// The task: its name, its id, or the beginning of that
    #[arg(value_name = TASK)]
    task: String,
    /// The signal: SIGINT, INT or 2
    #[arg(value_name = "SIGNAL", value_parser = signal)]
    signal: i32,
}

fn signal(text: &str) -> Result<i32, String> {
    let number = postroj::machine::signal_number(text);
    number.ok_or_else(|| "there is no such signal; signal(7) lists them".to_owned())
}

impl Signal {
    async fn run(self, tasks: &Tasks) -> Result<Exit, CommandError> {
        tasks.find(&self.task)?.signal(self.signal).await?;
        Ok(Exit::Success)
    }
}

/// Wait until tasks have ended, and print their exit codes
///
/// A line for each, in their order: the exit code of its command, 128 and its number if a signal ended it,
/// 124 if it took longer than --timeout.
#[derive(Debug, clap::Args)]
struct Wait {
    /// The tasks: their names, their ids, or the beginnings of those
    #[arg(value_name = TASK, required = true)]
    tasks: Vec<String>,
}

impl Wait {
    async fn run(self, tasks: &Tasks, output: &Output) -> Result<Exit, CommandError> {
        let found = find_all(tasks, &self.tasks)?;
        for task in found {
            let state = task.wait().await?;
            output.result(&format!("{}\n", state.code().unwrap_or_default()));
        }
        Ok(Exit::Success)
    }
}

/// Remove tasks, and what they have written
#[derive(Debug, clap::Args)]
struct Rm {
    /// The tasks: their names, their ids, or the beginnings of those
    #[arg(value_name = TASK, required_unless_present = "all")]
    tasks: Vec<String>,
    /// Remove every task
    #[arg(long, short, conflicts_with = "tasks")]
    all: bool,
    /// End what runs first, as its image wants it to be ended, and by force after --stop-timeout
    #[arg(long, short)]
    force: bool,
}

impl Rm {
    async fn run(self, tasks: &Tasks, output: &Output) -> Result<Exit, CommandError> {
        let found = if self.all {
            tasks.list()?
        } else {
            find_all(tasks, &self.tasks)?
        };
        let removals = found.into_iter().map(|task| async {
            let id = task.id().to_owned();
            task.remove(self.force).await.map(|()| id)
        });
        // Those that have to end do so at the same time.
        let mut first_error = None;
        for removed in futures_util::future::join_all(removals).await {
            match removed {
                Ok(id) => output.note(&format!("{id}: removed")),
                Err(error) if first_error.is_none() => first_error = Some(error),
                Err(error) => output.complain(&error.to_string()),
            }
        }
        match first_error {
            Some(error) => Err(error.into()),
            None => Ok(Exit::Success),
        }
    }
}

/// Finds tasks, each once; if one is missing, nothing is done with the others.
fn find_all(tasks: &Tasks, named: &[String]) -> Result<Vec<Found>, TaskError> {
    let mut found: Vec<Found> = Vec::new();
    for text in named {
        let task = tasks.find(text)?;
        if found.iter().all(|other| other.id() != task.id()) {
            found.push(task);
        }
    }
    Ok(found)
}

impl From<TaskError> for CommandError {
    fn from(error: TaskError) -> Self {
        let hint = error.hint().map(str::to_owned);
        let code = match &error {
            TaskError::NotStarted { code, .. } => Some(*code),
            _ => None,
        };
        let made = match error {
            TaskError::Run(error) => return error.into(),
            error if error.is_usage() => Self::usage(error),
            error => Self::internal(error),
        };
        let made = made.with_hint(hint);
        match code {
            Some(code @ (126 | 127)) => made.with_code(code),
            _ => made,
        }
    }
}
