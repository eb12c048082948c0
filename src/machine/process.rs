//! One command in a container of its own, without a system around it.

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

pub use super::init::Failure;
use super::init::{Answer, Identity, Job};
use super::rootfs::Rootfs;

/// The search path of a command whose environment has none, as other container tools have it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command to run, as the OCI runtime specification's `process` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The program, by its path or by a name that is looked for in the container's `PATH`, and its
    /// arguments.
    pub args: Vec<String>,
    /// Its environment, as `NAME=VALUE`; `PATH`, `HOME` and `HOSTNAME` are added where they are missing.
    pub env: Vec<String>,
    /// The directory where it starts, made if it is missing; the root if nothing is said.
    pub working_dir: String,
    /// As whom: `USER`, `USER:GROUP`, names of the image or numbers; root if nothing is said.
    pub user: String,
    /// Rows and columns of a terminal of its own, if it gets one.
    pub terminal: Option<(u16, u16)>,
    /// Capabilities that it does not have, without `CAP_`, or `ALL`; capabilities(7).
    pub cap_drop: Vec<String>,
    /// Those that it has all the same. Of `ALL` here, what is dropped is none.
    pub cap_add: Vec<String>,
}

impl Process {
    /// What the container's init has to do for it.
    pub(super) fn job(&self, root: &Rootfs, hostname: &str) -> Result<Job, String> {
        let identity = Identity::find(root, &self.user)?;
        let added = self.cap_add.iter().filter(|name| !is_all(name));
        let dropped = set(&self.cap_drop)? & !set(added)?;
        let mut env = self.env.clone();
        let mut add = |set: String| {
            let name = set
                .split_inclusive('=')
                .next()
                .unwrap_or_default()
                .to_owned();
            if !env.iter().any(|set| set.starts_with(&name)) {
                env.push(set);
            }
        };
        add(PATH.to_owned());
        add(format!("HOME={}", identity.home));
        add(format!("HOSTNAME={hostname}"));
        add("container=systemd-nspawn".to_owned());
        if self.terminal.is_some() {
            add("TERM=xterm".to_owned());
        }
        Ok(Job {
            args: self.args.clone(),
            env,
            working_dir: self.working_dir.clone(),
            identity,
            terminal: self.terminal,
            dropped: dropped.bits(),
        })
    }
}

/// What names of capabilities(7) stand for, together.
fn set<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<CapabilitySet, String> {
    let mut all = CapabilitySet::empty();
    for name in names {
        all |= capabilities(name)?;
    }
    Ok(all)
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL")
}

/// Those that count in the host's users only, as the kernel asks whether somebody has them there: `user_namespaces(7)`,
/// "Effect of capabilities within a user namespace".
const OF_THE_HOST: CapabilitySet = CapabilitySet::SYS_TIME
    .union(CapabilitySet::SYS_MODULE)
    .union(CapabilitySet::SYS_RAWIO)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::SYS_PACCT)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::IPC_LOCK)
    .union(CapabilitySet::MAC_ADMIN)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::AUDIT_READ)
    .union(CapabilitySet::WAKE_ALARM)
    .union(CapabilitySet::BLOCK_SUSPEND)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::BPF);

/// Whether one of these does nothing for a container with users of its own.
pub(super) fn needs_hosts_users<'a>(names: impl IntoIterator<Item = &'a String>) -> bool {
    set(names).is_ok_and(|names| names.intersects(OF_THE_HOST))
}

/// What a name of capabilities(7) stands for, with or without `CAP_`, or `ALL`.
pub(super) fn capabilities(name: &str) -> Result<CapabilitySet, String> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if short == "ALL" {
        return Ok(CapabilitySet::all());
    }
    CapabilitySet::from_name(short).ok_or_else(|| format!("there is no capability {name}"))
}

/// Whether capabilities(7) has such a name; `ALL` is one too.
pub fn is_capability(name: &str) -> bool {
    capabilities(name).is_ok()
}

/// How a command came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEnd {
    /// What made it end.
    pub ending: Ending,
    /// Whether the kernel killed a process of the container because its memory did not suffice.
    pub out_of_memory: bool,
}

/// What made a command end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It could not be started.
    Failed(Failure),
    /// It ended by itself, with this exit code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

impl Ending {
    /// What an init tells of a command; `None` if it goes on.
    pub(super) fn told_by(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Started(_) => None,
            Answer::Failed(failure) => Some(Self::Failed(failure)),
            Answer::Exited(code) => Some(Self::Exited(code)),
            Answer::Killed(signal) => Some(Self::Killed(signal)),
        }
    }

    /// As a shell has it in `$?`: the exit code, 128 and the signal, 126 for what cannot be executed, 127
    /// for what is not there; 125 where something else was in the way.
    pub fn code(&self) -> i32 {
        match self {
            Self::Exited(code) => *code,
            Self::Killed(signal) => 128 + signal,
            Self::Failed(Failure::NotFound { .. }) => 127,
            Self::Failed(Failure::NotExecutable { .. } | Failure::WorkingDirectory { .. }) => 126,
            Self::Failed(Failure::Other(_)) => 125,
        }
    }
}
