//! Root file systems of Debian and Ubuntu made from their package mirrors, by mmdebstrap.
//!
//! mmdebstrap writes an archive, which goes through the same unpacking as any other: what ends up
//! in the store does not depend on what it left in a directory. It runs in PID and mount
//! namespaces of its own, whose first process dies with us: even after `kill -9` nothing of it,
//! no process and no mount, is left.

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

const INCLUDE: &[&str] = &["systemd-sysv", "dbus", "ca-certificates"];
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
    /// mmdebstrap cannot be run.
    #[error("mmdebstrap cannot be run: {0}")]
    Run(#[source] io::Error),
    /// mmdebstrap has failed.
    #[error("mmdebstrap {suite} failed with {status}: {stderr}")]
    Failed {
        /// What was to be bootstrapped.
        suite: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said, in one line.
        stderr: String,
    },
    /// What takes the archive has failed.
    #[error("the archive is no longer wanted")]
    Unwanted,
}

/// Feeds a fresh root file system to an unpacking thread; `temporary` is for mmdebstrap's own use.
pub(super) async fn bootstrap(
    bootstrap: &Bootstrap,
    temporary: &Path,
    feed: &Feed,
    step: &Step,
) -> Result<(), BootstrapError> {
    for (program, package) in [
        ("mmdebstrap", "mmdebstrap"),
        ("apt-get", "apt"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
    ] {
        if !is_installed(program) {
            return Err(BootstrapError::Missing { program, package });
        }
    }
    if let Some(keyring) = &bootstrap.keyring
        && keyring.starts_with('/')
        && !Path::new(keyring).exists()
    {
        return Err(BootstrapError::Keyring {
            path: keyring.into(),
            package: if keyring.contains("ubuntu") {
                "ubuntu-keyring"
            } else {
                "debian-archive-keyring"
            },
        });
    }
    let mut running = Running::start(bootstrap, temporary)?;
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
            suite: bootstrap.suite.clone(),
            status,
            stderr,
        });
    }
    // Only now: an archive that was cut off by a failure must not pass for a whole one.
    feed.end().await.map_err(|_| BootstrapError::Unwanted)
}

struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    fn start(bootstrap: &Bootstrap, temporary: &Path) -> Result<Self, BootstrapError> {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args([
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
            ])
            .arg("mmdebstrap")
            .args(arguments(bootstrap))
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

fn arguments(bootstrap: &Bootstrap) -> Vec<OsString> {
    let mut include: Vec<&str> = INCLUDE.to_vec();
    include.extend(bootstrap.include.iter().map(String::as_str));
    let mut arguments = vec![
        "--variant=minbase".to_owned(),
        "--format=tar".to_owned(),
        format!("--include={}", include.join(",")),
        // A snapshot of a mirror, or a release that is archived, keeps its Release file for ever.
        "--aptopt=Acquire::Check-Valid-Until \"false\"".to_owned(),
    ];
    // The web document root of Debian Policy 11.5, which some web servers serve and none of them
    // makes.
    arguments.push("--customize-hook=mkdir -p \"$1/var/www/html\"".to_owned());
    if !bootstrap.components.is_empty() {
        arguments.push(format!("--components={}", bootstrap.components.join(",")));
    }
    if let Some(keyring) = &bootstrap.keyring {
        arguments.push(format!("--keyring={keyring}"));
    }
    arguments.push(bootstrap.suite.clone());
    arguments.push("-".to_owned());
    arguments.extend(bootstrap.mirror.clone());
    arguments.into_iter().map(OsString::from).collect()
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
        tracing::debug!(target: "mmdebstrap", "{text}");
        if lines.len() == STDERR_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
    Vec::from(lines).join("; ")
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_catalogue_says_becomes_arguments() {
        let mut entry = Bootstrap {
            suite: "sid".to_owned(),
            mirror: None,
            components: Vec::new(),
            keyring: None,
            include: Vec::new(),
        };
        let plain = arguments(&entry);
        assert_eq!(plain[plain.len() - 2..], ["sid", "-"]);
        entry.mirror = Some("http://archive.debian.org/debian".to_owned());
        entry.components = vec!["main".to_owned(), "universe".to_owned()];
        entry.keyring = Some("/x.gpg".to_owned());
        entry.include = vec!["y".to_owned()];
        let full = arguments(&entry);
        assert_eq!(full.last().unwrap(), "http://archive.debian.org/debian");
        assert!(full.contains(&"--components=main,universe".into()));
        assert!(full.contains(&"--keyring=/x.gpg".into()));
        assert!(full.contains(&"--include=systemd-sysv,dbus,ca-certificates,y".into()));
    }

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
