//! The init itself, inside the container.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::super::sys;
use super::super::wire::{self, Lines};
use super::{Answer, Failure, Job, Request};

/// What the container's exit code is when its command could not be started; nobody reads it.
const NOT_STARTED: i32 = 127;

/// Runs the command that is asked for on standard input, a socket, and gives the exit code.
pub(in crate::machine) fn init() -> i32 {
    serve().unwrap_or_else(|error| {
        // It goes to what systemd-nspawn says, for there is nobody else to tell.
        let _ = writeln!(io::stderr(), "postroj: {error}");
        NOT_STARTED
    })
}

fn serve() -> io::Result<i32> {
    let socket = wire::from_stdin()?;
    let mut lines = Lines::new(socket.try_clone()?);
    let line = lines.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let Request::Run(job) = serde_json::from_slice(&line)? else {
        return Err(io::Error::other("nothing to run"));
    };
    let descriptors = std::mem::take(&mut lines.descriptors);
    // Made before the command, which may take all the processes that the container may have.
    let (tell_command, command) = std::sync::mpsc::channel();
    std::thread::Builder::new().spawn(move || {
        // There is none if it could not be started.
        if let Ok(command) = command.recv() {
            attend(lines, command);
        }
    })?;
    let command = match start(&job, descriptors) {
        Ok(command) => command,
        Err(failure) => {
            tell(&socket, &Answer::Failed(failure))?;
            return Ok(NOT_STARTED);
        }
    };
    let number = command.as_raw_nonzero().get();
    tell(&socket, &Answer::Started(number))?;
    let _ = tell_command.send(command);
    let status = reap(command)?;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => {
            tell(&socket, &Answer::Exited(code))?;
            Ok(code)
        }
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            tell(&socket, &Answer::Killed(signal))?;
            Ok(128 + signal)
        }
    }
}

fn tell(socket: &UnixStream, answer: &Answer) -> io::Result<()> {
    wire::send(socket, &wire::line(answer)?, &[])
}

/// Passes signals on to the command, until nobody is there any more: then the container ends.
fn attend(mut lines: Lines, command: Pid) {
    while let Ok(Some(line)) = lines.next() {
        if let Ok(Request::Signal(number)) = serde_json::from_slice(&line) {
            let _ = sys::send_signal(command, number);
        }
    }
    // What is left goes with its init.
    std::process::exit(NOT_STARTED);
}

/// Waits for the end of the command, and for whoever else has become this process's child.
fn reap(command: Pid) -> io::Result<rustix::process::WaitStatus> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => return Ok(status),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn start(job: &Job, descriptors: Vec<OwnedFd>) -> Result<Pid, Failure> {
    let other = |error: io::Error| Failure::Other(error.to_string());
    let [program, arguments @ ..] = job.args.as_slice() else {
        return Err(Failure::Other("there is no command to run".to_owned()));
    };
    enter(&job.working_dir)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    let variables = job.env.iter().filter_map(|set| set.split_once('='));
    command.envs(variables);
    let missing = || Failure::Other("the standard descriptors are missing".to_owned());
    let (master, [input, output, errors]) = match job.terminal {
        Some(size) => {
            let taker = descriptors.into_iter().next().ok_or_else(missing)?;
            let (master, slaves) = terminal(job, size).map_err(other)?;
            (Some((UnixStream::from(taker), master)), slaves)
        }
        None => (None, descriptors.try_into().map_err(|_| missing())?),
    };
    command
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors));
    let identity = &job.identity;
    sys::become_user(
        &mut command,
        (identity.user, identity.group, &identity.groups),
        job.dropped,
        job.terminal.is_some(),
    );
    match command.spawn() {
        // It is waited for by its number, with all the others.
        Ok(child) => {
            // Only now does what is typed there have somebody to interrupt.
            if let Some((taker, master)) = master {
                wire::send(&taker, b"\n", &[master.as_fd()]).map_err(other)?;
            }
            Ok(Pid::from_child(&child))
        }
        Err(error) => {
            let (program, errno) = (program.clone(), error.raw_os_error().unwrap_or_default());
            Err(match error.kind() {
                io::ErrorKind::NotFound => Failure::NotFound { program },
                _ if errno != 0 => Failure::NotExecutable { program, errno },
                _ => other(error),
            })
        }
    }
}

/// Goes to the command's directory, which is made where it is missing, as for other container tools.
fn enter(path: &str) -> Result<(), Failure> {
    let path = if path.is_empty() { "/" } else { path };
    let entered = match std::env::set_current_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).and_then(|()| std::env::set_current_dir(path))
        }
        entered => entered,
    };
    entered.map_err(|error| Failure::WorkingDirectory {
        path: path.to_owned(),
        errno: error.raw_os_error().unwrap_or_default(),
    })
}

/// Makes a terminal of the container's own: its master, and what the command reads and writes.
fn terminal(job: &Job, size: (u16, u16)) -> io::Result<(OwnedFd, [OwnedFd; 3])> {
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::unlockpt(&master)?;
    let path = rustix::pty::ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(path, flags, Mode::empty())?;
    let (user, group) = (job.identity.user, job.identity.group);
    std::os::unix::fs::fchown(&slave, Some(user), Some(group))?;
    let (ws_row, ws_col) = size;
    rustix::termios::tcsetwinsize(
        &slave,
        Winsize {
            ws_row,
            ws_col,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?;
    let slaves = [slave.try_clone()?, slave.try_clone()?, slave];
    Ok((master, slaves))
}
