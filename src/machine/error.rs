//! What can go wrong with a container.

use std::io;
use std::time::Duration;

use super::guest::GuestError;
use super::users::CANNOT;

/// Why there is no container, or why it could not be talked to.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// systemd-nspawn is not installed.
    #[error("systemd-nspawn is not installed: no directory of PATH has it")]
    NoNspawn,
    /// systemd-nspawn is too old.
    #[error("systemd-nspawn {found} is too old: {minimum} or newer is needed")]
    OldNspawn {
        /// Its version.
        found: u32,
        /// The oldest that will do.
        minimum: u32,
    },
    /// This process may not do what containers need.
    #[error("containers need root")]
    NotRoot,
    /// The host cannot give a container a network of its own.
    #[error("no network of its own for the container: {0}")]
    NoNat(&'static str),
    /// The host refused something.
    #[error("cannot {action}: {source}")]
    Host {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The host's systemd cannot be talked to.
    #[error("cannot talk to the host's systemd over D-Bus: {0}")]
    HostBus(#[source] zbus::Error),
    /// machined cannot be talked to.
    #[error("cannot talk to systemd-machined: {0}")]
    Machined(#[source] zbus::Error),
    /// The host's systemd would not start the container's unit.
    #[error("the host's systemd did not start {unit}: {source}")]
    Unit {
        /// The unit.
        unit: String,
        /// Its answer.
        source: zbus::Error,
    },
    /// The supervisor could not put the container together.
    #[error("{machine}: {message}")]
    Assembly {
        /// The machine.
        machine: String,
        /// What it said.
        message: String,
    },
    /// The supervisor has gone without a word.
    #[error("{machine}: its supervisor was killed")]
    Killed {
        /// The machine.
        machine: String,
    },
    /// The container ended while it was booting or in use.
    #[error("{machine} ended by itself{}", code.map_or_else(String::new, |code| format!(" (systemd-nspawn: exit code {code})")))]
    Died {
        /// The machine.
        machine: String,
        /// systemd-nspawn's exit code.
        code: Option<i32>,
        /// The last of its console.
        console: String,
    },
    /// The container did not come up in time.
    #[error("{machine} did not boot within {} s", limit.as_secs_f64())]
    BootTimeout {
        /// The machine.
        machine: String,
        /// What it was given.
        limit: Duration,
        /// The last of its console.
        console: String,
    },
    /// The container did not come back from a reboot in time.
    #[error("{machine} did not come back from its reboot within {} s", limit.as_secs_f64())]
    RebootTimeout {
        /// The machine.
        machine: String,
        /// What it was given.
        limit: Duration,
        /// The last of its console.
        console: String,
    },
    /// The container is up, but its systemd cannot be talked to.
    #[error("{machine}: {source}")]
    NoGuest {
        /// The machine.
        machine: String,
        /// Why.
        source: Box<GuestError>,
        /// The last of its console.
        console: String,
    },
    /// There is a container of that name.
    #[error("a container is named {0} already")]
    NameTaken(String),
    /// There is no such container.
    #[error("no container is named {0}")]
    NoMachine(String),
}

impl MachineError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoNspawn => Some(
                "install it: apt-get install systemd-container (Debian, Ubuntu), dnf install systemd-container (Fedora and its kin)",
            ),
            Self::OldNspawn { .. } => Some("update systemd on this host"),
            Self::NotRoot => Some("run it with sudo"),
            Self::NoNat(_) => Some(
                "install pasta: apt-get install passt (Debian, Ubuntu), dnf install passt (Fedora and its kin); or share the host's network: --network host",
            ),
            Self::HostBus(_) => {
                Some("is the host's D-Bus system bus up? `systemctl status dbus` tells")
            }
            Self::Machined(_) => Some("install systemd-container, which has systemd-machined"),
            Self::BootTimeout { .. } | Self::RebootTimeout { .. } => {
                Some("give it longer with --boot-timeout")
            }
            Self::Assembly { message, .. } if message.starts_with(CANNOT) => {
                Some("do without: --private-users no; `postroj doctor` tells what this host lacks")
            }
            Self::NameTaken(_) => Some("`postroj machines` lists them, `postroj stop` ends one"),
            Self::NoMachine(_) => Some("`postroj machines` lists them"),
            _ => None,
        }
    }

    /// Whether the container's own system has ended: it was shut down, or its PID 1 has crashed, in
    /// which case that exits with 255 in a container. Who kills a container from outside makes
    /// systemd-nspawn exit with 1.
    pub fn is_own_end(&self) -> bool {
        matches!(
            self,
            Self::Died {
                code: Some(0 | 255),
                ..
            }
        )
    }

    /// The last of the container's console, where there is one.
    pub fn console(&self) -> Option<&str> {
        match self {
            Self::Died { console, .. }
            | Self::BootTimeout { console, .. }
            | Self::RebootTimeout { console, .. }
            | Self::NoGuest { console, .. } => Some(console),
            _ => None,
        }
    }
}
