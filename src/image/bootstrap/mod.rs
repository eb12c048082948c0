//! Root file systems made on this host from a distribution's packages: Debian's and Ubuntu's by
//! mmdebstrap, those of rpm's distributions by dnf, yum or zypper, Arch Linux' by pacman.
//!
//! What comes of it is an archive, which goes through the same unpacking as any other: what ends up
//! in the store does not depend on what a tool left in a directory. The tool runs in PID and mount
//! namespaces of its own, whose first process dies with us: even after `kill -9` nothing of it,
//! no process and no mount, is left.

mod debian;
mod pacman;
mod rpm;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use bytes::BytesMut;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::catalogue::Bootstrap;
use super::layer::Feed;
use crate::progress::Step;

const STDERR_LINES: usize = 8;

/// Why a distribution cannot be bootstrapped.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A program that is needed is not there.
    #[error("{program} is not installed (Debian package {package})")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The keyring that is to check the mirror is not there.
    #[error("the keyring {} is not there (Debian package {package})", path.display())]
    Keyring {
        /// The keyring.
        path: PathBuf,
        /// The package that has it.
        package: &'static str,
    },
    /// The tool cannot be run, or not be told what to do.
    #[error("the bootstrap cannot be run: {0}")]
    Run(#[source] io::Error),
    /// The tool has failed.
    #[error("{tool} {subject} failed with {status}: {stderr}")]
    Failed {
        /// The tool.
        tool: &'static str,
        /// What was to be bootstrapped.
        subject: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said, in one line.
        stderr: String,
    },
    /// What takes the archive has failed.
    #[error("the archive is no longer wanted")]
    Unwanted,
}

/// Feeds a fresh root file system to an unpacking thread; `temporary` is for the tool's own use.
pub(super) async fn bootstrap(
    bootstrap: &Bootstrap,
    temporary: &Path,
    feed: &Feed,
    step: &Step,
) -> Result<(), BootstrapError> {
    for program in ["unshare", "setpriv"] {
        need(program, "util-linux")?;
    }
    let job = match bootstrap {
        Bootstrap::Debian(debian) => debian::job(debian)?,
        Bootstrap::Rpm(rpm) => rpm::job(rpm, temporary)?,
        Bootstrap::Pacman(pacman) => pacman::job(pacman, temporary)?,
    };
    let mut running = Running::start(&job, temporary)?;
    let (copied, stderr) = {
        let stdout = running.child.stdout.take();
        let stderr = running.child.stderr.as_mut();
        tokio::join!(
            async {
                match stdout {
                    Some(stdout) => copy(stdout, feed, step).await,
                    None => Ok(()),
                }
            },
            async {
                match stderr {
                    Some(stderr) => tail(stderr).await,
                    None => String::new(),
                }
            }
        )
    };
    copied?;
    let status = running.child.wait().await.map_err(BootstrapError::Run)?;
    running.ended = true;
    if !status.success() {
        return Err(BootstrapError::Failed {
            tool: job.tool,
            subject: job.subject,
            status,
            stderr,
        });
    }
    // Only now: an archive that was cut off by a failure must not pass for a whole one.
    feed.end().await.map_err(|_| BootstrapError::Unwanted)
}

/// A tool and what it is to do.
struct Job {
    tool: &'static str,
    /// What it makes, for messages.
    subject: String,
    /// What `install.sh` does before and after the command; none if the command writes an archive.
    script: &'static str,
    /// The command.
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

/// What all tools have in common that install to a directory.
const INSTALL: &str = include_str!("install.sh");

struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn start(job: &Job, temporary: &Path) -> Result<Self, BootstrapError> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args([
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ]);
        if !job.script.is_empty() {
            let script = format!("{}{INSTALL}", job.script);
            command
                .args(["sh", "-euc", &script, "bootstrap"])
                .arg(temporary);
        }
        let child = command
            .args(&job.arguments)
            .envs(job.environment.iter().map(|(name, value)| (name, value)))
            .env("TMPDIR", temporary)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // An interrupt from the terminal is ours to handle.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(BootstrapError::Run)?;
        Ok(Self {
            child,
            ended: false,
        })
    }
}

impl Drop for Running {
    /// Waits until everything in the namespaces is gone, which is when nobody can write to its
    /// standard error any more: only then can its directory be removed.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let _ = self.child.start_kill();
        let Some(Ok(stderr)) = self
            .child
            .stderr
            .take()
            .map(tokio::process::ChildStderr::into_owned_fd)
        else {
            return;
        };
        if rustix::io::ioctl_fionbio(&stderr, false).is_ok() {
            let mut rest = File::from(stderr);
            let mut buffer = [0; 4096];
            while matches!(rest.read(&mut buffer), Ok(length) if length > 0) {}
        }
    }
}

async fn copy(
    mut from: impl tokio::io::AsyncRead + Unpin,
    feed: &Feed,
    step: &Step,
) -> Result<(), BootstrapError> {
    loop {
        let mut buffer = BytesMut::with_capacity(64 << 10);
        let length = from
            .read_buf(&mut buffer)
            .await
            .map_err(BootstrapError::Run)?;
        if length == 0 {
            return Ok(());
        }
        step.advance(length as u64);
        feed.push(buffer.freeze())
            .await
            .map_err(|_| BootstrapError::Unwanted)?;
    }
}

/// The last lines that say something, in one line.
async fn tail(from: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut lines = VecDeque::new();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(4096).read_until(b'\n', &mut line).await {
            Ok(length) if length > 0 => {}
            _ => break,
        }
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        // Progress and good news are not what a failure is about.
        if text.is_empty() || text.starts_with("I: ") {
            continue;
        }
        tracing::debug!(target: "bootstrap", "{text}");
        if lines.len() == STDERR_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
    Vec::from(lines).join("; ")
}

fn need(program: &'static str, package: &'static str) -> Result<(), BootstrapError> {
    if is_installed(program) {
        Ok(())
    } else {
        Err(BootstrapError::Missing { program, package })
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tail_is_short_and_one_line() {
        let text = "I: fine\n\nE: one\nE: two\n".to_owned();
        assert_eq!(tail(text.as_bytes()).await, "E: one; E: two");
        let long = "x\n".repeat(1000);
        assert_eq!(
            tail(long.as_bytes()).await.split("; ").count(),
            STDERR_LINES
        );
    }
}
