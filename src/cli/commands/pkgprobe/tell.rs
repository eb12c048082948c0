//! Telling what came of a run, and the exit code for it.

use postroj::report::{ImageReport, RunReport, Verdict, render};

use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;

/// Writes the report to standard output, and what is to be said besides to standard error.
pub(super) fn tell(
    report: &RunReport,
    as_json: bool,
    output: &Output,
) -> Result<Exit, CommandError> {
    if as_json {
        output.json(report)?;
    } else {
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
