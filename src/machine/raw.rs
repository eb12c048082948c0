//! This process's terminal in raw mode, and back again whatever becomes of this process.
//!
//! Nobody who is killed by SIGKILL can put a terminal back. A second process does, which waits for that in
//! a session of its own, so that nothing that is typed and no signal for the job reaches it. Its standard input
//! is a socket that it shares with the first, its standard output the terminal.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{sys, wire};

/// The hidden command of the binary that puts a terminal back.
pub(super) const RESTORE_COMMAND: &str = "__restore-terminal";

/// What goes over the socket between the two: from the one, that it has seen how the terminal was; from
/// the other, that it has put it back itself.
const SEEN: u8 = b'1';

/// Our terminal in raw mode, until this is dropped; nothing where it is none.
pub(super) struct RawMode(Option<Entered>);

struct Entered {
    before: Termios,
    /// Who puts it back if we cannot.
    restorer: Option<(Child, UnixStream)>,
}

impl RawMode {
    pub(super) fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let restorer = start_restorer();
        if let Err(error) = &restorer {
            tracing::debug!("nobody can put the terminal back after SIGKILL: {error}");
        }
        let entered = Entered {
            before: tcgetattr(&stdin)?,
            restorer: restorer.ok(),
        };
        let mut raw = entered.before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Self(Some(entered)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let Some(Entered { before, restorer }) = &mut self.0 else {
            return;
        };
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        if let Some((child, socket)) = restorer {
            let _ = socket.write_all(&[SEEN]);
            let _ = child.wait();
        }
    }
}

/// Starts this program once more, and waits until it has seen how the terminal is.
fn start_restorer() -> io::Result<(Child, UnixStream)> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut command = sys::this_program();
    let child = command
        .arg(RESTORE_COMMAND)
        .stdin(OwnedFd::from(theirs))
        .stdout(io::stdin().as_fd().try_clone_to_owned()?)
        .stderr(Stdio::null())
        .spawn()?;
    drop(command);
    let mut seen = [0];
    ours.read_exact(&mut seen)?;
    Ok((child, ours))
}

/// Waits for whoever has started this, and puts the terminal back that it has left raw.
pub(super) fn restore() -> io::Result<()> {
    let terminal = io::stdout();
    let before = tcgetattr(&terminal)?;
    let mut socket = wire::from_stdin()?;
    socket.write_all(&[SEEN])?;
    let mut done = [0];
    if socket.read(&mut done)? > 0 {
        return Ok(());
    }
    let mut raw = before.clone();
    raw.make_raw();
    // A shell that has noticed the end may have its own modes by now.
    if is_same(&tcgetattr(&terminal)?, &raw) {
        tcsetattr(&terminal, OptionalActions::Now, &before)?;
    }
    Ok(())
}

fn is_same(one: &Termios, other: &Termios) -> bool {
    one.input_modes == other.input_modes
        && one.output_modes == other.output_modes
        && one.control_modes == other.control_modes
        && one.local_modes == other.local_modes
}
