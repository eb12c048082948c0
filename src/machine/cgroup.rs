//! The cgroups that a container needs on a host without systemd.
//!
//! systemd-nspawn with `--keep-unit` makes its `payload` cgroup below the cgroup in which it was
//! started. On a host without systemd that is the root for everyone, where containers would
//! fight. So each container gets `postroj/<machine>` in every hierarchy that its systemd will use:
//! the version 2 root, or on a hybrid host the `unified` and the `systemd` hierarchies and the
//! version 1 controllers that limit memory, processors and processes. On a host with systemd the
//! transient unit is that cgroup.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::limits::Limits;

/// The directory below each hierarchy's root in which the containers' cgroups are.
const PARENT: &str = "postroj";

/// The version 1 controllers that limits need.
const LIMITING: [&str; 3] = ["memory", "cpu", "pids"];

/// How long what is left of a container that reboots may take to be gone.
const VACATE_PATIENCE: Duration = Duration::from_secs(5);

/// How often the processes of a cgroup are looked for again, on Linux before 5.14.
const KILL_ROUNDS: usize = 10;

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
        Cgroups {
            directories,
            unified: self
                .unified()
                .map(|mount_point| mount_point.join(PARENT).join(machine)),
        }
    }

    /// The cgroups that limit `machine` where the host's systemd does not: one that runs in a container
    /// itself leaves version 1 controllers alone, whatever a unit's properties say. `own` is the
    /// `/proc/<pid>/cgroup` of a process of that unit's.
    pub(super) fn unmanaged(&self, machine: &str, own: &str) -> Option<Cgroups> {
        let unit = format!("{machine}.service");
        let is_unmanaged = |hierarchy: &&Hierarchy| {
            let is_limiting = |kind: &&String| LIMITING.contains(&kind.as_str());
            hierarchy.version == 1
                && hierarchy
                    .kinds
                    .iter()
                    .find(is_limiting)
                    .is_some_and(|kind| {
                        !controller_path(own, kind)
                            .is_some_and(|path| Path::new(path).ends_with(&unit))
                    })
        };
        let directories: Vec<PathBuf> = self
            .0
            .iter()
            .filter(is_unmanaged)
            .map(|hierarchy| hierarchy.mount_point.join(PARENT).join(machine))
            .collect();
        (!directories.is_empty()).then_some(Cgroups {
            directories,
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

/// The cgroups of one machine.
#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    directories: Vec<PathBuf>,
    unified: Option<PathBuf>,
}

impl Cgroups {
    /// Makes them, and opens the files by which a process joins them.
    pub(super) fn create(&self, limits: &Limits) -> io::Result<Vec<OwnedFd>> {
        let joined = self
            .directories
            .iter()
            .map(|directory| {
                create_directory(directory).map_err(|error| {
                    io::Error::new(
                        error.kind(),
                        format!("cannot create the cgroup {}: {error}", directory.display()),
                    )
                })?;
                self.limit(directory, limits)?;
                fs::File::options()
                    .write(true)
                    .open(directory.join("cgroup.procs"))
                    .map(OwnedFd::from)
            })
            .collect::<io::Result<_>>()?;
        let version = if self.directories.len() == 1 && self.unified.is_some() {
            2
        } else {
            1
        };
        let directories: Vec<&Path> = self.directories.iter().map(PathBuf::as_path).collect();
        check_asked(&directories, limits, version)?;
        Ok(joined)
    }

    /// Sets limits in one of them, as far as its hierarchy has the controllers.
    fn limit(&self, directory: &Path, limits: &Limits) -> io::Result<()> {
        let is_unified = self.unified.as_deref() == Some(directory);
        for (name, value, is_asked) in limits.files(if is_unified { 2 } else { 1 }) {
            let file = directory.join(name);
            // On a host with version 1 hierarchies each controller has one of its own.
            let is_here = if is_unified && self.directories.len() == 1 {
                hand_on(directory, name)
            } else {
                file.exists()
            };
            let set = if is_here {
                fs::write(&file, value)
            } else if is_unified && self.directories.len() == 1 {
                Err(io::ErrorKind::NotFound.into())
            } else {
                continue;
            };
            if let (Err(error), true) = (set, is_asked) {
                let text = format!("cannot set the limit {}: {error}", file.display());
                return Err(io::Error::new(error.kind(), text));
            }
        }
        Ok(())
    }

    /// Makes one beside that which systemd-nspawn makes for the container's processes, for another
    /// process that goes with the container; opens the file by which that joins it.
    pub(super) fn beside(&self, name: &str) -> io::Result<OwnedFd> {
        // To be found by [`Self::kill`], one hierarchy will do.
        let tracking = self.unified.as_ref().or(self.directories.first());
        let tracking = tracking.ok_or_else(|| io::Error::other("no cgroups are mounted"))?;
        let directory = tracking.join(name);
        // After a reboot of the container it is there.
        create_directory(&directory)?;
        let procs = directory.join("cgroup.procs");
        Ok(fs::File::options().write(true).open(procs)?.into())
    }

    /// Kills whatever is left in them; [`Self::remove`] waits until it is gone.
    pub(super) fn kill(&self) {
        if let Some(unified) = &self.unified {
            // Linux 5.14 and newer; before that, one by one.
            if fs::write(unified.join("cgroup.kill"), "1").is_ok() {
                return;
            }
        }
        // A process may fork while it is being killed; its child is met in the next round.
        for _ in 0..KILL_ROUNDS {
            let killed: usize = self.directories.iter().map(|at| kill_each(at)).sum();
            if killed == 0 {
                return;
            }
        }
    }

    /// Ends what is left in them, and makes them as they were before systemd-nspawn used them.
    pub(super) fn vacate(&self) -> io::Result<()> {
        self.kill();
        self.wait_empty(Instant::now() + VACATE_PATIENCE)?;
        self.directories.iter().try_for_each(|at| vacate(at))
    }

    /// Removes them, once no process is left in them; gives up waiting after `patience`.
    pub(super) fn remove(&self, patience: Duration) -> io::Result<()> {
        self.wait_empty(Instant::now() + patience)?;
        let mut first_error = None;
        for directory in &self.directories {
            if let Err(error) = remove_tree(directory) {
                first_error.get_or_insert(error);
            }
            if let Some(parent) = directory.parent() {
                // Other machines may be in it.
                let _ = fs::remove_dir(parent);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Waits for the kernel to tell that no process is left, until `deadline`. cgroups(7): a
    /// change of `cgroup.events` is told to poll(2), to who has read the file before.
    fn wait_empty(&self, deadline: Instant) -> io::Result<()> {
        let Some(events) = self
            .unified
            .as_ref()
            .and_then(|unified| fs::File::open(unified.join("cgroup.events")).ok())
        else {
            return Ok(());
        };
        loop {
            let mut text = [0; 256];
            let length = rustix::io::pread(&events, &mut text, 0)?;
            let populated = text[..length]
                .windows(11)
                .any(|part| part == b"populated 1");
            let left = deadline.saturating_duration_since(Instant::now());
            if !populated || left.is_zero() {
                return Ok(());
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout))?;
        }
    }
}

/// Whether those limits that the user has asked for can be kept in these cgroups: a controller that is
/// missing keeps none.
pub(super) fn check_asked(directories: &[&Path], limits: &Limits, version: u8) -> io::Result<()> {
    for (name, _, is_asked) in limits.files(version) {
        // Not every kernel counts swap, and processors are kept to by affinity as well.
        let is_needed = is_asked && !name.contains("sw") && !name.starts_with("cpuset");
        if is_needed && !directories.iter().any(|at| at.join(name).exists()) {
            return Err(io::Error::other(format!(
                "cannot set the limit {name}: this host has no cgroup controller for it"
            )));
        }
    }
    Ok(())
}

/// Makes a cgroup as it was before systemd-nspawn used it: without those that it has made below, and
/// one that processes can join, for in version 2 a cgroup that hands controllers on takes none.
pub(super) fn vacate(directory: &Path) -> io::Result<()> {
    for made in ["payload", "supervisor"] {
        remove_tree(&directory.join(made))?;
    }
    let control = directory.join("cgroup.subtree_control");
    // Version 1 has no such file.
    let handed_on = fs::read_to_string(&control).unwrap_or_default();
    let taken_back: Vec<String> = handed_on
        .split_whitespace()
        .map(|controller| format!("-{controller}"))
        .collect();
    if taken_back.is_empty() {
        return Ok(());
    }
    fs::write(control, taken_back.join(" "))
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

/// Has the controller of a file handed down to a version 2 cgroup; whether it is there then.
fn hand_on(directory: &Path, file: &str) -> bool {
    let controller = file.split('.').next().unwrap_or_default();
    let above: Vec<&Path> = directory.ancestors().skip(1).take(2).collect();
    for parent in above.into_iter().rev() {
        // A cgroup that holds processes cannot, unless it is the root: cgroups(7).
        let _ = fs::write(
            parent.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
    directory.join(file).exists()
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

/// Makes a cgroup and its parent, which a neighbour may be removing at this moment.
fn create_directory(directory: &Path) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        match fs::create_dir_all(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < 10 => attempts += 1,
            other => return other,
        }
    }
}

/// Kills the processes of a cgroup and of those below it, and waits until they are gone. Gives how
/// many there were.
fn kill_each(directory: &Path) -> usize {
    let mut count = 0;
    if let Ok(entries) = fs::read_dir(directory) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                count += kill_each(&entry.path());
            }
        }
    }
    for pid in processes(directory) {
        let Some(process) = Pid::from_raw(pid)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        count += 1;
        if rustix::process::pidfd_send_signal(&process, Signal::KILL).is_ok() {
            let timeout = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout));
        }
    }
    count
}

/// The processes of one cgroup, without those of the cgroups below it.
pub(super) fn processes(directory: &Path) -> Vec<i32> {
    fs::read_to_string(directory.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Removes a cgroup and those below it; one that is not there is fine.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
