//! The two kinds of host: one that systemd runs, and one that it doesn't.

mod direct;
mod systemd;

use std::os::fd::OwnedFd;
use std::path::Path;

use async_trait::async_trait;

pub(super) use direct::Direct;
pub(super) use systemd::Systemd;

use super::MachineError;
use super::limits::Limits;
use super::spec::CgroupOwner;

/// Where containers run.
#[async_trait]
pub(super) trait Host: Send + Sync {
    /// Who looks after the containers' cgroups.
    fn cgroup_owner(&self) -> CgroupOwner;

    /// The names that no new machine can have.
    async fn names_in_use(&self) -> Result<Vec<String>, MachineError>;

    /// Starts a supervisor for `machine`, within `limits` where they are the host's to set, with `lifeline` as its standard input; `None` where the
    /// host has something of that name already.
    async fn launch(
        &self,
        machine: &str,
        limits: &Limits,
        lifeline: OwnedFd,
    ) -> Result<Option<Box<dyn Launched>>, MachineError>;

    /// The supervisor of `machine`, which somebody has started.
    async fn launched(&self, machine: &str) -> Result<Box<dyn Launched>, MachineError>;
}

/// A supervisor that was started.
#[async_trait]
pub(super) trait Launched: Send + Sync {
    /// Waits until the host has nothing left of it. The supervisor has said that it ends.
    async fn gone(&mut self);
}

/// Whether systemd runs this host; `sd_booted(3)`.
pub fn is_booted_with_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The host that this process runs on.
pub(super) async fn detect() -> Result<Box<dyn Host>, MachineError> {
    if is_booted_with_systemd() {
        Ok(Box::new(Systemd::connect().await?))
    } else {
        Ok(Box::new(Direct))
    }
}

/// The hidden command of the binary that is the supervisor.
pub const SUPERVISE_COMMAND: &str = "__supervise";
