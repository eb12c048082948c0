//! What can be in the way of a stage.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::JOB;
use crate::image::ImageError;
use crate::machine::MachineError;
use crate::run::RunError;

/// What is postroj's fault, the host's or the image's, and not the command's.
///
/// In a document it is its message, with what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StageError {
    /// Its image or its container could not be had.
    #[error(transparent)]
    Run(Arc<RunError>),
    /// The directory that the stages have in common could not be made.
    #[error("cannot make a directory in {}: {source}", parent.display())]
    NoJob {
        /// Where it was to be.
        parent: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// The directory that the stages had in common could not be removed.
    #[error("cannot remove {JOB}: {0}")]
    JobStays(#[source] Arc<io::Error>),
    /// The host would not give it what it is to write to.
    #[error("cannot start it: {0}")]
    NoStreams(#[source] Arc<io::Error>),
    /// What it wrote is not known to the end.
    #[error("cannot read what it wrote: {0}")]
    Unread(#[source] Arc<io::Error>),
    /// Somebody wanted the chain to end.
    #[error("interrupted")]
    Interrupted,
}

impl StageError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            _ => None,
        }
    }

    /// Its message, and what to do about it.
    pub fn hinted(&self) -> String {
        hinted(self, self.hint())
    }
}

impl From<RunError> for StageError {
    fn from(error: RunError) -> Self {
        Self::Run(Arc::new(error))
    }
}

impl From<ImageError> for StageError {
    fn from(error: ImageError) -> Self {
        RunError::from(error).into()
    }
}

impl From<MachineError> for StageError {
    fn from(error: MachineError) -> Self {
        RunError::from(error).into()
    }
}

impl Serialize for StageError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hinted())
    }
}

/// An error, and what to do about it.
pub(super) fn hinted(error: &dyn Display, hint: Option<impl Display>) -> String {
    match hint {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}
