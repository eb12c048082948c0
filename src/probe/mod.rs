//! What is checked in a container, and how.
//!
//! A check gives an [`Outcome`]: it holds, or it doesn't. That it could not be told, because the
//! container went away, is an error and no outcome.

mod before;
mod check;
mod goss;
mod kind;
mod listeners;
mod network;
mod probe_file;
mod processes;
mod retry;
mod stage;
mod unit;
mod value;
mod words;

use std::time::Duration;

use serde::Serialize;

pub use before::Before;
pub use check::{Check, Ending, Finding, Needs, Probe, ProbeError, Scene};
pub use goss::GossError;
pub use kind::{
    Autostart, CheckError, Checks, CommandCheck, CoreDumpCheck, DnsCheck, FailedUnitsCheck,
    FileCheck, FileType, GroupCheck, HttpCheck, JournalCheck, KINDS, KernelParamCheck, Method,
    MountCheck, NetworkCheck, PackageCheck, PortCheck, PortNumber, Priority, ProcessCheck,
    SecurityCheck, StatusClass, TcpCheck, UnitCheck, UnixSocketCheck, UserCheck, VerifyCheck,
};
pub use listeners::{Listener, all_listeners, listeners};
pub use network::{NetworkError, NetworkTarget, Prober, Protocol};
pub use probe_file::{ProbeFile, ProbeFileError};
pub use processes::{Process, processes, wait_for_ends};
pub use stage::{Phase, Stage};
pub use unit::{Baseline, Begun, StartedBy, UnitName, UnitNameError, UnitProbe, baseline};
pub use value::{Many, Mode, Pattern, Scalar, Span};

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether it holds.
    pub passed: bool,
    /// What was seen last: `active (running)`, `connection refused`.
    pub observation: String,
}

impl Outcome {
    pub(crate) fn passed(observation: impl Into<String>) -> Self {
        Self {
            passed: true,
            observation: observation.into(),
        }
    }

    pub(crate) fn failed(observation: impl Into<String>) -> Self {
        Self {
            passed: false,
            observation: observation.into(),
        }
    }
}

/// How long checks may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a unit may take to become active.
    pub unit: Duration,
    /// How long a unit that was started in this run has to stay up.
    pub settle: Duration,
    /// How long a network address may take to answer.
    pub network: Duration,
    /// How long anything else may take.
    pub check: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            unit: Duration::from_secs(30),
            settle: Duration::from_secs(1),
            network: Duration::from_secs(5),
            check: Duration::from_secs(5),
        }
    }
}
