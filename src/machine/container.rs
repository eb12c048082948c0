//! A container for one command.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::booted::Booted;
use super::isolation::Isolation;
use super::process::{Process, ProcessEnd};
use super::profile::Profile;
use super::runtime::PREFIX;
use super::seen::first_child;
use super::shape::Shape;
use super::spec::{Payload, SIGNAL};
use super::wire::{self, Lines};
use super::{Launch, MachineError, Running};

/// How many lines systemd-nspawn's reasons have at most; more are a command's.
const SAID: usize = 5;

/// How long the master of a terminal may take to arrive once it has begun to.
const MASTER_PATIENCE: Duration = Duration::from_secs(1);

/// The image's system, where it is booted before the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// What of it is started.
    pub profile: Profile,
    /// How long it may take until it is up.
    pub timeout: Duration,
}

/// A container to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Command {
    /// The image's name, for the record.
    pub image: String,
    /// The machine's name is `postroj-<name>`; if nothing is said, it is `postroj-<image>`, with a number
    /// where that is taken.
    pub name: Option<String>,
    /// The image's layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// How it is kept apart from the host.
    pub isolation: Isolation,
    /// What is particular about it.
    pub shape: Shape,
    /// The directory on whose disk it writes, if it writes on one.
    pub storage: PathBuf,
    /// The system that is booted first; the command runs alone if there is none.
    pub system: Option<System>,
    /// The command.
    pub process: Process,
}

/// What a command reads and writes.
#[derive(Debug)]
pub enum Stdio {
    /// Three descriptors of their own.
    Streams {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A terminal of the container's; see [`Terminal`].
    Terminal(OwnedFd),
}

/// Our ends of a command's pipes.
#[derive(Debug)]
pub struct Pipes {
    /// What it reads from, if it reads.
    pub stdin: Option<OwnedFd>,
    /// What it writes to standard output.
    pub stdout: OwnedFd,
    /// What it writes to standard error.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// Pipes of the command's own, and our ends of them. One that does not read finds the end of its input at
    /// once.
    pub fn piped(reads: bool) -> io::Result<(Self, Pipes)> {
        let (input, ours) = if reads {
            let (reader, writer) = io::pipe()?;
            (reader.into(), Some(writer.into()))
        } else {
            (File::open("/dev/null")?.into(), None)
        };
        let (out, to_stdout) = io::pipe()?;
        let (err, to_stderr) = io::pipe()?;
        let stdio = Self::Streams {
            stdin: input,
            stdout: to_stdout.into(),
            stderr: to_stderr.into(),
        };
        let pipes = Pipes {
            stdin: ours,
            stdout: out.into(),
            stderr: err.into(),
        };
        Ok((stdio, pipes))
    }

    /// Copies of this process's own standard streams.
    pub fn inherit() -> io::Result<Self> {
        Ok(Self::Streams {
            stdin: io::stdin().as_fd().try_clone_to_owned()?,
            stdout: io::stdout().as_fd().try_clone_to_owned()?,
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }
}

/// Where the master of a container's terminal arrives.
#[derive(Debug)]
pub struct Terminal(UnixStream);

impl Terminal {
    /// A terminal to be, and what the container gets of it.
    pub fn new() -> io::Result<(Self, Stdio)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self(ours), Stdio::Terminal(theirs.into())))
    }

    /// Waits for its master; `None` where the command did not start.
    pub async fn master(self) -> io::Result<Option<OwnedFd>> {
        self.0.set_nonblocking(true)?;
        let socket = tokio::net::UnixStream::from_std(self.0)?;
        socket.readable().await?;
        let socket = socket.into_std()?;
        socket.set_nonblocking(false)?;
        // It comes whole, unless who runs there has something else in mind.
        socket.set_read_timeout(Some(MASTER_PATIENCE))?;
        let mut lines = Lines::new(socket);
        lines.next()?;
        Ok(lines.descriptors.pop())
    }
}

/// Sends signals to the command of a container.
#[derive(Debug)]
pub struct Signaller {
    pub(super) socket: UnixStream,
    /// What is said for a signal.
    pub(super) line: fn(i32) -> Vec<u8>,
}

