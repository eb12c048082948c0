//! The two kinds of host: one that systemd runs, and one that it doesn't.

mod direct;
mod systemd;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

pub(super) use direct::Direct;
pub(super) use systemd::Systemd;

use super::MachineError;
use super::cgroup::Hierarchies;
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

    /// Starts a program of ours that outlives this process, with `lifeline` as its standard input.
    async fn start_keeper(&self, keeper: &Keeper, lifeline: OwnedFd) -> Result<(), MachineError>;

    /// The supervisor of `machine`, which somebody has started.
    async fn launched(&self, machine: &str) -> Result<Box<dyn Launched>, MachineError>;
}

/// Who looks after a container when the postroj that wanted it has ended: a service of its own where
/// systemd runs the host, a session of its own elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    /// Whose keeper it is: the rest of its unit's name, after [`KEEPER`].
    pub(crate) id: String,
    /// What it is called for people.
    pub(crate) description: String,
    /// This program's arguments.
    pub(crate) arguments: Vec<String>,
    /// How long it may take to end.
    pub(crate) patience: Duration,
}

/// What the names of keepers' units begin with.
pub(super) const KEEPER: &str = "postroj-task-";

/// Starts one.
pub(crate) async fn start_keeper(keeper: &Keeper, lifeline: OwnedFd) -> Result<(), MachineError> {
    if let Some(command) = keeper.arguments.first() {
        must_not_be(command)?;
    }
    detect().await?.start_keeper(keeper, lifeline).await
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

/// A program that is started again, and does not know it, would start itself again and again.
fn must_not_be(command: &str) -> Result<(), MachineError> {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == command)
    {
        return Err(MachineError::Host {
            action: "start this program again",
            source: std::io::Error::other("it does not call postroj::helper() before all else"),
        });
    }
    Ok(())
}

/// The host that this process runs on.
pub(super) async fn detect() -> Result<Box<dyn Host>, MachineError> {
    must_not_be(SUPERVISE_COMMAND)?;
    if is_booted_with_systemd() {
        Ok(Box::new(Systemd::connect().await?))
    } else {
        Ok(Box::new(Direct))
    }
}

/// The names of machines that have cgroups here, whoever made them.
fn with_cgroups() -> Result<Vec<String>, MachineError> {
    let hierarchies = Hierarchies::load().map_err(|source| MachineError::Host {
        action: "read the cgroup hierarchies",
        source,
    })?;
    Ok(hierarchies.machines())
}

/// The hidden command of the binary that is the supervisor.
pub const SUPERVISE_COMMAND: &str = "__supervise";
