//! A file system on the disk for what a container writes, which is gone when nobody uses it.
//!
//! It is in a file without a name, on a loop device that frees itself (`LO_FLAGS_AUTOCLEAR`), mounted
//! in the supervisor's mount namespace. When the last process of that has ended, however it has, the
//! mount goes, with it the device, and with that the file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::sys;

/// The major number of loop devices; the kernel's `devices.txt`.
const LOOP_MAJOR: u32 = 7;

/// How often a free device may be somebody else's by the time it is asked for.
const ATTEMPTS: usize = 64;

/// Mounts an empty file system of so many bytes at `target`. It takes room below `storage` as it fills
/// up. `scratch` is a directory of this mount namespace, where device nodes work.
pub(super) fn mount(storage: &Path, bytes: u64, scratch: &Path, target: &Path) -> io::Result<()> {
    let file = nameless(storage)?;
    file.set_len(bytes)?;
    format(&file)?;
    let (device, node) = attach(&file, scratch)?;
    let flags = MountFlags::NOATIME;
    // Nobody looks at what a crash leaves of it; the rest of its tables is never needed.
    let options = c"nobarrier,noinit_itable";
    let mounted = rustix::mount::mount(node.as_path(), target, "ext4", flags, options);
    // From here on it is the mount that holds the device, or else nothing does.
    drop(device);
    std::fs::remove_file(&node)?;
    Ok(mounted?)
}

/// A file that has no name from the beginning.
fn nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    match rustix::fs::open(directory, flags, mode) {
        Ok(file) => Ok(file.into()),
        // Not every file system can do that.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let path = directory.join(format!(".volume-{}", std::process::id()));
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes an ext4 in the file: without a journal, and with what can be made later left out.
fn format(file: &File) -> io::Result<()> {
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-O", "^has_journal"])
        .args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"])
        .arg(path)
        .stdin(Stdio::null())
        .output();
    let output = match made {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = "mkfs.ext4 is not installed, which a writable layer on the disk needs (Debian's package e2fsprogs)";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        made => made?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(io::Error::other(format!("mkfs.ext4: {last}")))
}

/// Gives the file to a loop device, and that a node.
fn attach(file: &File, scratch: &Path) -> io::Result<(OwnedFd, std::path::PathBuf)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::open("/dev/loop-control", flags, Mode::empty());
    let control = control.map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("/dev/loop-control: {error}"))
    })?;
    let node = scratch.join("loop");
    for _ in 0..ATTEMPTS {
        let number = sys::free_loop_device(&control)?;
        // A node of our own: in a container `/dev` lacks those of new devices.
        let device = rustix::fs::makedev(LOOP_MAJOR, number);
        rustix::fs::mknodat(
            CWD,
            &node,
            FileType::BlockDevice,
            Mode::from_raw_mode(0o600),
            device,
        )?;
        let taken = rustix::fs::open(&node, flags, Mode::empty())
            .and_then(|device| sys::configure_loop_device(&device, file).map(|()| device));
        match taken {
            Ok(device) => return Ok((device, node)),
            Err(Errno::BUSY) => std::fs::remove_file(&node)?,
            Err(error) => {
                std::fs::remove_file(&node)?;
                return Err(error.into());
            }
        }
    }
    Err(io::Error::other("no loop device is free"))
}
