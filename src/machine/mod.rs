//! Boot, talk to, and end one container.
//!
//! postroj starts a supervisor (see `supervisor`) and shares a socket with it: as a transient
//! service on a host that systemd runs, as a child elsewhere. The supervisor puts the root together
//! in a mount namespace of its own, runs systemd-nspawn there, and ends the container when the
//! socket closes. So whatever becomes of postroj, nothing is left: no machine, no process, no
//! mount. What a killed supervisor leaves is removed by the next command ([`Runtime::sweep`]).
//!
//! The supervisor is the program itself, started again: one that starts containers calls
//! [`helper`](crate::helper) before all else.
//!
//! ```no_run
#![doc = include_str!("../../examples/machine.rs")]
//! ```
//!
//! Nothing is polled: systemd-nspawn says when the container is ready, its systemd says over D-Bus
//! when a job has ended and when a unit has changed.

mod bind;
mod booted;
mod build;
mod bus;
mod cgroup;
mod container;
mod descriptors;
mod error;
mod generators;
mod guest;
mod host;
mod idle;
mod init;
mod isolation;
mod limits;
mod masks;
mod moves;
mod network;
mod nspawn;
mod overlay;
mod pasta;
mod process;
mod profile;
mod raw;
mod root;
mod rootfs;
mod running;
pub(crate) mod runtime;
mod seen;
mod shape;
mod shell;
mod signal;
mod space;
mod spec;
mod steps;
mod stop;
mod supervisor;
pub(crate) mod sys;
mod sysusers;
mod terminal;
pub mod typed;
mod users;
mod volume;
pub(crate) mod wire;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub use build::{Build, BuildError, build};
pub use cgroup::{Hierarchies, Layout};
pub use container::{
    Command as ContainerCommand, Container, Pipes, Signaller, Started, Stdio, System, Terminal,
};
pub use error::MachineError;
pub use guest::{
    COMMAND_UNITS, Command, ExitStatus, Guest, GuestError, Output, Properties, SocketUnit, Streams,
    Unit, UnitState, Written, is_command_unit,
};
pub(crate) use host::{Keeper, start_keeper};
pub use host::{SUPERVISE_COMMAND, is_booted_with_systemd};
pub use isolation::{Isolation, Network, Users};
pub use limits::{Disk, Limits, usable_memory};
pub use network::{INSTALL_PASTA, find_pasta};
pub use nspawn::{MINIMUM_SYSTEMD, Nspawn};
pub use overlay::Overlaid;
pub use process::{Ending, Failure, Process, ProcessEnd, is_capability};
pub use profile::Profile;
pub use runtime::{PREFIX, Record, Runtime};
pub use seen::{Doing, Usage, doing};
pub use shape::{Device, Mount, Port, Shape};
pub use shell::shell;
pub use signal::{signal_name, signal_number};
pub use space::Space;
pub use steps::{BootSteps, EndSteps};
pub use stop::stop;
pub use terminal::{Typed, relay, terminal_size, type_into, watch};
pub use users::check_private_users;

use moves::QuickMoves;
use running::{Ended, Launch, Running};
use spec::Payload;
use steps::Moment;

/// Does what this program has been started again for, as the supervisor of a container, as the init in
/// one, or to put a terminal back, and gives the exit code.
pub(crate) fn helper(command: &OsStr) -> Option<i32> {
    if command == SUPERVISE_COMMAND {
        return Some(i32::from(supervisor::supervise().is_err()));
    }
    if command == raw::RESTORE_COMMAND {
        return Some(i32::from(raw::restore().is_err()));
    }
    (command == init::INIT_COMMAND).then(init::init)
}

/// How long a boot may take where nothing is said.
const BOOT_PATIENCE: Duration = Duration::from_secs(60);

/// A container to boot.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The image's name, as a part of a host name: the machine is `postroj-<name>`.
    pub image: String,
    /// The machine is `postroj-<name>` or nothing; if nothing is said, a number is added to the image's
    /// name where that is taken.
    pub name: Option<String>,
    /// The image's layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The directories of the host that it sees.
    pub overlaid: Vec<Overlaid>,
    /// How it is kept apart from the host.
    pub isolation: Isolation,
    /// What is particular about it.
    pub shape: Shape,
    /// The directory on whose disk it writes, if it writes on one.
    pub storage: PathBuf,
    /// What of the image's system is started.
    pub profile: Profile,
    /// Units that are started as the image has it although the profile leaves them out.
    pub wanted: Vec<String>,
    /// How long it may take until systemd has started everything.
    pub timeout: Duration,
    /// Whether commands are run in it as a [`Container`] does.
    pub has_init: bool,
}

impl Boot {
    /// An image by the name and with the layers that it has, topmost first; `storage` is the directory on whose
    /// disk it writes, if it writes on one.
    pub fn of(image: &str, lowers: Vec<PathBuf>, storage: &Path) -> Self {
        Self {
            image: image.to_owned(),
            name: None,
            lowers,
            overlaid: Vec::new(),
            isolation: Isolation::default(),
            shape: Shape::default(),
            storage: storage.to_owned(),
            profile: Profile::default(),
            wanted: Vec::new(),
            timeout: BOOT_PATIENCE,
            has_init: false,
        }
    }
}

