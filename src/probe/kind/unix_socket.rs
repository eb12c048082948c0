//! A socket in the file system accepts connections.

use std::os::fd::AsRawFd as _;

use async_trait::async_trait;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::time::Instant;

use super::file::{is_absent, validate_path};
use super::looking::Looking;
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;

keys! {
    /// A Unix socket of the container accepts connections.
    pub struct UnixSocketCheck {
        /// Its path.
        pub path: String,
        /// Whether somebody has to listen on it; true if nothing is said.
        pub listening: Option<bool>,
    }
}

#[async_trait]
impl Looking for UnixSocketCheck {
    fn target(&self) -> String {
        self.path.clone()
    }

    fn validate(&self) -> Result<(), String> {
        validate_path(&self.path)
    }

    async fn look(&self, scene: Scene<'_>, _: Instant) -> Result<Look, ProbeError> {
        let unreadable = |source| ProbeError::Unreadable {
            what: self.path.clone(),
            source,
        };
        let wants = self.listening.unwrap_or(true);
        let judged = |listens: bool, words: String| {
            if listens == wants {
                Look::Holds(words)
            } else {
                Look::NotYet(words)
            }
        };
        // By a descriptor, so that no link in the container can lead to a socket of the host's.
        let opened = scene
            .guest
            .root()
            .open_at(&self.path, OFlags::PATH, Mode::empty());
        let socket = match opened {
            Ok(socket) => socket,
            Err(error) if is_absent(&error) => {
                return Ok(judged(false, "it is not there".to_owned()));
            }
            Err(error) => return Err(unreadable(error)),
        };
        let mode = rustix::fs::fstat(&socket)
            .map_err(|error| unreadable(error.into()))?
            .st_mode;
        if FileType::from_raw_mode(mode) != FileType::Socket {
            return Ok(judged(false, "it is no socket".to_owned()));
        }
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", socket.as_raw_fd()))
            .map_err(|error| unreadable(error.into()))?;
        for kind in [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET] {
            // Not blocking: a queue may be full for ever.
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let ours = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
                .map_err(|error| unreadable(error.into()))?;
            match rustix::net::connect(&ours, &address) {
                Ok(()) => return Ok(judged(true, "it accepts connections".to_owned())),
                // It is of another type.
                Err(Errno::PROTOTYPE) => {}
                Err(Errno::CONNREFUSED) => {
                    return Ok(judged(false, "connection refused".to_owned()));
                }
                Err(Errno::AGAIN) => {
                    return Ok(Look::NotYet("too many wait to be accepted".to_owned()));
                }
                Err(error) => return Err(unreadable(error.into())),
            }
        }
        Ok(judged(false, "it is a socket of a strange type".to_owned()))
    }
}
