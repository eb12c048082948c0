//! A long-running command in a container of its own, which outlives whoever started it.
//!
//! [`Tasks::create`] starts one; [`Tasks::find`] finds it again, in this process or any other. Each has a
//! directory below the store's, and a keeper (see `keeper`): a process that starts the container, writes
//! down what the command writes and how it ends, starts it again where that is wanted, and hears who asks.
//! It is a transient service on a host that systemd runs, elsewhere a process of a session of its own.
//!
//! What there is of a task, whether it runs or has ended, stays until it is removed. Its root file system
//! is none of that: every start of the command gets the image's root, and that goes when it ends.
//!
//! ```no_run
#![doc = include_str!("../../examples/task.rs")]
//! ```

mod control;
mod create;
mod definition;
mod error;
mod files;
mod health;
mod id;
mod keeper;
mod log;
mod restart;
mod state;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use create::{Created, NewTask};
pub use error::TaskError;
pub use health::{Health, Status};
pub use log::{LogOptions, Logs, Record, since};
pub use restart::Restart;
pub use state::{Phase, State};

use control::{Answer, Request};
use definition::Definition;

use crate::image::Images;
use crate::locked;

/// Does what this program has been started again for, as the keeper of a task, and gives the exit code.
pub(crate) fn helper(command: &OsStr) -> Option<i32> {
    (command == keeper::COMMAND).then(|| i32::from(keeper::keep().is_err()))
}

/// The tasks of a store.
#[derive(Debug, Clone)]
pub struct Tasks {
    directory: PathBuf,
}

impl Tasks {
    /// Those whose images are these.
    pub fn of(images: &Images) -> Self {
        Self::in_state(images.storage())
    }

    /// Those below the directory in which the images are.
    pub fn in_state(directory: &Path) -> Self {
        Self {
            directory: directory.join("tasks"),
        }
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Result<Vec<Task>, TaskError> {
        let directories = locked::directories(&self.directory);
        let directories = directories.map_err(TaskError::storage(&self.directory))?;
        let mut tasks: Vec<Task> = directories.into_iter().filter_map(Task::load).collect();
        tasks.sort_by_key(|task| task.definition.created);
        Ok(tasks)
    }

    /// Those that are there and cannot be read, and why. Their directories may be removed by hand.
    pub fn unreadable(&self) -> Vec<TaskError> {
        let directories = locked::directories(&self.directory).unwrap_or_default();
        let failed = |directory: PathBuf| {
            let path = files::definition(&directory);
            match Definition::load(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Some(TaskError::storage(&path)(error))
                }
                _ => None,
            }
        };
        directories.into_iter().filter_map(failed).collect()
    }

    /// The one of that name, or whose id begins so.
    pub fn find(&self, text: &str) -> Result<Task, TaskError> {
        let mut tasks = self.list()?;
        let named = |task: &Task| task.name() == Some(text) || task.id() == text;
        if let Some(at) = tasks.iter().position(named) {
            return Ok(tasks.swap_remove(at));
        }
        tasks.retain(|task| !text.is_empty() && task.id().starts_with(text));
        match tasks.len() {
            0 => Err(TaskError::Unknown(text.to_owned())),
            1 => Ok(tasks.remove(0)),
            count => Err(TaskError::Ambiguous {
                text: text.to_owned(),
                count,
            }),
        }
    }
}

/// What a task's command reads from, until it is started again.
#[derive(Debug)]
pub struct Input {
    /// A pipe, or its terminal's master.
    pub descriptor: OwnedFd,
    /// How often the command had been started again.
    run: u32,
}

/// A command that was started once, whether or not it still runs.
#[derive(Debug, Clone)]
pub struct Task {
    directory: PathBuf,
    definition: Definition,
}

impl Task {
    /// Reads one. What is being made, or removed, or was left by somebody who was killed meanwhile, is none.
    fn load(directory: PathBuf) -> Option<Self> {
        let definition = Definition::load(&directory).ok()?;
        (!files::is_left(&directory)).then_some(Self {
            directory,
            definition,
        })
    }

    /// Its id: 32 hexadecimal digits that no other task has, had or will have.
    pub fn id(&self) -> &str {
        &self.definition.id
    }

    /// The beginning of its id, as it is shown.
    pub fn short_id(&self) -> &str {
        id::short(&self.definition.id)
    }

