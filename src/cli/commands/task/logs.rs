//! `task logs`.

use std::io::{self, Write as _};
use std::time::SystemTime;

use postroj::run::Stream;
use postroj::task::{LogOptions, Record, Tasks};

use super::TASK;
use crate::cli::error::{CommandError, Exit};
use crate::cli::signals::Signals;

/// Print what the command of a task has written
///
/// What it wrote to standard output goes to standard output, and what it wrote to standard error to
/// standard error, as it was written.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(super) struct Logs {
    /// The task: its name, its id, or the beginning of that
    #[arg(value_name = TASK)]
    task: String,
    /// Go on with what is written from now on, until the task ends
    #[arg(long, short)]
    follow: bool,
    /// Leave out what was written before: a time as 2026-01-31T12:00:00Z, or how long ago, as 10m
    #[arg(long, value_name = "TIME", value_parser = postroj::task::since)]
    since: Option<SystemTime>,
    /// Print so many of the last lines only
    #[arg(long, short = 'n', value_name = "NUMBER")]
    tail: Option<usize>,
    /// Print what was written to standard output only
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Print what was written to standard error only
    #[arg(long)]
    stderr: bool,
    /// Print the time before each line
    #[arg(long, short)]
    timestamps: bool,
}

impl Logs {
    pub(super) async fn run(self, tasks: &Tasks) -> Result<Exit, CommandError> {
        let mut signals = Signals::listen()?;
        let task = tasks.find(&self.task)?;
        let stream = match (self.stdout, self.stderr) {
            (true, _) => Some(Stream::Stdout),
            (_, true) => Some(Stream::Stderr),
            _ => None,
        };
        let mut logs = task.logs(&LogOptions {
            stream,
            since: self.since,
            tail: self.tail,
            follow: self.follow,
        })?;
        loop {
            let record = tokio::select! {
                record = logs.next() => record?,
                number = signals.next() => return Ok(Exit::Signal(number)),
            };
            let Some(record) = record else {
                return Ok(Exit::Success);
            };
            if let Err(error) = print(&record, self.timestamps) {
                return match error.kind() {
                    // A reader that has gone, as `head` does, wants no more.
                    io::ErrorKind::BrokenPipe => Ok(Exit::Success),
                    _ => Err(CommandError::internal(format!("cannot write: {error}"))),
                };
            }
        }
    }
}

/// Writes a record to where its command wrote it.
pub(super) fn print(record: &Record, timestamps: bool) -> io::Result<()> {
    let mut text = Vec::new();
    if timestamps && record.begins_line {
        text.extend_from_slice(format!("{} ", record.timestamp()).as_bytes());
    }
    text.extend_from_slice(&record.text);
    match record.stream {
        Stream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(&text)?;
            out.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(&text),
    }
}
