//! The result of a run and how it is written.
//!
//! A report is data; each of its forms is a pure function of it.

mod case;
mod clean;
mod format;
mod html;
mod invocation;
mod junit;
mod markdown;
mod table;
mod tap;
#[cfg(test)]
mod tests;
mod text;

use serde::{Serialize, Serializer};
use std::time::{Duration, Instant};

use crate::machine::{BootSteps, EndSteps};
use crate::pkgprobe::Phase;
use crate::probe::{Outcome, StartedBy};

pub use format::{Format, UnknownFormat};
pub use invocation::Invocation;
pub use table::{cut, shortened, table};
pub use text::{Palette, printable, render};

/// What a run says about a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It installs, and all checks hold.
    Passed,
    /// It does not install, or a check fails.
    Failed,
    /// Nothing: the image, the host or the network was in the way.
    Error,
}

impl Verdict {
    /// It in one word, as the documents have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
        }
    }

    /// It for people to read.
    fn words(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "no verdict",
        }
    }
}

/// The version of the form in which a run's report is written as JSON.
pub const FORMAT: u32 = 2;

/// What a run has found, on all of its images.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The version of this format.
    pub format: u32,
    /// Which run it was.
    pub run: Invocation,
    /// The verdict on all of it: failed, if it is on one image; else none, if there is none on one.
    pub verdict: Verdict,
    /// What was found on each image, in the order in which they were asked for.
    pub images: Vec<ImageReport>,
    /// The images that were meant and cannot work.
    pub skipped: Vec<Skipped>,
    /// How long all of it took, in seconds.
    #[serde(serialize_with = "seconds")]
    pub seconds: Duration,
}

impl RunReport {
    /// Puts together what was found on each image.
    pub fn new(run: Invocation, images: Vec<ImageReport>, seconds: Duration) -> Self {
        let has = |verdict| images.iter().any(|image| image.verdict == verdict);
        let verdict = if has(Verdict::Failed) {
            Verdict::Failed
        } else if has(Verdict::Error) {
            Verdict::Error
        } else {
            Verdict::Passed
        };
        Self {
            format: FORMAT,
            run,
            verdict,
            images,
            skipped: Vec::new(),
            seconds,
        }
    }

    /// The verdict in a few words.
    fn headline(&self) -> String {
        let of = |verdict| {
            let images = self.images.iter();
            images.filter(|image| image.verdict == verdict).count()
        };
        let all = self.images.len();
        let images = if all == 1 { "image" } else { "images" };
        match (of(Verdict::Failed), of(Verdict::Error)) {
            (0, 0) => format!("passed on {all} {images}"),
            (0, errors) => format!("no verdict on {errors} of {all} {images}"),
            (failed, 0) => format!("failed on {failed} of {all} {images}"),
            (failed, errors) => {
                format!("failed on {failed} of {all} {images}, no verdict on {errors}")
            }
        }
    }
}

/// An image that was left out.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// The image.
    pub image: String,
    /// Why it cannot work.
    pub reason: String,
}

/// What a run has found, on one image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageReport {
    /// The image, by the name that was asked for.
    pub image: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The machine, once there was one.
    pub machine: Option<String>,
    /// The version of its systemd, in its own words.
    pub systemd: Option<String>,
    /// Whether it was left running.
    pub kept: bool,
    /// The packages, as they were asked for.
    pub packages: Vec<String>,
    /// What was done with them, as far as it was tried.
    pub phases: Vec<PhaseReport>,
    /// The checks that came to a result, in the order in which they were asked for.
    pub checks: Vec<CheckReport>,
    /// What the packages have left behind, once they were purged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leftovers: Option<Leftovers>,
    /// Why there is no verdict.
    pub error: Option<String>,
    /// Whether that is a mistake in what was asked for.
    #[serde(skip)]
    pub is_usage: bool,
    /// What to do about that.
    pub hint: Option<String>,
    /// What shows why it failed.
    pub evidence: Vec<Evidence>,
    /// How long the steps took.
    pub timings: Timings,
}

/// How long the steps of a run took, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Timings {
    /// Getting the image.
    #[serde(serialize_with = "seconds")]
    pub pull: Duration,
    /// Putting the image's root together, which is a part of booting.
    #[serde(serialize_with = "seconds")]
    pub compose: Duration,
    /// Booting.
    #[serde(serialize_with = "seconds")]
    pub boot: Duration,
    /// The parts of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_steps: Option<BootSteps>,
    /// Fetching and installing the packages.
    #[serde(serialize_with = "seconds")]
    pub install: Duration,
    /// The checks.
    #[serde(serialize_with = "seconds")]
    pub checks: Duration,
    /// Ending the container.
    #[serde(serialize_with = "seconds")]
    pub teardown: Duration,
    /// The parts of that, unless the container stays up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teardown_steps: Option<EndSteps>,
    /// All of it.
    #[serde(serialize_with = "seconds")]
    pub total: Duration,
}

