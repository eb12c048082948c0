//! pasta, which carries packets between a container's network and the host's sockets.
//!
//! It runs in the foreground, as a child of the supervisor that goes with it. It is asked to forward
//! no port but those that were asked for, and to keep the gateway's address for the gateway, so that nothing of the host's loopback
//! device is reached from inside, nor the other way round. See pasta(1).

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::cgroup::Cgroups;
use super::descriptors::copies;
use super::network::{Pasta, Uplink};
use super::seen;
use super::shape::Port;
use super::spec::Spec;
use super::sys;

/// How much of what it says is kept.
const SAID_LIMIT: usize = 4096;

/// How often it is looked whether a container has a network yet.
const LOOK: Duration = Duration::from_millis(2);

/// What `/proc/<pid>/fd` shows of a tunnel.
const TUNNEL: &str = "/dev/net/tun";

/// What leads out of a container, from before it is there until it is gone.
pub(super) struct Link<'a> {
    wanted: Option<&'a Pasta>,
    /// A directory that only this mount namespace sees.
    scratch: PathBuf,
    /// Beside which pasta has its own.
    cgroups: Option<Cgroups>,
    /// The process whose namespaces it is for.
    leader: Option<i32>,
    running: Option<Running>,
    failure: Option<String>,
}

impl<'a> Link<'a> {
    /// That of a container, beside whose cgroups pasta has its own.
    pub(super) fn new(spec: &'a Spec, cgroups: Option<Cgroups>) -> Self {
        Self {
            wanted: match &spec.uplink {
                Uplink::Pasta(pasta) => Some(pasta),
                Uplink::Host | Uplink::Loopback => None,
            },
            scratch: spec.directory.join("fs"),
            cgroups,
            leader: None,
            running: None,
            failure: None,
        }
    }

