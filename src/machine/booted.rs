//! One command in a container whose system was booted first.
//!
//! The command's parent is the same init as where there is no system ([`super::init`]), here as the
//! process of a transient service: so its streams, its terminal, its end and why it could not be started
//! are the same in both.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::cgroup::{Hierarchies, has_run_out_of_memory};
use super::container::{Command, Signaller, Started, System};
use super::guest::GuestError;
use super::init::{self, Answer, Link, signal_line};
use super::process::{Ending, ProcessEnd};
use super::seen::in_host;
use super::{Boot, Guest, Machine, MachineError, users};

/// How long a container may take to be seen to have ended after the command's init has gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A booted container and the command in it.
pub(super) struct Booted {
    name: String,
    notes: Vec<String>,
    /// Until it has been ended.
    machine: Option<Machine>,
    link: Link,
    /// Where the kernel counts whom it killed for want of memory.
    memory_events: Option<PathBuf>,
    end: Option<ProcessEnd>,
}

impl Booted {
    /// Boots the container and starts the command.
    pub(super) async fn start(
        command: Command,
        system: System,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Self, MachineError> {
        let hostname = command.shape.hostname.clone();
        let process = command.process;
        let machine = Machine::boot(Boot {
            name: command.name,
            isolation: command.isolation,
            shape: command.shape,
            profile: system.profile,
            timeout: system.timeout,
            has_init: true,
            ..Boot::of(&command.image, command.lowers, &command.storage)
        })
        .await?;
        let name = machine.name().to_owned();
        let guest = machine.guest();
        let assembly = |message: String| MachineError::Assembly {
            machine: name.clone(),
            message,
        };
        let (mut link, init_stdin) = Link::new().map_err(|error| assembly(error.to_string()))?;
        let inside = guest.root();
        let job = process
            .job(inside, hostname.as_ref().unwrap_or(&name))
            .map_err(assembly)?;
        let base = inside.base().unwrap_or_default();
        let owner = base.saturating_add(job.identity.user);
        let handed = descriptors
            .iter()
            .try_for_each(|descriptor| users::give_stream(descriptor, owner));
        handed
            .and_then(|()| link.run(job, &descriptors))
            .map_err(|error| assembly(error.to_string()))?;
        drop(descriptors);
        let started = start(guest, system, &process.args, &init_stdin).await;
        started.map_err(|source| MachineError::NoGuest {
            machine: name.clone(),
            source: Box::new(source),
            console: String::new(),
        })?;
        // That the init has gone is seen by its end of the socket, which nobody else may hold.
        drop(init_stdin);
        let hierarchies = Hierarchies::load().ok();
        Ok(Self {
            name: name.clone(),
            notes: machine.notes().to_vec(),
            link,
            memory_events: hierarchies.and_then(|all| all.memory_events(guest.leader())),
            machine: Some(machine),
            end: None,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn signaller(&self) -> std::io::Result<Signaller> {
        Ok(Signaller {
            socket: self.link.socket()?,
            line: signal_line,
        })
    }

    /// Waits until the command has started; `None` if it has ended already.
    pub(super) async fn started(&mut self) -> Result<Option<Started>, MachineError> {
        let Some(machine) = &self.machine else {
            return Ok(None);
        };
        let leader = machine.guest().leader();
        let Some(Answer::Started(command)) = self.hear().await? else {
            return Ok(None);
        };
        Ok(Some(Started {
            leader,
            command: in_host(leader, command),
        }))
    }

    /// Waits until the command has ended, then ends the container.
    pub(super) async fn ended(&mut self) -> Result<ProcessEnd, MachineError> {
        while self.end.is_none() && self.machine.is_some() {
            self.hear().await?;
        }
        if let Some(machine) = &mut self.machine {
            let ended = machine.end().await;
            self.machine = None;
            ended?;
        }
        self.end.clone().ok_or_else(|| MachineError::Killed {
            machine: self.name.clone(),
        })
    }

    /// Waits for what the init has to tell, and keeps it in mind if it is the command's end.
    async fn hear(&mut self) -> Result<Option<Answer>, MachineError> {
        let Some(machine) = &mut self.machine else {
            return Ok(None);
        };
        let answer = match answer_of(&mut self.link, machine).await {
            Ok(answer) => answer,
            Err(error) => {
                self.machine = None;
                return Err(error);
            }
        };
        let out_of_memory = self
            .memory_events
            .as_deref()
            .is_some_and(has_run_out_of_memory);
        // An init that has gone without a word was killed, and what it looked after with it.
        let ending = match &answer {
            Some(answer) => Ending::told_by(answer.clone()),
            None => Some(Ending::Killed(libc::SIGKILL)),
        };
        self.end = ending.map(|ending| ProcessEnd {
            ending,
            out_of_memory,
        });
        Ok(answer)
    }

    pub(super) async fn end(mut self: Box<Self>) -> Result<(), MachineError> {
        match self.machine.take() {
            Some(mut machine) => machine.end().await.map(drop),
            None => Ok(()),
        }
    }
}

/// Waits for what the init has to tell; `None` once it has gone, and its container has not.
async fn answer_of(link: &mut Link, machine: &mut Machine) -> Result<Option<Answer>, MachineError> {
    let (_, died) = machine.watch();
    tokio::pin!(died);
    let answer = tokio::select! {
        answer = link.answer() => answer,
        error = &mut died => return Err(error),
    };
    if answer.is_some() {
        return Ok(answer);
    }
    // One that goes with its container goes before that has gone.
    match timeout(LAST_WORDS, died).await {
        Ok(error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Has the container's systemd run our init.
async fn start(
    guest: &Guest,
    system: System,
    args: &[String],
    stdin: &OwnedFd,
) -> Result<(), GuestError> {
    guest.complete(system.profile).await?;
    let line = init::shown_command_line().map_err(|source| GuestError::Descriptors {
        program: "the init".to_owned(),
        source,
    })?;
    let description = format!("postroj: {}", args.join(" "));
    guest.start_service(line, stdin, description).await
}
