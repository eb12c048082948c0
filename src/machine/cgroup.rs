//! The cgroups that a container needs on a host without systemd.
//!
//! systemd-nspawn with `--keep-unit` makes its `payload` cgroup below the cgroup in which it was
//! started. On a host without systemd that is the root for everyone, where containers would
//! fight. So each container gets `postroj/<machine>` in every hierarchy that its systemd will use:
//! the version 2 root, or on a hybrid host the `unified` and the `systemd` hierarchies and the
//! version 1 controllers that limit memory, processors and processes. On a host with systemd the
//! transient unit is that cgroup.

mod own;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::limits::Limits;

pub(super) use own::{Cgroups, check_asked, processes, vacate};

/// The directory below each hierarchy's root in which the containers' cgroups are.
const PARENT: &str = "postroj";

/// The version 1 controllers that limits need.
pub(super) const LIMITING: [&str; 3] = ["memory", "cpu", "pids"];

/// The version 1 controller of the processors that may be used. Its cgroups take no process before they have
/// processors and memory nodes, so there is one only where processors are asked for.
const CPUSET: &str = "cpuset";

/// One mounted cgroup hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount_point: PathBuf,
    /// `name=systemd`, a version 1 controller, or empty for version 2.
    kinds: Vec<String>,
    version: u8,
}

impl Hierarchy {
    fn is_wanted(&self) -> bool {
        self.version == 2
            || self
                .kinds
                .iter()
                .any(|kind| kind == "name=systemd" || LIMITING.contains(&kind.as_str()))
            || self.is_cpuset()
    }

    fn is_cpuset(&self) -> bool {
        let has = |wanted: &str| self.kinds.iter().any(|kind| kind == wanted);
        has(CPUSET) && !LIMITING.iter().any(|kind| has(kind))
    }
}

/// How the host has mounted its cgroups; see systemd's `CGROUP_DELEGATION.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Version 2 alone.
    Unified,
    /// Version 1 controllers, with version 2 beside them for keeping track of processes.
    Hybrid,
    /// Version 1 alone.
    Legacy,
    /// None that can be found.
    Absent,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Unified => "version 2",
            Self::Hybrid => "hybrid (version 1 controllers beside version 2)",
            Self::Legacy => "version 1",
            Self::Absent => "not mounted",
        })
    }
}