    /// Takes the container's init. If it is told to be another than was found, it has to be up again.
    pub(super) fn follow(&mut self, leader: i32) {
        let Some(pasta) = self.wanted.filter(|_| self.leader != Some(leader)) else {
            return;
        };
        // The one before goes with its container: this kills it.
        self.running = None;
        self.leader = Some(leader);
        self.failure = None;
        let cgroups = self.cgroups.iter().map(|own| own.beside("pasta"));
        let started = cgroups
            .collect::<io::Result<_>>()
            .and_then(|cgroups| Running::start(pasta, leader, &self.scratch, cgroups));
        match started {
            Ok(running) => self.running = Some(running),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Waits until something of it has changed; follows the container that systemd-nspawn makes as soon as that
    /// has a network.
    pub(super) async fn change(&mut self, nspawn: Option<Pid>) {
        let Some(running) = &mut self.running else {
            return match nspawn {
                Some(nspawn) if self.wanted.is_some() && self.leader.is_none() => {
                    self.follow(init_with_network(nspawn).await);
                }
                _ => std::future::pending().await,
            };
        };
        if let Change::Ended(said) = running.change().await {
            self.running = None;
            self.fail(&said);
        }
    }

    /// Whether the container can be told to be ready, as far as this goes.
    pub(super) fn is_up(&self) -> bool {
        self.wanted.is_none() || self.running.as_ref().is_some_and(Running::is_up)
    }

    /// Why it is not up and will not be.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    /// Ends it, and does not wait.
    pub(super) fn kill(&mut self) {
        if let Some(running) = &mut self.running {
            // One that has ended by itself is gone already.
            let _ = running.child.start_kill();
        }
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn end(&mut self) {
        self.kill();
        if let Some(mut running) = self.running.take() {
            let _ = running.child.wait().await;
        }
    }

    fn fail(&mut self, cause: &str) {
        self.failure = Some(format!("the container has no network: pasta: {cause}"));
    }
}

/// pasta, at work for one container.
struct Running {
    child: Child,
    /// It writes its process number here when the container's network is set up.
    initialised: pipe::Receiver,
    is_up: bool,
    errors: pipe::Receiver,
    are_errors_open: bool,
    said: Vec<u8>,
}

/// What has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// The container's network is up.
    Up,
    /// It has ended, and said why.
    Ended(String),
}

impl Running {
    /// Starts it for the namespaces of the process `leader`. `scratch` is a directory that only this
    /// mount namespace sees; the process joins what is given of cgroups.
    fn start(
        pasta: &Pasta,
        leader: i32,
        scratch: &Path,
        cgroups: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let (initialised, number) = io::pipe()?;
        let (errors, stderr) = io::pipe()?;
        let mut command = std::process::Command::new(&pasta.program);
        let mut namespaces = Namespaces::new(leader, scratch);
        let net = namespaces.add("net")?;
        let user = if shares_users(leader)? {
            None
        } else {
            Some(namespaces.add("user")?)
        };
        namespaces.show(&mut command);
        command
            .args(["--foreground", "--quiet", "--config-net", "--no-map-gw"])
            .args(["-T", "none", "-U", "none"])
            .args(ports("-t", &pasta.ports, false))
            .args(ports("-u", &pasta.ports, true))
            // It gives up every capability outside of the container. But to enter namespaces it has
            // to be who made them.
            .args(["--runas", "0"])
            // A path below /proc would be refused: it has given up CAP_SYS_PTRACE by then.
            .arg("--netns")
            .arg(&net)
            // The name stays when the container goes; it is this supervisor that ends it.
            .arg("--no-netns-quit")
            // Its standard output: nothing has to be made and removed for it.
            .args(["--pid", "/proc/self/fd/1"]);
        sys::look_at(&mut command, c"/proc/self/fd/1");
        if let Some(user) = &user {
            command.arg("--userns").arg(user);
        }
        for address in &pasta.forwarded {
            command.arg("--dns-forward").arg(address.to_string());
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(number)
            .stderr(stderr);
        sys::confine(&mut command, cgroups, Signal::KILL);
        let mut command = tokio::process::Command::from(command);
        Ok(Self {
            child: command.kill_on_drop(true).spawn()?,
            initialised: pipe::Receiver::from_owned_fd(initialised.into())?,
            is_up: false,
            errors: pipe::Receiver::from_owned_fd(errors.into())?,
            are_errors_open: true,
            said: Vec::new(),
        })
    }

    /// Whether the container's network is up.
    fn is_up(&self) -> bool {
        self.is_up
    }

    /// Has the tunnel's device go with the container's network, for which nobody waits, and not with the
    /// descriptor: who closes that waits for grace periods of RCU, 12 ms and more. It is done before the end, for
    /// which somebody waits as well.
    fn let_go_of_device(&self) {
        let Some(process) = self.child.id() else {
            return;
        };
        for tunnel in copies(process.cast_signed(), TUNNEL, 1) {
            // If it is not to be had, it takes longer.
            let _ = sys::persist_tunnel(tunnel);
        }
    }

    /// Waits for the next change; nothing is lost when the wait is given up.
    async fn change(&mut self) -> Change {
        let mut number = [0; 32];
        let mut buffer = [0; 1024];
        loop {
            tokio::select! {
                biased;
                length = self.errors.read(&mut buffer), if self.are_errors_open => match length {
                    Ok(length @ 1..) => self.hear(&buffer[..length]),
                    _ => self.are_errors_open = false,
                },
                Ok(_) = self.initialised.read(&mut number), if !self.is_up => {
                    // The end of the pipe is no number, but that of the process comes with it.
                    if number[0] != 0 {
                        self.is_up = true;
                        self.let_go_of_device();
                        return Change::Up;
                    }
                    let _ = self.child.wait().await;
                    return Change::Ended(self.last_words());
                }
                _ = self.child.wait(), if !self.are_errors_open => {
                    return Change::Ended(self.last_words());
                }
            }
        }
    }

    fn hear(&mut self, text: &[u8]) {
        self.said.extend(text);
        let excess = self.said.len().saturating_sub(SAID_LIMIT);
        self.said.drain(..excess);
    }

    /// The last line that says something of the matter.
    fn last_words(&self) -> String {
        let said = String::from_utf8_lossy(&self.said);
        let line = said
            .lines()
            .rfind(|line| !line.trim().is_empty() && !line.contains("to syslog"));
        line.unwrap_or("it said nothing").trim().to_owned()
    }
}

/// The options for what leads in over one protocol.
fn ports(option: &str, ports: &[Port], udp: bool) -> Vec<String> {
    let mut options: Vec<String> = ports
        .iter()
        .filter(|port| port.udp == udp)
        .map(|port| {
            let address = port.address.map(|address| format!("{address}/"));
            let address = address.unwrap_or_default();
            format!("{address}{}:{}", port.host, port.container)
        })
        .collect();
    if options.is_empty() {
        options.push("none".to_owned());
    }
    options
        .into_iter()
        .flat_map(|value| [option.to_owned(), value])
        .collect()
}

/// Waits until the container that systemd-nspawn makes has a network; gives its init. systemd-nspawn tells of it
/// when all is done, its filter of system calls included, which takes 30 ms; pasta takes as long, and needs no
/// more than the network. Nothing tells when that is there: it is looked for.
async fn init_with_network(nspawn: Pid) -> i32 {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some(leader) = seen::init_with_network(nspawn.as_raw_nonzero().get()) {
            return leader;
        }
    }
}

/// Where pasta finds namespaces: Debian's and Ubuntu's `AppArmor` profile of it (`/etc/apparmor.d/usr.bin.passt`) lets
/// it open these nowhere but there, `/run/user/<uid>/netns/<name>`.
const HOME: &CStr = c"/run/user";
const DIRECTORIES: &[&CStr] = &[c"/run/user/0", c"/run/user/0/netns"];

/// The namespaces that pasta enters, by paths that it may open.
struct Namespaces<'a> {
    leader: i32,
    scratch: &'a Path,
    shown: Vec<(CString, CString)>,
}

impl<'a> Namespaces<'a> {
    fn new(leader: i32, scratch: &'a Path) -> Self {
        Self {
            leader,
            scratch,
            shown: Vec::new(),
        }
    }

