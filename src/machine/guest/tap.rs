//! Pipes that commands in a container write into.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use zbus::{Fd, Variant};

use crate::machine::bus::Property;

/// How much of a command's output is kept: so much of its beginning, and as much of its end.
const KEPT: usize = 512 * 1024;

/// Where a command's standard output and standard error go, as a transient unit has it.
pub(super) fn streams<'a>(out: &'a OwnedFd, err: &'a OwnedFd) -> [Property<'a>; 2] {
    let descriptor = |stream: &'a OwnedFd| Variant::from(Fd::from(stream.as_fd()));
    [
        ("StandardOutputFileDescriptor", descriptor(out)),
        ("StandardErrorFileDescriptor", descriptor(err)),
    ]
}

/// The reading end of a pipe that a command writes into, and what has come out of it.
pub(super) struct Tap {
    reader: pipe::Receiver,
    is_open: bool,
    buffer: Vec<u8>,
    kept: Kept,
    sink: Option<Sink>,
}

/// A file that the output goes into, instead of being kept.
struct Sink {
    file: File,
    /// How much more of it.
    room: u64,
    /// Why not all of it is there.
    problem: Option<io::Error>,
}

impl Tap {
    /// A pipe: the end for the command, and ours.
    pub(super) fn new() -> io::Result<(OwnedFd, Self)> {
        let (reader, writer) = io::pipe()?;
        let tap = Self {
            reader: pipe::Receiver::from_owned_fd(reader.into())?,
            is_open: true,
            buffer: vec![0; 16 * 1024],
            kept: Kept::default(),
            sink: None,
        };
        Ok((writer.into(), tap))
    }

    /// Has what comes go into a file, of which it may take so many bytes.
    pub(super) fn into_file(self, file: File, room: u64) -> Self {
        let sink = Sink {
            file,
            room,
            problem: None,
        };
        Self {
            sink: Some(sink),
            ..self
        }
    }

    /// What has been kept.
    pub(super) fn text(&self) -> String {
        self.kept.text()
    }

    /// Whether something in the middle of it has not.
    pub(super) fn is_cut(&self) -> bool {
        self.kept.dropped > 0
    }

    /// Why not all that has come is in the file.
    pub(super) fn problem(self) -> Option<io::Error> {
        self.sink?.problem
    }

    /// Keeps what has come.
    fn take(&mut self, length: usize) {
        let bytes = &self.buffer[..length];
        match &mut self.sink {
            None => self.kept.push(bytes),
            Some(sink) => sink.take(bytes),
        }
    }

    /// Waits for something to come, and keeps it; for ever once the pipe is closed.
    async fn pull(&mut self) {
        if !self.is_open {
            return std::future::pending().await;
        }
        match self.reader.read(&mut self.buffer).await {
            Ok(length) if length > 0 => self.take(length),
            _ => self.is_open = false,
        }
    }

    /// Takes what is in the pipe now; a process that stays may hold it open and go on writing.
    ///
    /// The pipe itself is asked: what tokio knows of it is what it last had the time to hear.
    pub(super) fn drain(&mut self) {
        let left = rustix::io::ioctl_fionread(&self.reader).unwrap_or(0);
        let mut left = usize::try_from(left).unwrap_or(usize::MAX);
        while left > 0 {
            let most = left.min(self.buffer.len());
            match rustix::io::read(&self.reader, &mut self.buffer[..most]) {
                Ok(length @ 1..) => {
                    self.take(length);
                    left -= length;
                }
                Err(Errno::INTR) => {}
                _ => break,
            }
        }
    }
}

impl Sink {
    /// Writes what fits. What cannot be written is missing from the file, and the command goes on.
    fn take(&mut self, bytes: &[u8]) {
        if self.problem.is_some() {
            return;
        }
        let fits = usize::try_from(self.room)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.room -= fits as u64;
        self.problem = match self.file.write_all(&bytes[..fits]) {
            Err(error) => Some(error),
            Ok(()) if fits < bytes.len() => Some(io::ErrorKind::FileTooLarge.into()),
            Ok(()) => None,
        };
    }
}

/// Pulls from whichever of the taps has something.
pub(super) async fn pull_any(taps: &mut [Tap]) {
    match taps {
        [one] => one.pull().await,
        [one, other] => tokio::select! {
            () = one.pull() => {}
            () = other.pull() => {}
        },
        _ => std::future::pending().await,
    }
}

/// The beginning and the end of an output of any length.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: usize,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let room = KEPT - self.head.len();
        let (head, tail) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(tail);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
        self.dropped += excess;
    }

    fn text(&self) -> String {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes
                .extend_from_slice(format!("\n[… {} bytes left out …]\n", self.dropped).as_bytes());
        }
        bytes.extend(&self.tail);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use super::*;

    #[test]
    fn a_long_output_keeps_its_beginning_and_its_end() {
        let mut kept = Kept::default();
        kept.push(b"first");
        kept.push(&vec![b'.'; 3 * KEPT]);
        kept.push(b"last");
        let text = kept.text();
        assert!(text.starts_with("first"));
        assert!(text.ends_with("last"));
        assert!(text.contains("bytes left out"));
        assert!(text.len() < 2 * KEPT + 100);
    }

    /// What is in the pipe is found although the runtime has had no turn to hear of it.
    #[tokio::test]
    async fn nothing_that_was_written_is_left_in_the_pipe() {
        let (writer, mut tap) = Tap::new().unwrap();
        let mut writer = File::from(writer);
        writer.write_all(&vec![b'x'; 40_000]).unwrap();
        tap.drain();
        assert_eq!(tap.text().len(), 40_000);
        // Nobody waits for a writer that has no more to say.
        tap.drain();
        drop(writer);
        tap.drain();
        assert_eq!(tap.text().len(), 40_000);
    }

    #[tokio::test]
    async fn a_file_says_what_it_lacks() {
        let mut file = tempfile::tempfile().unwrap();
        let problem_of = |file: File, room| {
            let (writer, tap) = Tap::new().unwrap();
            File::from(writer).write_all(b"some words").unwrap();
            let mut tap = tap.into_file(file, room);
            tap.drain();
            tap.problem()
        };
        let problem = problem_of(file.try_clone().unwrap(), 4).map(|error| error.kind());
        assert_eq!(problem, Some(io::ErrorKind::FileTooLarge));
        assert!(problem_of(file.try_clone().unwrap(), 10).is_none());
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "somesome words");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let problem = problem_of(full, 100).map(|error| error.kind());
        assert_eq!(problem, Some(io::ErrorKind::StorageFull));
    }
}