    /// Its name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.definition.container.name.as_deref()
    }

    /// Its image, as it was named.
    pub fn image(&self) -> &str {
        &self.definition.image
    }

    /// What is run: the program and its arguments.
    pub fn command(&self) -> &[String] {
        &self.definition.container.process.args
    }

    /// When it was created.
    pub fn created(&self) -> SystemTime {
        self.definition.created
    }

    /// The name of its container, as [`Runtime::machines`](crate::machine::Runtime::machines) has it.
    pub fn machine(&self) -> String {
        self.definition.machine()
    }

    /// Whether it has a terminal.
    pub fn has_terminal(&self) -> bool {
        self.definition.container.process.terminal.is_some()
    }

    /// Whether it reads what [`Self::input`] gives it.
    pub fn is_interactive(&self) -> bool {
        self.definition.interactive
    }

    /// What its keeper has written down last. One that does not say that it has ended, and has no keeper,
    /// has lost it; [`Self::health`] tells.
    pub fn state(&self) -> Result<State, TaskError> {
        let path = files::state(&self.directory);
        State::load(&path).map_err(|error| self.gone_or(TaskError::storage(&path)(error)))
    }

    /// How it is.
    pub fn health(&self) -> Result<Health, TaskError> {
        // In this order: what a keeper has written last is written before it ends.
        let is_kept = self.is_kept();
        Ok(Health::of(self, &self.state()?, is_kept))
    }

    /// Makes sure that it has not ended.
    pub fn check_running(&self) -> Result<(), TaskError> {
        if self.is_kept() && self.state()?.phase != Phase::Ended {
            return Ok(());
        }
        Err(self.not_running())
    }

    /// Whether somebody looks after it.
    fn is_kept(&self) -> bool {
        files::is_locked(&self.directory)
    }

    /// Sends the command a signal, by its number.
    pub async fn signal(&self, number: i32) -> Result<(), TaskError> {
        match control::ask(&self.directory, &Request::Signal(number)).await {
            Ok(Some(Answer::Refused(message))) => Err(TaskError::Refused {
                id: self.shown(),
                message,
            }),
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err(self.not_running()),
        }
    }

    /// Waits until it has ended for good, restarts included; gives how.
    pub async fn wait(&self) -> Result<State, TaskError> {
        self.ended_by(Request::Wait).await
    }

    /// Ends it, as its image wants to be ended: by a signal, and by force if that takes too long.
    pub async fn stop(&self) -> Result<State, TaskError> {
        self.ended_by(Request::Stop).await
    }

    async fn ended_by(&self, request: Request) -> Result<State, TaskError> {
        if let Ok(Some(Answer::Ended(state))) = control::ask(&self.directory, &request).await {
            return Ok(*state);
        }
        // Nobody is there, or nobody any more.
        let state = self.state()?;
        if state.phase == Phase::Ended {
            return Ok(state);
        }
        Err(TaskError::Lost { id: self.shown() })
    }

    /// What it reads from. What is written there waits until it is read.
    pub async fn input(&self) -> Result<Input, TaskError> {
        let answer = control::ask_for_descriptor(&self.directory, &Request::Input).await;
        match answer {
            Ok((Some(Answer::Input(run)), Some(descriptor))) => Ok(Input { descriptor, run }),
            Ok((Some(Answer::Refused(message)), None)) => Err(TaskError::Refused {
                id: self.shown(),
                message,
            }),
            _ => Err(self.not_running()),
        }
    }

    /// Lets what it reads from a pipe come to its end, when everybody who has that has closed it. If it has
    /// been started again since, nothing is done.
    pub async fn end_input(&self, input: &Input) -> Result<(), TaskError> {
        let asked = control::ask(&self.directory, &Request::EndInput(input.run)).await;
        asked.map(drop).map_err(|_| self.not_running())
    }

    /// What it has written, and, if that is wanted, what it writes from now on.
    pub fn logs(&self, options: &LogOptions) -> Result<Logs, TaskError> {
        Logs::open(self, options).map_err(TaskError::storage(&files::log(&self.directory)))
    }

    /// Removes it and what it has written. One that runs is ended first if that is wanted by `force`,
    /// otherwise it is left alone.
    pub async fn remove(self, force: bool) -> Result<(), TaskError> {
        // Whose command has ended for good is about to go.
        let has_ended = self.state().is_ok_and(|state| state.phase == Phase::Ended);
        if !has_ended && self.is_kept() {
            if !force {
                return Err(TaskError::Running { id: self.shown() });
            }
            match self.stop().await {
                // Somebody else has removed it, or it went by itself.
                Err(TaskError::Unknown(_)) => return Ok(()),
                Ok(_) | Err(TaskError::Lost { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let directory = self.directory;
        let removed = tokio::task::spawn_blocking(move || {
            let removed = files::remove(&directory);
            removed.map_err(TaskError::storage(&directory))
        });
        removed.await.unwrap_or_else(|_| {
            let error = io::Error::other("a thread failed");
            Err(TaskError::storage(Path::new("tasks"))(error))
        })
    }

    /// As it is called in messages.
    fn shown(&self) -> String {
        self.name().unwrap_or_else(|| self.short_id()).to_owned()
    }

    fn not_running(&self) -> TaskError {
        self.gone_or(TaskError::NotRunning { id: self.shown() })
    }

    /// An error, unless the task has been removed meanwhile.
    fn gone_or(&self, error: TaskError) -> TaskError {
        if self.directory.exists() {
            error
        } else {
            TaskError::Unknown(self.shown())
        }
    }
}
