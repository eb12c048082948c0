//! What can go wrong with a task.

use std::io;
use std::path::{Path, PathBuf};

use crate::image::ImageError;
use crate::machine::MachineError;
use crate::run::RunError;

/// Why there is no task, or why it could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Its image or its container could not be had.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It was not started, says its keeper.
    #[error("{message}")]
    NotStarted {
        /// What it says.
        message: String,
        /// What to do about it, where there is something.
        hint: Option<String>,
        /// The exit code that says so: 125, or 126 or 127 if it is the command that cannot be executed.
        code: i32,
    },
    /// There is a task of that name.
    #[error("a task is named {0} already")]
    NameTaken(String),
    /// There is no such task.
    #[error("there is no task {0}")]
    Unknown(String),
    /// The beginning of an id is that of several.
    #[error("{count} tasks have an id that begins with {text}")]
    Ambiguous {
        /// The beginning.
        text: String,
        /// How many.
        count: usize,
    },
    /// It runs, and was not to be ended.
    #[error("task {id} is running")]
    Running {
        /// Its name or id.
        id: String,
    },
    /// It has ended.
    #[error("task {id} is not running")]
    NotRunning {
        /// Its name or id.
        id: String,
    },
    /// Its keeper would not do it.
    #[error("task {id} {message}")]
    Refused {
        /// Its name or id.
        id: String,
        /// Why not.
        message: String,
    },
    /// Its keeper has gone without a word.
    #[error(
        "task {id}: nobody knows how it ended, for its keeper was killed or the host went down"
    )]
    Lost {
        /// Its name or id.
        id: String,
    },
    /// Its files cannot be read or written.
    #[error("{}: {source}", path.display())]
    Storage {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl TaskError {
    pub(super) fn storage(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Storage { path, source }
    }

    /// Whether it is what was asked for that is wrong, and not the host.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NameTaken(_)
                | Self::Unknown(_)
                | Self::Ambiguous { .. }
                | Self::Running { .. }
                | Self::NotRunning { .. }
                | Self::Refused { .. }
        )
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotStarted { hint, .. } => hint.as_deref(),
            Self::NameTaken(_) => Some("`postroj task rm` removes one that has ended"),
            Self::Unknown(_) | Self::Ambiguous { .. } => Some("`postroj task list` lists them"),
            Self::Running { .. } => Some("--force ends it first"),
            _ => None,
        }
    }
}

impl From<ImageError> for TaskError {
    fn from(error: ImageError) -> Self {
        Self::Run(error.into())
    }
}

impl From<MachineError> for TaskError {
    fn from(error: MachineError) -> Self {
        Self::Run(error.into())
    }
}
