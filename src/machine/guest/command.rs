//! Running a command in a container, as a transient service of its systemd.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};
use zbus::{Fd, OwnedObjectPath, Variant};

use super::link::{BACK_PATIENCE, PAUSE};
use super::tap::{Tap, pull_any, streams};
use super::{Guest, GuestError, asked};
use crate::machine::bus::{JobRemovedStream, Property};

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

    /// Whether a process with this command line, as proc(5)'s `/proc/<pid>/cmdline` has it, runs it.
    fn is_run_by(&self, line: &[u8]) -> bool {
        let line = line.strip_suffix(&[0]).unwrap_or(line);
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let arguments = || self.arguments.iter().map(String::as_bytes);
        // A script has its interpreter before it.
        (0..words.len()).any(|at| words[at..].iter().copied().eq(arguments()))
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

/// How a command ended whose output went into a file.
#[derive(Debug)]
pub struct Written {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard error.
    pub stderr: String,
    /// Why not all of its output is in the file.
    pub problem: Option<io::Error>,
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
            text: tap.text(),
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
            stdout: stdout.text(),
            stderr: stderr.text(),
            is_stdout_cut: stdout.is_cut(),
            is_stderr_cut: stderr.is_cut(),
        })
    }

    /// Runs a command whose standard output goes into a file of this host as it comes, of which it
    /// has at most `most` bytes.
    pub async fn run_into(
        &self,
        command: &Command,
        file: File,
        most: u64,
        limit: Duration,
    ) -> Result<Written, GuestError> {
        let (out, stdout) = self.tap(command)?;
        let (err, stderr) = self.tap(command)?;
        let streams = streams(&out, &err);
        let mut taps = [stdout.into_file(file, most), stderr];
        let status = self.capture(command, streams, &mut taps, limit).await?;
        let [stdout, stderr] = taps;
        Ok(Written {
            status,
            stderr: stderr.text(),
            problem: stdout.problem(),
        })
    }

    /// A pipe: the end for the command, and ours.
    fn tap(&self, command: &Command) -> Result<(OwnedFd, Tap), GuestError> {
        let descriptors = |source| GuestError::Descriptors {
            program: command.program().to_owned(),
            source,
        };
        let (writer, tap) = Tap::new().map_err(descriptors)?;
        self.give(&writer).map_err(descriptors)?;
        Ok((writer, tap))
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
            let done = self.command_end(&mut jobs, &job, (&unit, command));
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
            text: taps.iter().map(Tap::text).collect(),
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
        (unit, command): (&str, &Command),
    ) -> Result<ExitStatus, GuestError> {
        job_result(jobs, job).await;
        // What runs may yet bring back a bus that has gone: the scripts of a new one do.
        let goes_on = || self.is_running(unit, command);
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

    /// Whether a command itself, not what it has left behind, is among the processes of its unit: by
    /// the control group and the command line, which tell when systemd cannot.
    fn is_running(&self, unit: &str, command: &Command) -> bool {
        ["", "systemd/", "unified/"].iter().any(|hierarchy| {
            let path = format!("sys/fs/cgroup/{hierarchy}system.slice/{unit}/cgroup.procs");
            let processes = self.root.read(path, 1 << 20).unwrap_or_default();
            String::from_utf8_lossy(&processes).lines().any(|process| {
                let line = std::fs::read(format!("/proc/{process}/cmdline"));
                line.is_ok_and(|line| command.is_run_by(&line))
            })
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

    /// Starts a program as a service of its own, with `stdin` as its standard input, and does not wait
    /// for it.
    pub(in crate::machine) async fn start_service(
        &self,
        line: Vec<String>,
        stdin: &OwnedFd,
        description: String,
    ) -> Result<(), GuestError> {
        let program = line.first().cloned().unwrap_or_default();
        let action = format!("run {program}");
        let properties: [Property<'_>; 5] = [
            ("Description", description.into()),
            ("Type", "simple".into()),
            ("ExecStart", Variant::from(vec![(program, line, false)])),
            (
                "StandardInputFileDescriptor",
                Variant::from(Fd::from(stdin.as_fd())),
            ),
            ("StandardOutput", "journal".into()),
        ];
        let manager = self.link().manager;
        let started = manager
            .start_transient_unit(&unit_name(), "fail", &properties, &[])
            .await;
        asked(&action, started).map(drop)
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

/// What the names of the units of commands begin with, which are a part of what these leave running.
pub const UNIT_PREFIX: &str = "postroj-run-";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_by_its_line() {
        let command = Command::new("/usr/bin/dnf", ["install", ""]);
        assert!(command.is_run_by(b"/usr/bin/dnf\0install\0\0"));
        assert!(command.is_run_by(b"/usr/bin/python3\0-sP\0/usr/bin/dnf\0install\0\0"));
        assert!(!command.is_run_by(b"/usr/bin/dnf\0install\0"));
        assert!(!command.is_run_by(b"sleep\x004711\0"));
        assert!(!command.is_run_by(b""));
    }

    #[test]
    fn the_end_of_a_command_is_told_apart() {
        assert_eq!(ExitStatus::from_properties(1, 3), ExitStatus::Code(3));
        assert_eq!(ExitStatus::from_properties(2, 9), ExitStatus::Signal(9));
        assert!(!ExitStatus::from_properties(0, 0).success());
    }
}
