//! What postroj and a container's supervisor tell each other.
//!
//! They share one stream socket. postroj writes one [`Spec`]; the supervisor answers with
//! [`Told`], first whether the machine's name was free. Each is a line of JSON. When postroj's end closes, whether by intent, by a panic or by
//! `kill -9`, the supervisor ends the container, unless it was told [`DETACH`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::isolation::Isolation;
use super::network::Uplink;
use super::overlay::Overlaid;
use super::process::{Process, ProcessEnd};
use super::shape::Shape;
use super::steps;
use super::wire;

/// The line that makes the container stay up when postroj ends.
pub(super) const DETACH: &str = "detach";

/// The line that announces that the container will end to boot anew. One that does so unannounced
/// has ended.
pub(super) const REBOOT: &str = "reboot";

/// What a line begins with that sends the command a signal; its number follows.
pub(super) const SIGNAL: &str = "signal ";

/// The line on the control socket that ends the container.
pub(super) const STOP: &str = "stop";

/// A container to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The machine's name, which is its host name too.
    pub(super) machine: String,
    /// The name of its image, for the record.
    pub(super) image: String,
    /// Its directory below `/run/postroj`.
    pub(super) directory: PathBuf,
    /// The layers of its root, topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// Where it writes.
    pub(super) writable: Writable,
    /// The directories of the host that it sees.
    pub(super) overlaid: Vec<Overlaid>,
    /// How it is kept apart from the host.
    pub(super) isolation: Isolation,
    /// What is particular about it.
    pub(super) shape: Shape,
    /// Where its packets go, which comes of that.
    pub(super) uplink: Uplink,
    /// What runs in it.
    pub(super) payload: Payload,
    /// Who looks after its cgroups.
    pub(super) cgroups: CgroupOwner,
    /// The path of systemd-nspawn.
    pub(super) nspawn: PathBuf,
    /// The content of the container's `/etc/resolv.conf`.
    pub(super) resolv_conf: String,
    /// The process that asks for it.
    pub(super) owner: u32,
}

impl Spec {
    /// The container's host name.
    pub(super) fn hostname(&self) -> &str {
        self.shape.hostname.as_deref().unwrap_or(&self.machine)
    }
}

/// Where a container writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Writable {
    /// In memory, at most so many bytes; gone with the container.
    Memory(u64),
    /// On the disk, at most so many bytes; gone with the container.
    Disk {
        /// How many.
        bytes: u64,
        /// The directory whose disk it is.
        storage: PathBuf,
    },
    /// In directories that stay: what is written becomes a layer.
    Layer {
        /// overlayfs' upper directory.
        upper: PathBuf,
        /// overlayfs' work directory, on the same file system.
        work: PathBuf,
    },
}

/// What runs in a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Payload {
    /// The image's systemd.
    Boot {
        /// What is a link to `/dev/null` until it is up, as paths below the root.
        masks: Vec<String>,
        /// Whether it is shown our init, for a command to be run below it.
        has_init: bool,
    },
    /// A shell script, without systemd.
    Script(String),
    /// One command below an init of ours, on the descriptors that come with this.
    Command(Box<Process>),
}

/// Who looks after a container's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CgroupOwner {
    /// The host's systemd: the container is one of its units.
    Systemd,
    /// The supervisor, because no systemd runs.
    Supervisor,
}

/// What a supervisor tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Told {
    /// The machine's name is the supervisor's, and what there is of the machine from now on.
    Claimed,
    /// The machine's name is somebody else's.
    Taken,
    /// Something that the user should know and that fails nothing.
    Note(String),
    /// systemd in the container has started what it was to start, at first or after a reboot.
    Ready {
        /// The container's init, in the host's numbering.
        leader: i32,
        /// How the boot went.
        booted: steps::Booted,
    },
    /// The container could not be put together.
    Failed(String),
    /// The container has ended and been cleaned up.
    Ended {
        /// systemd-nspawn's exit code; `None` when a signal ended it.
        code: Option<i32>,
        /// The last of what the container wrote to its console.
        console: String,
        /// How it went.
        steps: steps::Ended,
        /// How the one command ended, if there was one.
        process: Option<ProcessEnd>,
    },
}

impl Told {
    /// As it goes over the socket.
    pub(super) fn line(&self) -> io::Result<Vec<u8>> {
        wire::line(self)
    }
}

/// How much of the console is kept.
pub(super) const CONSOLE_LIMIT: usize = 64 * 1024;

/// How long systemd-nspawn may take to end a container before it is killed itself.
pub(super) const END_PATIENCE: Duration = Duration::from_secs(10);
