//! The process that serves one container, from before it is there until nothing of it is left.
//!
//! It is a hidden command of the binary. On a host with systemd it is the main process of the
//! container's unit, elsewhere a child of postroj. It has a mount namespace of its own, in which
//! it puts the root together, so that the mounts go when it does; it starts systemd-nspawn, and
//! it ends the container when postroj goes away. If the supervisor itself is killed, the kernel
//! sends systemd-nspawn SIGTERM, and that ends the container.

mod command;
mod console;
mod control;
mod life;
mod lifeline;
mod nspawn;
mod watches;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

use super::cgroup::{self, Cgroups, Hierarchies, Layout};
use super::root::{self, Assembled};
use super::runtime;
use super::spec::{CgroupOwner, END_PATIENCE, Payload, Spec, Told};
use super::steps::Ended;
use super::sys;
use super::wire::{self, Lines};

pub(super) use control::control_socket;

use command::Command;
use console::Console;
use lifeline::Teller;
use watches::Closing;

/// Serves the container that is asked for on standard input, a socket, until it is gone.
///
/// The result is for the exit code only: what went wrong has been told on the socket.
pub(super) fn supervise() -> io::Result<()> {
    sys::close_inherited()?;
    let socket = wire::from_stdin()?;
    let (spec, descriptors) = read_spec(&socket)?;
    let lock = match runtime::claim(&spec.directory) {
        Ok(Some(lock)) => lock,
        Ok(None) => return (&socket).write_all(&Told::Taken.line()?),
        Err(error) => return (&socket).write_all(&Told::Failed(error.to_string()).line()?),
    };
    // Whoever is not there any more closes the socket too, which is seen in due course.
    let _ = (&socket).write_all(&Told::Claimed.line()?);
    let result = Supervisor::prepare(&spec, descriptors, lock);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        socket.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(socket)?.into_split();
        let mut teller = Teller(writer);
        match result {
            Ok(supervisor) => supervisor.serve(reader, teller).await,
            Err(error) => {
                teller.tell(&Told::Failed(error.to_string())).await;
                Ok(())
            }
        }
    })
}

/// Reads one line, which is all that postroj says before it has an answer, and what comes with it.
fn read_spec(socket: &StdUnixStream) -> io::Result<(Spec, Vec<OwnedFd>)> {
    let mut lines = Lines::new(socket.try_clone()?);
    let line = lines.next()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let spec = serde_json::from_slice(&line)?;
    Ok((spec, lines.descriptors))
}

/// A container whose root stands.
struct Supervisor<'a> {
    spec: &'a Spec,
    /// Says for as long as it is open that the machine's directory is in use.
    _lock: OwnedFd,
    /// Say the same of the layers that the root is made of.
    _layers: Vec<OwnedFd>,
    root: Assembled,
    /// How long that took to be put together.
    compose: Duration,
    hierarchies: Hierarchies,
    cgroups: Option<Cgroups>,
    /// The cgroup of the host's unit, where version 2 is all that there is.
    unit_cgroup: Option<PathBuf>,
    /// What limits the container where the host's systemd does not.
    limiting: Option<Cgroups>,
    joined: Vec<OwnedFd>,
    /// What is run where no system is booted.
    command: Option<Command>,
    /// What the container watched, when it has ended.
    closing: Option<Closing>,
}

impl<'a> Supervisor<'a> {
    /// Puts together what the container needs; on an error nothing is left of it.
    fn prepare(spec: &'a Spec, descriptors: Vec<OwnedFd>, lock: OwnedFd) -> io::Result<Self> {
        let undo = Undo(spec);
        let shown = spec.overlaid.iter().map(|overlaid| &overlaid.source);
        let layers = spec.lowers.iter().chain(shown);
        let layers = layers.map(|layer| runtime::hold(layer));
        let layers = layers.collect::<io::Result<_>>()?;
        sys::unshare_mounts()?;
        let began = Instant::now();
        let root = root::assemble(spec)?;
        let compose = began.elapsed();
        let command = match &spec.payload {
            Payload::Command(process) => {
                let hostname = spec.hostname();
                let command = Command::prepare(process, &root, hostname, descriptors)?;
                Some(command)
            }
            Payload::Boot { .. } | Payload::Script(_) => None,
        };
        let hierarchies = Hierarchies::load()?;
        let own = Own::join(spec, &hierarchies)?;
        std::mem::forget(undo);
        Ok(Self {
            spec,
            _lock: lock,
            _layers: layers,
            root,
            compose,
            hierarchies,
            cgroups: own.cgroups,
            unit_cgroup: own.unit,
            limiting: own.limiting,
            joined: own.joined,
            command,
            closing: None,
        })
    }

