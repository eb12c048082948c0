//! Making a task.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;

use super::control::{self, Began};
use super::definition::Definition;
use super::{Restart, State, Task, TaskError, Tasks, files, id, keeper};
use crate::image::Images;
use crate::machine::{Keeper, signal_number, start_keeper, wire};
use crate::run::Run;

/// How long a keeper may take to clear up after its command.
const CLEARING: Duration = Duration::from_secs(30);

/// A task to create.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The command; its name is the task's.
    pub run: Run,
    /// Whether the command has somebody to read from; see [`Task::input`].
    pub interactive: bool,
    /// When it is started again.
    pub restart: Restart,
    /// When it is ended, if it runs so long.
    pub timeout: Option<Duration>,
    /// How long it may take to end after it was asked to, before it is killed.
    pub patience: Duration,
    /// Whether the task is removed when it has ended.
    pub removed_at_end: bool,
}

impl NewTask {
    /// A command, run once.
    pub fn of(run: Run) -> Self {
        Self {
            run,
            interactive: false,
            restart: Restart::No,
            timeout: None,
            patience: Duration::from_secs(10),
            removed_at_end: false,
        }
    }
}

/// A task that has been started.
#[derive(Debug)]
pub struct Created {
    /// The task.
    pub task: Task,
    /// What the user should know of how its container was put together.
    pub notes: Vec<String>,
}

impl Tasks {
    /// Gets the image, makes a task, and waits until its command has started. If the result is not waited
    /// for, nothing is left of it.
    pub async fn create(&self, new: &NewTask, images: &Images) -> Result<Created, TaskError> {
        let image = new.run.pull(images).await?;
        let container = new.run.container(&image, images)?;
        let id = id::new().map_err(TaskError::storage(Path::new("/dev/random")))?;
        let definition = Definition {
            id,
            image: new.run.image.to_string(),
            created: SystemTime::now(),
            container,
            interactive: new.interactive,
            restart: new.restart,
            timeout: new.timeout,
            stop_signal: signal_number(&image.config.stop_signal).unwrap_or(libc::SIGTERM),
            patience: new.patience,
            removed_at_end: new.removed_at_end,
        };
        let made = self.make(&definition)?;
        let task = Task {
            directory: made.directory.clone(),
            definition,
        };
        let notes = task.begin(made).await?;
        Ok(Created { task, notes })
    }

    /// Makes the directory of a task.
    fn make(&self, definition: &Definition) -> Result<Made, TaskError> {
        let failed = || TaskError::storage(&self.directory);
        let _all = files::lock_all(&self.directory).map_err(failed())?;
        files::sweep(&self.directory);
        if let Some(name) = &definition.container.name {
            let is_taken = |task: &Task| task.name() == Some(name) || task.id() == name;
            if self.list()?.iter().any(is_taken) {
                return Err(TaskError::NameTaken(name.clone()));
            }
        }
        let directory = self.directory.join(&definition.id);
        let failed = || TaskError::storage(&directory);
        let lock = files::make(&directory).map_err(failed())?;
        let mut made = Made {
            directory: directory.clone(),
            lock: Some(lock),
            listener: None,
        };
        // Whoever finds the task can ask it, and is answered as soon as its keeper is there.
        let fill = || {
            let (path, _opened) = control::socket(&directory)?;
            let listener = UnixListener::bind(path)?;
            files::make_log(&directory)?;
            State::default().save(&files::state(&directory))?;
            definition.save(&directory)?;
            Ok(listener)
        };
        made.listener = Some(fill().map_err(failed())?);
        Ok(made)
    }
}

/// The directory of a task that has no keeper yet: it goes unless it gets one.
struct Made {
    directory: PathBuf,
    lock: Option<OwnedFd>,
    listener: Option<UnixListener>,
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = files::remove_locked(&self.directory);
        }
    }
}

impl Task {
    /// Starts its keeper, and waits until that has started the command.
    async fn begin(&self, mut made: Made) -> Result<Vec<String>, TaskError> {
        let failed = || TaskError::storage(&self.directory);
        let (ours, theirs) = StdUnixStream::pair().map_err(failed())?;
        let arguments = [
            keeper::COMMAND.to_owned(),
            self.directory.display().to_string(),
        ];
        let keeper = Keeper {
            id: self.id().to_owned(),
            description: format!(
                "postroj task {}: {}",
                self.shown(),
                self.command().join(" ")
            ),
            arguments: arguments.to_vec(),
            patience: self.definition.patience + CLEARING,
        };
        start_keeper(&keeper, theirs.into()).await?;
        if let (Some(lock), Some(listener)) = (&made.lock, &made.listener) {
            let handed = [lock.as_fd(), listener.as_fd()];
            wire::send(&ours, b"keep\n", &handed).map_err(failed())?;
        }
        // From here on the directory is the keeper's, also for being removed.
        (made.lock, made.listener) = (None, None);
        let answer = async {
            ours.set_nonblocking(true)?;
            let mut line = String::new();
            let mut reader = BufReader::new(UnixStream::from_std(ours)?);
            reader.read_line(&mut line).await?;
            serde_json::from_str(&line).map_err(io::Error::from)
        };
        match answer.await {
            Ok(Began::Running { notes }) => Ok(notes),
            Ok(Began::Failed {
                message,
                hint,
                code,
            }) => Err(TaskError::NotStarted {
                message,
                hint,
                code,
            }),
            Err(_) => {
                // It was killed. Its container goes with it.
                let _ = files::remove(&self.directory);
                Err(TaskError::Lost { id: self.shown() })
            }
        }
    }
}
