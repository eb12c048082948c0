//! This process's terminal, and one of a container's behind it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::termios::Winsize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::signal::unix::{SignalKind, signal};

use super::raw::RawMode;

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
    let typing = async {
        type_into(&master, false).await?;
        std::future::pending().await
    };
    tokio::select! {
        typed = typing => typed,
        shown = show(master.try_clone()?) => shown,
    }
}

/// Copies what a container's terminal shows to our standard output, until nobody has that terminal open any more,
/// and gives it the size of ours.
pub async fn watch(master: OwnedFd) -> io::Result<()> {
    copy_size(master.as_fd());
    let mut resized = signal(SignalKind::window_change())?;
    let showing = show(master.try_clone()?);
    tokio::pin!(showing);
    loop {
        tokio::select! {
            _ = resized.recv() => copy_size(master.as_fd()),
            shown = &mut showing => return shown,
        }
    }
}

/// Copies what a container's terminal shows to our standard output, until nobody has it open any more.
async fn show(master: OwnedFd) -> io::Result<()> {
    // A terminal's master reads and writes as a pipe does.
    rustix::io::ioctl_fionbio(&master, true)?;
    let mut receiver = Receiver::from_owned_fd_unchecked(master)?;
    let mut output = tokio::io::stdout();
    let mut shown = vec![0; 16 * 1024];
    loop {
        match receiver.read(&mut shown).await {
            Ok(length) if length > 0 => {
                output.write_all(&shown[..length]).await?;
                output.flush().await?;
            }
            // Nobody has the slave open.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

/// Why nothing more is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// Our standard input has come to its end, and the container's terminal knows.
    All,
    /// Ctrl-P Ctrl-Q was typed, which is for nobody but us.
    Detached,
}

/// Copies what is typed into a container's terminal, in raw mode where ours is a terminal too, and gives it
/// the size of ours. Ctrl-P Ctrl-Q ends that, if `can_detach`, as it does for docker-attach(1).
pub async fn type_into(master: &OwnedFd, can_detach: bool) -> io::Result<Typed> {
    let _raw = RawMode::enter()?;
    copy_size(master.as_fd());
    rustix::io::ioctl_fionbio(master, true)?;
    let mut sender = Sender::from_owned_fd_unchecked(master.try_clone()?)?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut input = tokio::io::stdin();
    let mut typed = vec![0; 4096];
    let mut keys = DetachKeys::default();
    loop {
        tokio::select! {
            _ = resized.recv() => copy_size(master.as_fd()),
            length = input.read(&mut typed) => match length? {
                0 => {
                    sender.write_all(&[END_OF_TRANSMISSION]).await?;
                    return Ok(Typed::All);
                }
                length if can_detach => {
                    let (passed, is_detached) = keys.pass(&typed[..length]);
                    sender.write_all(&passed).await?;
                    if is_detached {
                        return Ok(Typed::Detached);
                    }
                }
                length => sender.write_all(&typed[..length]).await?,
            },
        }
    }
}

/// Looks for Ctrl-P Ctrl-Q in what is typed.
#[derive(Debug, Default)]
struct DetachKeys {
    /// Whether Ctrl-P was typed, and is held back until it is known what follows.
    is_begun: bool,
}

impl DetachKeys {
    /// What of it is for the container, and whether the keys were there.
    fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        const CTRL_P: u8 = 0x10;
        const CTRL_Q: u8 = 0x11;
        let mut passed = Vec::new();
        for byte in typed {
            match (std::mem::take(&mut self.is_begun), *byte) {
                (true, CTRL_Q) => return (passed, true),
                (false, CTRL_P) => self.is_begun = true,
                (was_begun, byte) => {
                    if was_begun {
                        passed.push(CTRL_P);
                    }
                    passed.push(byte);
                }
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_p_ctrl_q_is_for_us() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.pass(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(keys.pass(b"c\x10"), (b"c".to_vec(), false));
        assert_eq!(keys.pass(b"d\x11"), (b"\x10d\x11".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x10"), (b"\x10\x10".to_vec(), false));
        assert_eq!(keys.pass(b"e\x10"), (b"e".to_vec(), false));
        assert_eq!(keys.pass(b"\x11f"), (Vec::new(), true));
    }
}
