//! A host that systemd does not run: a CI container, a build machine.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use async_trait::async_trait;
use tokio::process::{Child, Command};

use super::{Host, Keeper, Launched, SUPERVISE_COMMAND, with_cgroups};
use crate::machine::MachineError;
use crate::machine::limits::Limits;
use crate::machine::spec::CgroupOwner;
use crate::machine::sys;

/// Supervisors are children of this process.
pub(in crate::machine) struct Direct;

#[async_trait]
impl Host for Direct {
    fn cgroup_owner(&self) -> CgroupOwner {
        CgroupOwner::Supervisor
    }

    async fn names_in_use(&self) -> Result<Vec<String>, MachineError> {
        with_cgroups()
    }

    async fn launch(
        &self,
        _machine: &str,
        _limits: &Limits,
        lifeline: OwnedFd,
    ) -> Result<Option<Box<dyn Launched>>, MachineError> {
        let child = start(&[SUPERVISE_COMMAND.to_owned()], lifeline)?;
        Ok(Some(Box::new(Supervised(Some(child)))))
    }

    async fn start_keeper(&self, keeper: &Keeper, lifeline: OwnedFd) -> Result<(), MachineError> {
        // If this process is still there when it ends, the runtime waits for it.
        start(&keeper.arguments, lifeline).map(drop)
    }

    async fn launched(&self, _machine: &str) -> Result<Box<dyn Launched>, MachineError> {
        Ok(Box::new(Supervised(None)))
    }
}

/// Starts this program once more, in a session of its own.
fn start(arguments: &[String], lifeline: OwnedFd) -> Result<Child, MachineError> {
    Command::from(sys::this_program())
        .args(arguments)
        .stdin(lifeline)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| MachineError::Host {
            action: "start the container's supervisor",
            source,
        })
}

/// A supervisor, which leaves nothing when it ends; another process's child is for that to wait for.
struct Supervised(Option<Child>);

#[async_trait]
impl Launched for Supervised {
    async fn gone(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.wait().await;
        }
    }
}
