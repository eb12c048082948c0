//! `completions`, `man` and `schema`: what the command line and its files are turned into.

use std::path::PathBuf;

use clap::CommandFactory as _;
use postroj::chain::Chain;
use postroj::probe::ProbeFile;

use crate::cli::Arguments;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;

/// Print shell completions
///
/// For example: `postroj completions bash > /etc/bash_completion.d/postroj`
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &Output) -> Exit {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "postroj", &mut text);
        output.result(&String::from_utf8_lossy(&text));
        Exit::Success
    }
}

/// Print the JSON schema of a kind of file
///
/// Editors check and complete files by it: `postroj schema > postroj-probe.schema.json`
#[derive(Debug, clap::Args)]
pub(crate) struct Schema {
    /// What the files are: probe, as --probe takes them, or chain, as `postroj chain run` does
    #[arg(
        value_name = "KIND",
        default_value = "probe",
        hide_default_value = true,
        hide_possible_values = true
    )]
    kind: FileKind,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FileKind {
    /// Checks
    Probe,
    /// Stages
    Chain,
}

impl Schema {
    pub(crate) fn run(&self, output: &Output) -> Exit {
        let schema = match self.kind {
            FileKind::Probe => ProbeFile::schema(),
            FileKind::Chain => Chain::schema(),
        };
        output.result(&format!("{schema:#}\n"));
        Exit::Success
    }
}

/// Print the manual page, or write one for each command into a directory
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The directory, such as /usr/local/share/man/man1
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, output: &Output) -> Result<Exit, CommandError> {
        let command = Arguments::command();
        let Some(directory) = &self.directory else {
            let mut text = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut text)
                .map_err(CommandError::internal)?;
            output.result(&String::from_utf8_lossy(&text));
            return Ok(Exit::Success);
        };
        if !directory.is_dir() {
            return Err(CommandError::usage(format!(
                "{}: not a directory",
                directory.display()
            )));
        }
        clap_mangen::generate_to(command, directory).map_err(|error| {
            CommandError::internal(format!("cannot write to {}: {error}", directory.display()))
        })?;
        Ok(Exit::Success)
    }
}
