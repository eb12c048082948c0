//! The few system calls of this crate that Rust cannot prove harmless.
#![expect(
    unsafe_code,
    reason = "unshare(2), fork(2), code between that and exec(2), ioctl(2), mount_setattr(2), inherited descriptors, and those that the runtime watches have no safe form"
)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Ioctl, IoctlOutput, Opcode, Setter, opcode};
use rustix::mount::MountFlags;
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, UnshareFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Gives the calling process a mount namespace of its own. Call it while there is one thread.
pub(super) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: the file descriptor table, which is what makes unshare(2) dangerous, stays shared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// Closes every descriptor but the standard ones. Whoever started postroj may have left some open,
/// and would wait for their end as long as a container that is kept has them.
pub(crate) fn close_inherited() -> io::Result<()> {
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: nothing in this process has opened a descriptor yet, and this one is borrowed
        // for the check only.
        let is_open = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) }).is_ok();
        if is_open {
            // SAFETY: as above, so nobody else owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(())
}

/// Lets `command` be born inside the cgroups whose `cgroup.procs` are given, and be sent `signal`
/// when the thread that starts it dies.
pub(super) fn confine(command: &mut Command, cgroup_procs: Vec<OwnedFd>, signal: Signal) {
    let prepare = move || {
        for procs in &cgroup_procs {
            rustix::io::write(procs, b"0")?;
        }
        set_parent_process_death_signal(Some(signal))?;
        Ok(())
    };
    // SAFETY: write(2) and prctl(2) are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Lets `command` find files of this mount namespace by other names too, below `home`: it has a mount namespace
/// of its own, with a file system in memory there. `directories` are made in it, then the files, of which each
/// is a path here and one below `home`.
pub(super) fn show_below(
    command: &mut Command,
    home: &'static CStr,
    directories: &'static [&'static CStr],
    files: Vec<(CString, CString)>,
) {
    let prepare = move || {
        unshare_mounts()?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(c"tmpfs", home, c"tmpfs", flags, c"mode=0755")?;
        for directory in directories {
            rustix::fs::mkdir(*directory, Mode::RWXU)?;
        }
        for (file, name) in &files {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(rustix::fs::open(name.as_c_str(), flags, Mode::RUSR)?);
            rustix::mount::mount_bind(file.as_c_str(), name.as_c_str())?;
        }
        Ok(())
    };
    // SAFETY: these are system calls, with strings that are there already; nothing is allocated.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Has the kernel know `path`, below `/proc/self`, before `command` opens it. To open with `O_CREAT` what the kernel has
/// yet to find out to be there is an attempt to create it for apparmor(7), which audits one that is forbidden.
pub(super) fn look_at(command: &mut Command, path: &'static CStr) {
    let prepare = move || {
        rustix::fs::stat(path)?;
        Ok(())
    };
    // SAFETY: stat(2) is a system call and nothing else.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// The running program, even if its file has been replaced since, to be started once more: in a session of its
/// own, for Ctrl-C in the terminal is for the one that runs, which then ends what it has started.
pub(super) fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("postroj").current_dir("/");
    // SAFETY: setsid(2) is a system call and nothing else.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    command
}

/// Has the runtime tell when `file` can be read.
pub(crate) fn watch(file: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open and stays the same for as long as it is owned.
    let watched = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) };
    watched.map_err(Into::into)
}

