//! `task logs`.

use std::io;
use std::time::SystemTime;

use postroj::run::Stream;
use postroj::task::{LogOptions, Logs as Found, Record, Tasks};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

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
        let mut printer = Printer::new(self.timestamps);
        loop {
            let outcome = tokio::select! {
                outcome = printer.print_next(&mut logs) => outcome?,
                number = signals.next() => return Ok(Exit::Signal(number)),
            };
            match outcome {
                Printed::Some => {}
                // A reader that has gone, as `head` does, wants no more.
                Printed::All | Printed::ForNobody => return Ok(Exit::Success),
            }
        }
    }
}

/// What has become of a part of a log.
pub(super) enum Printed {
    /// It is printed, and there may be more.
    Some,
    /// There is no more.
    All,
    /// Nobody reads it.
    ForNobody,
}

/// Writes records to where their command wrote them, as many at once as there are.
pub(super) struct Printer {
    has_times: bool,
    text: Vec<u8>,
}

/// How much is written at once, in bytes.
const PIECE: usize = 64 << 10;

/// How many records that may be.
const RECORDS: usize = 1000;

impl Printer {
    pub(super) fn new(has_times: bool) -> Self {
        Self {
            has_times,
            text: Vec::new(),
        }
    }

    /// Waits for what comes next, and prints it.
    pub(super) async fn print_next(&mut self, logs: &mut Found) -> Result<Printed, CommandError> {
        let Some(mut record) = logs.next().await? else {
            return Ok(Printed::All);
        };
        let mut count = 0;
        loop {
            let stream = record.stream;
            self.add(&record);
            count += 1;
            let next = if self.text.len() < PIECE && count < RECORDS {
                logs.next_now()?
            } else {
                None
            };
            // In their order, as far as that can be had of two streams.
            let is_to_be_written = next.as_ref().is_none_or(|next| next.stream != stream);
            if is_to_be_written && let Err(error) = self.write(stream).await {
                return match error.kind() {
                    io::ErrorKind::BrokenPipe => Ok(Printed::ForNobody),
                    _ => Err(CommandError::internal(format!("cannot write: {error}"))),
                };
            }
            match next {
                Some(next) => record = next,
                None => return Ok(Printed::Some),
            }
        }
    }

    fn add(&mut self, record: &Record) {
        if self.has_times && record.begins_line {
            self.text.extend_from_slice(record.timestamp().as_bytes());
            self.text.push(b' ');
        }
        self.text.extend_from_slice(&record.text);
    }

    /// Whoever reads may read slowly, or not at all: signals are heard meanwhile.
    async fn write(&mut self, stream: Stream) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        match stream {
            Stream::Stdout => put(tokio::io::stdout(), &text).await,
            Stream::Stderr => put(tokio::io::stderr(), &text).await,
        }
    }
}

async fn put(mut to: impl AsyncWrite + Unpin, text: &[u8]) -> io::Result<()> {
    to.write_all(text).await?;
    to.flush().await
}
