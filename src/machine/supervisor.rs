//! The process that serves one container, from before it is there until nothing of it is left.
//!
//! It is a hidden command of the binary. On a host with systemd it is the main process of the
//! container's unit, elsewhere a child of postroj. It has a mount namespace of its own, in which
//! it puts the root together, so that the mounts go when it does; it starts systemd-nspawn, and
//! it ends the container when postroj goes away. If the supervisor itself is killed, the kernel
//! sends systemd-nspawn SIGTERM, and that ends the container.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};

use super::cgroup::{self, Cgroups, Hierarchies, Layout};
use super::network::Uplink;
use super::pasta::Link;
use super::root::{self, Assembled};
use super::runtime::{self, Record};
use super::spec::{
    CONSOLE_LIMIT, CgroupOwner, DETACH, END_PATIENCE, Payload, REBOOT, STOP, Spec, Told,
};
use super::sys;

/// Serves the container that is asked for on standard input, a socket, until it is gone.
///
/// The result is for the exit code only: what went wrong has been told on the socket.
pub fn supervise() -> io::Result<()> {
    sys::close_inherited()?;
    let socket = StdUnixStream::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    // The socket's end is what postroj waits for: nobody else may hold it.
    let null = File::options().read(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    let spec = read_spec(&socket)?;
    // Ctrl-C in the terminal is for postroj, which then ends us. A unit's process leads already.
    let _ = rustix::process::setsid();
    let lock = match runtime::claim(&spec.directory) {
        Ok(Some(lock)) => lock,
        Ok(None) => return (&socket).write_all(&Told::Taken.line()?),
        Err(error) => return (&socket).write_all(&Told::Failed(error.to_string()).line()?),
    };
    // Whoever is not there any more closes the socket too, which is seen in due course.
    let _ = (&socket).write_all(&Told::Claimed.line()?);
    let result = Supervisor::prepare(&spec, lock);
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

/// Reads one line, which is all that postroj says before it has an answer.
fn read_spec(socket: &StdUnixStream) -> io::Result<Spec> {
    let mut line = Vec::new();
    BufReader::new(socket).read_until(b'\n', &mut line)?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}

/// Tells postroj, if it is still there.
struct Teller(OwnedWriteHalf);

impl Teller {
    async fn tell(&mut self, told: &Told) {
        if let Ok(line) = told.line() {
            let _ = self.0.write_all(&line).await;
        }
    }
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
    joined: Vec<OwnedFd>,
}

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

impl<'a> Supervisor<'a> {
    /// Puts together what the container needs; on an error nothing is left of it.
    fn prepare(spec: &'a Spec, lock: OwnedFd) -> io::Result<Self> {
        let undo = Undo(spec);
        let shown = spec.overlaid.iter().map(|overlaid| &overlaid.source);
        let layers = spec.lowers.iter().chain(shown);
        let layers = layers.map(|layer| runtime::hold(layer));
        let layers = layers.collect::<io::Result<_>>()?;
        sys::unshare_mounts()?;
        let began = Instant::now();
        let root = root::assemble(spec)?;
        let compose = began.elapsed();
        let hierarchies = Hierarchies::load()?;
        let (cgroups, unit_cgroup, joined) = match spec.cgroups {
            CgroupOwner::Supervisor => {
                let cgroups = hierarchies.of_machine(&spec.machine);
                let joined = cgroups.create(&spec.isolation.limits)?;
                (Some(cgroups), None, joined)
            }
            CgroupOwner::Systemd => match step_aside(&hierarchies)? {
                Some((unit, procs)) => (None, Some(unit), vec![procs]),
                None => (None, None, Vec::new()),
            },
        };
        std::mem::forget(undo);
        Ok(Self {
            spec,
            _lock: lock,
            _layers: layers,
            root,
            compose,
            hierarchies,
            cgroups,
            unit_cgroup,
            joined,
        })
    }

    async fn serve(mut self, reader: OwnedReadHalf, mut teller: Teller) -> io::Result<()> {
        for note in self.root.notes() {
            teller.tell(&Told::Note(note.clone())).await;
        }
        let mut console = Console::default();
        let outcome = self.run(reader, &mut teller, &mut console).await;
        if let Some(cgroups) = &self.cgroups {
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
        let told = match outcome {
            Ok(status) => Told::Ended {
                code: status.code(),
                console: console.text(),
            },
            Err(error) => Told::Failed(error.to_string()),
        };
        teller.tell(&told).await;
        Ok(())
    }

    async fn run(
        &mut self,
        reader: OwnedReadHalf,
        teller: &mut Teller,
        console: &mut Console,
    ) -> io::Result<ExitStatus> {
        let mut ears = Ears {
            notify: UnixDatagram::bind(self.spec.directory.join("notify"))?,
            control: UnixListener::bind(self.spec.directory.join("control"))?,
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
            lifeline: Lifeline::new(reader),
        };
        loop {
            let (status, is_asked) = self.run_once(&mut ears, teller, console).await?;
            let rebooted = status.code() == Some(REBOOTED) && !is_asked;
            if !rebooted || !ears.lifeline.has_announced_reboot().await {
                return Ok(status);
            }
            self.vacate_cgroups()?;
        }
    }

    /// Runs the container from its boot to its end; gives how systemd-nspawn ended, and whether it
    /// was asked to.
    async fn run_once(
        &mut self,
        ears: &mut Ears,
        teller: &mut Teller,
        console: &mut Console,
    ) -> io::Result<(ExitStatus, bool)> {
        let Ears {
            notify,
            control,
            terminate,
            lifeline,
        } = ears;
        let (mut child, mut output) = self.start()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let mut output_open = true;
        let mut leader = None;
        let spec = self.spec;
        let mut link = Link::new(&spec.uplink, spec.directory.join("fs"));
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
                    booted = self.heard(&text, &mut leader, pid)?.or(booted);
                    if let Some(leader) = leader {
                        link.follow(leader, || self.cgroups.iter().map(|own| own.beside("pasta")).collect());
                    }
                }
                () = link.change() => {}
                word = lifeline.next() => match word {
                    Word::Detach => self.record(leader.unwrap_or_default(), true)?,
                    Word::Reboot => {}
                    Word::Gone => break Reason::Asked,
                },
                asked = control.accept() => if asks_to_stop(asked?.0).await {
                    break Reason::Asked;
                },
                _ = terminate.recv() => break Reason::Asked,
            }
            if let Some(leader) = booted {
                // Nothing true can be found out of a container that has lost its network.
                if let Some(message) = link.failure() {
                    break Reason::Unfit(message);
                }
                if link.is_up() && !told {
                    let compose = self.compose;
                    teller.tell(&Told::Ready { leader, compose }).await;
                    told = true;
                }
            }
        };
        // What each of the two takes to be gone, it takes at the same time.
        link.kill();
        let (status, is_asked) = match reason {
            Reason::Itself(status) => (status, false),
            Reason::Asked => (self.end(&mut child, pid, leader).await?, true),
            Reason::Unfit(message) => {
                self.end(&mut child, pid, leader).await?;
                return Err(io::Error::other(message));
            }
        };
        link.end().await;
        if output_open {
            // What is in the pipe now; somebody else may hold it open.
            while let Ok(Ok(length @ 1..)) =
                tokio::time::timeout(Duration::ZERO, output.read(&mut buffer)).await
            {
                console.push(&buffer[..length]);
            }
        }
        Ok((status, is_asked))
    }

    /// Makes the container's cgroups as they were before systemd-nspawn used them.
    fn vacate_cgroups(&self) -> io::Result<()> {
        match (&self.cgroups, &self.unit_cgroup) {
            (Some(cgroups), _) => cgroups.vacate(),
            (None, Some(unit)) => cgroup::vacate(unit),
            (None, None) => Ok(()),
        }
    }

    /// Starts systemd-nspawn inside the container's cgroups.
    fn start(&mut self) -> io::Result<(tokio::process::Child, pipe::Receiver)> {
        let (reader, writer) = io::pipe()?;
        let mut command = std::process::Command::new(&self.spec.nspawn);
        command
            .args(arguments(self.spec, &self.root))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NOTIFY_SOCKET", self.spec.directory.join("notify"))
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        if self.root.needs_unified_hierarchy() && self.hierarchies.layout() != Layout::Unified {
            // systemd 258 and newer refuses version 1 hierarchies, which systemd-nspawn would
            // hand on from this host.
            command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        }
        let joined = self.joined.iter().map(OwnedFd::try_clone);
        let joined = joined.collect::<io::Result<_>>()?;
        sys::confine(&mut command, joined, Signal::TERM);
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let child = tokio::process::Command::from(command).spawn()?;
        Ok((child, pipe::Receiver::from_owned_fd(reader.into())?))
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
            .or_else(|| only_child(nspawn?))
            .ok_or_else(|| io::Error::other("systemd-nspawn did not tell the leader"))?;
        self.root.unmask(leader);
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
        };
        let path = self.spec.directory.join("record.json");
        let partial = path.with_extension("new");
        std::fs::write(&partial, serde_json::to_vec(&record)?)?;
        std::fs::rename(partial, path)
    }

    /// Ends the container: systemd-nspawn answers SIGTERM by killing its leader, if that is still
    /// there, and by clearing up.
    async fn end(
        &self,
        child: &mut tokio::process::Child,
        pid: Option<Pid>,
        leader: Option<i32>,
    ) -> io::Result<ExitStatus> {
        if let Some(leader) = leader {
            self.hierarchies.kill_payload(&self.spec.machine, leader);
        }
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if let Ok(status) = tokio::time::timeout(END_PATIENCE, child.wait()).await {
            return status;
        }
        if let Some(cgroups) = &self.cgroups {
            cgroups.kill();
        }
        child.start_kill()?;
        tokio::time::timeout(END_PATIENCE, child.wait())
            .await
            .unwrap_or_else(|_| Err(io::Error::other("systemd-nspawn cannot be killed")))
    }
}

