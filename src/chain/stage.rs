//! One stage of a chain.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::error::StageError;
use super::logs::{Heard, Logs, listen};
use super::result::{StageResult, Status};
use super::{JOB, Stage, Stop, Watcher};
use crate::image::{Images, ReadyImage};
use crate::machine::{
    Container, Ending, Isolation, Limits, Mount, Network, ProcessEnd, Shape, Stdio, Users,
};
use crate::run::{Run, Stream};

/// Where a stage runs.
pub(super) struct Place<'a> {
    pub(super) number: usize,
    pub(super) images: &'a Images,
    pub(super) image: &'a ReadyImage,
    /// The directory of this host that it sees as [`JOB`].
    pub(super) job: &'a Path,
    pub(super) env: Vec<String>,
    pub(super) users: Users,
}

/// What made a stage end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its command.
    Itself,
    /// Its time was over.
    Time,
    /// Somebody wants the chain to end.
    Stop,
}

/// A command that is running, and what it writes to.
struct Running {
    container: Container,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Stage {
    /// Runs it to its end.
    pub(super) async fn run(
        &self,
        place: &Place<'_>,
        watcher: &dyn Watcher,
        stop: &Stop,
    ) -> StageResult {
        let mut result = StageResult::skipped(&self.image);
        let running = tokio::select! {
            running = self.start(place) => running,
            () = stop.asked() => Err(StageError::Interrupted),
        };
        let running = match running {
            Ok(running) => running,
            Err(error) => {
                result.fail(error);
                return result;
            }
        };
        result.state.started = Some(SystemTime::now());
        for note in running.container.notes() {
            watcher.noted(place.number, note);
        }
        let heard = |stream| move |line: &_| watcher.wrote(place.number, stream, line);
        let (ended, stdout, stderr) = tokio::join!(
            self.end(running.container, stop),
            listen(running.stdout, heard(Stream::Stdout)),
            listen(running.stderr, heard(Stream::Stderr)),
        );
        result.state.finished = Some(SystemTime::now());
        match ended {
            Ok((end, cause)) => {
                result.state.end(&end);
                result.killed = cause == Cause::Time;
                result.success = end.ending == Ending::Exited(0);
                if cause == Cause::Stop {
                    result.fail(StageError::Interrupted);
                }
            }
            Err(error) => {
                result.state.status = Status::Error;
                result.fail(error);
            }
        }
        match (stdout, stderr) {
            (Ok(stdout), Ok(stderr)) if self.logs => result.logs = Some(logs(stdout, stderr)),
            (Err(error), _) | (_, Err(error)) => {
                result.fail(StageError::Unread(Arc::new(error)));
            }
            _ => {}
        }
        result
    }

    async fn start(&self, place: &Place<'_>) -> Result<Running, StageError> {
        let failed = |error| StageError::NoStreams(Arc::new(error));
        let (stdio, pipes) = Stdio::piped(false).map_err(failed)?;
        let planned = self.planned(place);
        let container = planned.launch(place.image, place.images, stdio).await?;
        Ok(Running {
            container,
            stdout: pipes.stdout,
            stderr: pipes.stderr,
        })
    }

    fn planned(&self, place: &Place<'_>) -> Run {
        let job = Mount::Bind {
            source: place.job.to_owned(),
            target: JOB.to_owned(),
            read_only: false,
        };
        Run {
            command: self.command.clone(),
            entrypoint: self.entrypoint.clone(),
            env: place.env.clone(),
            isolation: Isolation {
                network: if self.networking {
                    Network::Auto
                } else {
                    Network::None
                },
                users: if self.privileged {
                    Users::Host
                } else {
                    place.users
                },
                limits: Limits {
                    memory: self.memory,
                    memory_swap: self.memory,
                    processor: self.cpus,
                    processors: self.cpuset_cpus.clone(),
                    ..Limits::default()
                },
            },
            shape: Shape {
                hostname: Some(self.hostname.clone()),
                mounts: [std::slice::from_ref(&job), &self.volumes].concat(),
                privileged: self.privileged,
                ..Shape::default()
            },
            ..Run::of(self.image.clone())
        }
    }

    /// Waits for its end, or makes it.
    async fn end(
        &self,
        mut container: Container,
        stop: &Stop,
    ) -> Result<(ProcessEnd, Cause), StageError> {
        let cause = tokio::select! {
            ended = container.ended() => return Ok((ended?, Cause::Itself)),
            () = tokio::time::sleep(self.timeout) => Cause::Time,
            () = stop.asked() => Cause::Stop,
        };
        container.end().await?;
        let end = ProcessEnd {
            ending: Ending::Killed(libc::SIGKILL),
            out_of_memory: false,
        };
        Ok((end, cause))
    }
}

fn logs(stdout: Heard, stderr: Heard) -> Logs {
    Logs {
        left_out: stdout.left_out + stderr.left_out,
        stdout: stdout.lines,
        stderr: stderr.lines,
    }
}