/// Lets `command` lead a session of its own, run as others than root, and have the standard input as
/// its controlling terminal where that is one.
pub(super) fn become_user(
    command: &mut Command,
    (user, group, groups): (u32, u32, &[u32]),
    dropped: u64,
    has_terminal: bool,
) {
    let dropped = CapabilitySet::from_bits_truncate(dropped);
    let groups: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    let prepare = move || {
        rustix::process::setsid()?;
        if has_terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        for capability in dropped {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // This kernel does not have it.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What could be inherited would come back with a program that may have it.
        let mut sets = rustix::thread::capabilities(None)?;
        sets.inheritable = CapabilitySet::empty();
        rustix::thread::set_capabilities(None, sets)?;
        // The child has one thread, so what is the thread's is the process's.
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)?;
        Ok(())
    };
    // SAFETY: all of them are system calls and nothing else, and nothing is allocated.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// Sends a signal by its number; kill(2). rustix knows those with names only.
pub(super) fn send_signal(process: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: it takes two numbers.
    match unsafe { libc::kill(process.as_raw_nonzero().get(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a user namespace whose users and groups are those of the lines `map`;
/// `user_namespaces(7)`.
pub(super) fn user_namespace(map: &str) -> io::Result<OwnedFd> {
    let (hears, tells) = io::pipe()?;
    let (waits, releases) = io::pipe()?;
    // A namespace comes to be with a process, and this one cannot leave its own.
    // SAFETY: the child makes system calls only, so it needs nothing of what other threads may have
    // left half done; and its own end takes none of the parent's destructors along.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(releases);
            // SAFETY: nothing but the user namespace becomes another.
            let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) };
            let error = entered.map_or_else(rustix::io::Errno::raw_os_error, |()| 0);
            let _ = rustix::io::write(&tells, &error.to_ne_bytes());
            // The end of the file comes when the parent is done, or dead.
            let _ = rustix::io::read(&waits, &mut [0; 1]);
            // SAFETY: no destructor or handler of the parent's runs.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop((tells, waits));
            let namespace = mapped(child, &hears, map);
            drop(releases);
            if let Some(child) = Pid::from_raw(child) {
                let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
            }
            namespace
        }
    }
}

/// The namespace of `child`, with the map that its parent has to write.
fn mapped(child: i32, mut hears: &io::PipeReader, map: &str) -> io::Result<OwnedFd> {
    let mut error = [0; 4];
    io::Read::read_exact(&mut hears, &mut error)?;
    match i32::from_ne_bytes(error) {
        0 => {}
        error => return Err(io::Error::from_raw_os_error(error)),
    }
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{child}/{file}"), map)?;
    }
    Ok(std::fs::File::open(format!("/proc/{child}/ns/user"))?.into())
}

/// Shows the files of a mount that is nowhere yet with the owners that a user namespace gives them;
/// `mount_setattr(2)`. What is mounted below as well, if `all` of it is to.
pub(super) fn map_owners(
    mount: BorrowedFd<'_>,
    users: BorrowedFd<'_>,
    all: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(users.as_raw_fd().unsigned_abs()),
    };
    // SAFETY: the path is a C string, the attributes are of the size that is told, and both outlive
    // the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | if all { libc::AT_RECURSIVE } else { 0 },
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The number of a loop device that nobody uses at this moment, which is made if there is none;
/// loop(4).
pub(super) fn free_loop_device(control: impl AsFd) -> rustix::io::Result<u32> {
    // SAFETY: `LOOP_CTL_GET_FREE` takes no argument and gives a number.
    unsafe { rustix::ioctl::ioctl(control, GetFree) }
}

/// `LOOP_CTL_GET_FREE` of `linux/loop.h`.
struct GetFree;

// SAFETY: there is no argument that the kernel could write to, or that could be wrong.
unsafe impl Ioctl for GetFree {
    type Output = u32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        0x4C82
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        number: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        u32::try_from(number).map_err(|_| rustix::io::Errno::RANGE)
    }
}

/// Gives a file to a loop device that frees itself when nobody uses it; Linux 5.8 and newer.
pub(super) fn configure_loop_device(device: impl AsFd, file: impl AsFd) -> rustix::io::Result<()> {
    /// `LOOP_CONFIGURE` of `linux/loop.h`.
    const LOOP_CONFIGURE: Opcode = 0x4C0A;
    /// `LO_FLAGS_AUTOCLEAR`.
    const AUTOCLEAR: u32 = 4;
    // `struct loop_config`: the file first; `info.lo_flags` is 60 bytes in.
    let mut config = [0_u32; 76];
    config[0] = file.as_fd().as_raw_fd().cast_unsigned();
    config[15] = AUTOCLEAR;
    // SAFETY: the kernel reads the structure, which is as large as it has to be.
    unsafe {
        let configure = Setter::<LOOP_CONFIGURE, [u32; 76]>::new(config);
        rustix::ioctl::ioctl(device, configure)
    }
}

/// Lets the device of a tunnel stay for as long as its network namespace, whoever closes the tunnel.
pub(super) fn persist_tunnel(tunnel: impl AsFd) -> rustix::io::Result<()> {
    /// Of `linux/if_tun.h`.
    const TUNSETPERSIST: Opcode = opcode::write::<libc::c_int>(b'T', 203);
    // SAFETY: its argument is a number, which says yes or no.
    unsafe {
        let persist = IntegerSetter::<TUNSETPERSIST>::new_usize(1);
        rustix::ioctl::ioctl(tunnel, persist)
    }
}
