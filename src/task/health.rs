//! How a task is at this moment.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::{Phase, State, Task};
use crate::machine::{Doing, Ending, Usage, doing, signal_name};
use crate::timestamp;

/// What a task's command does; proc(5), `/proc/<pid>/stat`, as long as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Its container is being put together.
    Starting,
    /// It runs, or would if there were a processor for it.
    Running,
    /// It waits for something.
    Sleeping,
    /// It waits for a disk, say, and no signal disturbs it.
    DiskSleep,
    /// A signal has stopped it.
    Stopped,
    /// It has ended, and its parent has not looked yet.
    Zombie,
    /// It has ended and nobody knows how: its keeper was killed, or the host went down.
    Dead,
    /// It has ended.
    Exited,
}

impl From<Doing> for Status {
    fn from(doing: Doing) -> Self {
        match doing {
            Doing::Running => Self::Running,
            Doing::Sleeping => Self::Sleeping,
            Doing::DiskSleep => Self::DiskSleep,
            Doing::Stopped => Self::Stopped,
            Doing::Zombie => Self::Zombie,
            Doing::Dead => Self::Dead,
        }
    }
}

impl Status {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::DiskSleep => "disk-sleep",
            Self::Stopped => "stopped",
            Self::Zombie => "zombie",
            Self::Dead => "dead",
            Self::Exited => "exited",
        }
    }
}

/// How a task is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Whether there is such a task: there is.
    pub exists: bool,
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its image, as it was named.
    pub image: String,
    /// What is run.
    pub command: Vec<String>,
    /// What the command does.
    pub status: Status,
    /// Its exit code, if it has ended.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<String>,
    /// When it was started last.
    #[serde(serialize_with = "timestamp::optional")]
    pub started: Option<SystemTime>,
    /// When it ended.
    #[serde(serialize_with = "timestamp::optional")]
    pub finished: Option<SystemTime>,
    /// The processor time of all that runs in its container, while it does, in seconds.
    #[serde(serialize_with = "seconds")]
    pub cpu_time: Option<Duration>,
    /// The memory of its container, in bytes, while it runs.
    pub memory: Option<u64>,
    /// Whether the kernel has killed a process of its last run for want of memory.
    pub oom_killed: bool,
    /// Whether it was ended for having taken too long.
    pub timed_out: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// What went wrong that was not the command's fault.
    pub error: Option<String>,
    /// How many bytes of what it wrote could not be written down.
    pub log_lost: u64,
}

impl Health {
    pub(super) fn of(task: &Task, state: &State, is_kept: bool) -> Self {
        let running = state
            .processes
            .filter(|_| is_kept && state.phase == Phase::Running);
        let usage = running.map(|processes| Usage::of(processes.leader));
        let usage = usage.unwrap_or_default();
        let status = match state.phase {
            Phase::Ended => Status::Exited,
            _ if !is_kept => Status::Dead,
            Phase::Starting => Status::Starting,
            Phase::Restarting => Status::Exited,
            Phase::Running => {
                let command = running.and_then(|processes| processes.command);
                // Its end is known to all but its keeper, which is about to hear of it.
                command.and_then(doing).map_or(Status::Exited, Into::into)
            }
        };
        let has_ended = status == Status::Exited && running.is_none();
        let end = state.end.as_ref().filter(|_| has_ended);
        let signal = match end.map(|end| &end.ending) {
            Some(Ending::Killed(number)) => Some(signal_name(*number)),
            _ => None,
        };
        Self {
            exists: true,
            id: task.id().to_owned(),
            name: task.name().map(str::to_owned),
            image: task.image().to_owned(),
            command: task.command().to_vec(),
            status,
            exit_code: has_ended.then(|| state.code()).flatten(),
            signal,
            started: state.started,
            finished: state.finished.filter(|_| has_ended),
            cpu_time: usage.processor,
            memory: usage.memory,
            oom_killed: usage.out_of_memory || end.is_some_and(|end| end.out_of_memory),
            timed_out: state.timed_out,
            restarts: state.restarts,
            error: state.error.clone(),
            log_lost: state.lost,
        }
    }
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_f64(time.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}
