//! Writing down what a command writes.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use super::{put, stamp};
use crate::run::Stream;

/// Where it is written to. What finds no room is lost, and counted: the command goes on.
pub(in crate::task) struct Writer {
    file: File,
    /// How long the file is, in whole records.
    length: u64,
    lost: u64,
    record: Vec<u8>,
}

impl Writer {
    pub(in crate::task) fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Self {
            length: file.metadata()?.len(),
            file,
            lost: 0,
            record: Vec::new(),
        })
    }

    /// Writes down what has arrived at this moment; whether it is the first that finds no room.
    pub(in crate::task) fn write(&mut self, stream: Stream, text: &[u8]) -> bool {
        self.record.clear();
        put(&mut self.record, &stamp(SystemTime::now()), stream, text);
        if self.file.write_all(&self.record).is_ok() {
            self.length += self.record.len() as u64;
            return false;
        }
        let is_first = self.lost == 0;
        self.lost += text.len() as u64;
        // A part of it may be there, and what comes next is no part of that.
        let _ = self.file.set_len(self.length);
        is_first
    }

    /// How many bytes were lost.
    pub(in crate::task) fn lost(&self) -> u64 {
        self.lost
    }
}
