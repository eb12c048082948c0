//! This process's terminal, and one of a container's behind it.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, Winsize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::signal::unix::{SignalKind, signal};

/// End of transmission, as a terminal's line discipline takes it.
const END_OF_TRANSMISSION: u8 = 4;

/// The size of our terminal.
fn size() -> Option<Winsize> {
    rustix::termios::tcgetwinsize(io::stdin()).ok()
}

/// Rows and columns of this process's terminal; what terminals have always had where there is none.
pub fn terminal_size() -> (u16, u16) {
    size()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)
        .map_or((24, 80), |size| (size.ws_row, size.ws_col))
}

/// Gives the container's terminal the size of ours.
pub(super) fn copy_size(master: BorrowedFd<'_>) {
    if let Some(size) = size() {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// Copies between our standard input and output and a container's terminal, in raw mode where ours is
/// a terminal too, until nobody has that terminal open any more.
pub async fn relay(master: OwnedFd) -> io::Result<()> {
    let _raw = RawMode::enter()?;
    // A terminal's master reads and writes as a pipe does.
    let size = rustix::io::dup(&master)?;
    rustix::io::ioctl_fionbio(&master, true)?;
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
                // Nobody has the slave open.
                Ok(_) | Err(_) => return Ok(()),
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
