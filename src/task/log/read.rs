//! Reading what a command has written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::time::SystemTime;

use super::follow::Follow;
use super::{Record, parse};
use crate::run::Stream;
use crate::task::{Task, TaskError, files};

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Only what was written to this.
    pub stream: Option<Stream>,
    /// Only what was written since then.
    pub since: Option<SystemTime>,
    /// Only so many lines of what there is.
    pub tail: Option<usize>,
    /// Whether what is written from now on is wanted too, until the task ends.
    pub follow: bool,
}

/// What a task's command has written, in order.
pub struct Logs {
    task: Task,
    reader: BufReader<File>,
    line: Vec<u8>,
    stream: Option<Stream>,
    since: Option<SystemTime>,
    begins: Begins,
    follow: Option<Follow>,
}

impl Logs {
    pub(in crate::task) fn open(task: &Task, options: &LogOptions) -> io::Result<Self> {
        let path = files::log(&task.directory);
        let file = File::open(&path)?;
        // Before anything is read: what is written afterwards is heard of.
        let follow = options
            .follow
            .then(|| Follow::new(task, &path))
            .transpose()?;
        let mut logs = Self {
            task: task.clone(),
            reader: BufReader::new(file),
            line: Vec::new(),
            stream: options.stream,
            since: options.since,
            begins: Begins::default(),
            follow,
        };
        match options.tail {
            None => {}
            Some(0) => drop(logs.reader.seek(SeekFrom::End(0))?),
            Some(lines) => logs.skip_to(lines)?,
        }
        Ok(logs)
    }

    /// The next line, or part of one, if need be when it is written; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Record>, TaskError> {
        loop {
            // Who reads a long log is to be interrupted all the same.
            tokio::task::consume_budget().await;
            if let Some(record) = self.next_now()? {
                return Ok(Some(record));
            }
            let more = match &mut self.follow {
                Some(follow) => follow.more().await,
                None => false,
            };
            if !more {
                return Ok(None);
            }
        }
    }

    /// The next of what is there already, if there is more.
    pub fn next_now(&mut self) -> Result<Option<Record>, TaskError> {
        let path = files::log(&self.task.directory);
        self.read().map_err(TaskError::storage(&path))
    }

    /// The next record of those that are wanted; `None` where there is none yet.
    fn read(&mut self) -> io::Result<Option<Record>> {
        loop {
            let length = self.reader.read_until(b'\n', &mut self.line)?;
            if self.line.pop_if(|byte| *byte == b'\n').is_none() {
                // A record that is being written is read when it is whole: it may be taken back until then.
                self.line.clear();
                let back = i64::try_from(length).unwrap_or_default();
                self.reader.seek(SeekFrom::Current(-back))?;
                return Ok(None);
            }
            let record = parse(&self.line);
            self.line.clear();
            let Some(mut record) = record else {
                continue;
            };
            record.begins_line = self.begins.line(&record);
            let is_wanted = self.stream.is_none_or(|stream| stream == record.stream)
                && self.since.is_none_or(|since| record.time >= since);
            if is_wanted {
                return Ok(Some(record));
            }
        }
    }

    /// Goes to where the last lines of what is wanted begin.
    fn skip_to(&mut self, lines: usize) -> io::Result<()> {
        let mut starts = VecDeque::new();
        loop {
            let at = self.reader.stream_position()?;
            match self.read()? {
                Some(record) if record.begins_line => {
                    starts.push_back(at);
                    if starts.len() > lines {
                        starts.pop_front();
                    }
                }
                Some(_) => {}
                None => break,
            }
        }
        if let Some(start) = starts.front() {
            self.reader.seek(SeekFrom::Start(*start))?;
            self.begins = Begins::default();
        }
        Ok(())
    }
}

/// Which streams are in the middle of a line.
#[derive(Debug, Default)]
struct Begins {
    out: bool,
    err: bool,
}

impl Begins {
    /// Whether a record begins a line of its stream.
    fn line(&mut self, record: &Record) -> bool {
        let is_within = match record.stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        !std::mem::replace(is_within, record.text.last() != Some(&b'\n'))
    }
}
