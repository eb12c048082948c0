//! A host with systemd as PID 1, whatever the machine runs: a Debian tree booted by systemd-nspawn
//! with the capabilities that containers inside it need.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{self, Outcome};
use super::tree;

/// Booted, and ended when dropped.
pub(crate) struct Nested {
    leader: u32,
    nspawn: std::process::Child,
    cgroups: Vec<PathBuf>,
    /// What is `/var/lib/postroj` inside: nspawn's own root is an overlay, which no overlay goes on.
    pub(crate) state: PathBuf,
    directory: TempDir,
}

impl Nested {
    /// Boots one with postroj in its `PATH`.
    pub(crate) fn boot() -> Self {
        Self::boot_tree(&tree::host())
    }

    /// Boots a tree that has what [`tree::host`] has.
    pub(crate) fn boot_tree(tree: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("host-")
            .tempdir_in(super::cache::root())
            .expect("a temporary directory");
        fs::create_dir(directory.path().join("state")).expect("create the state directory");
        Self::boot_with(tree, directory)
    }

    /// Has its power cut, and boots once more, with what postroj has stored.
    pub(crate) fn rebooted(mut self) -> Self {
        let other = tempfile::tempdir().expect("a temporary directory");
        let directory = std::mem::replace(&mut self.directory, other);
        drop(self);
        fs::remove_file(directory.path().join("notify")).expect("remove the old socket");
        Self::boot_with(&tree::host(), directory)
    }

    fn boot_with(tree: &Path, directory: TempDir) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let state = directory.path().join("state");
        let ready = UnixDatagram::bind(directory.path().join("notify"))
            .expect("bind the notification socket");
        ready
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("set a timeout");
        let cgroups = cgroups(&name);

        let mut command = enter(&cgroups);
        command
            .args([
                "systemd-nspawn",
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--notify-ready=yes",
            ])
            .args([
                "--settings=no",
                "--link-journal=no",
                "--console=read-only",
                "--volatile=overlay",
            ])
            .args([
                "--capability=all",
                "--system-call-filter=add_key keyctl bpf pidfd_getfd @mount @privileged",
            ])
            .args(["--bind=/dev/fuse", "--resolv-conf=bind-host"])
            .arg(format!("--machine=host-{name}"))
            .arg(format!("--bind={}:/var/lib/postroj", state.display()))
            // The tests' own files, packages among them, have the same paths on both kinds of host.
            .arg(format!(
                "--bind={0}:{0}:norbind",
                super::cache::root().display()
            ))
            .arg(format!(
                "--bind-ro={}:/usr/local/bin/postroj",
                super::place::binary().display()
            ))
            .arg("-D")
            .arg(tree)
            .env("NOTIFY_SOCKET", directory.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let nspawn = command
            .spawn()
            .expect("start systemd-nspawn: `make packages` installs it");
        let mut host = Self {
            leader: 0,
            nspawn,
            cgroups,
            state,
            directory,
        };
        host.wait_until_ready(&ready);
        host.remount_controllers("rw");
        host
    }

    /// Lets the host have its controllers of version 1, `rw` or `ro`, which systemd-nspawn lets nobody
    /// have: limits are kept by them.
    pub(crate) fn remount_controllers(&self, how: &str) {
        for controller in ["memory", "cpu", "pids", "cpuset"] {
            let mounted = format!("/sys/fs/cgroup/{controller}");
            if !Path::new(&mounted).is_dir() {
                continue;
            }
            let options = format!("remount,bind,{how}");
            let leader = self.leader.to_string();
            let enter = ["--mount", "--target", &leader, "--"];
            let mount = ["mount", "-o", &options, &mounted];
            process::tool("nsenter", &[&enter[..], &mount].concat());
        }
    }

    fn wait_until_ready(&mut self, ready: &UnixDatagram) {
        let mut buffer = [0; 4096];
        loop {
            let length = ready
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("the nested host has not booted: {error}"));
            let message = String::from_utf8_lossy(&buffer[..length]);
            for line in message.lines() {
                if let Some(leader) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    self.leader = leader.parse().expect("a process id");
                }
                if line == "READY=1" {
                    return;
                }
            }
        }
    }

    /// The host's files as this machine sees them.
    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader))
    }

    /// The host's mounts, its PID 1's.
    pub(crate) fn mountinfo(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/mountinfo", self.leader))
    }

    /// The host's PID 1, as this machine numbers it.
    pub(crate) fn leader(&self) -> u32 {
        self.leader
    }

    /// A directory that is there under the same name inside.
    pub(crate) fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// A command in a scope of the nested host, as one is that a person types there. It becomes
    /// the only child of the process that this starts.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        environment: &[(String, String)],
        command: &[S],
    ) -> Command {
        let init: Vec<PathBuf> = self
            .cgroups
            .iter()
            .map(|group| {
                let scope = group.join("payload/init.scope");
                if scope.exists() { scope } else { group.clone() }
            })
            .collect();
        let mut enter = enter(&init);
        enter
            .args(["nsenter", "--all", "--target"])
            .arg(self.leader.to_string());
        enter.args([
            "--",
            "env",
            "-i",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]);
        enter.args(
            environment
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        enter.args(["systemd-run", "--scope", "--quiet", "--collect", "--"]);
        enter.args(command);
        enter
    }

    #[track_caller]
    pub(crate) fn run(&self, command: &[&str]) -> Outcome {
        process::run(self.command(&[], command))
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        if let Some(leader) = i32::try_from(self.leader)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(leader, rustix::process::Signal::KILL).ok();
        } else {
            self.nspawn.kill().ok();
        }
        self.nspawn.wait().ok();
        for group in &self.cgroups {
            remove_cgroup(group);
            if let Some(parent) = group.parent() {
                fs::remove_dir(parent).ok();
            }
        }
    }
}

/// Cgroups of its own in each hierarchy that the guest uses: unasked, every container gets one
/// `/payload` at the root, and two of them fight over it.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies: Vec<PathBuf> = if root.join("cgroup.controllers").exists() {
        vec![root.to_owned()]
    } else {
        ["unified", "systemd", "memory", "cpu", "pids", "cpuset"]
            .iter()
            .map(|name| root.join(name))
            .filter(|path| path.is_dir())
            .collect()
    };
    hierarchies
        .into_iter()
        .map(|hierarchy| {
            let group = hierarchy.join("postroj-tests").join(name);
            fs::create_dir_all(&group).unwrap_or_else(|error| {
                panic!("{}: {error}; the tests run as root", group.display())
            });
            if hierarchy.ends_with("cpuset") {
                furnish(&hierarchy, &group);
            }
            group
        })
        .collect()
}

/// Gives a cgroup the processors and memory nodes of all above it, without which nobody may be in it; cpuset(7).
fn furnish(hierarchy: &Path, group: &Path) {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let all = fs::read(hierarchy.join(name)).expect("read what there is");
        let parent = group.parent().expect("it is below the root");
        for group in [parent, group] {
            fs::write(group.join(name), &all).expect("hand it on");
        }
    }
}

/// A shell that moves itself into the cgroups, then becomes the command that is added.
fn enter(cgroups: &[PathBuf]) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(r#"while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 125; shift; done; shift; exec "$@""#);
    command.arg("enter").args(cgroups).arg("--");
    command
}

/// Removes a cgroup and those below it, once the kernel has buried their processes.
fn remove_cgroup(group: &Path) {
    for attempt in 0..100 {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        remove_below(group);
        if !group.exists() {
            return;
        }
    }
}

fn remove_below(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    fs::remove_dir(group).ok();
}
