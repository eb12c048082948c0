//! A host that systemd runs: containers are its units, registered with machined.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use zbus::{Connection, Fd, Variant};

use super::{Host, KEEPER, Keeper, Launched, SUPERVISE_COMMAND, with_cgroups};
use crate::machine::MachineError;
use crate::machine::bus::{MachinedProxy, ManagerProxy, Property, UnitRemovedStream};
use crate::machine::limits::{self, Limits, weight};
use crate::machine::runtime::PREFIX;
use crate::machine::spec::CgroupOwner;

/// How long systemd may take to forget a unit that has ended.
const FORGET_PATIENCE: Duration = Duration::from_secs(5);

/// What systemd answers when there is a unit of that name already.
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// What systemd answers whom it tells of changes already.
const SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";

/// Supervisors are transient services of the host's systemd.
pub(in crate::machine) struct Systemd {
    bus: Connection,
    manager: ManagerProxy<'static>,
}

impl Systemd {
    /// Connects to the host's system bus.
    pub(in crate::machine) async fn connect() -> Result<Self, MachineError> {
        let bus = Connection::system().await.map_err(host_bus)?;
        let manager = ManagerProxy::new(&bus).await.map_err(host_bus)?;
        Ok(Self { bus, manager })
    }
}

impl Systemd {
    /// The units that systemd forgets from now on.
    async fn removals(&self) -> Result<UnitRemovedStream, MachineError> {
        let subscribed = async {
            match self.manager.subscribe().await {
                // By an attempt to start a unit whose name was taken.
                Err(zbus::Error::MethodError(name, ..)) if name.as_str() == SUBSCRIBED => Ok(()),
                subscribed => subscribed,
            }
        };
        let (removed, ()) =
            tokio::try_join!(self.manager.receive_unit_removed(), subscribed).map_err(host_bus)?;
        Ok(removed)
    }
}

fn host_bus(source: zbus::Error) -> MachineError {
    MachineError::HostBus(source)
}

#[async_trait]
impl Host for Systemd {
    fn cgroup_owner(&self) -> CgroupOwner {
        CgroupOwner::Systemd
    }

    async fn names_in_use(&self) -> Result<Vec<String>, MachineError> {
        let machined = MachinedProxy::new(&self.bus).await.map_err(host_bus)?;
        // A unit may outlive its machine for a moment, or be somebody else's.
        let pattern = format!("{PREFIX}*.service");
        let patterns = [pattern.as_str()];
        let (known, units) = tokio::join!(
            machined.list_machines(),
            self.manager.list_units_by_patterns(&[], &patterns)
        );
        let known = known.map_err(MachineError::Machined)?;
        let units = units.map_err(host_bus)?;
        let units = units
            .into_iter()
            .filter_map(|unit| unit.0.strip_suffix(".service").map(str::to_owned));
        Ok(known
            .into_iter()
            .map(|(name, ..)| name)
            .chain(units)
            // Whoever runs in a container of this host may see the same cgroups.
            .chain(with_cgroups()?)
            .collect())
    }

    async fn launch(
        &self,
        machine: &str,
        limits: &Limits,
        lifeline: OwnedFd,
    ) -> Result<Option<Box<dyn Launched>>, MachineError> {
        let unit = format!("{machine}.service");
        let description = format!("postroj container {machine}");
        let mut properties = service(description, &[SUPERVISE_COMMAND.to_owned()], &lifeline)?;
        properties.extend([
            ("Slice", "machine.slice".into()),
            ("Delegate", true.into()),
            ("TasksMax", limits.pids.into()),
        ]);
        if let Some(unit) = own_keeper_unit() {
            // When the host goes down, who is started later is stopped earlier: the keeper of a task, which
            // ends its container in order.
            properties.push(("Before", vec![unit].into()));
        }
        if let Some(memory) = limits.memory {
            properties.push(("MemoryMax", memory.into()));
            // What does not fit is not to be moved elsewhere.
            properties.push(("MemorySwapMax", limits.swap().into()));
        }
        if let Some(processor) = limits.processor {
            properties.push(("CPUQuotaPerSecUSec", processor.into()));
        }
        if let Some(shares) = limits.shares {
            properties.push(("CPUWeight", weight(shares).into()));
        }
        if let Some(processors) = &limits.processors {
            properties.push(("AllowedCPUs", limits::mask(processors).into()));
        }
        // systemd takes up what is said to it in turn, so it is subscribed to before the unit can end.
        let (removed, started) = tokio::join!(
            self.removals(),
            self.manager
                .start_transient_unit(&unit, "fail", &properties, &[])
        );
        match started {
            Ok(_) => Ok(Some(Box::new(Unit {
                name: unit,
                removed: removed?,
            }))),
            Err(zbus::Error::MethodError(name, ..)) if name.as_str() == UNIT_EXISTS => Ok(None),
            Err(source) => Err(MachineError::Unit { unit, source }),
        }
    }

    async fn start_keeper(&self, keeper: &Keeper, lifeline: OwnedFd) -> Result<(), MachineError> {
        let mut properties = service(keeper.description.clone(), &keeper.arguments, &lifeline)?;
        let patience = u64::try_from(keeper.patience.as_micros()).unwrap_or(u64::MAX);
        properties.push(("TimeoutStopUSec", patience.into()));
        let unit = format!("{KEEPER}{}.service", keeper.id);
        let started = self
            .manager
            .start_transient_unit(&unit, "fail", &properties, &[]);
        let started = started.await.map(drop);
        started.map_err(|source| MachineError::Unit { unit, source })
    }

    async fn launched(&self, machine: &str) -> Result<Box<dyn Launched>, MachineError> {
        Ok(Box::new(Unit {
            name: format!("{machine}.service"),
            removed: self.removals().await?,
        }))
    }
}

/// The properties of a service that runs this program once more; systemd.service(5).
fn service<'a>(
    description: String,
    arguments: &[String],
    stdin: &'a OwnedFd,
) -> Result<Vec<Property<'a>>, MachineError> {
    let program = std::env::current_exe().map_err(|source| MachineError::Host {
        action: "find the path of the running program",
        source,
    })?;
    let program = if program.exists() {
        program.to_string_lossy().into_owned()
    } else {
        // It has been replaced since it was started: what speaks to this process is to be the same.
        format!("/proc/{}/exe", std::process::id())
    };
    let line: Vec<String> = [program.clone()].iter().chain(arguments).cloned().collect();
    Ok(vec![
        ("Description", description.into()),
        ("Type", "exec".into()),
        ("ExecStart", Variant::from(vec![(program, line, false)])),
        (
            "StandardInputFileDescriptor",
            Variant::from(Fd::from(stdin.as_fd())),
        ),
        ("KillMode", "mixed".into()),
        ("CollectMode", "inactive-or-failed".into()),
    ])
}

/// The unit that this process is the keeper of a task in, if it is one.
fn own_keeper_unit() -> Option<String> {
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let is_one = |part: &&str| part.starts_with(KEEPER) && part.ends_with(".service");
    let part = cgroup.split(['/', '\n']).find(is_one)?;
    Some(part.to_owned())
}

struct Unit {
    name: String,
    removed: UnitRemovedStream,
}

#[async_trait]
impl Launched for Unit {
    async fn gone(&mut self) {
        let forgotten = async {
            while let Some(signal) = self.removed.next().await {
                if signal.args().is_ok_and(|args| args.id == self.name) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(FORGET_PATIENCE, forgotten).await;
    }
}
