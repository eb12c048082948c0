//! What a task's command reads from, and where what it writes goes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::super::log::Writer;
use super::serve::Shared;
use crate::machine::{Pipes, Stdio, Terminal};
use crate::run::Stream;

/// How much is read at a time: as much as a pipe holds.
const PIECE: usize = 64 << 10;

/// Our ends of what a command writes to.
pub(super) enum Outputs {
    Pipes { stdout: OwnedFd, stderr: OwnedFd },
    Terminal(Terminal),
}

/// Makes what a command reads and writes: its ends, what feeds it if that is a pipe, and what it writes to.
pub(super) fn connect(
    is_interactive: bool,
    has_terminal: bool,
) -> io::Result<(Stdio, Option<OwnedFd>, Outputs)> {
    if has_terminal {
        let (terminal, stdio) = Terminal::new()?;
        return Ok((stdio, None, Outputs::Terminal(terminal)));
    }
    let (stdio, pipes) = Stdio::piped(is_interactive)?;
    let Pipes {
        stdin,
        stdout,
        stderr,
    } = pipes;
    Ok((stdio, stdin, Outputs::Pipes { stdout, stderr }))
}

impl Outputs {
    /// Writes down all that comes, until nobody has the other ends open any more.
    pub(super) async fn write_down(self, log: Arc<Mutex<Writer>>, shared: Arc<Shared>) {
        // What cannot be read any more is all that can be had.
        let _ = match self {
            Self::Pipes { stdout, stderr } => {
                let both = async {
                    let out = Receiver::from_owned_fd(stdout)?;
                    let err = Receiver::from_owned_fd(stderr)?;
                    tokio::try_join!(
                        copy(out, Stream::Stdout, &log, &shared),
                        copy(err, Stream::Stderr, &log, &shared)
                    )
                };
                both.await.map(drop)
            }
            Self::Terminal(terminal) => on_terminal(terminal, &log, &shared).await,
        };
    }
}

async fn on_terminal(
    terminal: Terminal,
    log: &Arc<Mutex<Writer>>,
    shared: &Shared,
) -> io::Result<()> {
    let Some(master) = terminal.master().await? else {
        return Ok(());
    };
    if shared.is_interactive {
        shared.set_input(Some(master.try_clone()?));
    }
    // It is read from as a pipe is.
    rustix::io::ioctl_fionbio(&master, true)?;
    let receiver = Receiver::from_owned_fd_unchecked(master)?;
    copy(receiver, Stream::Stdout, log, shared).await
}

/// Writes down what one stream brings. A disk may take its time, and whoever asks the keeper meanwhile is answered
/// all the same: so that is done by a thread of its own.
async fn copy(
    mut from: Receiver,
    stream: Stream,
    log: &Arc<Mutex<Writer>>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let log = Arc::clone(log);
        let writing = tokio::task::spawn_blocking(move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first_lost = log.write(stream, &buffer[..length]);
            (buffer, is_first_lost)
        });
        let is_first_lost;
        (buffer, is_first_lost) = writing.await.map_err(io::Error::other)?;
        if is_first_lost {
            shared.lost.notify_one();
        }
    }
}
