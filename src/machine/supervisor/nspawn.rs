//! How systemd-nspawn is started.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::process::Signal;
use tokio::net::unix::pipe;

use super::Supervisor;
use super::command::Command;
use crate::machine::cgroup::Layout;
use crate::machine::init::Shown;
use crate::machine::network::Uplink;
use crate::machine::root::Assembled;
use crate::machine::spec::{CgroupOwner, Payload, Spec};
use crate::machine::sys;

impl Supervisor<'_> {
    /// Starts systemd-nspawn inside the container's cgroups.
    pub(super) fn start(&mut self) -> io::Result<(tokio::process::Child, pipe::Receiver)> {
        let (reader, writer) = io::pipe()?;
        let mut command = std::process::Command::new(&self.spec.nspawn);
        command
            .args(arguments(self.spec, &self.root))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("NOTIFY_SOCKET", self.spec.directory.join("notify"))
            .stdin(match self.command.as_mut().and_then(Command::init_stdin) {
                Some(socket) => Stdio::from(socket),
                None => Stdio::null(),
            })
            .stdout(writer.try_clone()?)
            .stderr(writer);
        if self.root.needs_unified_hierarchy() && self.hierarchies.layout() != Layout::Unified {
            // systemd 258 and newer refuses version 1 hierarchies, which systemd-nspawn would
            // hand on from this host.
            command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        }
        if self.command.is_some() {
            // What the image has in it is the command's.
            command.env("SYSTEMD_NSPAWN_TMPFS_TMP", "0");
        }
        if self.spec.shape.privileged {
            command.env("SYSTEMD_SECCOMP", "0");
            // And /proc/sys and /sys are not read-only.
            command.env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1");
        }
        let joined = self.joined.iter().map(OwnedFd::try_clone);
        let joined = joined.collect::<io::Result<_>>()?;
        sys::confine(&mut command, joined, Signal::TERM);
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let child = tokio::process::Command::from(command).spawn()?;
        Ok((child, pipe::Receiver::from_owned_fd(reader.into())?))
    }
}

fn arguments(spec: &Spec, root: &Assembled) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--quiet",
        "--keep-unit",
        "--settings=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        // SIGTERM to systemd-nspawn is how a throw-away container ends: at once.
        "--kill-signal=SIGKILL",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--directory={}", root.path().display()));
    if let Some((base, count)) = root.private_users() {
        // The owners of the files are in the range already. Whoever gives a range wants none
        // changed, unless it says otherwise.
        arguments.push(format!("--private-users={base}:{count}"));
    }
    arguments.push(format!("--machine={}", spec.machine));
    let registered = spec.cgroups == CgroupOwner::Systemd;
    arguments.push(format!(
        "--register={}",
        if registered { "yes" } else { "no" }
    ));
    if spec.uplink != Uplink::Host {
        arguments.push("--private-network".to_owned());
    }
    if let Some(processors) = &spec.isolation.limits.processors {
        arguments.push(format!("--cpu-affinity={processors}"));
    }
    arguments.extend(spec.shape.options());
    arguments.extend_from_slice(root.binds());
    match &spec.payload {
        Payload::Boot { .. } => {
            arguments.extend(root.init().map(Shown::bind));
            arguments
                .extend(["--console=read-only", "--notify-ready=yes", "--boot"].map(str::to_owned));
        }
        Payload::Script(script) => {
            arguments.extend(
                ["--console=pipe", "--as-pid2", "--", "/bin/sh", "-e", "-c"].map(str::to_owned),
            );
            arguments.push(script.clone());
        }
        Payload::Command(_) => {
            arguments.push("--console=pipe".to_owned());
            if let Some(init) = root.init() {
                arguments.push(init.bind());
                arguments.push("--".to_owned());
                arguments.extend(init.command_line());
            }
        }
    }
    arguments
}
