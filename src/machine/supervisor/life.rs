//! A container's life, from its boot to its end, reboots included.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::AsyncReadExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixDatagram, UnixListener};

use super::Supervisor;
use super::command::Command;
use super::console::Console;
use super::control::asks_to_stop;
use super::lifeline::{Lifeline, Teller, Word};
use super::watches::{self, Closing};
use crate::machine::cgroup;
use crate::machine::moves::QuickMoves;
use crate::machine::pasta::Link;
use crate::machine::runtime::Record;
use crate::machine::seen::first_child;
use crate::machine::spec::{END_PATIENCE, Told};
use crate::machine::steps::{Booted, Ended, Moment};
use crate::machine::sys;

/// What made the container end.
enum Reason {
    Itself(ExitStatus),
    Asked,
    /// It cannot be what it is to be.
    Unfit(String),
}

/// With which systemd-nspawn under `--keep-unit` asks to be started anew: its container has rebooted.
const REBOOTED: i32 = 133;

/// Where the supervisor hears from others, however often the container boots.
struct Ears {
    notify: UnixDatagram,
    control: UnixListener,
    terminate: tokio::signal::unix::Signal,
    lifeline: Lifeline,
}

impl Supervisor<'_> {
    /// Runs the container until it has ended for good; gives how systemd-nspawn ended, whether it was asked
    /// to, and how the container did.
    pub(super) async fn run(
        &mut self,
        reader: OwnedReadHalf,
        teller: &mut Teller,
        console: &mut Console,
    ) -> io::Result<(ExitStatus, bool, Ended)> {
        let mut ears = Ears {
            notify: UnixDatagram::bind(self.spec.directory.join("notify"))?,
            control: UnixListener::bind(self.spec.directory.join("control"))?,
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
            lifeline: Lifeline::new(reader),
        };
        loop {
            let (status, is_asked, ended) = self.run_once(&mut ears, teller, console).await?;
            let rebooted = status.code() == Some(REBOOTED) && !is_asked;
            if !rebooted || !ears.lifeline.has_announced_reboot().await {
                return Ok((status, is_asked, ended));
            }
            self.vacate_cgroups()?;
        }
    }

    /// Runs the container from its boot to its end; gives how systemd-nspawn ended, whether it was
    /// asked to, and how the container ended.
    async fn run_once(
        &mut self,
        ears: &mut Ears,
        teller: &mut Teller,
        console: &mut Console,
    ) -> io::Result<(ExitStatus, bool, Ended)> {
        let Ears {
            notify,
            control,
            terminate,
            lifeline,
        } = ears;
        let started = Moment::now();
        let (mut child, mut output) = self.start()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let mut output_open = true;
        let (mut leader, mut led) = (None, None);
        let spec = self.spec;
        let mut has_command_started = self.command.is_none();
        let mut link = Link::new(spec, self.cgroups.clone());
        // A boot has its own, which lives longer.
        let mut moves = self.command.is_some().then(QuickMoves::begin);
        let (mut booted, mut told) = (None, false);
        let mut buffer = vec![0; 8192];
        let mut message = vec![0; 8192];
        let reason = loop {
            tokio::select! {
                status = child.wait() => break Reason::Itself(status?),
                length = output.read(&mut buffer), if output_open => match length {
                    Ok(length) if length > 0 => console.push(&buffer[..length]),
                    _ => output_open = false,
                },
                length = notify.recv(&mut message) => {
                    let text = String::from_utf8_lossy(&message[..length?]).into_owned();
                    let heard = Moment::now();
                    booted = self.heard(&text, &mut leader, pid)?.map(|leader| (leader, heard)).or(booted);
                    if let Some(leader) = leader {
                        led.get_or_insert(heard);
                        link.follow(leader);
                    }
                }
                () = link.change(pid) => {}
                started = change(self.command.as_mut()) => has_command_started |= started,
                word = lifeline.next() => match word {
                    Word::Detach => self.record(leader.unwrap_or_default(), true)?,
                    Word::Reboot => {}
                    Word::Signal(number) => if let Some(command) = &mut self.command {
                        command.signal(number);
                    },
                    Word::Gone => break Reason::Asked,
                },
                asked = control.accept() => if asks_to_stop(asked?.0).await {
                    break Reason::Asked;
                },
                _ = terminate.recv() => break Reason::Asked,
            }
            if let Some((leader, ready)) = booted {
                // Nothing true can be found out of a container that has lost its network.
                if let Some(message) = link.failure() {
                    break Reason::Unfit(message);
                }
                if link.is_up()
                    && let Some(command) = &mut self.command
                {
                    command.start(&self.hierarchies, leader)?;
                }
                if link.is_up() && has_command_started && !told {
                    let booted = Booted {
                        compose: self.compose,
                        started,
                        led: led.unwrap_or(ready),
                        ready,
                    };
                    teller.tell(&Told::Ready { leader, booted }).await;
                    told = true;
                    drop(moves.take());
                    self.root.mask_generators(leader);
                }
            }
        };
        // What each of the two takes to be gone, it takes at the same time.
        link.kill();
        let (status, is_asked, ended) = match reason {
            Reason::Itself(status) => (status, false, Ended::now()),
            Reason::Asked => {
                let (status, ended) = self.end(&mut child, pid, leader).await?;
                (status, true, ended)
            }
            Reason::Unfit(message) => {
                self.end(&mut child, pid, leader).await?;
                return Err(io::Error::other(message));
            }
        };
        if let Some(command) = &mut self.command {
            command.finish().await;
        }
        link.end().await;
        if output_open {
            // What is in the pipe now; somebody else may hold it open.
            while let Ok(Ok(length @ 1..)) =
                tokio::time::timeout(Duration::ZERO, output.read(&mut buffer)).await
            {
                console.push(&buffer[..length]);
            }
        }
        Ok((status, is_asked, ended))
    }

    /// Makes the container's cgroups as they were before systemd-nspawn used them.
    fn vacate_cgroups(&self) -> io::Result<()> {
        match (&self.cgroups, &self.unit_cgroup) {
            (Some(cgroups), _) => cgroups.vacate(),
            (None, Some(unit)) => cgroup::vacate(unit),
            (None, None) => Ok(()),
        }
    }

    /// Takes a message of systemd-nspawn's; gives the leader when the container is ready.
    fn heard(
        &mut self,
        message: &str,
        leader: &mut Option<i32>,
        nspawn: Option<Pid>,
    ) -> io::Result<Option<i32>> {
        let mut ready = false;
        for line in message.lines() {
            if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                *leader = pid.parse().ok();
            }
            ready |= line == "READY=1";
        }
        if !ready {
            return Ok(None);
        }
        let leader = leader
            .or_else(|| first_child(nspawn?.as_raw_nonzero().get()))
            .ok_or_else(|| io::Error::other("systemd-nspawn did not tell the leader"))?;
        self.root.unmask();
        self.record(leader, false)?;
        Ok(Some(leader))
    }

    fn record(&self, leader: i32, kept: bool) -> io::Result<()> {
        let record = Record {
            machine: self.spec.machine.clone(),
            image: self.spec.image.clone(),
            leader,
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            owner: self.spec.owner,
            kept,
            layers: self.spec.lowers.clone(),
            labels: self.spec.shape.labels.clone(),
        };
        let path = self.spec.directory.join("record.json");
        let partial = path.with_extension("new");
        std::fs::write(&partial, serde_json::to_vec(&record)?)?;
        std::fs::rename(partial, path)
    }

    /// Ends the container: systemd-nspawn answers SIGTERM by killing its leader, if that is still
    /// there, and by clearing up.
    async fn end(
        &mut self,
        child: &mut tokio::process::Child,
        pid: Option<Pid>,
        leader: Option<i32>,
    ) -> io::Result<(ExitStatus, Ended)> {
        let death = leader.and_then(death);
        let machine = &self.spec.machine;
        let payload = leader.and_then(|leader| self.hierarchies.payload(machine, leader));
        let mut watches = Vec::new();
        if let Some(payload) = payload {
            watches = watches::of_container(&payload);
            payload.kill();
        }
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let killed = Moment::now();
        let ending = async {
            if let Some(death) = &death {
                let _ = death.readable().await;
            }
            let dead = Moment::now();
            let closing = Closing::of(watches);
            let status = child.wait().await?;
            let exited = Moment::now();
            let ended = Ended {
                killed,
                dead,
                exited,
                release: Duration::ZERO,
            };
            Ok::<_, io::Error>((status, ended, closing))
        };
        if let Ok(ended) = tokio::time::timeout(END_PATIENCE, ending).await {
            let (status, ended, closing) = ended?;
            self.closing = Some(closing);
            return Ok((status, ended));
        }
        if let Some(cgroups) = &self.cgroups {
            cgroups.kill();
        }
        child.start_kill()?;
        let status = tokio::time::timeout(END_PATIENCE, child.wait()).await;
        let status =
            status.unwrap_or_else(|_| Err(io::Error::other("systemd-nspawn cannot be killed")))?;
        let exited = Moment::now();
        let dead = exited;
        Ok((
            status,
            Ended {
                killed,
                dead,
                exited,
                release: Duration::ZERO,
            },
        ))
    }
}

/// What can be read when the process `leader` has died; `pidfd_open(2)`.
fn death(leader: i32) -> Option<AsyncFd<OwnedFd>> {
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(leader)?, PidfdFlags::empty()).ok()?;
    sys::watch(pidfd).ok()
}

/// Waits for a change of the command, if there is one; whether it has started.
async fn change(command: Option<&mut Command>) -> bool {
    match command {
        Some(command) => command.change().await,
        None => std::future::pending().await,
    }
}
