//! What runs in a container.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::listeners;

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number, the host's.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// The unit of the container's systemd that it is a part of, where it is one's.
    pub unit: Option<String>,
}

/// The processes of the container whose init is `leader`, but for that itself and for those that are
/// dead already.
pub fn processes(leader: i32) -> Vec<Process> {
    let ids = listeners::processes(leader).into_iter();
    let others = ids.filter(|id| *id != leader);
    others
        .filter_map(|id| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            Some(Process {
                id,
                name: name_of_living(&stat)?.to_owned(),
                unit: listeners::unit_of(leader, id),
            })
        })
        .collect()
}

/// The name in proc(5)'s `/proc/<pid>/stat`; `None` for a zombie.
fn name_of_living(stat: &str) -> Option<&str> {
    // The name may hold brackets and spaces itself.
    let (opening, closing) = (stat.find('(')?, stat.rfind(')')?);
    let state = stat.get(closing + 1..)?.split_ascii_whitespace().next()?;
    (!matches!(state, "Z" | "X")).then_some(())?;
    stat.get(opening + 1..closing)
}

/// Waits until the processes have ended, at most `patience` long.
pub fn wait_for_ends(processes: &[Process], patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    for process in processes {
        let Some(id) = Pid::from_raw(process.id) else {
            continue;
        };
        // One that is not there has ended. A number may have been used again, and is waited for in
        // vain: whoever looks again sees that.
        let Ok(descriptor) = pidfd_open(id, PidfdFlags::empty()) else {
            continue;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        poll(
            &mut [PollFd::new(&descriptor, PollFlags::IN)],
            Some(&timeout),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(name_of_living("42 (a (b) c) S 1 42"), Some("a (b) c"));
        assert_eq!(name_of_living("42 (a) Z 1 42"), None);
        assert_eq!(name_of_living(""), None);
    }
}
