//! What a run has found, as test reports have it: a list of cases, each of which holds, fails or could
//! not be told.

use std::time::Duration;

use super::clean::bounded;
use super::{Evidence, ImageReport, Verdict};
use crate::pkgprobe::Phase;

/// How long a message may be, in bytes: evidence has room for more.
const MESSAGE: usize = 2048;

/// One thing that was tried on an image.
#[derive(Debug, Clone)]
pub(super) struct Case<'a> {
    /// Names it in a way that is the same for all images.
    pub(super) column: String,
    /// Names it, with what it was tried on.
    pub(super) name: String,
    /// How it ended.
    pub(super) verdict: Verdict,
    /// What was seen, or what went wrong.
    pub(super) message: String,
    /// How long it took.
    pub(super) seconds: Duration,
    /// What shows why.
    pub(super) evidence: Vec<&'a Evidence>,
    /// What the package manager wrote.
    pub(super) output: &'a str,
}

/// How many cases ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) all: usize,
    pub(super) failed: usize,
    pub(super) errors: usize,
}

impl Count {
    pub(super) fn of(cases: &[Case<'_>]) -> Self {
        let of = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
        Self {
            all: cases.len(),
            failed: of(Verdict::Failed),
            errors: of(Verdict::Error),
        }
    }
}

/// The cases of an image: its boot, each phase, each check, and the run itself where that has gone
/// wrong. The verdict on the image is the verdict on them together.
pub(super) fn cases(image: &ImageReport) -> Vec<Case<'_>> {
    let mut cases = vec![boot(image)];
    for phase in &image.phases {
        let told = phase.error.as_ref().or(phase.manager.as_ref());
        // What stands in the way of a verdict is told of the phase in which it did.
        let verdict = match (phase.passed, image.error.is_some()) {
            (true, _) => Verdict::Passed,
            (false, true) if image.error == phase.error => Verdict::Error,
            (false, _) => Verdict::Failed,
        };
        cases.push(Case {
            column: phase.phase.to_string(),
            name: format!("{} {}", phase.phase, phase.packages.join(" "))
                .trim_end()
                .to_owned(),
            verdict,
            message: told.cloned().unwrap_or_default(),
            seconds: phase.seconds,
            evidence: image
                .evidence
                .iter()
                .filter(|evidence| evidence.phase == Some(phase.phase))
                .collect(),
            output: &phase.output,
        });
    }
    for (number, check) in image.checks.iter().enumerate() {
        let called = check.title.as_ref().unwrap_or(&check.target);
        let mut name = format!("{} {called}", check.kind);
        if check.phase != Phase::Install {
            name = format!("{name} after {}", check.phase);
        }
        let mut message = check.outcome.observation.clone();
        if let Some(who) = check.started_by {
            message = format!("{message}, started by {who}");
        }
        cases.push(Case {
            column: name.clone(),
            name,
            verdict: check.verdict(),
            message,
            seconds: check.seconds,
            evidence: image
                .evidence
                .iter()
                .filter(|evidence| evidence.checks.contains(&number))
                .collect(),
            output: "",
        });
    }
    let is_told = cases.iter().any(|case| case.verdict == image.verdict);
    if image.verdict != Verdict::Passed && !is_told {
        cases.push(Case {
            column: "run".to_owned(),
            name: "run".to_owned(),
            verdict: image.verdict,
            message: problem(image),
            seconds: image.timings.total,
            evidence: general(image).collect(),
            output: "",
        });
    }
    for case in &mut cases {
        case.message = bounded(&case.message, MESSAGE).into_owned();
        case.name = bounded(&case.name, MESSAGE).into_owned();
    }
    cases
}

/// The columns of a table of all images: the cases that there are on any of them, in order.
pub(super) fn columns(images: &[Vec<Case<'_>>]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for cases in images {
        // What an image has beyond those before it comes after what they have in common.
        let mut at = 0;
        for case in cases {
            let known = columns.iter().position(|column| *column == case.column);
            at = known.unwrap_or_else(|| {
                columns.insert(at, case.column.clone());
                at
            }) + 1;
        }
    }
    columns
}

/// The evidence that is about none of the phases and checks.
pub(super) fn general(image: &ImageReport) -> impl Iterator<Item = &Evidence> {
    let is_general = |evidence: &&Evidence| evidence.phase.is_none() && evidence.checks.is_empty();
    image.evidence.iter().filter(is_general)
}

fn boot(image: &ImageReport) -> Case<'_> {
    let is_up = image.machine.is_some();
    // Without a verdict, and without a machine, it is getting there that went wrong.
    let failed = !is_up && image.verdict == Verdict::Error;
    Case {
        column: "boot".to_owned(),
        name: "boot".to_owned(),
        verdict: if failed {
            Verdict::Error
        } else {
            Verdict::Passed
        },
        message: match (&image.systemd, failed) {
            (_, true) => problem(image),
            (Some(version), false) => format!("systemd {version}"),
            (None, false) => String::new(),
        },
        seconds: if failed {
            image.timings.total
        } else {
            image.timings.boot
        },
        evidence: if failed {
            general(image).collect()
        } else {
            Vec::new()
        },
        output: "",
    }
}

fn problem(image: &ImageReport) -> String {
    match (&image.error, &image.hint) {
        (Some(error), Some(hint)) => format!("{error}; {hint}"),
        (Some(error), None) => error.clone(),
        (None, _) => String::new(),
    }
}
