//! A container from postroj's side: the socket to its supervisor.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::MachineError;
use super::host::{self, Host, Launched};
use super::isolation::Isolation;
use super::network::{self, Arranged};
use super::nspawn::Nspawn;
use super::overlay::Overlaid;
use super::process::ProcessEnd;
use super::runtime::{self, Runtime};
use super::shape::Shape;
use super::spec::{DETACH, END_PATIENCE, Payload, REBOOT, Spec, Told, Writable};
use super::steps;
use super::wire;

/// How long a name may be taken by something that has no record, as what is just going has none.
const NAME_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it is free.
const NAME_PAUSE: Duration = Duration::from_millis(50);

/// A container to start.
pub(super) struct Launch {
    /// The name that the machine gets unless it is taken.
    pub(super) wanted: String,
    /// Whether it is to have that name or none.
    pub(super) exact: bool,
    /// The image's name, for the record.
    pub(super) image: String,
    /// The layers, topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// Where it writes.
    pub(super) writable: Writable,
    /// The directories of the host that it sees.
    pub(super) overlaid: Vec<Overlaid>,
    /// How it is kept apart from the host.
    pub(super) isolation: Isolation,
    /// What runs in it.
    pub(super) payload: Payload,
    /// What is particular about it.
    pub(super) shape: Shape,
    /// What goes to the supervisor with that.
    pub(super) descriptors: Vec<OwnedFd>,
}

/// A container whose supervisor was started. Dropping it ends the container, and blocks until it
/// has ended.
pub(super) struct Running {
    name: String,
    /// The machine's directory, which is the supervisor's to make and to remove.
    directory: PathBuf,
    launched: Box<dyn Launched>,
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    /// The same socket once more, for the time when nothing can be awaited.
    socket: StdUnixStream,
    kept: bool,
    notes: Vec<String>,
    /// How it ended, where that was heard before anybody asked.
    heard: Option<Ended>,
}

/// How a container ended.
pub(super) struct Ended {
    /// systemd-nspawn's exit code, which is the payload's.
    pub(super) code: Option<i32>,
    /// The last of what it wrote to its console.
    pub(super) console: String,
    /// How it went.
    pub(super) steps: steps::Ended,
    /// How its one command ended, if there was one.
    pub(super) process: Option<ProcessEnd>,
}

