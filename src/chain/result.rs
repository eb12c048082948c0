//! What became of a chain.

use std::time::SystemTime;

use serde::Serialize;

use super::error::StageError;
use super::logs::Logs;
use crate::image::Reference;
use crate::machine::{Ending, ProcessEnd};
use crate::timestamp;

/// What became of a chain.
#[derive(Debug, Clone, Serialize)]
pub struct ChainResult {
    /// Whether all stages succeeded.
    pub success: bool,
    /// The directory that the stages had in common, if it was to stay.
    pub job: Option<String>,
    /// One entry for each stage, in their order.
    pub stages: Vec<StageResult>,
}

/// What became of a stage.
#[derive(Debug, Clone, Serialize)]
pub struct StageResult {
    /// The image, as it was given.
    pub image: String,
    /// How it came to its end.
    pub state: State,
    /// Whether it was killed because its time was over.
    pub killed: bool,
    /// Whether its command ended with exit code 0.
    pub success: bool,
    /// What it wrote, if that was to be kept.
    pub logs: Option<Logs>,
    /// What is postroj's fault, the host's or the image's, and not the command's.
    pub error: Option<StageError>,
}

/// How a stage came to its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct State {
    /// In a word.
    pub status: Status,
    /// The exit code; 128 and the signal's number where one ended it, 127 where there is no such program,
    /// 126 where it cannot be executed.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why the command could not be started.
    pub reason: Option<String>,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// When its command was started, in RFC 3339's form.
    #[serde(serialize_with = "timestamp::optional")]
    pub started: Option<SystemTime>,
    /// When it had ended.
    #[serde(serialize_with = "timestamp::optional")]
    pub finished: Option<SystemTime>,
}

/// How a stage came to its end, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its command ended by itself.
    Exited,
    /// A signal ended it.
    Killed,
    /// Its command could not be started.
    Failed,
    /// What became of it is not known, or it could not be tried: `error` says why.
    Error,
    /// It never ran.
    Skipped,
}

impl ChainResult {
    /// Whether nothing can be said of the stages, for something of postroj's, the host's or an image's
    /// was in the way.
    pub fn is_without_verdict(&self) -> bool {
        self.stages.iter().any(|stage| stage.error.is_some())
    }
}

impl StageResult {
    pub(super) fn skipped(image: &Reference) -> Self {
        Self {
            image: image.to_string(),
            state: State {
                status: Status::Skipped,
                exit_code: None,
                signal: None,
                reason: None,
                oom_killed: false,
                started: None,
                finished: None,
            },
            killed: false,
            success: false,
            logs: None,
            error: None,
        }
    }

    /// Something else than the command was in the way.
    pub(super) fn fail(&mut self, error: StageError) {
        if !self.has_run() {
            self.state.status = Status::Error;
        }
        self.success = false;
        self.error = Some(error);
    }

    /// Whether its command was started, or could not be.
    pub(super) fn has_run(&self) -> bool {
        self.state.started.is_some()
    }
}

impl State {
    /// Takes over how the command ended.
    pub(super) fn end(&mut self, end: &ProcessEnd) {
        self.oom_killed = end.out_of_memory;
        self.exit_code = Some(end.ending.code());
        match &end.ending {
            Ending::Exited(_) => self.status = Status::Exited,
            Ending::Killed(signal) => {
                self.status = Status::Killed;
                self.signal = Some(*signal);
            }
            Ending::Failed(failure) => {
                self.status = Status::Failed;
                self.reason = Some(failure.to_string());
            }
        }
    }
}
