//! The reports that a run writes beside what it tells on the terminal.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use postroj::report::{Format, Invocation, RunReport};

use crate::cli::document::Destination;
use crate::cli::error::CommandError;
use crate::cli::output::tell;

/// What is written about a run, and where.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Reporting {
    /// Write a report to a file, as json, junit, tap, html or markdown; `-` is standard output; may
    /// be repeated
    #[arg(long = "report", value_name = "FORMAT=FILE")]
    reports: Vec<String>,
    /// Keep what can be had of each container, below DIR/IMAGE: its journal, units, sockets, packages,
    /// a plot of its boot
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Print the report as JSON: --report json=-
    #[arg(long)]
    json: bool,
}

/// The reports of a run that has begun.
pub(crate) struct Reports {
    started: SystemTime,
    documents: Vec<(Format, Destination)>,
}

impl Reporting {
    /// Where artifacts are kept. A directory that cannot be made is told now, before anything has been
    /// done.
    pub(crate) fn artifacts(&self) -> Result<Option<PathBuf>, CommandError> {
        let Some(directory) = &self.artifacts else {
            return Ok(None);
        };
        let made = std::fs::create_dir_all(directory).and_then(|()| std::path::absolute(directory));
        let made = made.map_err(|error| {
            let directory = directory.display();
            CommandError::usage(format!("--artifacts {directory} cannot be made: {error}"))
        })?;
        Ok(Some(made))
    }

    /// What they mean. A file that cannot be written is told now, before anything has been done.
    pub(crate) fn prepare(&self) -> Result<Reports, CommandError> {
        let mut wanted = Vec::new();
        if self.json {
            wanted.push((Format::Json, PathBuf::from("-")));
        }
        for text in &self.reports {
            wanted.push(parse(text)?);
        }
        let mut documents: Vec<(Format, Destination)> = Vec::new();
        for (format, path) in wanted {
            let destination = Destination::prepare(&path)?;
            let taken = documents.iter().find(|(_, taken)| *taken == destination);
            if let Some((other, _)) = taken {
                return Err(CommandError::usage(format!(
                    "--report {format} and --report {other} cannot both be written to {destination}"
                )));
            }
            documents.push((format, destination));
        }
        Ok(Reports {
            started: SystemTime::now(),
            documents,
        })
    }
}

impl Reports {
    /// Whether one of them is what standard output is for.
    pub(crate) fn take_stdout(&self) -> bool {
        let mut documents = self.documents.iter();
        documents.any(|(_, destination)| *destination == Destination::Stdout)
    }

    /// Which run they are of.
    pub(crate) fn invocation(&self) -> Invocation {
        Invocation::new(std::env::args_os().skip(1), self.started)
    }

    /// Writes them; all that can be, and gives the first error.
    pub(crate) fn write(&self, report: &RunReport) -> Result<(), CommandError> {
        let documents = self.documents.iter();
        documents
            .map(|(format, destination)| destination.write(&format.render(report)))
            .fold(Ok(()), Result::and)
    }

    /// Writes them; an error is told and changes nothing, for the run has a worse one.
    pub(crate) fn write_or_tell(&self, report: &RunReport) {
        if let Err(error) = self.write(report) {
            tell(&format!("error: {}", error.message()));
        }
    }
}

/// `FORMAT=FILE`.
fn parse(text: &str) -> Result<(Format, PathBuf), CommandError> {
    let (format, path) = text.split_once('=').unwrap_or((text, ""));
    let format: Format = format.parse().map_err(CommandError::usage)?;
    if path.is_empty() {
        let hint = format!("write --report {format}=FILE, or --report {format}=- to print it");
        let error = CommandError::usage(format!("--report {text} names no file"));
        return Err(error.with_hint(Some(hint)));
    }
    Ok((format, Path::new(path).to_owned()))
}
