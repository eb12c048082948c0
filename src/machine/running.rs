//! A container from postroj's side: the socket to its supervisor.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::MachineError;
use super::host::{self, Launched};
use super::nspawn::Nspawn;
use super::runtime::{Reservation, Runtime};
use super::spec::{DETACH, END_PATIENCE, Payload, Spec, Told, Writable};

/// A container to start.
pub(super) struct Launch {
    /// The name that the machine gets unless it is taken.
    pub(super) wanted: String,
    /// The image's name, for the record.
    pub(super) image: String,
    /// The layers, topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// Where it writes.
    pub(super) writable: Writable,
    /// What runs in it.
    pub(super) payload: Payload,
}

/// A container whose supervisor was started. Dropping it ends the container, and blocks until it
/// has ended.
pub(super) struct Running {
    reservation: Reservation,
    launched: Box<dyn Launched>,
    /// `None` once the supervisor is to end the container.
    socket: Option<(Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf)>,
    kept: bool,
}

/// How a container ended.
pub(super) struct Ended {
    /// systemd-nspawn's exit code, which is the payload's.
    pub(super) code: Option<i32>,
    /// The last of what it wrote to its console.
    pub(super) console: String,
}

impl Running {
    /// Takes a name and starts a supervisor for it.
    pub(super) async fn start(launch: Launch) -> Result<Self, MachineError> {
        if !rustix::process::geteuid().is_root() {
            return Err(MachineError::NotRoot);
        }
        let runtime = Runtime::default();
        let prepare = async {
            let host = host::detect().await?;
            runtime
                .sweep()
                .map_err(failed("remove what a killed run left"))?;
            let in_use = host.names_in_use().await?;
            Ok::<_, MachineError>((host, in_use))
        };
        let (nspawn, (host, in_use)) = tokio::try_join!(Nspawn::find(), prepare)?;
        let reservation = runtime
            .reserve(&launch.wanted, |name| {
                in_use.iter().any(|used| used == name)
            })
            .map_err(failed("make the container's directory in /run/postroj"))?;
        let (ours, theirs) =
            StdUnixStream::pair().map_err(failed("make a socket for the supervisor"))?;
        let launched = host
            .launch(&reservation.name, OwnedFd::from(theirs))
            .await?;
        let spec = Spec {
            machine: reservation.name.clone(),
            image: launch.image,
            directory: reservation.path.clone(),
            lowers: launch.lowers,
            writable: launch.writable,
            payload: launch.payload,
            cgroups: host.cgroup_owner(),
            nspawn: nspawn.path,
            resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
            owner: std::process::id(),
        };
        let connected = ours
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(ours));
        let (reader, writer) = connected
            .map_err(failed("talk to the container's supervisor"))?
            .into_split();
        let mut running = Self {
            reservation,
            launched,
            socket: Some((BufReader::new(reader).lines(), writer)),
            kept: false,
        };
        let line = serde_json::to_string(&spec)
            .map_err(io::Error::from)
            .map_err(failed("describe the container"))?;
        running.tell(&line).await?;
        Ok(running)
    }

    /// The machine's name.
    pub(super) fn name(&self) -> &str {
        &self.reservation.name
    }

    /// Waits until the container is up; gives its init in the host's numbering.
    pub(super) async fn ready(&mut self) -> Result<i32, MachineError> {
        match self.next().await? {
            Told::Ready { leader } => Ok(leader),
            Told::Ended { code, console } => Err(self.early(code, console)),
            Told::Failed(message) => Err(self.failed(message)),
        }
    }

    /// Waits until the container has ended by itself.
    pub(super) async fn ended(&mut self) -> Result<Ended, MachineError> {
        loop {
            match self.next().await? {
                Told::Ready { .. } => {}
                Told::Ended { code, console } => return Ok(Ended { code, console }),
                Told::Failed(message) => return Err(self.failed(message)),
            }
        }
    }

    /// Waits until the container has ended although nobody asked it to.
    pub(super) async fn died(&mut self) -> MachineError {
        match self.ended().await {
            Ok(Ended { code, console }) => self.early(code, console),
            Err(error) => error,
        }
    }

    /// Lets the container stay up when this process ends.
    pub(super) async fn keep(&mut self) -> Result<(), MachineError> {
        self.tell(DETACH).await?;
        self.kept = true;
        Ok(())
    }

    /// Ends the container and waits until nothing is left of it.
    pub(super) async fn end(mut self) -> Result<Ended, MachineError> {
        if let Some((_, writer)) = &mut self.socket {
            let _ = writer.shutdown().await;
        }
        let ended = self.ended().await;
        self.gone().await;
        ended
    }

    /// Waits until the host has nothing left of a container that has ended.
    pub(super) async fn gone(&mut self) {
        self.launched.gone().await;
    }

    async fn tell(&mut self, line: &str) -> Result<(), MachineError> {
        let line = format!("{line}\n");
        let Some((_, writer)) = &mut self.socket else {
            return Err(self.killed());
        };
        writer
            .write_all(line.as_bytes())
            .await
            .map_err(failed("talk to the container's supervisor"))
    }

    async fn next(&mut self) -> Result<Told, MachineError> {
        let Some((lines, _)) = &mut self.socket else {
            return Err(self.killed());
        };
        match lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line)
                .map_err(io::Error::from)
                .map_err(failed("understand the container's supervisor")),
            Ok(None) | Err(_) => Err(self.killed()),
        }
    }

    fn killed(&self) -> MachineError {
        MachineError::Killed {
            machine: self.name().to_owned(),
        }
    }

    fn early(&self, code: Option<i32>, console: String) -> MachineError {
        MachineError::Died {
            machine: self.name().to_owned(),
            code,
            console,
        }
    }

    fn failed(&self, message: String) -> MachineError {
        MachineError::Assembly {
            machine: self.name().to_owned(),
            message,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.socket = None;
        if !self.kept {
            // Whoever is cancelled here has nothing better to do than to leave nothing behind.
            self.reservation.wait_unused(2 * END_PATIENCE);
        }
    }
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> MachineError {
    move |source| MachineError::Host { action, source }
}
