//! The cgroups of one machine: made, limited, emptied and removed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::super::limits::Limits;

/// How long what is left of a container that reboots may take to be gone.
const VACATE_PATIENCE: Duration = Duration::from_secs(5);

/// How often the processes of a cgroup are looked for again, on Linux before 5.14.
const KILL_ROUNDS: usize = 10;

/// The cgroups of one machine.
#[derive(Debug, Clone)]
pub(in crate::machine) struct Cgroups {
    pub(super) directories: Vec<PathBuf>,
    /// The controllers by which the host's systemd limits it.
    pub(super) managed: Vec<String>,
    /// That of them which is there only where processors are asked for.
    pub(super) cpuset: Option<PathBuf>,
    pub(super) unified: Option<PathBuf>,
}

impl Cgroups {
    /// Makes them, and opens the files by which a process joins them.
    pub(in crate::machine) fn create(&self, limits: &Limits) -> io::Result<Vec<OwnedFd>> {
        let is_asked = |directory: &&PathBuf| {
            limits.processors.is_some() || Some(*directory) != self.cpuset.as_ref()
        };
        let joined = self
            .directories
            .iter()
            .filter(is_asked)
            .map(|directory| {
                let made = create_directory(directory).and_then(|()| {
                    if Some(directory) == self.cpuset.as_ref() {
                        furnish(directory)?;
                    }
                    Ok(())
                });
                made.map_err(|error| {
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
        check_asked(&directories, &self.managed, limits, version)?;
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
    pub(in crate::machine) fn beside(&self, name: &str) -> io::Result<OwnedFd> {
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
    pub(in crate::machine) fn kill(&self) {
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
    pub(in crate::machine) fn vacate(&self) -> io::Result<()> {
        self.kill();
        self.wait_empty(Instant::now() + VACATE_PATIENCE)?;
        self.directories.iter().try_for_each(|at| vacate(at))
    }

    /// Removes them, once no process is left in them; gives up waiting after `patience`.
    pub(in crate::machine) fn remove(&self, patience: Duration) -> io::Result<()> {
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

/// Whether those limits that the user has asked for can be kept in these cgroups, or are by who manages
/// controllers: one that is missing keeps none.
pub(in crate::machine) fn check_asked(
    directories: &[&Path],
    managed: &[String],
    limits: &Limits,
    version: u8,
) -> io::Result<()> {
    let Some(name) = missing(directories, managed, limits, version, has_swap()) else {
        return Ok(());
    };
    let reason = if is_of_swap(name) {
        "this host's kernel does not count what is moved to swap (boot it with swapaccount=1, or turn swap off)"
    } else {
        "this host has no cgroup controller for it"
    };
    Err(io::Error::other(format!(
        "cannot set the limit {name}: {reason}"
    )))
}

/// The first limit that the user has asked for and nobody keeps.
pub(super) fn missing(
    directories: &[&Path],
    managed: &[String],
    limits: &Limits,
    version: u8,
    has_swap: bool,
) -> Option<&'static str> {
    let mut files = limits.files(version).into_iter();
    let is_missing = |(name, _, is_asked): &(&str, String, bool)| {
        // Where there is no swap, nothing is moved there; processors are kept to by affinity as well.
        let is_needed = *is_asked && (has_swap || !is_of_swap(name)) && !name.starts_with("cpuset");
        // systemd has no property for version 1's limit on swap.
        let is_managed = !is_of_swap(name)
            && managed
                .iter()
                .any(|kind| name.split('.').next() == Some(kind));
        is_needed && !is_managed && !directories.iter().any(|at| at.join(name).exists())
    };
    files.find(is_missing).map(|(name, ..)| name)
}

fn is_of_swap(name: &str) -> bool {
    ["memory.memsw", "memory.swap"]
        .iter()
        .any(|of_swap| name.starts_with(of_swap))
}

fn has_swap() -> bool {
    rustix::system::sysinfo().totalswap > 0
}

/// Makes a cgroup as it was before systemd-nspawn used it: without those that it has made below, and
/// one that processes can join, for in version 2 a cgroup that hands controllers on takes none.
pub(in crate::machine) fn vacate(directory: &Path) -> io::Result<()> {
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

/// Gives a cgroup of the controller `cpuset`, and that above it, what those above have; cpuset(7).
fn furnish(directory: &Path) -> io::Result<()> {
    let above: Vec<&Path> = directory.ancestors().take(3).collect();
    for pair in above.windows(2).rev() {
        let [below, above] = pair else {
            continue;
        };
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(below.join(name))?;
            if own.trim().is_empty() {
                fs::write(
                    below.join(name),
                    fs::read_to_string(above.join(name))?.trim(),
                )?;
            }
        }
    }
    Ok(())
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
pub(in crate::machine) fn processes(directory: &Path) -> Vec<i32> {
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