/// The cgroup hierarchies of this mount namespace.
#[derive(Debug, Clone)]
pub struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// Reads them from `/proc/self/mountinfo`; proc(5) has the format.
    pub fn load() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mount_point = left.split(' ').nth(4).unwrap_or_default();
            let mut right = right.split(' ');
            let version = match right.next() {
                Some("cgroup2") => 2,
                Some("cgroup") => 1,
                _ => continue,
            };
            let kinds = if version == 1 {
                right
                    .nth(1)
                    .unwrap_or_default()
                    .split(',')
                    .map(str::to_owned)
                    .collect()
            } else {
                Vec::new()
            };
            let hierarchy = Hierarchy {
                mount_point: PathBuf::from(mount_point),
                kinds,
                version,
            };
            // The first mount of a hierarchy is the host's own; later ones are views of it.
            let known = hierarchies
                .iter()
                .any(|known| known.version == version && known.kinds == hierarchy.kinds);
            if mount_point.starts_with("/sys/fs/cgroup") && !known {
                hierarchies.push(hierarchy);
            }
        }
        Self(hierarchies)
    }

    /// How they are laid out.
    pub fn layout(&self) -> Layout {
        let unified = self.0.iter().any(|hierarchy| hierarchy.version == 2);
        let legacy = self.0.iter().any(|hierarchy| hierarchy.version == 1);
        match (unified, legacy) {
            (true, false) => Layout::Unified,
            (true, true) => Layout::Hybrid,
            (false, true) => Layout::Legacy,
            (false, false) => Layout::Absent,
        }
    }

    /// The version 2 hierarchy's mount point.
    pub(super) fn unified(&self) -> Option<&Path> {
        self.0
            .iter()
            .find(|hierarchy| hierarchy.version == 2)
            .map(|hierarchy| hierarchy.mount_point.as_path())
    }

    /// The cgroups of `machine`, whether they exist or not.
    pub(super) fn of_machine(&self, machine: &str) -> Cgroups {
        let directories = self
            .0
            .iter()
            .filter(|hierarchy| hierarchy.is_wanted())
            .map(|hierarchy| hierarchy.mount_point.join(PARENT).join(machine))
            .collect();
        let cpuset = self.0.iter().find(|hierarchy| hierarchy.is_cpuset());
        Cgroups {
            directories,
            managed: Vec::new(),
            cpuset: cpuset.map(|hierarchy| hierarchy.mount_point.join(PARENT).join(machine)),
            unified: self
                .unified()
                .map(|mount_point| mount_point.join(PARENT).join(machine)),
        }
    }

    /// The cgroups that limit `machine` where the host's systemd does not: one that runs in a container
    /// itself leaves version 1 controllers alone, whatever a unit's properties say, and `cpuset` is one that
    /// no systemd has ever used. `own` is the `/proc/<pid>/cgroup` of a process of that unit's.
    pub(super) fn unmanaged(&self, machine: &str, own: &str, limits: &Limits) -> Option<Cgroups> {
        let unit = format!("{machine}.service");
        let (mut directories, mut managed, mut cpuset) = (Vec::new(), Vec::new(), None);
        for hierarchy in self.0.iter().filter(|hierarchy| hierarchy.version == 1) {
            let directory = hierarchy.mount_point.join(PARENT).join(machine);
            let mut kinds = hierarchy.kinds.iter();
            if let Some(kind) = kinds.find(|kind| LIMITING.contains(&kind.as_str())) {
                match controller_path(own, kind) {
                    Some(path) if Path::new(path).ends_with(&unit) => {
                        managed.extend(hierarchy.kinds.iter().cloned());
                    }
                    _ => directories.push(directory),
                }
            } else if hierarchy.is_cpuset() && limits.processors.is_some() {
                cpuset = Some(directory.clone());
                directories.push(directory);
            }
        }
        (!directories.is_empty()).then_some(Cgroups {
            directories,
            managed,
            cpuset,
            unified: None,
        })
    }

    /// The cgroup that systemd-nspawn has made for the processes of the container `machine`, whose init is
    /// `leader`; `None` where there is no version 2 hierarchy.
    pub(super) fn payload(&self, machine: &str, leader: i32) -> Option<Payload> {
        let cgroup = fs::read_to_string(format!("/proc/{leader}/cgroup")).ok()?;
        let path = payload(machine, unified_path(&cgroup)?)?;
        Some(Payload(self.unified()?.join(path)))
    }

    /// The file in which the kernel counts the processes that it killed because the memory of a
    /// container did not suffice, by the container's init: cgroups(7), `memory.events`, and version 1's
    /// `memory.oom_control`.
    pub(super) fn memory_events(&self, leader: i32) -> Option<PathBuf> {
        let own = fs::read_to_string(format!("/proc/{leader}/cgroup")).ok()?;
        let memory = |hierarchy: &&Hierarchy| hierarchy.kinds.iter().any(|kind| kind == "memory");
        if let Some(hierarchy) = self.0.iter().find(memory) {
            let path = controller_path(&own, "memory")?;
            let directory = hierarchy.mount_point.join(path.trim_start_matches('/'));
            return Some(directory.join("memory.oom_control"));
        }
        Some(
            self.unified()?
                .join(container_path(&own)?)
                .join("memory.events"),
        )
    }

    /// The file in which the kernel tells the processor time of a container, by the container's init:
    /// cgroups(7), `cpu.stat`, which version 2 has whether or not it controls processors.
    pub(super) fn processor_statistics(&self, leader: i32) -> Option<PathBuf> {
        let own = fs::read_to_string(format!("/proc/{leader}/cgroup")).ok()?;
        Some(self.unified()?.join(container_path(&own)?).join("cpu.stat"))
    }

    /// The file in which the kernel tells the memory of a container, by the container's init:
    /// cgroups(7), `memory.current`, and version 1's `memory.usage_in_bytes`.
    pub(super) fn memory_usage(&self, leader: i32) -> Option<PathBuf> {
        let events = self.memory_events(leader)?;
        let directory = events.parent()?;
        // The root's is the host's.
        if self
            .0
            .iter()
            .any(|hierarchy| hierarchy.mount_point == directory)
        {
            return None;
        }
        let is_first = events.ends_with("memory.oom_control");
        let name = if is_first {
            "memory.usage_in_bytes"
        } else {
            "memory.current"
        };
        Some(directory.join(name))
    }

    /// The names of the machines that have a cgroup here, also those that crashed.
    pub(super) fn machines(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .0
            .iter()
            .filter(|hierarchy| hierarchy.is_wanted())
            .filter_map(|hierarchy| fs::read_dir(hierarchy.mount_point.join(PARENT)).ok())
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The cgroup of all that runs in a container.
pub(super) struct Payload(PathBuf);

impl Payload {
    /// Kills them all at once: the kernel then buries the processes side by side, and not one after the other
    /// behind their init. Nothing comes of it on Linux before 5.14.
    pub(super) fn kill(&self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
    }

    /// Its processes.
    pub(super) fn processes(&self) -> Vec<i32> {
        let mut found = Vec::new();
        let mut directories = vec![self.0.clone()];
        while let Some(directory) = directories.pop() {
            found.extend(processes(&directory));
            let below = fs::read_dir(&directory).into_iter().flatten().flatten();
            let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            directories.extend(below.map(|entry| entry.path()));
        }
        found
    }
}

/// Whether the kernel has killed a process for want of memory, by what [`Hierarchies::memory_events`]
/// gives.
pub(super) fn has_run_out_of_memory(events: &Path) -> bool {
    fs::read_to_string(events).is_ok_and(|events| {
        events
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    })
}

/// The cgroup that systemd-nspawn has made for the processes of `machine`, of which `path` is one's.
/// The name is looked at because process numbers are used again.
fn payload<'a>(machine: &str, path: &'a str) -> Option<&'a Path> {
    let payload = Path::new(path)
        .ancestors()
        .find(|above| above.ends_with("payload"))?;
    let owner = payload.parent()?.file_name()?.to_str()?;
    let owner = owner.strip_suffix(".service").unwrap_or(owner);
    (owner == machine).then_some(payload)
}

/// The path of a process's cgroup below the version 2 hierarchy's root, in its `/proc/<pid>/cgroup`;
/// cgroups(7).
pub(super) fn unified_path(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The path of a container's version 2 cgroup, in its init's `/proc/<pid>/cgroup`. What systemd-nspawn has
/// made below it for the container's processes goes when they do.
fn container_path(cgroup: &str) -> Option<&str> {
    let path = unified_path(cgroup)?;
    let path = path.strip_suffix("/init.scope").unwrap_or(path);
    Some(path.strip_suffix("/payload").unwrap_or(path))
}

/// The path of a process's cgroup below the root of the version 1 hierarchy of a controller, in its
/// `/proc/<pid>/cgroup`; cgroups(7).
fn controller_path<'a>(cgroup: &'a str, controller: &str) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (kinds, path) = line.split_once(':')?;
        let is_here = kinds.split(',').any(|kind| kind == controller);
        is_here.then_some(path)
    })
}

#[cfg(test)]
mod tests;
