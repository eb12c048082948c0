//! Running a script in an image to make a layer of what it writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::isolation::{Isolation, Network};
use super::overlay::Overlaid;
use super::shape::Shape;
use super::spec::{Payload, Writable};
use super::{Launch, MachineError, Running};

/// A script to run in an image.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The image's name, for the container's own.
    pub image: &'a str,
    /// The image's layers, topmost first.
    pub lowers: &'a [PathBuf],
    /// The directory that takes what the script writes.
    pub upper: &'a Path,
    /// An empty directory on the same file system, for overlayfs.
    pub work: &'a Path,
    /// The directories of the host that the script sees; each has a place to keep what it writes.
    pub overlaid: &'a [Overlaid],
    /// The script, for `/bin/sh -e`.
    pub script: &'a str,
    /// How long it may take.
    pub timeout: Duration,
}

/// Why a build did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The container could not be had.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The script failed.
    #[error("the script that prepares {image} failed with {status}")]
    Script {
        /// The image.
        image: String,
        /// How it ended: `exit code 100`.
        status: String,
        /// The last of what it wrote.
        output: String,
    },
    /// The script took too long.
    #[error("the script that prepares {image} did not end within {} s", limit.as_secs_f64())]
    Timeout {
        /// The image.
        image: String,
        /// What it was given.
        limit: Duration,
        /// The last of what it wrote.
        output: String,
    },
}

/// Runs the script as root, with the host's network; gives the last of its output.
///
/// What it wrote is in `upper`, in overlayfs' form.
pub async fn build(build: Build<'_>) -> Result<String, BuildError> {
    let mut running = Running::start(Launch {
        wanted: format!("{}build-{}", super::PREFIX, build.image),
        image: build.image.to_owned(),
        lowers: build.lowers.to_vec(),
        writable: Writable::Layer {
            upper: build.upper.to_owned(),
            work: build.work.to_owned(),
        },
        overlaid: build.overlaid.to_vec(),
        // It reaches mirrors, and is not what is tested.
        isolation: Isolation {
            network: Network::Host,
            ..Isolation::default()
        },
        payload: Payload::Script(build.script.to_owned()),
        shape: Shape::default(),
        exact: false,
        descriptors: Vec::new(),
    })
    .await?;
    let image = build.image.to_owned();
    let Ok(ended) = tokio::time::timeout(build.timeout, running.ended()).await else {
        let output = running.end().await?.console;
        return Err(BuildError::Timeout {
            image,
            limit: build.timeout,
            output,
        });
    };
    let ended = ended?;
    running.gone().await;
    match ended.code {
        Some(0) => Ok(ended.console),
        code => Err(BuildError::Script {
            image,
            status: code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}")),
            output: ended.console,
        }),
    }
}