/// A phase of the packages' life.
#[derive(Debug, Clone, Serialize)]
pub struct PhaseReport {
    /// Which it is.
    pub phase: Phase,
    /// Whether it went well.
    pub passed: bool,
    /// The packages that it was about.
    pub packages: Vec<String>,
    /// The package manager.
    pub manager: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// What the package manager wrote.
    pub output: String,
    /// How long it took, in seconds.
    #[serde(serialize_with = "seconds")]
    pub seconds: Duration,
}

/// What packages have left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Leftovers {
    /// Files and directories.
    pub files: Vec<String>,
    /// Users.
    pub users: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Files and links of units, and units that systemd still has something of.
    pub units: Vec<String>,
}

impl Leftovers {
    /// What there is of each kind, with the kind's name for one and for more.
    pub fn kinds(&self) -> [(&'static str, &'static str, &[String]); 4] {
        [
            ("file", "files", &self.files),
            ("user", "users", &self.users),
            ("group", "groups", &self.groups),
            ("unit", "units", &self.units),
        ]
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(_, _, names)| names.is_empty())
    }
}

impl std::fmt::Display for Leftovers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return formatter.write_str("nothing is left behind");
        }
        let counts: Vec<String> = self
            .kinds()
            .iter()
            .filter(|(_, _, names)| !names.is_empty())
            .map(|(one, more, names)| match names.len() {
                1 => format!("1 {one}"),
                number => format!("{number} {more}"),
            })
            .collect();
        write!(formatter, "left behind: {}", counts.join(", "))
    }
}

/// A check and what it found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// After which phase it was made.
    pub phase: Phase,
    /// Its kind: `unit`, `http`, …; after an upgrade also `config`, after a removal `units`,
    /// `process`, `listener` and `leftovers`.
    pub kind: &'static str,
    /// What was looked at: the unit, the address, the file, …
    pub target: String,
    /// What its author calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What was asked of the target, in words, where it is more than being there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Why it could not be told whether it holds; it speaks neither for the package nor against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who started the unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<StartedBy>,
    /// How long it took, in seconds.
    #[serde(serialize_with = "seconds")]
    pub seconds: Duration,
}

impl CheckReport {
    /// What has been seen of something after a phase, without anybody's having asked.
    pub(crate) fn unasked(
        phase: Phase,
        kind: &'static str,
        target: impl Into<String>,
        outcome: Outcome,
        began: Instant,
    ) -> Self {
        Self {
            phase,
            kind,
            target: target.into(),
            title: None,
            expected: None,
            outcome,
            error: None,
            started_by: None,
            seconds: began.elapsed(),
        }
    }

    /// What it says: nothing, if it could not be told whether it holds.
    pub fn verdict(&self) -> Verdict {
        match (&self.error, self.outcome.passed) {
            (Some(_), _) => Verdict::Error,
            (None, true) => Verdict::Passed,
            (None, false) => Verdict::Failed,
        }
    }
}

/// Something that shows why a run failed.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// What it is.
    pub title: String,
    /// The text itself.
    pub text: String,
    /// The phase that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The checks that it is about, by their places in the list of checks; none where it is about
    /// the image or a phase.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<usize>,
}

/// How much of one piece of evidence a report holds, in bytes.
const EVIDENCE_MAX: usize = 64 * 1024;

/// The same, of its title.
const TITLE_MAX: usize = 256;

impl Evidence {
    /// Evidence about the image; of a text that is very long, its beginning and its end.
    pub fn new(title: impl Into<String>, text: &str) -> Self {
        Self {
            title: clean::bounded(&title.into(), TITLE_MAX).into_owned(),
            text: clean::bounded(text, EVIDENCE_MAX).into_owned(),
            phase: None,
            checks: Vec::new(),
        }
    }

    /// The same, about a phase.
    #[must_use]
    pub fn about_phase(self, phase: Phase) -> Self {
        Self {
            phase: Some(phase),
            ..self
        }
    }

    /// The same, about these checks.
    #[must_use]
    pub fn about_checks(self, checks: Vec<usize>) -> Self {
        Self { checks, ..self }
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Milliseconds are as exact as it gets.
    let rounded = (duration.as_secs_f64() * 1000.0).round() / 1000.0;
    serializer.serialize_f64(rounded)
}
