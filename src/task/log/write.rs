//! Writing down what a command writes.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use super::{parse, put, stamp};
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
        // A part of it may be there: what is whole of that stays, for somebody may have read it.
        let length = self.file.metadata().map_or(self.length, |file| file.len());
        let written = usize::try_from(length.saturating_sub(self.length)).unwrap_or_default();
        let (records, kept) = whole(&self.record, written);
        self.length += records as u64;
        self.lost += (text.len() - kept) as u64;
        let _ = self.file.set_len(self.length);
        is_first
    }

    /// How many bytes were lost.
    pub(in crate::task) fn lost(&self) -> u64 {
        self.lost
    }
}

/// How much of what is written up to a place is whole records, and how much of the command's bytes those are.
fn whole(record: &[u8], written: usize) -> (usize, usize) {
    let (mut records, mut kept) = (0, 0);
    for line in record.split_inclusive(|byte| *byte == b'\n') {
        if records + line.len() > written {
            break;
        }
        records += line.len();
        kept += parse(&line[..line.len() - 1]).map_or(0, |record| record.text.len());
    }
    (records, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_counted_by_whole_records() {
        let mut record = Vec::new();
        put(
            &mut record,
            &stamp(SystemTime::now()),
            Stream::Stdout,
            b"one\ntwo\nrest",
        );
        let first = record.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(whole(&record, 0), (0, 0));
        assert_eq!(whole(&record, first - 1), (0, 0));
        assert_eq!(whole(&record, first), (first, 4));
        assert_eq!(whole(&record, first + 3), (first, 4));
        assert_eq!(whole(&record, record.len()), (record.len(), 12));
    }
}