impl Ended {
    /// What a supervisor tells of the end; `None` if it tells something else.
    fn of(told: Told) -> Option<Self> {
        match told {
            Told::Ended {
                code,
                console,
                steps,
                process,
            } => Some(Self {
                code,
                console,
                steps,
                process,
            }),
            _ => None,
        }
    }
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
        let (nspawn, (host, mut in_use)) = tokio::try_join!(Nspawn::find(), prepare)?;
        let Arranged {
            uplink,
            resolv_conf,
            note,
        } = network::arrange(launch.isolation.network, &launch.shape.ports)
            .map_err(MachineError::NoNat)?;
        let mut spec = Spec {
            machine: String::new(),
            image: launch.image,
            directory: PathBuf::new(),
            lowers: launch.lowers,
            writable: launch.writable,
            overlaid: launch.overlaid,
            isolation: launch.isolation,
            uplink,
            payload: launch.payload,
            shape: launch.shape,
            cgroups: host.cgroup_owner(),
            nspawn: nspawn.path,
            resolv_conf,
            owner: std::process::id(),
        };
        let deadline = Instant::now() + NAME_PATIENCE;
        let attempts = if launch.exact { 1 } else { usize::MAX };
        loop {
            for name in runtime::names(&launch.wanted).take(attempts) {
                let directory = runtime.path(&name);
                if in_use.contains(&name) || directory.exists() {
                    continue;
                }
                spec.machine = name;
                spec.directory = directory;
                if let Some(mut running) =
                    Self::attempt(host.as_ref(), &spec, &launch.descriptors).await?
                {
                    running.notes.extend(note);
                    return Ok(running);
                }
            }
            if !launch.exact {
                return Err(failed("name the container")(io::Error::other(format!(
                    "no name is free for {}",
                    launch.wanted
                ))));
            }
            if runtime.machine(&launch.wanted).is_some() || Instant::now() > deadline {
                return Err(MachineError::NameTaken(launch.wanted));
            }
            // What had it may just be going.
            tokio::time::sleep(NAME_PAUSE).await;
            in_use = host.names_in_use().await?;
        }
    }

    /// Starts a supervisor, which takes the machine's name; `None` where it is taken already.
    ///
    /// Whatever becomes of this process meanwhile, there is nothing of the machine that nobody
    /// looks after: the supervisor makes all there is of it.
    async fn attempt(
        host: &dyn Host,
        spec: &Spec,
        descriptors: &[OwnedFd],
    ) -> Result<Option<Self>, MachineError> {
        let (ours, theirs) =
            StdUnixStream::pair().map_err(failed("make a socket for the supervisor"))?;
        let Some(launched) = host
            .launch(&spec.machine, &spec.isolation.limits, OwnedFd::from(theirs))
            .await?
        else {
            return Ok(None);
        };
        let line = wire::line(&spec).map_err(failed("describe the container"))?;
        let talk = failed("talk to the container's supervisor");
        let descriptors: Vec<_> = descriptors.iter().map(OwnedFd::as_fd).collect();
        // It is the first that the supervisor reads.
        let sent = ours.set_write_timeout(Some(END_PATIENCE));
        sent.and_then(|()| wire::send(&ours, &line, &descriptors))
            .map_err(failed("talk to the container's supervisor"))?;
        let connected = ours.set_nonblocking(true).and_then(|()| {
            let socket = ours.try_clone()?;
            Ok((socket, UnixStream::from_std(ours)?.into_split()))
        });
        let (socket, (reader, writer)) = connected.map_err(talk)?;
        let mut running = Self {
            name: spec.machine.clone(),
            directory: spec.directory.clone(),
            launched,
            lines: BufReader::new(reader).lines(),
            writer,
            socket,
            kept: false,
            notes: Vec::new(),
            heard: None,
        };
        match running.next().await? {
            Told::Taken => {
                // What is there is somebody else's.
                running.kept = true;
                running.gone().await;
                Ok(None)
            }
            Told::Failed(message) => Err(running.failed(message)),
            Told::Claimed | Told::Note(_) | Told::Ready { .. } | Told::Ended { .. } => {
                Ok(Some(running))
            }
        }
    }

    /// The machine's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the user should know of how the container was put together.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waits until the container is up; gives its init in the host's numbering, and how the boot
    /// went.
    pub(super) async fn ready(&mut self) -> Result<(i32, steps::Booted), MachineError> {
        loop {
            match self.next().await? {
                Told::Claimed | Told::Taken => {}
                Told::Note(note) => self.notes.push(note),
                Told::Ready { leader, booted } => return Ok((leader, booted)),
                Told::Ended { code, console, .. } => return Err(self.early(code, console)),
                Told::Failed(message) => return Err(self.failed(message)),
            }
        }
    }

    /// Waits until the container's one command has started; gives the container's init in the host's
    /// numbering. `None` if it has ended already, which [`Self::ended`] tells.
    pub(super) async fn command_started(&mut self) -> Result<Option<i32>, MachineError> {
        loop {
            match self.next().await? {
                Told::Claimed | Told::Taken => {}
                Told::Note(note) => self.notes.push(note),
                Told::Ready { leader, .. } => return Ok(Some(leader)),
                told @ Told::Ended { .. } => {
                    self.heard = Ended::of(told);
                    return Ok(None);
                }
                Told::Failed(message) => return Err(self.failed(message)),
            }
        }
    }

    /// Waits until the container has ended by itself.
    pub(super) async fn ended(&mut self) -> Result<Ended, MachineError> {
        loop {
            if let Some(heard) = self.heard.take() {
                return Ok(heard);
            }
            match self.next().await? {
                Told::Note(note) => self.notes.push(note),
                Told::Failed(message) => return Err(self.failed(message)),
                told => self.heard = Ended::of(told),
            }
        }
    }

    /// Waits until the container has ended although nobody asked it to.
    pub(super) async fn died(&mut self) -> MachineError {
        match self.ended().await {
            Ok(Ended { code, console, .. }) => self.early(code, console),
            Err(error) => error,
        }
    }

    /// Lets the container stay up when this process ends.
    pub(super) async fn keep(&mut self) -> Result<(), MachineError> {
        self.tell(DETACH).await?;
        self.kept = true;
        Ok(())
    }

    /// The socket once more, for saying something while an answer is awaited.
    pub(super) fn socket(&self) -> io::Result<StdUnixStream> {
        self.socket.try_clone()
    }

    /// Announces that the container will reboot: [`Self::ready`] then waits for it once more.
    pub(super) async fn reboots(&mut self) -> Result<(), MachineError> {
        self.tell(REBOOT).await
    }

    /// Waits until the container has ended by itself and nothing is left of it. Who is cancelled meanwhile
    /// may ask again.
    pub(super) async fn ended_and_gone(&mut self) -> Result<Ended, MachineError> {
        let ended = self.ended().await;
        match ended {
            Ok(ended) => {
                self.heard = Some(ended);
                self.gone().await;
                self.ended().await
            }
            Err(error) => {
                self.gone().await;
                Err(error)
            }
        }
    }

    /// Ends the container and waits until nothing is left of it. Who is cancelled meanwhile may ask again.
    pub(super) async fn end(&mut self) -> Result<Ended, MachineError> {
        let _ = self.writer.shutdown().await;
        self.ended_and_gone().await
    }

    /// Waits until the host has nothing left of a container that has ended.
    pub(super) async fn gone(&mut self) {
        self.launched.gone().await;
    }

    async fn tell(&mut self, line: &str) -> Result<(), MachineError> {
        let line = format!("{line}\n");
        self.writer
            .write_all(line.as_bytes())
            .await
            .map_err(failed("talk to the container's supervisor"))
    }

    async fn next(&mut self) -> Result<Told, MachineError> {
        match self.lines.next_line().await {
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
        if self.kept {
            return;
        }
        // The supervisor ends the container when it hears no more of us.
        let _ = self.socket.shutdown(Shutdown::Write);
        // Whoever is cancelled here has nothing better to do than to leave nothing behind.
        wait_for_end(&self.socket, 2 * END_PATIENCE);
        runtime::bury(&self.name, &self.directory);
    }
}

/// Blocks until the other end is closed, which is when the supervisor has ended, or `patience` has
/// run out.
fn wait_for_end(mut socket: &StdUnixStream, patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut rest = [0; 1024];
    loop {
        match socket.read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                let timeout = Timespec::try_from(left).ok();
                let mut polled = [PollFd::new(socket, PollFlags::IN)];
                if left.is_zero() {
                    return;
                }
                // Whether it is data, the end, or a signal that woke us: the next read tells.
                let _ = rustix::event::poll(&mut polled, timeout.as_ref());
            }
            Err(_) => return,
        }
    }
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> MachineError {
    move |source| MachineError::Host { action, source }
}
