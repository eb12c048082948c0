//! A check that is asked for, of whatever kind, and what making it needs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Baseline, Before, Outcome, Patience, Phase, Stage, StartedBy, UnitName};
use crate::image::Family;
use crate::machine::{Guest, GuestError};

/// Why it could not be told whether a check holds. That speaks neither for the package nor against it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The container could not be talked to.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The network namespace of the container could not be entered.
    #[error("the network namespace of the container cannot be entered: {0}")]
    Namespace(#[from] std::io::Error),
    /// The host, which looks names up, could not.
    #[error("{0}: no nameserver of this host says anything")]
    Resolver(String),
    /// The image lacks a program that the check needs.
    #[error("the image has no {0}, which the check needs")]
    NoProgram(&'static str),
    /// A program of the image did not do what it is for.
    #[error("{program} in the container: {reason}")]
    Program {
        /// Which.
        program: String,
        /// What it did instead.
        reason: String,
    },
    /// Something of the container could not be looked at.
    #[error("{what} in the container: {source}")]
    Unreadable {
        /// What.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

impl ProbeError {
    /// Whether the container itself is at stake, and with it all that is still to be checked.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Guest(error) => {
                !matches!(error, GuestError::Timeout { .. } | GuestError::File { .. })
            }
            Self::Namespace(_) => true,
            Self::Resolver(_)
            | Self::NoProgram(_)
            | Self::Program { .. }
            | Self::Unreadable { .. } => false,
        }
    }
}

/// What a check looks at, and with what patience.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The container.
    pub guest: &'a Guest,
    /// What there was before anything was installed.
    pub before: &'a Before,
    /// At which point of the packages' life that is.
    pub stage: Stage<'a>,
    /// How long checks may take.
    pub patience: Patience,
}

impl Scene<'_> {
    /// What a unit was before what has just happened.
    pub(super) async fn unit_before(&self, unit: &UnitName) -> Result<Baseline, GuestError> {
        match self.stage.phase {
            // All that is up has been started by the boot.
            Phase::Reboot => Ok(Baseline::default()),
            _ => self.before.unit(self.guest, unit).await,
        }
    }
}

/// What a check has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it holds.
    pub outcome: Outcome,
    /// Who started the unit that it is about.
    pub started_by: Option<StartedBy>,
}

impl From<Outcome> for Finding {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            started_by: None,
        }
    }
}

/// What a check is on its way to.
pub type Ending<'a> = BoxFuture<'a, Result<Finding, ProbeError>>;

/// What has to be known from before the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Which unit files there were.
    pub unit_files: bool,
}

/// One kind of check, with what it is asked for.
#[async_trait::async_trait]
pub trait Probe: std::fmt::Debug + Send + Sync {
    /// What it looks at.
    fn target(&self) -> String;

    /// Says what in it contradicts itself.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// The unit whose state before the installation it has to know.
    fn unit(&self) -> Option<&UnitName> {
        None
    }

    /// What else it has to know of that time.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether it looks for what must not have happened, and so has to wait until all else is done.
    fn is_last(&self) -> bool {
        false
    }

    /// Makes the check.
    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError>;

    /// Starts what has to be up for this check or for others, and gives what is left to do.
    async fn begin<'a>(&'a self, scene: Scene<'a>) -> Result<Ending<'a>, ProbeError> {
        Ok(Box::pin(async move { Ok(self.check(scene).await?.into()) }))
    }
}

/// A check that is asked for.
#[derive(Debug, Clone)]
pub struct Check {
    pub(super) kind: &'static str,
    pub(super) title: Option<String>,
    pub(super) expected: Option<String>,
    pub(super) families: Vec<Family>,
    pub(super) phases: Vec<Phase>,
    pub(super) probe: Arc<dyn Probe>,
}

impl Check {
    /// Its kind, in a word.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What it looks at.
    pub fn target(&self) -> String {
        self.probe.target()
    }

    /// What its author calls it.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// What is asked of the target, in words, where it is more than being there.
    pub fn expected(&self) -> Option<&str> {
        self.expected.as_deref()
    }

    /// The unit whose state before the installation it has to know.
    pub fn unit(&self) -> Option<&UnitName> {
        self.probe.unit()
    }

    /// What else it has to know of that time.
    pub fn needs(&self) -> Needs {
        self.probe.needs()
    }

    /// Whether it is made when all others have been.
    pub fn is_last(&self) -> bool {
        self.probe.is_last()
    }

    /// Whether it is for a distribution of this family.
    pub fn is_for(&self, family: Option<Family>) -> bool {
        self.families.is_empty() || family.is_some_and(|family| self.families.contains(&family))
    }

    /// The phases after which it is made, where its author names them.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Whether it is made after a phase; without a word of its author's, after those that leave the
    /// packages installed.
    pub fn is_after(&self, phase: Phase) -> bool {
        if self.phases.is_empty() {
            phase.leaves_packages()
        } else {
            self.phases.contains(&phase)
        }
    }

    /// Starts what has to be up for it, and gives what is left to do.
    pub async fn begin<'a>(&'a self, scene: Scene<'a>) -> Result<Ending<'a>, ProbeError> {
        self.probe.begin(scene).await
    }
}

/// How long a check may take: what its own `timeout` says, or else the kind's.
pub(super) fn patience(own: Option<super::value::Span>, of_kind: Duration) -> Duration {
    own.map_or(of_kind, |span| span.0)
}
