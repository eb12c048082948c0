//! A login shell in a container that is up.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::guest::{ExitStatus, Guest};
use super::runtime::{Record, Runtime};
use super::terminal::{copy_size, relay};
use super::{Command, MachineError};

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
        source: Box::new(source),
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
    let running = guest.run_on_terminal(&command, &path);
    tokio::pin!(running);
    let relayed = tokio::select! {
        status = &mut running => return status.map_err(no_guest),
        relayed = relay(terminal) => relayed,
    };
    relayed.map_err(host("relay the terminal"))?;
    // The shell has ended, as systemd is about to tell.
    running.await.map_err(no_guest)
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
