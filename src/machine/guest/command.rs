//! Running a command in a container, as a transient service of its systemd.

use std::fs::File;
use std::io::{self, Write as _};
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
    user: Option<String>,
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
            user: None,
        }
    }

    /// Has a user of the container's run it, with that user's home.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.environment.retain(|set| !set.starts_with("HOME="));
        self.user = Some(name.to_owned());
        self
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

/// What a command has written, each stream by itself, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether something has been left out in the middle of a very long standard output.
    pub is_stdout_cut: bool,
    /// Whether something has been left out in the middle of a very long standard error.
    pub is_stderr_cut: bool,
}

impl Guest {
    /// Runs a command to its end, at most `limit` long.
    ///
    /// What it leaves running stays, as it would after a command in a login shell.
    pub async fn run(&self, command: &Command, limit: Duration) -> Result<Output, GuestError> {
        let (writer, tap) = self.tap(command)?;
        let streams = streams(&writer, &writer);
        let mut taps = [tap];
        let status = self.capture(command, streams, &mut taps, limit).await?;
        let [tap] = taps;
        Ok(Output {
            status,
            text: tap.kept.text(),
        })
    }

    /// As [`Self::run`], with standard output and standard error kept apart.
    pub async fn run_apart(
        &self,
        command: &Command,
        limit: Duration,
    ) -> Result<Streams, GuestError> {
        let (out, stdout) = self.tap(command)?;
        let (err, stderr) = self.tap(command)?;
        let streams = streams(&out, &err);
        let mut taps = [stdout, stderr];
        let status = self.capture(command, streams, &mut taps, limit).await?;
        let [stdout, stderr] = taps;
        Ok(Streams {
            status,
            stdout: stdout.kept.text(),
            stderr: stderr.kept.text(),
            is_stdout_cut: stdout.kept.dropped > 0,
            is_stderr_cut: stderr.kept.dropped > 0,
        })
    }

    /// Runs a command whose output goes into a file of this host as it comes, of which it has at most
    /// `most` bytes. What the command writes to standard error is kept.
    pub async fn run_into(
        &self,
        command: &Command,
        file: File,
        most: u64,
        limit: Duration,
    ) -> Result<Output, GuestError> {
        let (out, mut stdout) = self.tap(command)?;
        let (err, stderr) = self.tap(command)?;
        stdout.file = Some((file, most));
        let streams = streams(&out, &err);
        let mut taps = [stdout, stderr];
        let status = self.capture(command, streams, &mut taps, limit).await?;
        Ok(Output {
            status,
            text: taps.iter().map(|tap| tap.kept.text()).collect(),
        })
    }

    /// A pipe: the end for the command, and ours.
    fn tap(&self, command: &Command) -> Result<(OwnedFd, Tap), GuestError> {
        let descriptors = |source| GuestError::Descriptors {
            program: command.program().to_owned(),
            source,
        };
        let (reader, writer) = io::pipe().map_err(descriptors)?;
        self.give(&writer).map_err(descriptors)?;
        let tap = Tap {
            reader: pipe::Receiver::from_owned_fd(reader.into()).map_err(descriptors)?,
            is_open: true,
            buffer: vec![0; 16 * 1024],
            kept: Kept::default(),
            file: None,
        };
        Ok((writer.into(), tap))
    }

    /// Runs a command that writes into `taps`.
    async fn capture(
        &self,
        command: &Command,
        streams: [Property<'_>; 2],
        taps: &mut [Tap],
        limit: Duration,
    ) -> Result<ExitStatus, GuestError> {
        let unit = unit_name();
        let manager = self.live_link().await?.manager;
        let mut jobs = asked("tell of jobs", manager.receive_job_removed().await)?;
        let job = self.start_command(&unit, command, streams).await?;
        let ended = timeout(limit, async {
            let done = self.command_end(&mut jobs, &job, &unit);
            tokio::pin!(done);
            loop {
                tokio::select! {
                    biased;
                    () = pull_any(taps) => {}
                    result = &mut done => break result,
                }
            }
        })
        .await;
        for tap in &mut *taps {
            tap.drain();
        }
        let program = command.program().to_owned();
        let output = || Output {
            status: ExitStatus::Unknown,
            text: taps.iter().map(|tap| tap.kept.text()).collect(),
        };
        match ended {
            Err(_) => {
                self.abandon(&unit).await;
                Err(GuestError::Timeout {
                    program,
                    limit,
                    output: output(),
                })
            }
            Ok(Err(GuestError::BusGone(_))) => Err(GuestError::BusGoneMeanwhile {
                program,
                output: output(),
            }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(status)) => {
                self.forget(&unit).await;
                Ok(status)
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
        if let Some(user) = &command.user {
            properties.push(("User", user.clone().into()));
        }
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

/// What the names of the units of commands begin with.
const UNIT_PREFIX: &str = "postroj-run-";

/// A name for the unit of the next command.
fn unit_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{UNIT_PREFIX}{}-{number}.service", std::process::id())
}

/// Whether a unit is one of postroj's own commands.
pub fn is_command_unit(name: &str) -> bool {
    name.starts_with(UNIT_PREFIX)
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

/// Where a command's standard output and standard error go, as a transient unit has it.
fn streams<'a>(out: &'a OwnedFd, err: &'a OwnedFd) -> [Property<'a>; 2] {
    let descriptor = |stream: &'a OwnedFd| Variant::from(Fd::from(stream.as_fd()));
    [
        ("StandardOutputFileDescriptor", descriptor(out)),
        ("StandardErrorFileDescriptor", descriptor(err)),
    ]
}

/// The reading end of a pipe that a command writes into, and what has come out of it.
struct Tap {
    reader: pipe::Receiver,
    is_open: bool,
    buffer: Vec<u8>,
    kept: Kept,
    /// What it goes into instead, and how much more of it.
    file: Option<(File, u64)>,
}

impl Tap {
    /// Keeps what has come.
    fn take(&mut self, length: usize) {
        let bytes = &self.buffer[..length];
        match &mut self.file {
            None => self.kept.push(bytes),
            Some((file, room)) => {
                let fits = usize::try_from(*room).unwrap_or(usize::MAX).min(length);
                *room -= fits as u64;
                // What cannot be written is missing from the file, and the command goes on.
                if file.write_all(&bytes[..fits]).is_err() {
                    *room = 0;
                }
            }
        }
    }

    /// Waits for something to come, and keeps it; for ever once the pipe is closed.
    async fn pull(&mut self) {
        if !self.is_open {
            return std::future::pending().await;
        }
        match self.reader.read(&mut self.buffer).await {
            Ok(length) if length > 0 => self.take(length),
            _ => self.is_open = false,
        }
    }

    /// Takes what is in the pipe now; a process that stays may hold it open.
    fn drain(&mut self) {
        let mut room = 2 * KEPT;
        while let Ok(length @ 1..) = self.reader.try_read(&mut self.buffer) {
            self.take(length);
            room = room.saturating_sub(length);
            if room == 0 {
                break;
            }
        }
    }
}

/// Pulls from whichever of the taps has something.
async fn pull_any(taps: &mut [Tap]) {
    match taps {
        [one] => one.pull().await,
        [one, other] => tokio::select! {
            () = one.pull() => {}
            () = other.pull() => {}
        },
        _ => std::future::pending().await,
    }
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
