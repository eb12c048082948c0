//! A login shell in a container that is up.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, Termios};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::signal::unix::{SignalKind, signal};

use super::guest::{ExitStatus, Guest};
use super::runtime::{Record, Runtime};
use super::{Command, MachineError};

/// End of transmission, as a terminal's line discipline takes it.
const END_OF_TRANSMISSION: u8 = 4;

/// Runs a login shell in the container `machine`, on this process's standard input and output.
pub async fn shell(runtime: &Runtime, machine: &str) -> Result<ExitStatus, MachineError> {
    let record: Record = runtime
        .machines()
        .map_err(host("read /run/postroj"))?
        .into_iter()
        .find(|record| record.machine == machine)
        .ok_or_else(|| MachineError::NoMachine(machine.to_owned()))?;
    let no_guest = |source| MachineError::NoGuest {
        machine: machine.to_owned(),
        source,
        console: String::new(),
    };
    let guest = Guest::connect(record.leader).await.map_err(no_guest)?;
    let (terminal, path) = open_terminal(&guest).map_err(host("make a terminal there"))?;
    let program = if guest.has_file("/bin/bash") {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let name = std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    let command = Command::new(program, ["-l"]).env("TERM", &name);
    let raw = RawMode::enter().map_err(host("switch the terminal to raw mode"))?;
    let status = tokio::select! {
        status = guest.run_on_terminal(&command, &path) => status.map_err(no_guest)?,
        relayed = relay(terminal) => {
            relayed.map_err(host("relay the terminal"))?;
            ExitStatus::Unknown
        }
    };
    drop(raw);
    Ok(status)
}

fn host(action: &'static str) -> impl FnOnce(io::Error) -> MachineError {
    move |source| MachineError::Host { action, source }
}

/// Makes a pseudo-terminal of the container's own; gives its master and the slave's path there.
fn open_terminal(guest: &Guest) -> io::Result<(OwnedFd, String)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let master = guest.open("dev/ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let path = rustix::pty::ptsname(&master, Vec::new())?;
    let path = path.into_string().map_err(io::Error::other)?;
    // A terminal belongs to who has made it, which is this host's root.
    guest.give(guest.open(&path, OFlags::PATH, Mode::empty())?)?;
    copy_size(master.as_fd());
    Ok((master, path))
}

/// Gives the container's terminal the size of ours.
fn copy_size(master: BorrowedFd<'_>) {
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdin()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// Copies between our terminal and the container's until the shell has gone; then it waits.
async fn relay(master: OwnedFd) -> io::Result<()> {
    // A terminal's master reads and writes as a pipe does.
    let size = rustix::io::dup(&master)?;
    let mut sender = Sender::from_owned_fd_unchecked(rustix::io::dup(&master)?)?;
    let mut receiver = Receiver::from_owned_fd_unchecked(master)?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut input = tokio::io::stdin();
    let mut output = tokio::io::stdout();
    let mut typed = vec![0; 4096];
    let mut shown = vec![0; 16 * 1024];
    let mut input_open = true;
    loop {
        tokio::select! {
            _ = resized.recv() => copy_size(size.as_fd()),
            length = input.read(&mut typed), if input_open => match length? {
                0 => {
                    input_open = false;
                    sender.write_all(&[END_OF_TRANSMISSION]).await?;
                }
                length => sender.write_all(&typed[..length]).await?,
            },
            length = receiver.read(&mut shown) => match length {
                Ok(length) if length > 0 => {
                    output.write_all(&shown[..length]).await?;
                    output.flush().await?;
                }
                // Nobody has the slave open: the shell has ended, as systemd is about to tell.
                Ok(_) | Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Our terminal in raw mode, until this is dropped; nothing where it is none.
struct RawMode(Option<Termios>);

impl RawMode {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let before = rustix::termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}
