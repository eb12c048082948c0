//! The supervisor's end of the init's socket.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines, Take};
use tokio::net::UnixStream;

use super::super::wire;
use super::{Answer, Job, Request};

/// How long the init may take to take what is said to it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much it may say, in bytes: it says what becomes of one command. In a container with a system, that
/// system could say more.
const MOST: u64 = 1 << 20;

/// The way to the init of a container.
pub(in crate::machine) struct Link {
    /// Blocks until there is a command; nothing is heard before.
    socket: StdUnixStream,
    lines: Option<Lines<BufReader<Take<UnixStream>>>>,
    /// Signals for the command to come.
    pending: Vec<i32>,
}

impl Link {
    /// Makes it, and what the init gets as its standard input.
    pub(in crate::machine) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_write_timeout(Some(PATIENCE))?;
        let link = Self {
            socket: ours,
            lines: None,
            pending: Vec::new(),
        };
        Ok((link, theirs.into()))
    }

    /// Has the command run, on these descriptors.
    pub(in crate::machine) fn run(&mut self, job: Job, descriptors: &[OwnedFd]) -> io::Result<()> {
        let descriptors: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
        wire::send(&self.socket, &wire::line(&Request::Run(job))?, &descriptors)?;
        let reading = self.socket.try_clone()?;
        reading.set_nonblocking(true)?;
        let reading = UnixStream::from_std(reading)?.take(MOST);
        self.lines = Some(BufReader::new(reading).lines());
        for number in std::mem::take(&mut self.pending) {
            self.signal(number);
        }
        Ok(())
    }

    /// Sends the command a signal, as soon as there is one. One that has ended needs none.
    pub(in crate::machine) fn signal(&mut self, number: i32) {
        if self.lines.is_none() {
            self.pending.push(number);
        } else {
            let _ = wire::send(&self.socket, &signal_line(number), &[]);
        }
    }

    /// The socket once more, for what is said while an answer is awaited.
    pub(in crate::machine) fn socket(&self) -> io::Result<StdUnixStream> {
        self.socket.try_clone()
    }

    /// Waits for what the init tells; `None` once it has gone, or if there is no command yet.
    pub(in crate::machine) async fn answer(&mut self) -> Option<Answer> {
        let line = self.lines.as_mut()?.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }
}

/// What has the init send its command a signal.
pub(in crate::machine) fn signal_line(number: i32) -> Vec<u8> {
    wire::line(&Request::Signal(number)).unwrap_or_default()
}
