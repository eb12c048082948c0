//! A run on one image or several: how it is watched, what is told of it, and its exit code.

use std::fmt::Write as _;
use std::sync::Arc;

use postroj::install::Fetcher;
use postroj::matrix::{self, Cancelled, Pace, Resources};
use postroj::pkgprobe::Plan;
use postroj::report::{ImageReport, RunReport, Skipped, Verdict, render, table};

use super::getting::Getting;
use super::reporting::{Reporting, Reports};
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, one_line, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// What is to be done.
pub(crate) struct Run {
    /// What is tested, on each image.
    pub(crate) plans: Vec<Plan>,
    /// How they are gone through.
    pub(crate) pace: Pace,
    /// The images that a pattern stands for and that cannot work, and why.
    pub(crate) left_out: Vec<(String, String)>,
    /// What the user should know, and that fails nothing.
    pub(crate) notes: Vec<String>,
}

impl Run {
    /// Does it.
    pub(crate) async fn go(
        self,
        (getting, reporting): (&Getting, &Reporting),
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        let reports = reporting.prepare()?;
        require_root()?;
        // Signals from now on end the run in order.
        let mut signals = Signals::listen()?;
        for (name, reason) in &self.left_out {
            output.note(&format!("{name}: left out: {reason}"));
        }
        for note in &self.notes {
            output.note(note);
        }
        let progress: postroj::progress::SharedProgress = Arc::new(postroj::progress::Silent);
        let fetcher = if getting.is_offline(settings) {
            Fetcher::offline(&settings.cache_dir, progress.clone())
        } else {
            Fetcher::new(&settings.cache_dir, progress.clone())
        };
        let resources = Resources {
            images: getting.images(settings, &progress)?,
            fetcher,
        };
        let names: Vec<String> = self
            .plans
            .iter()
            .map(|plan| plan.image.to_string())
            .collect();
        let observer = output.observer(&names);
        let mut received = 0;
        let cancelled = async { received = signals.next().await };
        let invocation = reports.invocation();
        let ended = matrix::run(
            self.plans, self.pace, &resources, &observer, invocation, cancelled,
        );
        let ended = ended.await;
        // Its rows stay; what is told from now on comes below them.
        drop(observer);
        let left_out = self.left_out.into_iter();
        let skipped = left_out.map(|(image, reason)| Skipped { image, reason });
        match ended {
            Err(Cancelled(mut report)) => {
                report.skipped = skipped.collect();
                reports.write_or_tell(&report);
                Ok(Exit::Signal(received))
            }
            Ok(mut report) => {
                report.skipped = skipped.collect();
                tell(&report, &reports, output)
            }
        }
    }
}

/// Writes the report to standard output, unless that has a document, and the documents; what is to be
/// said besides goes to standard error.
fn tell(report: &RunReport, reports: &Reports, output: &Output) -> Result<Exit, CommandError> {
    let is_one = report.images.len() == 1 && report.skipped.is_empty();
    if !reports.take_stdout() {
        for image in &report.images {
            let mut text = render(image, output.palette());
            if let (false, Some(error)) = (is_one, &image.error) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "  error: {}", one_line(error));
                if let Some(hint) = &image.hint {
                    let _ = writeln!(text, "  hint: {}", one_line(hint));
                }
            }
            if !is_one {
                text.push('\n');
            }
            output.result(&text);
        }
        if !is_one {
            output.result(&table(report, output.palette()));
        }
    }
    for image in &report.images {
        if let (true, Some(machine)) = (image.kept, &image.machine) {
            let of = if is_one {
                String::new()
            } else {
                format!("{}: ", image.image)
            };
            output.note(&format!(
                "{of}{machine} stays up; get in: postroj shell {machine}; end it: postroj stop {machine}"
            ));
        }
    }
    if report.verdict == Verdict::Passed {
        // Who asked for a document and does not get it has no verdict.
        return reports.write(report).map(|()| Exit::Success);
    }
    reports.write_or_tell(report);
    match (report.verdict, report.images.as_slice()) {
        (Verdict::Passed, _) => Ok(Exit::Success),
        (Verdict::Failed, _) => Ok(Exit::Failed),
        (Verdict::Error, [image]) => no_verdict(image),
        (Verdict::Error, _) => Ok(Exit::NoVerdict),
    }
}

/// Why there is no verdict, as an error of its own.
fn no_verdict(image: &ImageReport) -> Result<Exit, CommandError> {
    let Some(error) = &image.error else {
        return Ok(Exit::NoVerdict);
    };
    let made = if image.is_usage {
        CommandError::usage(error)
    } else {
        CommandError::internal(error)
    };
    Err(made.with_hint(image.hint.clone()))
}
