//! What a task is, as it was asked for.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Restart, files, id};
use crate::machine::{ContainerCommand, PREFIX};

/// What is to be run and how, decided once: images may change afterwards.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) id: String,
    /// The image, as it was named.
    pub(super) image: String,
    pub(super) created: SystemTime,
    pub(super) container: ContainerCommand,
    /// Whether it has somebody to read from.
    pub(super) interactive: bool,
    pub(super) restart: Restart,
    /// When a command is ended that has run so long.
    pub(super) timeout: Option<Duration>,
    /// The signal that asks it to end.
    pub(super) stop_signal: i32,
    /// How long it may take then.
    pub(super) patience: Duration,
    /// Whether it is removed when it has ended.
    pub(super) removed_at_end: bool,
}

impl Definition {
    pub(super) fn load(directory: &Path) -> io::Result<Self> {
        let text = std::fs::read(files::definition(directory))?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    pub(super) fn save(&self, directory: &Path) -> io::Result<()> {
        files::write(&files::definition(directory), &serde_json::to_vec(self)?)
    }

    /// Its container's name but for the prefix: its own, or one made from its id.
    pub(super) fn container_name(&self) -> &str {
        let name = self.container.name.as_deref();
        name.unwrap_or_else(|| id::short(&self.id))
    }

    pub(super) fn machine(&self) -> String {
        format!("{PREFIX}{}", self.container_name())
    }
}
