//! The memory of processes that have crashed, taken out of a container; core(5).
//!
//! Where the host's `kernel.core_pattern` is a file name, the kernel writes them into the directory in
//! which the process was, which is the root for services. Where it is systemd-coredump on both sides, they
//! are in the container's `/var/lib/systemd/coredump`; systemd-coredump(8). Another handler on the host
//! keeps them there, and they are none of the container's.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

use crate::machine::Guest;

/// Where systemd-coredump keeps them.
const KEPT: &str = "var/lib/systemd/coredump";

/// Copies them into `directory`, which is made if there are any, at most `most` bytes of them all; gives
/// the names of those that could not be copied as they are, and why.
pub(super) fn copy(guest: &Guest, directory: &Path, most: u64) -> Vec<(String, String)> {
    let mut room = most;
    let mut failed = Vec::new();
    for (place, name) in found(guest) {
        if let Err(error) = one(guest, (place, &name), directory, &mut room) {
            failed.push((name, error.to_string()));
        }
    }
    failed
}

/// What is one by its place and name: directory and name.
fn found(guest: &Guest) -> Vec<(&'static str, String)> {
    let kept = guest.names(KEPT).into_iter();
    let kept = kept.filter(|name| name.starts_with("core."));
    let rest = guest.names("/").into_iter().filter(|name| is_core(name));
    kept.map(|name| (KEPT, name))
        .chain(rest.map(|name| ("/", name)))
        .collect()
}

/// Whether a file of a root directory is a core by its name: `core`, or with the number of the process.
fn is_core(name: &str) -> bool {
    let number = name.strip_prefix("core.");
    name == "core" || number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn one(
    guest: &Guest,
    (place, name): (&str, &str),
    directory: &Path,
    room: &mut u64,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let source: OwnedFd = guest
        .root()
        .open_at(format!("{place}/{name}"), flags, Mode::empty())?;
    let metadata = rustix::fs::fstat(&source)?;
    if FileType::from_raw_mode(metadata.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file"));
    }
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    let mut source = File::from(source).take(*room);
    let copied = io::copy(&mut source, &mut File::create(path)?)?;
    *room -= copied;
    // One that still grows is none that is done.
    if copied < u64::try_from(metadata.st_size).unwrap_or_default() {
        return Err(io::Error::other("there is room for its first part only"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_have_names() {
        assert!(is_core("core") && is_core("core.4711"));
        for other in ["core.d", "cores", "core.", "score"] {
            assert!(!is_core(other), "{other}");
        }
    }
}
