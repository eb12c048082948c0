//! Running a command in a container, as a transient service of its systemd.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep, timeout};
use zbus::{Fd, OwnedObjectPath, Variant};

use super::link::{BACK_PATIENCE, PAUSE};
use super::{Guest, GuestError, asked};
use crate::machine::bus::{JobRemovedStream, Property};

/// How much of a command's output is kept: so much of its beginning, and as much of its end.
const KEPT: usize = 512 * 1024;

/// How long it may take to end a command that has taken too long.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// A command to run in a container.
#[derive(Debug, Clone, Default)]
pub struct Command {
    arguments: Vec<String>,
    environment: Vec<String>,
}

impl Command {
    /// A command: the program's absolute path in the container, and its arguments.
    pub fn new<I>(program: &str, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let mut all = vec![program.to_owned()];
        all.extend(arguments.into_iter().map(Into::into));
        Self {
            arguments: all,
            environment: vec!["HOME=/root".to_owned(), "LC_ALL=C.UTF-8".to_owned()],
        }
    }

    /// Sets a variable of its environment. It has systemd's for a service, root's home and a plain
    /// locale.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        // systemd refuses an environment that has a variable twice.
        let prefix = format!("{name}=");
        self.environment.retain(|set| !set.starts_with(&prefix));
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// The program.
    pub fn program(&self) -> &str {
        &self.arguments[0]
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.arguments.join(" "))
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It could not be run, or nobody could tell.
    Unknown,
}

impl ExitStatus {
    /// Whether it ended by itself with 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// From `ExecMainCode` and `ExecMainStatus`, which are waitid(2)'s `si_code` and `si_status`.
    fn from_properties(code: i32, status: i32) -> Self {
        match code {
            1 => Self::Code(status),
            2 | 3 => Self::Signal(status),
            _ => Self::Unknown,
        }
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exit code {code}"),
            Self::Signal(signal) => write!(formatter, "signal {signal}"),
            Self::Unknown => formatter.write_str("an unknown end"),
        }
    }
}

/// What a command has written, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output and standard error as they came; what is in the middle of a very long one
    /// is left out, and a line says so.
    pub text: String,
}

impl Guest {
    /// Runs a command to its end, at most `limit` long.
    ///
    /// What it leaves running stays, as it would after a command in a login shell.
    pub async fn run(&self, command: &Command, limit: Duration) -> Result<Output, GuestError> {
        let unit = unit_name();
        let descriptors = |source| GuestError::Descriptors {
            program: command.program().to_owned(),
            source,
        };
        let (reader, writer) = std::io::pipe().map_err(descriptors)?;
        let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(descriptors)?;
        let manager = self.live_link().await?.manager;
        let mut jobs = asked("tell of jobs", manager.receive_job_removed().await)?;
        let writer = OwnedFd::from(writer);
        self.give(&writer).map_err(descriptors)?;
        let streams = [
            (
                "StandardOutputFileDescriptor",
                Variant::from(Fd::from(writer.as_fd())),
            ),
            (
                "StandardErrorFileDescriptor",
                Variant::from(Fd::from(writer.as_fd())),
            ),
        ];
        let job = self.start_command(&unit, command, streams).await?;
        drop(writer);
        let mut kept = Kept::default();
        let ended = timeout(limit, async {
            let mut open = true;
            let mut buffer = vec![0; 16 * 1024];
            let done = self.command_end(&mut jobs, &job, &unit);
            tokio::pin!(done);
            loop {
                tokio::select! {
                    biased;
                    length = reader.read(&mut buffer), if open => match length {
                        Ok(length) if length > 0 => kept.push(&buffer[..length]),
                        _ => open = false,
                    },
                    result = &mut done => break result,
                }
            }
        })
        .await;
        // What is in the pipe now; a process that stays may hold it open.
        let mut buffer = vec![0; 16 * 1024];
        let mut room = 2 * KEPT;
        while let Ok(length @ 1..) = reader.try_read(&mut buffer) {
            kept.push(&buffer[..length]);
            room = room.saturating_sub(length);
            if room == 0 {
                break;
            }
        }
        let program = command.program().to_owned();
        let output = |status| Output {
            status,
            text: kept.text(),
        };
        match ended {
            Err(_) => {
                self.abandon(&unit).await;
                Err(GuestError::Timeout {
                    program,
                    limit,
                    output: output(ExitStatus::Unknown),
                })
            }
            Ok(Err(GuestError::BusGone(_))) => Err(GuestError::BusGoneMeanwhile {
                program,
                output: output(ExitStatus::Unknown),
            }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(status)) => {
                self.forget(&unit).await;
                Ok(output(status))
            }
        }
    }

    /// Waits for the end of a command.
    async fn command_end(
        &self,
        jobs: &mut JobRemovedStream,
        job: &OwnedObjectPath,
        unit: &str,
    ) -> Result<ExitStatus, GuestError> {
        job_result(jobs, job).await;
        // What runs may yet bring back a bus that has gone: the scripts of a new one do.
        let goes_on = || self.has_processes(unit);
        let mut last = None;
        while last.is_none_or(|last: Instant| last.elapsed() < BACK_PATIENCE) {
            self.reconnect(&goes_on).await?;
            match self.command_status(unit).await {
                // The bus is there, and PID 1 has yet to find it.
                Err(error) if error.is_lost_connection() => {
                    sleep(PAUSE).await;
                    if !goes_on() {
                        last.get_or_insert_with(Instant::now);
                    }
                }
                result => return result,
            }
        }
        Err(GuestError::BusGone(io::ErrorKind::NotConnected.into()))
    }

