//! What is kept of a container on the host, for whoever wants to look closer than a report does.
//!
//! ```text
//! <directory>/<image>/
//! ├── journal.export              systemd.journal-fields(7); `systemd-journal-remote` reads it
//! ├── journal.txt                 the same for people
//! ├── units/<unit>.txt            a checked unit: its files, as systemctl cat has them
//! ├── units/<unit>.status.txt     and its status
//! ├── failed-units.txt
//! ├── boot.svg                    systemd-analyze plot
//! ├── boot.txt                    systemd-analyze blame
//! ├── listening.txt               the sockets that listen on TCP
//! ├── packages.before.txt         what was installed before the run
//! ├── packages.txt                what is at its end
//! ├── packages.diff               what has come (+) and gone (-)
//! ├── package-manager.log         what it wrote in each phase
//! ├── coredumps.txt               coredumpctl list, where the image has it
//! └── console.txt                 the last of it, where the container went away
//! ```
//!
//! What cannot be had is left out: an image may lack a program, and a container may have gone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::evidence::{CONSOLE, sync_journal};
use crate::install;
use crate::machine::{Command, Guest};
use crate::probe::listeners;
use crate::report::ImageReport;

/// How long gathering all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many bytes one file may have.
const MOST: u64 = 1 << 30;

/// The artifacts of one image.
#[derive(Debug)]
pub(super) struct Artifacts {
    directory: PathBuf,
    before: Option<BTreeSet<String>>,
}

impl Artifacts {
    /// Makes the directory for an image below the one that was asked for.
    pub(super) fn begin(directory: &Path, name: &str) -> io::Result<Self> {
        let directory = directory.join(name);
        fs::create_dir_all(&directory)?;
        Ok(Self {
            directory,
            before: None,
        })
    }

    /// Notes what is installed before anything is done.
    pub(super) async fn before(&mut self, guest: &Guest) {
        let deadline = Instant::now() + PATIENCE;
        self.before = timeout_at(deadline, packages(guest)).await.ok().flatten();
    }

    /// Takes from a container that is up all that it can tell.
    pub(super) async fn gather(&self, guest: &Guest, units: &[String]) {
        let deadline = Instant::now() + PATIENCE;
        let _ = timeout_at(deadline, self.take(guest, units)).await;
    }

    async fn take(&self, guest: &Guest, units: &[String]) {
        sync_journal(guest).await;
        let journal = |form: &str| {
            let output = format!("--output={form}");
            Command::new("/bin/journalctl", ["--no-pager", "--boot=all", &output])
        };
        self.written(guest, "journal.export", &journal("export"))
            .await;
        self.written(guest, "journal.txt", &journal("short-precise"))
            .await;
        let failed = ["list-units", "--no-pager", "--plain", "--state=failed"];
        let failed = Command::new("/bin/systemctl", failed);
        self.written(guest, "failed-units.txt", &failed).await;
        for unit in units {
            // A unit's name has no slash: systemd.unit(5).
            let cat = Command::new("/bin/systemctl", ["cat", "--no-pager", "--", unit]);
            self.written(guest, &format!("units/{unit}.txt"), &cat)
                .await;
            let status = ["status", "--no-pager", "--full", "--lines=1000", "--", unit];
            let status = Command::new("/bin/systemctl", status);
            self.written(guest, &format!("units/{unit}.status.txt"), &status)
                .await;
        }
        for (file, arguments) in [
            ("boot.svg", &["plot"][..]),
            ("boot.txt", &["blame", "--no-pager"]),
        ] {
            let command = Command::new("/usr/bin/systemd-analyze", arguments.iter().copied());
            self.written(guest, file, &command).await;
        }
        let dumps = Command::new("/usr/bin/coredumpctl", ["--no-pager", "list"]);
        self.written(guest, "coredumps.txt", &dumps).await;
        let listening = listeners(guest.leader());
        let listening = listening.iter().fold(String::new(), |mut text, listener| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{listener}");
            text
        });
        self.text("listening.txt", &listening);
        self.packages(packages(guest).await.as_ref());
    }

    fn packages(&self, now: Option<&BTreeSet<String>>) {
        let lines = |packages: &BTreeSet<String>| {
            packages
                .iter()
                .fold(String::new(), |text, package| text + package + "\n")
        };
        let before = self.before.as_ref();
        for (file, packages) in [("packages.before.txt", before), ("packages.txt", now)] {
            if let Some(packages) = packages {
                self.text(file, &lines(packages));
            }
        }
        if let (Some(before), Some(now)) = (before, now) {
            let gone = before
                .difference(now)
                .map(|package| format!("-{package}\n"));
            let come = now
                .difference(before)
                .map(|package| format!("+{package}\n"));
            self.text("packages.diff", &gone.chain(come).collect::<String>());
        }
    }

    /// Writes what the report knows, which outlives the container.
    pub(super) fn finish(&self, report: &ImageReport) {
        let mut log = String::new();
        for phase in report
            .phases
            .iter()
            .filter(|phase| !phase.output.is_empty())
        {
            let _ = writeln!(log, "=== {}\n{}", phase.phase, phase.output.trim_end());
        }
        if !log.is_empty() {
            self.text("package-manager.log", &log);
        }
        for evidence in &report.evidence {
            if evidence.title == CONSOLE {
                self.text("console.txt", &evidence.text);
            }
        }
    }

    /// Runs a command in the container and lets its output be a file. One that says nothing leaves
    /// none.
    async fn written(&self, guest: &Guest, file: &str, command: &Command) {
        if !guest.has_file(command.program()) {
            return;
        }
        let path = self.directory.join(file);
        let Ok(created) = create(&path) else {
            return;
        };
        let run = guest.run_into(command, created, MOST, PATIENCE).await;
        if let Err(error) = run {
            tracing::debug!(%command, %error, "no artifact");
        }
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&path);
        }
    }

    fn text(&self, file: &str, text: &str) {
        let path = self.directory.join(file);
        if let Err(error) = fs::write(&path, text) {
            tracing::warn!(path = %path.display(), %error, "an artifact is not written");
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    File::create(path)
}

/// What is installed, a line for each package and its version.
async fn packages(guest: &Guest) -> Option<BTreeSet<String>> {
    let command = install::detect(guest)?.listing();
    let output = guest.run(&command, PATIENCE).await.ok()?;
    let lines = output.text.lines().map(str::to_owned);
    output.status.success().then(|| lines.collect())
}
