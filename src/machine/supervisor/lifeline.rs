//! The socket that the supervisor shares with postroj, from its side.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::machine::spec::{DETACH, REBOOT, SIGNAL, Told};

/// Tells postroj, if it is still there.
pub(super) struct Teller(pub(super) OwnedWriteHalf);

impl Teller {
    pub(super) async fn tell(&mut self, told: &Told) {
        if let Ok(line) = told.line() {
            let _ = self.0.write_all(&line).await;
        }
    }
}

/// postroj's end of the socket.
pub(super) struct Lifeline {
    lines: tokio::io::Lines<tokio::io::BufReader<OwnedReadHalf>>,
    detached: bool,
    reboots: bool,
    closed: bool,
}

/// What postroj has to say of a container that runs.
pub(super) enum Word {
    /// It wants the container kept.
    Detach,
    /// The container will reboot.
    Reboot,
    /// The command is to get this signal.
    Signal(i32),
    /// It has gone.
    Gone,
}

impl Lifeline {
    pub(super) fn new(reader: OwnedReadHalf) -> Self {
        Self {
            lines: tokio::io::BufReader::new(reader).lines(),
            detached: false,
            reboots: false,
            closed: false,
        }
    }

    /// Waits for postroj. When it has gone after it wanted the container kept, this waits for ever.
    pub(super) async fn next(&mut self) -> Word {
        while !self.closed {
            match self.lines.next_line().await {
                Ok(Some(line)) if line == DETACH => {
                    self.detached = true;
                    return Word::Detach;
                }
                Ok(Some(line)) if line == REBOOT => {
                    self.reboots = true;
                    return Word::Reboot;
                }
                Ok(Some(line)) => {
                    let number = line.strip_prefix(SIGNAL).map(str::parse);
                    if let Some(Ok(number)) = number {
                        return Word::Signal(number);
                    }
                }
                Ok(None) | Err(_) => self.closed = true,
            }
        }
        if !self.detached {
            return Word::Gone;
        }
        std::future::pending().await
    }

    /// Whether postroj is there and has said that the container will reboot; it counts once.
    pub(super) async fn has_announced_reboot(&mut self) -> bool {
        // What it has said may not have been heard yet.
        while tokio::time::timeout(Duration::ZERO, self.next())
            .await
            .is_ok()
            && !self.closed
        {}
        std::mem::take(&mut self.reboots) && !self.closed
    }
}
