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
//! ├── coredumps/                  the core dumps that are in the container
//! ├── console.txt                 the last of it, where the container went away
//! └── missing.txt                 what of this could not be had, and why
//! ```
//!
//! An image may lack a program, and a container may have gone: what cannot be had is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::coredumps;
use super::evidence::{CONSOLE, sync_journal};
use crate::install;
use crate::machine::{Command, ExitStatus, Guest};
use crate::probe::all_listeners;
use crate::report::ImageReport;

/// How long gathering all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many bytes one file may have.
const MOST: u64 = 1 << 30;

/// The directory of core dumps.
const COREDUMPS: &str = "coredumps";

/// How much of what a program says is a reason, in bytes.
const REASON: usize = 1000;

/// The artifacts of one image.
#[derive(Debug)]
pub(super) struct Artifacts {
    directory: PathBuf,
    before: Option<BTreeSet<String>>,
    /// What there is not, or not all of, and why.
    missing: Mutex<BTreeMap<String, String>>,
}

/// A file that has what a program in the container writes.
struct Piece {
    file: String,
    command: Command,
    /// Whether its exit code says something else than how it went.
    is_any_code_good: bool,
    /// Whether it has nothing to say where all is well.
    may_be_empty: bool,
}

impl Piece {
    fn new(file: impl Into<String>, program: &str, arguments: &[&str]) -> Self {
        Self {
            file: file.into(),
            command: Command::new(program, arguments.iter().copied()),
            is_any_code_good: false,
            may_be_empty: false,
        }
    }
}

/// What programs in the container tell.
fn pieces(units: &[String]) -> Vec<Piece> {
    let (journalctl, systemctl) = ("/bin/journalctl", "/bin/systemctl");
    let analyze = "/usr/bin/systemd-analyze";
    let journal = |file, form| {
        let output = format!("--output={form}");
        Piece::new(file, journalctl, &["--no-pager", &output])
    };
    let mut pieces = vec![
        journal("journal.export", "export"),
        journal("journal.txt", "short-precise"),
        Piece::new(
            "failed-units.txt",
            systemctl,
            &["list-units", "--no-pager", "--plain", "--state=failed"],
        ),
        Piece::new("boot.svg", analyze, &["plot"]),
        Piece::new("boot.txt", analyze, &["blame", "--no-pager"]),
        Piece {
            // With none, it ends with 1.
            is_any_code_good: true,
            may_be_empty: true,
            ..Piece::new(
                "coredumps.txt",
                "/usr/bin/coredumpctl",
                &["--no-pager", "list"],
            )
        },
    ];
    for unit in units {
        // A unit's name has no slash: systemd.unit(5).
        let file = format!("units/{unit}.txt");
        pieces.push(Piece::new(
            file,
            systemctl,
            &["cat", "--no-pager", "--", unit],
        ));
        let status = ["status", "--no-pager", "--full", "--lines=1000", "--", unit];
        pieces.push(Piece {
            // It is the unit's state.
            is_any_code_good: true,
            ..Piece::new(format!("units/{unit}.status.txt"), systemctl, &status)
        });
    }
    pieces
}

impl Artifacts {
    /// Makes the directory for an image below the one that was asked for.
    pub(super) fn begin(directory: &Path, name: &str) -> io::Result<Self> {
        let directory = directory.join(name);
        fs::create_dir_all(&directory)?;
        Ok(Self {
            directory,
            before: None,
            missing: Mutex::default(),
        })
    }

    /// Notes what is installed before anything is done.
    pub(super) async fn before(&mut self, guest: &Guest) {
        let deadline = Instant::now() + PATIENCE;
        let listed = timeout_at(deadline, packages(guest)).await;
        match listed.unwrap_or_else(|_| Err(no_time())) {
            Ok(packages) => self.before = Some(packages),
            Err(reason) => self.lacks("packages.before.txt", &reason),
        }
    }

