//! The init of a container that boots no system: it starts one command, and reaps what that leaves. In
//! one that does boot it is a service of that system's, and does the same.
//!
//! It is this very program, shown to the container together with the dynamic linker and the libraries
//! that it is linked with ([`show`]). So the image needs to have nothing but the command: no shell, no
//! init, no library. Its standard input is a socket, at whose other end is the container's supervisor:
//! a line [`Request::Run`] with the command's descriptors comes first, then its [`Answer`]s go there.
//! When the other end closes, the container ends.

mod files;
mod identity;
mod link;
mod run;

use serde::{Deserialize, Serialize};

pub(super) use files::{Shown, show, shown_command_line};
pub(super) use identity::Identity;
pub(super) use link::{Link, signal_line};
pub(super) use run::init;

/// The hidden command of the binary that is the init.
pub(super) const INIT_COMMAND: &str = "__init";

/// What the supervisor asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// A command to start. With the line come its three standard descriptors or, for a command on a
    /// terminal, a socket to which the terminal's master is sent.
    Run(Job),
    /// A signal for the command.
    Signal(i32),
}

/// A command, with all that it takes decided.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    /// The program and its arguments.
    pub(super) args: Vec<String>,
    /// The whole environment, as `NAME=VALUE`.
    pub(super) env: Vec<String>,
    /// The directory where it starts; made if it is missing.
    pub(super) working_dir: String,
    /// As whom.
    pub(super) identity: Identity,
    /// Rows and columns of its terminal, if it gets one.
    pub(super) terminal: Option<(u16, u16)>,
    /// Which capabilities it does not have, as bits; capabilities(7).
    pub(super) dropped: u64,
}

/// What the init tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The command runs, as the process of this number there.
    Started(i32),
    /// It could not be started, and the container ends.
    Failed(Failure),
    /// It ended by itself, with this exit code; so does the container.
    Exited(i32),
    /// A signal ended it, and with it the container.
    Killed(i32),
}

/// Why a command could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// There is no such program, or its interpreter is missing.
    #[error("the container has no program {program}, or not the interpreter that it names")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It cannot be executed.
    #[error("{program} cannot be executed in the container: {}", std::io::Error::from_raw_os_error(*errno))]
    NotExecutable {
        /// The program.
        program: String,
        /// The error's number; errno(3).
        errno: i32,
    },
    /// Its directory cannot be had.
    #[error("the working directory {path}: {}", std::io::Error::from_raw_os_error(*errno))]
    WorkingDirectory {
        /// The directory.
        path: String,
        /// The error's number; errno(3).
        errno: i32,
    },
    /// Something else was in the way.
    #[error("{0}")]
    Other(String),
}
