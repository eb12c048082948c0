//! Telling what came of a run, and the exit code for it.

use postroj::report::{ImageReport, RunReport, Verdict, render};

use crate::cli::commands::reporting::Reports;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;

/// Writes the report to standard output, unless that has a document, and the documents; what is to be
/// said besides goes to standard error.
pub(super) fn tell(
    report: &RunReport,
    reports: &Reports,
    output: &Output,
) -> Result<Exit, CommandError> {
    if !reports.take_stdout() {
        for image in &report.images {
            output.result(&render(image, output.palette()));
        }
    }
    for image in &report.images {
        if let (true, Some(machine)) = (image.kept, &image.machine) {
            output.note(&format!(
                "{machine} stays up; get in: postroj shell {machine}; end it: postroj stop {machine}"
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