    async fn serve(mut self, reader: OwnedReadHalf, mut teller: Teller) -> io::Result<()> {
        for note in self.root.notes() {
            teller.tell(&Told::Note(note.clone())).await;
        }
        let mut console = Console::default();
        let outcome = self.run(reader, &mut teller, &mut console).await;
        for cgroups in self.cgroups.iter().chain(&self.limiting) {
            cgroups.kill();
            if let Err(error) = cgroups.remove(END_PATIENCE) {
                console.push(format!("postroj: cannot remove the cgroups: {error}\n").as_bytes());
            }
        }
        match self.root.detach() {
            Ok(()) => runtime::remove_directory(&self.spec.directory)?,
            // What is mounted there must not be walked into. It goes with this process.
            Err(error) => {
                console.push(format!("postroj: cannot unmount the root: {error}\n").as_bytes());
            }
        }
        // Nothing else is left to be done meanwhile.
        let release = self.closing.take().map(Closing::wait);
        let told = match outcome {
            Ok((status, is_asked, steps)) => Told::Ended {
                code: status.code(),
                console: console.text(),
                steps: Ended {
                    release: release.unwrap_or_default(),
                    ..steps
                },
                process: self
                    .command
                    .as_ref()
                    .and_then(|command| command.end(is_asked)),
            },
            Err(error) => Told::Failed(error.to_string()),
        };
        teller.tell(&told).await;
        Ok(())
    }
}

/// Removes what was made when the preparation fails half-way.
struct Undo<'a>(&'a Spec);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Ok(hierarchies) = Hierarchies::load() {
            let _ = hierarchies
                .of_machine(&self.0.machine)
                .remove(Duration::ZERO);
        }
        if root::detach(&self.0.directory).is_ok() {
            let _ = runtime::remove_directory(&self.0.directory);
        }
    }
}

/// The cgroups of a machine, and what a process joins them by.
#[derive(Default)]
struct Own {
    cgroups: Option<Cgroups>,
    unit: Option<PathBuf>,
    limiting: Option<Cgroups>,
    joined: Vec<OwnedFd>,
}

impl Own {
    fn join(spec: &Spec, hierarchies: &Hierarchies) -> io::Result<Self> {
        let limits = &spec.isolation.limits;
        if spec.cgroups == CgroupOwner::Supervisor {
            let cgroups = hierarchies.of_machine(&spec.machine);
            return Ok(Self {
                joined: cgroups.create(limits)?,
                cgroups: Some(cgroups),
                ..Self::default()
            });
        }
        if let Some((unit, procs)) = step_aside(hierarchies)? {
            cgroup::check_asked(&[&unit], &[], limits, 2)?;
            return Ok(Self {
                unit: Some(unit),
                joined: vec![procs],
                ..Self::default()
            });
        }
        let own = std::fs::read_to_string("/proc/self/cgroup")?;
        let Some(limiting) = hierarchies.unmanaged(&spec.machine, &own, limits) else {
            let managed = cgroup::LIMITING.map(str::to_owned);
            cgroup::check_asked(&[], &managed, limits, 1)?;
            return Ok(Self::default());
        };
        match limiting.create(limits) {
            Ok(joined) => Ok(Self {
                limiting: Some(limiting),
                joined,
                ..Self::default()
            }),
            Err(error) => {
                let _ = limiting.remove(Duration::ZERO);
                // Often nobody may make cgroups there. Processors are then kept to by affinity.
                let is_forbidden = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
                if limits.is_any_asked() || (limits.processors.is_some() && !is_forbidden) {
                    return Err(unlimited(&error));
                }
                Ok(Self::default())
            }
        }
    }
}

/// Why a limit that was asked for would not be kept.
fn unlimited(error: &io::Error) -> io::Error {
    let text = format!(
        "the host's systemd does not keep the limits that its cgroup controllers of version 1 could keep, and \
         postroj cannot either: {error}"
    );
    io::Error::new(error.kind(), text)
}

/// On a version 2 host, leaves the unit's cgroup for one below it, so that systemd-nspawn can hand
/// controllers to the container: a cgroup that holds processes can't (cgroups(7)). Gives the unit's
/// cgroup, and what systemd-nspawn has to join to be born there all the same.
fn step_aside(hierarchies: &Hierarchies) -> io::Result<Option<(PathBuf, OwnedFd)>> {
    if hierarchies.layout() != Layout::Unified {
        return Ok(None);
    }
    let Some(mount_point) = hierarchies.unified() else {
        return Ok(None);
    };
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let unit = cgroup::unified_path(&own)
        .ok_or_else(|| io::Error::other("/proc/self/cgroup has no version 2 line"))?;
    let unit = mount_point.join(unit);
    let procs = File::options()
        .write(true)
        .open(unit.join("cgroup.procs"))?;
    let aside = unit.join("postroj");
    std::fs::create_dir(&aside)?;
    std::fs::write(aside.join("cgroup.procs"), "0")?;
    Ok(Some((unit, procs.into())))
}
