//! How a task is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::files;
use crate::machine::{ProcessEnd, Started};

/// How large the file is at least: a disk that is full has room for what is written over it.
const ROOM: usize = 4096;

/// The exit code of what took longer than it was given; timeout(1).
const TIMED_OUT: i32 = 124;

/// The exit code when it is not the command that failed; docker-run(1).
pub(super) const OWN_FAILURE: i32 = 125;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Its container is being put together for the first time.
    #[default]
    Starting,
    /// The command runs.
    Running,
    /// It has ended and will be started again.
    Restarting,
    /// It has ended for good.
    Ended,
}

/// How a task is, as its keeper has written it down.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// When the command was started last.
    pub started: Option<SystemTime>,
    /// When it ended last.
    pub finished: Option<SystemTime>,
    /// How it ended last.
    pub end: Option<ProcessEnd>,
    /// Whether it took longer than it was given.
    pub timed_out: bool,
    /// Whether somebody ended the task.
    pub stopped: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// What went wrong that was not the command's fault.
    pub error: Option<String>,
    /// How many bytes of what it wrote could not be written down, because the disk was full, say.
    pub lost: u64,
    /// Its processes on the host, while it runs.
    pub(super) processes: Option<Processes>,
}

/// The numbers of [`Started`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Processes {
    pub(super) leader: i32,
    pub(super) command: Option<i32>,
}

impl From<Started> for Processes {
    fn from(started: Started) -> Self {
        Self {
            leader: started.leader,
            command: started.command,
        }
    }
}

impl State {
    /// The exit code of its last run, as `$?` would have it; `None` if there is none yet.
    pub fn code(&self) -> Option<i32> {
        self.finished?;
        match &self.end {
            Some(_) if self.timed_out => Some(TIMED_OUT),
            Some(end) => Some(end.ending.code()),
            None => Some(OWN_FAILURE),
        }
    }

    pub(super) fn load(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
    }

    /// Writes it, whole even if this is cut short. Where the disk has no room for another file, it is
    /// written over the one that is there.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.resize(text.len().max(ROOM), b'\n');
        files::write(path, &text).or_else(|error| {
            let there = File::options().write(true).open(path);
            let there = there.and_then(|file| Ok((file.metadata()?.len(), file)));
            match there {
                Ok((length, file)) if length >= text.len() as u64 => {
                    text.resize(usize::try_from(length).unwrap_or(ROOM), b'\n');
                    file.write_all_at(&text, 0)
                }
                _ => Err(error),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Ending;

    #[test]
    fn the_last_run_has_an_exit_code() {
        let mut state = State::default();
        assert_eq!(state.code(), None);
        state.finished = Some(SystemTime::now());
        assert_eq!(state.code(), Some(125));
        state.end = Some(ProcessEnd {
            ending: Ending::Killed(15),
            out_of_memory: false,
        });
        assert_eq!(state.code(), Some(143));
        state.timed_out = true;
        assert_eq!(state.code(), Some(124));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let state = State {
            phase: Phase::Running,
            started: Some(SystemTime::now()),
            restarts: 3,
            ..State::default()
        };
        state.save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), state);
    }
}