/// A container that is up.
///
/// Dropping it ends the container without waiting for it; [`Machine::end`] waits.
pub struct Machine {
    running: Running,
    guest: Guest,
    steps: BootSteps,
}

impl Machine {
    /// Boots a container on a writable layer that goes with it, and waits until it is up.
    pub async fn boot(boot: Boot) -> Result<Self, MachineError> {
        let began = Moment::now();
        let _quick = QuickMoves::begin();
        let mut running = Running::start(Launch {
            wanted: format!("{PREFIX}{}", boot.name.as_ref().unwrap_or(&boot.image)),
            image: boot.image.clone(),
            lowers: boot.lowers,
            writable: boot.isolation.limits.writable(&boot.storage),
            overlaid: boot.overlaid,
            isolation: boot.isolation,
            payload: Payload::Boot {
                masks: boot.profile.masks(&boot.wanted),
                has_init: boot.has_init,
            },
            shape: boot.shape,
            exact: boot.name.is_some(),
            descriptors: Vec::new(),
        })
        .await?;
        let deadline = Instant::now() + boot.timeout;
        let (leader, booted) = match timeout_at(deadline, running.ready()).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(error)) => {
                running.gone().await;
                return Err(error);
            }
            Err(_) => {
                let machine = running.name().to_owned();
                return Err(MachineError::BootTimeout {
                    machine,
                    limit: boot.timeout,
                    console: console_of_end(running).await,
                });
            }
        };
        let (running, guest) = connect(running, leader, deadline).await?;
        let steps = BootSteps::new(began, booted, guest.arrival(), Moment::now());
        Ok(Self {
            running,
            guest,
            steps,
        })
    }

    /// Reboots the container: its systemd stops all that runs, in order, and starts what is enabled,
    /// on the same writable layer. `timeout` is for all of it. On an error the container has ended.
    ///
    /// The system comes up as the image and what was done in it since would have it, whatever the
    /// profile of the first boot.
    pub async fn reboot(mut self, timeout: Duration) -> Result<Self, MachineError> {
        let deadline = Instant::now() + timeout;
        self.running.reboots().await?;
        let asked = timeout_at(deadline, self.guest.reboot()).await;
        drop(self.guest);
        let Self {
            mut running, steps, ..
        } = self;
        if let Ok(Err(source)) = asked {
            return Err(no_guest(running, source).await);
        }
        let leader = match timeout_at(deadline, running.ready()).await {
            Ok(Ok((leader, _))) => leader,
            Ok(Err(error)) => {
                running.gone().await;
                return Err(error);
            }
            Err(_) => {
                return Err(MachineError::RebootTimeout {
                    machine: running.name().to_owned(),
                    limit: timeout,
                    console: console_of_end(running).await,
                });
            }
        };
        let (running, guest) = connect(running, leader, deadline).await?;
        Ok(Self {
            running,
            guest,
            steps,
        })
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        self.running.name()
    }

    /// How long the parts of its first boot took.
    pub fn steps(&self) -> BootSteps {
        self.steps
    }

    /// What the user should know of how it was put together.
    pub fn notes(&self) -> &[String] {
        self.running.notes()
    }

    /// Its systemd.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Its systemd, and a wait for the container's ending without having been asked to.
    pub fn watch(&mut self) -> (&Guest, impl Future<Output = MachineError>) {
        (&self.guest, self.running.died())
    }

    /// Lets the container stay up when this process ends.
    pub async fn keep(mut self) -> Result<String, MachineError> {
        self.running.keep().await?;
        Ok(self.running.name().to_owned())
    }

    /// Ends the container and waits until nothing of it is left; gives where the time went, and the
    /// last of its console. Who is cancelled meanwhile may ask again.
    pub async fn end(&mut self) -> Result<(EndSteps, String), MachineError> {
        let asked = Moment::now();
        self.guest.let_go_of_root();
        let ended = self.running.end().await?;
        let steps = EndSteps::new(asked, ended.steps, Moment::now());
        Ok((steps, ended.console))
    }
}

/// Connects to the systemd of a container that is up; ends the container where that fails.
async fn connect(
    running: Running,
    leader: i32,
    deadline: Instant,
) -> Result<(Running, Guest), MachineError> {
    let connected = timeout_at(deadline, Guest::connect(leader))
        .await
        .unwrap_or_else(|_| Err(GuestError::NoBus(std::io::ErrorKind::TimedOut.into())));
    match connected {
        Ok(guest) => Ok((running, guest)),
        Err(source) => Err(no_guest(running, source).await),
    }
}

/// Ends a container that cannot be talked to; gives why that is so, which is what its supervisor has
/// to say of it if there is anything.
async fn no_guest(mut running: Running, source: GuestError) -> MachineError {
    let machine = running.name().to_owned();
    match running.end().await {
        Ok(Ended { console, .. }) => MachineError::NoGuest {
            machine,
            source: Box::new(source),
            console,
        },
        Err(error) => error,
    }
}

/// Ends a container that is of no use; gives the last of its console.
async fn console_of_end(mut running: Running) -> String {
    running
        .end()
        .await
        .map_or_else(|_| String::new(), |ended| ended.console)
}