    /// Takes from a container that is up all that it can tell.
    pub(super) async fn gather(&self, guest: &Guest, units: &[String]) {
        let deadline = Instant::now() + PATIENCE;
        let listening = all_listeners(guest.leader());
        let listening = listening.iter().fold(String::new(), |mut text, listener| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{listener}");
            text
        });
        self.text("listening.txt", &listening);
        let cores = coredumps::copy(guest, &self.directory.join(COREDUMPS), MOST);
        for (name, reason) in cores {
            self.lacks(&format!("{COREDUMPS}/{name}"), &reason);
        }
        let pieces = pieces(units);
        let files = pieces.iter().map(|piece| piece.file.as_str());
        let files: Vec<&str> = files.chain(["packages.txt", "packages.diff"]).collect();
        for file in &files {
            self.lacks(file, &no_time());
        }
        let taken = timeout_at(deadline, async {
            // Who does not answer now, will not for each of them.
            sync_journal(guest).await?;
            let written = join_all(pieces.iter().map(|piece| self.piece(guest, piece)));
            let ((), _) = tokio::join!(self.packages(guest), written);
            Ok::<_, crate::machine::GuestError>(())
        });
        if let Ok(Err(error)) = taken.await {
            for file in &files {
                self.lacks(file, &error.to_string());
            }
        }
    }

    async fn packages(&self, guest: &Guest) {
        let lines = |packages: &BTreeSet<String>| {
            packages
                .iter()
                .fold(String::new(), |text, package| text + package + "\n")
        };
        if let Some(before) = &self.before {
            self.text("packages.before.txt", &lines(before));
        }
        let now = match packages(guest).await {
            Ok(now) => now,
            Err(reason) => {
                self.lacks("packages.txt", &reason);
                self.lacks("packages.diff", "packages.txt is missing");
                return;
            }
        };
        self.text("packages.txt", &lines(&now));
        let Some(before) = &self.before else {
            self.lacks("packages.diff", "packages.before.txt is missing");
            return;
        };
        let gone = before
            .difference(&now)
            .map(|package| format!("-{package}\n"));
        let come = now
            .difference(before)
            .map(|package| format!("+{package}\n"));
        self.text("packages.diff", &gone.chain(come).collect::<String>());
    }

    /// Writes what the report knows, which outlives the container, and what is missing.
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
        let missing = self.missing.lock();
        let missing = missing.unwrap_or_else(PoisonError::into_inner).clone();
        let path = self.directory.join("missing.txt");
        if missing.is_empty() {
            // An earlier run may have left one.
            let _ = fs::remove_file(path);
            return;
        }
        let mut text = String::new();
        for (file, reason) in missing {
            tracing::info!(file, reason, "an artifact is missing");
            let _ = writeln!(text, "{file}: {}", reason.trim().replace('\n', "\n  "));
        }
        self.text("missing.txt", &text);
    }

    /// Says why there is nothing of a container.
    pub(super) fn nothing(&self, reason: &str) {
        self.lacks("all that a container tells", reason);
    }

    async fn piece(&self, guest: &Guest, piece: &Piece) {
        match self.written(guest, piece).await {
            Ok(()) => self.has(&piece.file),
            Err(reason) => self.lacks(&piece.file, &reason),
        }
    }

    /// Runs a command in the container and lets its output be a file; says why that is not all there.
    async fn written(&self, guest: &Guest, piece: &Piece) -> Result<(), String> {
        let program = piece.command.program();
        if !guest.has_file(program) {
            return Err(format!("the image has no {program}"));
        }
        let path = self.directory.join(&piece.file);
        let created = create(&path).map_err(|error| not_written(&path, &error))?;
        let written = guest
            .run_into(&piece.command, created, MOST, PATIENCE)
            .await;
        let is_empty = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0);
        if is_empty {
            let _ = fs::remove_file(&path);
        }
        let written = written.map_err(|error| error.to_string())?;
        let is_good = match written.status {
            ExitStatus::Code(code) => code == 0 || piece.is_any_code_good,
            ExitStatus::Signal(_) | ExitStatus::Unknown => false,
        };
        match written.problem {
            Some(error) => {
                let reason = not_written(&path, &error);
                Err(format!("not all of it could be written: {reason}"))
            }
            None if is_good && (piece.may_be_empty || !is_empty) => Ok(()),
            None => {
                let said = crate::report::cut(written.stderr.trim(), REASON);
                Err(format!("{program} ended with {}: {said}", written.status))
            }
        }
    }

    fn text(&self, file: &str, text: &str) {
        match fs::write(self.directory.join(file), text) {
            Ok(()) => self.has(file),
            Err(error) => self.lacks(file, &not_written(&self.directory.join(file), &error)),
        }
    }

    fn has(&self, file: &str) {
        let missing = self.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner).remove(file);
    }

    fn lacks(&self, file: &str, reason: &str) {
        let missing = self.missing.lock();
        missing
            .unwrap_or_else(PoisonError::into_inner)
            .insert(file.to_owned(), reason.to_owned());
    }
}

/// What the host does not take is its user's to mend, and not for who asks for more to be told only.
fn not_written(path: &Path, error: &io::Error) -> String {
    tracing::warn!(path = %path.display(), %error, "an artifact is not written");
    error.to_string()
}

fn no_time() -> String {
    format!("it was not there within {} s", PATIENCE.as_secs())
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    File::create(path)
}

/// What is installed, a line for each package and its version; or why that cannot be told.
async fn packages(guest: &Guest) -> Result<BTreeSet<String>, String> {
    let manager = install::detect(guest).ok_or("the image has no package manager that is known")?;
    let command = manager.listing();
    let output = guest.run(&command, PATIENCE).await;
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        let program = command.program();
        let said = crate::report::cut(output.text.trim(), REASON);
        return Err(format!("{program} ended with {}: {said}", output.status));
    }
    Ok(output.text.lines().map(str::to_owned).collect())
}
