//! What is particular about a container: what of the host it sees, and what it may do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::process::needs_hosts_users;

/// What is particular about a container; by default, nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Its host name, if not the machine's.
    pub hostname: Option<String>,
    /// What is mounted in it.
    pub mounts: Vec<Mount>,
    /// Whether its root cannot be written to.
    pub read_only: bool,
    /// Whether it may do what root on the host may: every capability, every system call, the host's
    /// users, the kernel's settings. Devices are [`Self::devices`], or made by mknod(1).
    pub privileged: bool,
    /// Capabilities that it has beyond systemd-nspawn's own choice; capabilities(7).
    pub cap_add: Vec<String>,
    /// Capabilities that its command does not have.
    pub cap_drop: Vec<String>,
    /// Devices of the host's that it may use.
    pub devices: Vec<Device>,
    /// Names that it knows by itself: lines of hosts(5).
    pub hosts: Vec<(String, IpAddr)>,
    /// The nameservers that it asks, if not the host's.
    pub nameservers: Vec<IpAddr>,
    /// Ports of the host's that lead into it.
    pub ports: Vec<Port>,
    /// What is said about it, for whoever lists containers.
    pub labels: BTreeMap<String, String>,
}

/// Something that is mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A file or directory of the host's.
    Bind {
        /// Which; an absolute path.
        source: PathBuf,
        /// Where the container sees it; made if it is missing.
        target: String,
        /// Whether the container cannot write to it.
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where the container sees it; made if it is missing.
        target: String,
        /// mount(8)'s options for tmpfs, with commas: `size=64m,mode=1777`.
        options: String,
    },
}

/// A device of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its path on the host.
    pub source: PathBuf,
    /// Its path in the container.
    pub target: String,
}

/// A port of the host's that leads to one of the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The host's address that it listens on; all of them if none is named.
    pub address: Option<IpAddr>,
    /// The host's.
    pub host: u16,
    /// The container's.
    pub container: u16,
    /// Whether it is one of UDP, not of TCP.
    pub udp: bool,
}

impl Shape {
    /// Whether something of it does nothing for a container with users of its own.
    pub fn needs_hosts_users(&self) -> bool {
        self.privileged || !self.devices.is_empty() || needs_hosts_users(&self.cap_add)
    }

    /// Options of systemd-nspawn, but for what is bound.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        if let Some(hostname) = &self.hostname {
            options.push(format!("--hostname={hostname}"));
        }
        if self.read_only {
            options.push("--read-only".to_owned());
        }
        if self.privileged {
            options.push("--capability=all".to_owned());
        } else if !self.cap_add.is_empty() {
            let names = self.cap_add.iter();
            let names = names.map(|name| match name.to_ascii_uppercase() {
                name if name == "ALL" => "all".to_owned(),
                name if name.starts_with("CAP_") => name,
                name => format!("CAP_{name}"),
            });
            let names: Vec<String> = names.collect();
            options.push(format!("--capability={}", names.join(",")));
        }
        // Those that are dropped, the init takes from the command: it and a system need them.
        for mount in &self.mounts {
            if let Mount::Tmpfs {
                target,
                options: how,
            } = mount
            {
                let how = if how.is_empty() { "mode=1777" } else { how };
                options.push(format!("--tmpfs={}:{how}", escaped(target)));
            }
        }
        for device in &self.devices {
            let source = device.source.to_string_lossy();
            options.push(format!(
                "--bind={}:{}",
                escaped(&source),
                escaped(&device.target)
            ));
        }
        options
    }
}

/// A path as an option of systemd-nspawn has it, where colons separate; systemd-nspawn(1), `--bind=`.
pub(super) fn escaped(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}
