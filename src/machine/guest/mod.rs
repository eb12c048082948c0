//! Talking to the systemd of a container over its own system bus.
//!
//! systemd's private socket is of no use from outside: the container's PID 1 sees a peer that is
//! not in its process namespace, and hangs up. So the container needs a D-Bus daemon.

mod command;
mod link;
mod query;
mod tap;
mod unit;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::sync::Semaphore;

pub use command::{
    Command, ExitStatus, Output, Streams, UNIT_PREFIX as COMMAND_UNITS, Written, is_command_unit,
};
pub use query::{Properties, SocketUnit};
pub use unit::{Unit, UnitState};

use super::profile::Profile;
use super::rootfs::Rootfs;
use super::space::Space;
use super::users;
use link::Link;

/// Where the system bus listens; D-Bus specification, "Well-known Message Bus Instances".
const SYSTEM_BUS: &str = "run/dbus/system_bus_socket";

/// What can go wrong between postroj and a container's systemd.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The container has no system bus that answers.
    #[error("cannot reach the container's D-Bus system bus at /{SYSTEM_BUS}: {0}")]
    NoBus(#[source] io::Error),
    /// It had one, which has gone and not come back.
    #[error("the container's D-Bus system bus went away and did not come back: {0}")]
    BusGone(#[source] io::Error),
    /// The bus went away while a command ran, and did not come back: how that ended nobody knows.
    #[error(
        "the container's D-Bus system bus went away while {program} ran, and did not come back"
    )]
    BusGoneMeanwhile {
        /// The command.
        program: String,
        /// What it had written until then.
        output: Output,
    },
    /// The system bus or systemd did not do what it was asked.
    #[error("the container's systemd, asked to {action}: {source}")]
    Bus {
        /// What it was asked.
        action: String,
        /// Its answer.
        source: zbus::Error,
    },
    /// A command took longer than it was given.
    #[error("{program} did not end within {} s", limit.as_secs_f64())]
    Timeout {
        /// The command.
        program: String,
        /// What it was given.
        limit: Duration,
        /// What it had written until then.
        output: Output,
    },
    /// A file of the container could not be read or written.
    #[error("{path} in the container: {source}")]
    File {
        /// Its path there.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// More units are to be kept track of than systemd can.
    #[error("more than {0} units are to be checked in one container; check them in several runs")]
    ManyUnits(usize),
    /// A pipe or descriptor could not be made.
    #[error("cannot set up the output of {program}: {source}")]
    Descriptors {
        /// The command.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// What systemd answers when no file says what a unit is.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// How many units are asked for at once. A bus lets a connection wait for 128 answers, dbus-daemon(1)'s
/// `max_replies_per_connection`, and refuses what is asked beyond.
const UNITS_AT_ONCE: usize = 4;

/// How often a reboot is asked for. systemd 247 once answered that it would, and did nothing.
const REBOOT_REQUESTS: usize = 3;

/// How long the bus may take to go down with a system that reboots.
const REBOOT_PATIENCE: Duration = Duration::from_secs(5);

/// A container's systemd.
#[derive(Debug)]
pub struct Guest {
    link: Mutex<Link>,
    reconnecting: tokio::sync::Mutex<()>,
    /// Who asks for units and their states, which is several questions each.
    asking: Arc<Semaphore>,
    root: Rootfs,
    leader: i32,
}

impl Guest {
    /// Connects to the system bus of the container whose init is the process `leader`.
    pub(super) async fn connect(leader: i32) -> Result<Self, GuestError> {
        let base = users::base_of(leader).map_err(GuestError::NoBus)?;
        let root = Rootfs::open(Path::new(&format!("/proc/{leader}/root")))
            .map_err(GuestError::NoBus)?
            .owned_by(base);
        let link = Link::open(&root).await?;
        Ok(Self {
            link: Mutex::new(link),
            reconnecting: tokio::sync::Mutex::new(()),
            asking: Arc::new(Semaphore::new(UNITS_AT_ONCE)),
            root,
            leader,
        })
    }

    /// How long its systemd took to be on the bus after we were.
    pub(super) fn arrival(&self) -> Duration {
        self.link().arrival
    }

    /// The container's init, in the host's numbering.
    pub fn leader(&self) -> i32 {
        self.leader
    }

    /// The version of the container's systemd, as it words it: `252.39-1~deb12u1`.
    pub async fn systemd_version(&self) -> Result<String, GuestError> {
        let manager = self.live_link().await?.manager;
        asked("tell its version", manager.version().await)
    }

    /// Whether the connection to the bus is not known to be broken.
    pub fn is_connected(&self) -> bool {
        !self.link().bus.is_closed()
    }

    /// What becomes of who connects to the system bus now, in words.
    pub fn bus_state(&self) -> String {
        match connect_bus(&self.root) {
            Ok(_) => format!("/{SYSTEM_BUS} takes connections"),
            Err(error) => format!("/{SYSTEM_BUS}: {error}"),
        }
    }

    /// Whether the administrator's files have it that a unit cannot be started; systemctl(1), `mask`.
    pub fn is_masked(&self, unit: &str) -> bool {
        ["/etc/systemd/system", "/run/systemd/system"]
            .iter()
            .any(|directory| self.root.links_to(directory, unit, "/dev/null"))
    }

    /// Whether there is a file at `path` in the container.
    pub fn has_file(&self, path: &str) -> bool {
        self.root.exists(path)
    }

    /// Gives what `file` is open on to the container's root: who it is passed to there can open it
    /// once more, as `/dev/stdout` for one.
    pub(super) fn give(&self, file: impl AsFd) -> io::Result<()> {
        self.root.give(file)
    }

    /// Opens a file of the container.
    pub(super) fn open(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.root.open_at(path, flags, mode)
    }

    /// Gives up the container's root, which is about to go.
    pub(super) fn let_go_of_root(&mut self) {
        self.root.let_go();
    }

    /// The root directory of the container.
    pub(crate) fn root(&self) -> &Rootfs {
        &self.root
    }

    /// Opens a directory of the container.
    pub(crate) fn open_directory(&self, path: &str) -> io::Result<OwnedFd> {
        self.root
            .open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// The names in a directory of the container; none where it is not there.
    pub fn names(&self, path: &str) -> Vec<String> {
        self.root.names(path)
    }

    /// Reads a regular file of the container, of at most 1 MiB.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>, GuestError> {
        self.root
            .read(path, 1 << 20)
            .map_err(|source| GuestError::File {
                path: path.to_owned(),
                source,
            })
    }

    /// Copies a file of the host to `directory/name` in the container; gives the path there.
    pub fn copy_in(
        &self,
        source: &File,
        directory: &str,
        name: &str,
    ) -> Result<String, GuestError> {
        let path = format!("{directory}/{name}");
        self.root
            .copy(directory, name, source)
            .map_err(|source| GuestError::File {
                path: path.clone(),
                source,
            })?;
        Ok(path)
    }

    /// Makes good what a trimmed boot has left out and somebody may need.
    pub async fn complete(&self, profile: Profile) -> Result<(), GuestError> {
        // What the boot had masked is free again, which systemd has yet to notice.
        self.reload().await?;
        for unit in profile.deferred() {
            self.start_unattended(unit).await?;
        }
        Ok(())
    }

    /// Makes systemd read its unit files anew.
    pub async fn reload(&self) -> Result<(), GuestError> {
        let manager = self.live_link().await?.manager;
        asked("read its unit files", manager.reload().await)
    }

    /// Has a unit started and does not wait for it; one that the container does not have is none to
    /// start.
    pub async fn start_unattended(&self, unit: &str) -> Result<(), GuestError> {
        let manager = self.live_link().await?.manager;
        match manager.start_unit(unit, "replace").await {
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == NO_SUCH_UNIT => Ok(()),
            started => asked("start a unit", started.map(drop)),
        }
    }

    /// Has the container stop all that it runs, in order, and boot anew; does not wait for that.
    pub(super) async fn reboot(&self) -> Result<(), GuestError> {
        for _ in 0..REBOOT_REQUESTS {
            let manager = self.live_link().await?.manager;
            let mut jobs = asked("tell of jobs", manager.receive_job_removed().await)?;
            // systemd's own method of that name stops nothing in order.
            let started = manager.start_unit("reboot.target", "replace-irreversibly");
            asked("reboot", started.await.map(drop))?;
            // The bus is among the first to go.
            let gone = async { while jobs.next().await.is_some() {} };
            if tokio::time::timeout(REBOOT_PATIENCE, gone).await.is_ok() {
                return Ok(());
            }
            // Something may take its time to stop. Only if nothing is at it, it is asked for again.
            let state = match self.unit("reboot.target").await {
                Ok(unit) => unit.state().await,
                Err(error) => Err(error),
            };
            if !state.is_ok_and(|state| !state.has_job) {
                return Ok(());
            }
            tracing::info!("systemd has forgotten that the container is to reboot");
        }
        Ok(())
    }

    /// The room where the container writes.
    pub fn space(&self) -> io::Result<Space> {
        Space::of(self.root.as_fd())
    }
}

/// Connects to the bus by a descriptor, so that no link in the container can lead to the host's.
fn connect_bus(root: &Rootfs) -> io::Result<UnixStream> {
    let socket = root.open_at(SYSTEM_BUS, OFlags::PATH, Mode::empty())?;
    let mode = rustix::fs::fstat(&socket)?.st_mode;
    if FileType::from_raw_mode(mode) != FileType::Socket {
        return Err(io::Error::other("not a socket"));
    }
    match root.base() {
        Some(base) => users::connect_as(base, || connect(&socket)),
        None => connect(&socket),
    }
}

fn connect(socket: &OwnedFd) -> io::Result<UnixStream> {
    // Not blocking: whoever listens there may never take us.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    rustix::net::connect(&stream, &address)?;
    Ok(stream.into())
}

fn asked<T>(action: &str, result: zbus::Result<T>) -> Result<T, GuestError> {
    result.map_err(|source| GuestError::Bus {
        action: action.to_owned(),
        source,
    })
}