impl Signaller {
    /// Sends one, by its number. One that comes early is for the command from its first moment; one that
    /// comes after its end is for nobody.
    pub fn send(&self, number: i32) -> io::Result<()> {
        wire::send(&self.socket, &(self.line)(number), &[])
    }
}

/// A command that has started, by process numbers of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The container's init.
    pub leader: i32,
    /// The command; nothing if it has ended at once.
    pub command: Option<i32>,
}

/// A container that runs one command. Dropping it ends the container, and blocks until it has ended.
pub struct Container(Kind);

/// Who looks after the command.
enum Kind {
    /// The supervisor, with nothing in the container but the command.
    Alone(Box<Running>),
    /// We, with a system around it.
    Booted(Box<Booted>),
}

impl Container {
    /// Starts it.
    pub async fn start(command: Command, stdio: Stdio) -> Result<Self, MachineError> {
        let descriptors = match stdio {
            Stdio::Streams {
                stdin,
                stdout,
                stderr,
            } => vec![stdin, stdout, stderr],
            Stdio::Terminal(socket) => vec![socket],
        };
        if let Some(system) = command.system {
            let booted = Booted::start(command, system, descriptors).await?;
            return Ok(Self(Kind::Booted(Box::new(booted))));
        }
        let wanted = command.name.as_ref().unwrap_or(&command.image);
        let running = Running::start(Launch {
            wanted: format!("{PREFIX}{wanted}"),
            exact: command.name.is_some(),
            image: command.image.clone(),
            writable: command.isolation.limits.writable(&command.storage),
            lowers: command.lowers,
            overlaid: Vec::new(),
            isolation: command.isolation,
            payload: Payload::Command(Box::new(command.process)),
            shape: command.shape,
            descriptors,
        })
        .await?;
        Ok(Self(Kind::Alone(Box::new(running))))
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Alone(running) => running.name(),
            Kind::Booted(booted) => booted.name(),
        }
    }

    /// What the user should know of how it was put together.
    pub fn notes(&self) -> &[String] {
        match &self.0 {
            Kind::Alone(running) => running.notes(),
            Kind::Booted(booted) => booted.notes(),
        }
    }

    /// What sends the command signals, while its end is awaited.
    pub fn signaller(&self) -> io::Result<Signaller> {
        match &self.0 {
            Kind::Alone(running) => Ok(Signaller {
                socket: running.socket()?,
                line: |number| format!("{SIGNAL}{number}\n").into_bytes(),
            }),
            Kind::Booted(booted) => booted.signaller(),
        }
    }

    /// Waits until the command has started, and tells what of it can be seen on the host. `None` if it
    /// has ended already or could not be started, which [`Self::ended`] tells.
    pub async fn started(&mut self) -> Result<Option<Started>, MachineError> {
        match &mut self.0 {
            Kind::Alone(running) => {
                let leader = running.command_started().await?;
                Ok(leader.map(|leader| Started {
                    leader,
                    command: first_child(leader),
                }))
            }
            Kind::Booted(booted) => booted.started().await,
        }
    }

    /// Waits until the command has ended, and nothing is left of the container. Who is cancelled meanwhile may
    /// ask again.
    pub async fn ended(&mut self) -> Result<ProcessEnd, MachineError> {
        match &mut self.0 {
            Kind::Alone(running) => alone_ended(running).await,
            Kind::Booted(booted) => booted.ended().await,
        }
    }

    /// Ends the container, whatever the command does, and waits until nothing is left of it.
    pub async fn end(self) -> Result<(), MachineError> {
        match self.0 {
            Kind::Alone(mut running) => running.end().await.map(drop),
            Kind::Booted(booted) => booted.end().await,
        }
    }
}

async fn alone_ended(running: &mut Running) -> Result<ProcessEnd, MachineError> {
    let ended = running.ended_and_gone().await?;
    let machine = running.name().to_owned();
    ended.process.ok_or_else(|| {
        let lines = ended.console.lines().map(str::trim);
        let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        match said.as_slice() {
            [_, ..] if said.len() <= SAID => MachineError::Assembly {
                machine,
                message: format!("systemd-nspawn: {}", said.join("; ")),
            },
            _ => MachineError::Died {
                machine,
                code: ended.code,
                console: ended.console,
            },
        }
    })
}