/// Removes what was made when the preparation fails half-way.
struct Undo<'a>(&'a Spec);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.0.cgroups == CgroupOwner::Supervisor
            && let Ok(hierarchies) = Hierarchies::load()
        {
            let _ = hierarchies
                .of_machine(&self.0.machine)
                .remove(Duration::ZERO);
        }
        if root::detach(&self.0.directory).is_ok() {
            let _ = runtime::remove_directory(&self.0.directory);
        }
    }
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
    let unit = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
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

fn arguments(spec: &Spec, root: &Assembled) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--quiet",
        "--keep-unit",
        "--settings=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        // SIGTERM to systemd-nspawn is how a throw-away container ends: at once.
        "--kill-signal=SIGKILL",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--directory={}", root.path().display()));
    if let Some((base, count)) = root.private_users() {
        // The owners of the files are in the range already. Whoever gives a range wants none
        // changed, unless it says otherwise.
        arguments.push(format!("--private-users={base}:{count}"));
    }
    arguments.push(format!("--machine={}", spec.machine));
    let registered = spec.cgroups == CgroupOwner::Systemd;
    arguments.push(format!(
        "--register={}",
        if registered { "yes" } else { "no" }
    ));
    if spec.uplink != Uplink::Host {
        arguments.push("--private-network".to_owned());
    }
    match &spec.payload {
        Payload::Boot { .. } => arguments
            .extend(["--console=read-only", "--notify-ready=yes", "--boot"].map(str::to_owned)),
        Payload::Script(script) => {
            arguments.extend(
                ["--console=pipe", "--as-pid2", "--", "/bin/sh", "-e", "-c"].map(str::to_owned),
            );
            arguments.push(script.clone());
        }
    }
    arguments
}

