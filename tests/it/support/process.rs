//! Child processes with a deadline, all of whose output is kept.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What gives a shell a pipe as its descriptor 3 that nobody reads.
pub(crate) const UNREAD_PIPE: &str =
    "dir=$(mktemp -d); mkfifo $dir/unread; exec 3<>$dir/unread; rm -r $dir;";

/// Longer than anything here takes, a bootstrap on a slow mirror included.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

/// What a process that has ended said.
#[derive(Debug)]
pub(crate) struct Outcome {
    command: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Outcome {
    /// The exit code, or 128 and the signal as a shell says it.
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Holds the process to an exit code, and shows all that it said otherwise.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "wrong exit code\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn stderr_has(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "standard error lacks {text:?}\n{self}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn stdout_has(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "standard output lacks {text:?}\n{self}"
        );
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        writeln!(f, "exit code {} after {:.1?}", self.code(), self.took)?;
        writeln!(
            f,
            "--- stdout\n{}--- stderr\n{}---",
            self.stdout, self.stderr
        )
    }
}

/// A process under way.
pub(crate) struct Running {
    command: String,
    child: Child,
    started: Instant,
    lines: Receiver<String>,
    seen: String,
    stdout: Option<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with(command, None)
    }

    /// The same, with something to read from standard input.
    pub(crate) fn start_with(mut command: Command, input: Option<&str>) -> Self {
        let text = format!("{command:?}");
        let mut child = command
            .stdin(match input {
                Some(_) => Stdio::piped(),
                None => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{text}: {error}; `make packages` installs what the tests need")
            });
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // Who ends without having read it has a reason that is told.
            stdin.write_all(input.as_bytes()).ok();
        }
        let mut out = child.stdout.take().expect("a pipe");
        let err = child.stderr.take().expect("a pipe");
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).ok();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut err = BufReader::new(err);
            let mut line = Vec::new();
            while err
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                if send
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
                line.clear();
            }
        });
        Self {
            command: text,
            child,
            started: Instant::now(),
            lines,
            seen: String::new(),
            stdout: Some(stdout),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(id, signal).ok();
    }

    /// Waits for the process alone, however many others still hold its output.
    pub(crate) fn reap(mut self) -> ExitStatus {
        self.child.wait().expect("wait for the child")
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Outcome {
        // Standard error ends when the last who holds it does: a process that is left behind shows here.
        loop {
            match self
                .lines
                .recv_timeout(DEADLINE.saturating_sub(self.started.elapsed()))
            {
                Ok(line) => self.seen.push_str(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!(
                        "{} was not done after {DEADLINE:?}; it said:\n{}",
                        self.command, self.seen
                    )
                }
            }
        }
        let status = self.child.wait().expect("wait for the child");
        let stdout = self
            .stdout
            .take()
            .map(|reader| reader.join().expect("the reader"))
            .unwrap_or_default();
        Outcome {
            command: std::mem::take(&mut self.command),
            status,
            stdout,
            stderr: std::mem::take(&mut self.seen),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `wait` it is gone. In a test that has failed it must not stay, nor what it started.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            let asked = Instant::now();
            while matches!(self.child.try_wait(), Ok(None))
                && asked.elapsed() < Duration::from_secs(10)
            {
                thread::sleep(Duration::from_millis(20));
            }
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Runs to the end.
#[track_caller]
pub(crate) fn run(command: Command) -> Outcome {
    Running::start(command).wait()
}

/// Runs to the end, which has to be a good one; for the tools that the tests themselves use.
#[track_caller]
pub(crate) fn tool(program: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(arguments);
    run(command).exits(0)
}

/// The processes whose command line holds `text`, as this process's `/proc` numbers them.
pub(crate) fn with_argument(text: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| {
            std::fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| {
                line.split(|byte| *byte == 0)
                    .any(|argument| argument == text.as_bytes())
            })
        })
        .collect()
}

/// Waits until a process has the argument `text`: how a container shows, through the package that
/// is being installed in it, how far a run has come.
#[track_caller]
pub(crate) fn wait_for_argument(text: &str) {
    wait_until(|| !with_argument(text).is_empty(), text);
}

#[track_caller]
pub(crate) fn wait_until(holds: impl Fn() -> bool, argument: &str) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < DEADLINE,
            "no process with the argument {argument:?} has come up"
        );
        thread::sleep(Duration::from_millis(10));
    }
}