    /// Whether a unit has processes, by its control group, which tells when systemd cannot.
    fn has_processes(&self, unit: &str) -> bool {
        ["", "systemd/", "unified/"].iter().any(|hierarchy| {
            let path = format!("sys/fs/cgroup/{hierarchy}system.slice/{unit}/cgroup.procs");
            self.root
                .read(path, 1 << 20)
                .is_ok_and(|processes| !processes.is_empty())
        })
    }

    /// How a command ended; it is waited for if it has not.
    async fn command_status(&self, unit: &str) -> Result<ExitStatus, GuestError> {
        let unit = self.unit(unit).await?;
        loop {
            let state = unit.state().await?;
            if !state.has_job && state.active_state != "activating" {
                return Ok(ExitStatus::from_properties(
                    state.exec_main_code,
                    state.exec_main_status,
                ));
            }
            unit.changed().await;
        }
    }

    /// Runs a command to its end on a terminal of the container's.
    pub(in crate::machine) async fn run_on_terminal(
        &self,
        command: &Command,
        terminal: &str,
    ) -> Result<ExitStatus, GuestError> {
        let unit = unit_name();
        let manager = self.live_link().await?.manager;
        let mut jobs = asked("tell of jobs", manager.receive_job_removed().await)?;
        let streams = [
            ("TTYPath", terminal.into()),
            ("StandardInput", "tty".into()),
            ("StandardOutput", "tty".into()),
            ("StandardError", "tty".into()),
        ];
        let job = self.start_command(&unit, command, streams).await?;
        job_result(&mut jobs, &job).await;
        let state = self.unit(&unit).await?.state().await?;
        self.forget(&unit).await;
        Ok(ExitStatus::from_properties(
            state.exec_main_code,
            state.exec_main_status,
        ))
    }

    async fn start_command<'a>(
        &self,
        unit: &str,
        command: &Command,
        streams: impl IntoIterator<Item = Property<'a>>,
    ) -> Result<OwnedObjectPath, GuestError> {
        // systemd replaces variables in a command line; two dollar signs are one (systemd.service(5)).
        let arguments: Vec<String> = command
            .arguments
            .iter()
            .map(|argument| argument.replace('$', "$$"))
            .collect();
        let program = command.program().to_owned();
        // A oneshot's start job ends with its process, and by staying it keeps its exit status
        // until it has been read: one way for every systemd that takes descriptors.
        let mut properties: Vec<Property<'_>> = vec![
            ("Description", format!("postroj: {command}").into()),
            ("Type", "oneshot".into()),
            ("RemainAfterExit", true.into()),
            ("KillMode", "process".into()),
            (
                "ExecStart",
                Variant::from(vec![(program, arguments, false)]),
            ),
            ("Environment", Variant::from(command.environment.clone())),
        ];
        properties.extend(streams);
        let manager = self.link().manager;
        let started = manager
            .start_transient_unit(unit, "fail", &properties, &[])
            .await;
        asked(&format!("run {}", command.program()), started)
    }

    /// Ends a command that took too long, with all that it has started.
    async fn abandon(&self, unit: &str) {
        // A systemd that has come to harm does not answer.
        let _ = timeout(END_PATIENCE, async {
            let _ = self.link().manager.kill_unit(unit, "all", 9).await;
            self.forget(unit).await;
        })
        .await;
    }

    /// Lets systemd forget the unit of a command.
    async fn forget(&self, unit: &str) {
        let manager = self.link().manager;
        let _ = manager.stop_unit(unit, "replace").await;
        let _ = manager.reset_failed_unit(unit).await;
    }
}

/// A name for the unit of the next command.
fn unit_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("postroj-run-{}-{number}.service", std::process::id())
}

/// Waits for a job's end and gives its result; systemd's `JobRemoved` has the words.
pub(super) async fn job_result(jobs: &mut JobRemovedStream, job: &OwnedObjectPath) -> String {
    while let Some(signal) = jobs.next().await {
        if let Ok(args) = signal.args()
            && args.job == *job
        {
            return args.result.clone();
        }
    }
    "disconnected".to_owned()
}

/// The beginning and the end of an output of any length.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    dropped: usize,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let room = KEPT - self.head.len();
        let (head, tail) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(tail);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
        self.dropped += excess;
    }

    fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes
                .extend_from_slice(format!("\n[… {} bytes left out …]\n", self.dropped).as_bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_output_keeps_its_beginning_and_its_end() {
        let mut kept = Kept::default();
        kept.push(b"first");
        kept.push(&vec![b'.'; 3 * KEPT]);
        kept.push(b"last");
        let text = kept.text();
        assert!(text.starts_with("first"));
        assert!(text.ends_with("last"));
        assert!(text.contains("bytes left out"));
        assert!(text.len() < 2 * KEPT + 100);
    }

    #[test]
    fn the_end_of_a_command_is_told_apart() {
        assert_eq!(ExitStatus::from_properties(1, 3), ExitStatus::Code(3));
        assert_eq!(ExitStatus::from_properties(2, 9), ExitStatus::Signal(9));
        assert!(!ExitStatus::from_properties(0, 0).success());
    }
}
