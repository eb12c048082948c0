//! What a task's command has written: a line for each line, as `TIME STREAM TAG TEXT`, in the form that
//! the container runtimes of Kubernetes have for their logs. The time is RFC 3339's with nine digits of a
//! second, the stream `stdout` or `stderr`; the tag is `F` for a line that ends here, `P` for a part of one
//! that goes on in the next of that stream. So the bytes that were written can be had back as they were.

mod follow;
mod read;
mod write;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use read::{LogOptions, Logs};
pub(super) use write::Writer;

use crate::Invalid;
use crate::run::Stream;

/// How long the time of a record is, in bytes.
const TIME: usize = "2026-01-01T00:00:00.000000000Z".len();

/// A line of what a command has written, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it arrived.
    pub time: SystemTime,
    /// Where it was written to.
    pub stream: Stream,
    /// What was written, with the newline if it has one.
    pub text: Vec<u8>,
    /// Whether it begins a line of its stream.
    pub begins_line: bool,
}

impl Record {
    /// Its time, in the form of RFC 3339 with nine digits of a second.
    pub fn timestamp(&self) -> String {
        stamp(self.time)
    }
}

fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time.max(UNIX_EPOCH)).to_string()
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// Adds what a command has written to what is to be written down. `time` is a [`stamp`].
fn put(record: &mut Vec<u8>, time: &str, stream: Stream, text: &[u8]) {
    let head = format!("{time} {} ", name(stream));
    for piece in text.split_inclusive(|byte| *byte == b'\n') {
        let (tag, piece) = match piece.strip_suffix(b"\n") {
            Some(line) => (b"F ", line),
            None => (b"P ", piece),
        };
        record.extend_from_slice(head.as_bytes());
        record.extend_from_slice(tag);
        record.extend_from_slice(piece);
        record.push(b'\n');
    }
}

/// Reads a line, without its newline. `None` for what is none, as a crash may leave it.
fn parse(line: &[u8]) -> Option<Record> {
    let (time, rest) = line.split_at_checked(TIME)?;
    let time = humantime::parse_rfc3339(std::str::from_utf8(time).ok()?).ok()?;
    let (stream, rest) = rest
        .strip_prefix(b" ")?
        .split_at_checked(name(Stream::Stdout).len())?;
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let (tag, text) = rest.strip_prefix(b" ")?.split_at_checked(2)?;
    let mut text = text.to_vec();
    match tag {
        b"F " => text.push(b'\n'),
        b"P " => {}
        _ => return None,
    }
    Some(Record {
        time,
        stream,
        text,
        begins_line: true,
    })
}

/// Reads a time since which a log is wanted: a date of RFC 3339, or how long ago.
pub fn since(text: &str) -> Result<SystemTime, Invalid> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    let ago = crate::duration::parse(text).map_err(|_| {
        "expected a time as 2026-01-31T12:00:00Z, or how long ago it was, as 90s, 10m or 2h"
            .to_owned()
    })?;
    let time = SystemTime::now().checked_sub(ago.max(Duration::ZERO));
    Ok(time.unwrap_or(UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn since_is_a_time_or_an_age() {
        let at = since("2026-11-24T13:50:50Z").unwrap();
        assert_eq!(at, UNIX_EPOCH + Duration::from_secs(1_795_528_250));
        let then = since("10m").unwrap();
        let ago = SystemTime::now().duration_since(then).unwrap();
        assert!((600..610).contains(&ago.as_secs()));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn what_a_crash_leaves_is_no_record() {
        for line in [
            &b""[..],
            b"2026-11-24T13:50:50.000000000Z",
            b"2026-11-24T13:50:50.000000000Z stdout",
            b"2026-11-24T13:50:50.000000000Z stdout F",
            b"2026-11-24T13:50:50.000000000Z stdxxx F x",
            b"2026-99-24T13:50:50.000000000Z stdout F x",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn the_bytes_come_back(text: Vec<u8>, newlines in proptest::collection::vec(0_usize..64, 0..8)) {
            let mut text = text;
            for at in newlines {
                text.insert(at.min(text.len()), b'\n');
            }
            let mut written = Vec::new();
            put(&mut written, &stamp(SystemTime::now()), Stream::Stderr, &text);
            let mut read = Vec::new();
            for line in written.split_inclusive(|byte| *byte == b'\n') {
                let record = parse(line.strip_suffix(b"\n").unwrap()).unwrap();
                prop_assert_eq!(record.stream, Stream::Stderr);
                read.extend(record.text);
            }
            prop_assert_eq!(read, text);
        }
    }
}