/// The one child of a process; proc(5), `/proc/<pid>/task/<tid>/children`.
fn only_child(pid: Pid) -> Option<i32> {
    let pid = pid.as_raw_nonzero();
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .ok()?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// postroj's end of the socket.
struct Lifeline {
    lines: tokio::io::Lines<tokio::io::BufReader<OwnedReadHalf>>,
    detached: bool,
    reboots: bool,
    closed: bool,
}

/// What postroj has to say of a container that runs.
enum Word {
    /// It wants the container kept.
    Detach,
    /// The container will reboot.
    Reboot,
    /// It has gone.
    Gone,
}

impl Lifeline {
    fn new(reader: OwnedReadHalf) -> Self {
        Self {
            lines: tokio::io::BufReader::new(reader).lines(),
            detached: false,
            reboots: false,
            closed: false,
        }
    }

    /// Waits for postroj. When it has gone after it wanted the container kept, this waits for ever.
    async fn next(&mut self) -> Word {
        while !self.closed {
            match self.lines.next_line().await {
                Ok(Some(line)) if line == DETACH => {
                    self.detached = true;
                    return Word::Detach;
                }
                Ok(Some(line)) if line == REBOOT => {
                    self.reboots = true;
                    return Word::Reboot;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => self.closed = true,
            }
        }
        if !self.detached {
            return Word::Gone;
        }
        std::future::pending().await
    }

    /// Whether postroj is there and has said that the container will reboot; it counts once.
    async fn has_announced_reboot(&mut self) -> bool {
        // What it has said may not have been heard yet.
        while tokio::time::timeout(Duration::ZERO, self.next())
            .await
            .is_ok()
            && !self.closed
        {}
        std::mem::take(&mut self.reboots) && !self.closed
    }
}

/// Whether the other end of a control connection asks for the end. It hears of it by the
/// connection's closing, when this process ends.
async fn asks_to_stop(stream: UnixStream) -> bool {
    let (reader, writer) = stream.into_split();
    let mut line = String::new();
    let patience = Duration::from_secs(1);
    let mut reader = tokio::io::BufReader::new(reader).take(64);
    let read = tokio::time::timeout(patience, reader.read_line(&mut line)).await;
    let stop = matches!(read, Ok(Ok(_))) && line.trim_end() == STOP;
    if stop {
        // The descriptor stays open until the process ends: that is the answer.
        std::mem::forget(writer);
        std::mem::forget(reader);
    }
    stop
}

/// The last of what the container has written.
#[derive(Default)]
struct Console(VecDeque<u8>);

impl Console {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(CONSOLE_LIMIT);
        self.0.drain(..excess);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Where the supervisor of `machine` listens.
pub(super) fn control_socket(directory: &Path) -> PathBuf {
    directory.join("control")
}