    /// Gives the path of one.
    fn add(&mut self, kind: &str) -> io::Result<PathBuf> {
        let pinned = pin(self.leader, kind, self.scratch)?;
        // Where nobody can log in, no profile expects it there either.
        if !Path::new(OsStr::from_bytes(HOME.to_bytes())).is_dir() {
            return Ok(pinned);
        }
        // Whoever looks at processes sees whose it is.
        let machine = self.scratch.parent().and_then(Path::file_name);
        let machine = machine.unwrap_or_default().to_string_lossy();
        let path = PathBuf::from(format!("/run/user/0/netns/{machine}.{kind}"));
        let names = [&pinned, &path].map(|path| CString::new(path.as_os_str().as_bytes()));
        let [from, to] = names.map(|name| name.map_err(io::Error::other));
        self.shown.push((from?, to?));
        Ok(path)
    }

    fn show(self, command: &mut std::process::Command) {
        if !self.shown.is_empty() {
            sys::show_below(command, HOME, DIRECTORIES, self.shown);
        }
    }
}

/// Mounts a namespace of a process where it can be found without a right over the process.
fn pin(leader: i32, kind: &str, scratch: &Path) -> io::Result<PathBuf> {
    let at = scratch.join(format!("{kind}.namespace"));
    // That of a leader before a reboot.
    while rustix::mount::unmount(&at, UnmountFlags::DETACH).is_ok() {}
    File::create(&at)?;
    rustix::mount::mount_bind(format!("/proc/{leader}/ns/{kind}"), &at)?;
    Ok(at)
}

/// Whether a process has the user namespace of this one.
fn shares_users(leader: i32) -> io::Result<bool> {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user"));
    Ok(of(&leader.to_string())? == of("self")?)
}
