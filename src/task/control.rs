//! What a task's keeper is asked, and answers: one line of JSON each, on a connection for each request.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::State;
use super::files::CONTROL;
use crate::machine::wire::{self, Lines};

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// Send the command a signal.
    Signal(i32),
    /// Tell when the task has ended for good.
    Wait,
    /// End it, and tell how it ended. The connection stays open as long as the keeper is there.
    Stop,
    /// Give what the command reads from.
    Input,
    /// Let what the command reads come to its end, if it has been started again so often.
    EndInput(u32),
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// What the command reads from comes with this; it has been started again so often.
    Input(u32),
    /// It is not, and why.
    Refused(String),
    /// How the task has ended.
    Ended(Box<State>),
}

/// What the keeper tells who has started it, on the socket that is its standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Began {
    /// The command runs, or has run.
    Running {
        /// What the user should know of its container.
        notes: Vec<String>,
    },
    /// It was not started, and nothing is left of the task.
    Failed {
        message: String,
        hint: Option<String>,
        code: i32,
    },
}

/// The path of the socket, and what has to stay open while it is used.
pub(super) fn socket(directory: &Path) -> io::Result<(PathBuf, File)> {
    let opened = File::open(directory)?;
    let number = opened.as_raw_fd();
    Ok((format!("/proc/self/fd/{number}/{CONTROL}").into(), opened))
}

/// Asks; `None` if the keeper goes without an answer.
pub(super) async fn ask(directory: &Path, request: &Request) -> io::Result<Option<Answer>> {
    let (path, _directory) = socket(directory)?;
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(&wire::line(request)?).await?;
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    reader.read_line(&mut answer).await?;
    let answer = serde_json::from_str(&answer).ok();
    if matches!(request, Request::Stop) {
        // It has said how the task ended, and may still have something to do.
        reader.read_line(&mut String::new()).await?;
    }
    Ok(answer)
}

/// Asks for something that comes with a descriptor.
pub(super) async fn ask_for_descriptor(
    directory: &Path,
    request: &Request,
) -> io::Result<(Option<Answer>, Option<OwnedFd>)> {
    let (path, _directory) = socket(directory)?;
    let stream = StdUnixStream::connect(path)?;
    wire::send(&stream, &wire::line(request)?, &[])?;
    let asked = tokio::task::spawn_blocking(move || {
        let mut lines = Lines::new(stream);
        let answer = lines.next()?;
        let answer = answer.and_then(|line| serde_json::from_slice(&line).ok());
        Ok((answer, lines.descriptors.pop()))
    });
    asked.await.map_err(io::Error::other)?
}
