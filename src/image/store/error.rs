//! Why the store cannot be used.

use std::io;
use std::path::PathBuf;

use super::VERSION;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory is somebody else's.
    #[error("{} is no store of postroj: it holds {stranger}", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
        /// What does not belong there.
        stranger: String,
    },
    /// Something in it cannot be read or written.
    #[error("store: {}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A newer postroj has made it.
    #[error("store: {} has format {found}; this postroj knows formats up to {VERSION}", path.display())]
    Version {
        /// The store's directory.
        path: PathBuf,
        /// What the file `version` says.
        found: String,
    },
    /// A container runs on the image.
    #[error("{image} is in use by {}", machines.join(", "))]
    InUse {
        /// The image.
        image: String,
        /// The containers.
        machines: Vec<String>,
    },
    /// A record is not what it has to be.
    #[error("store: {}: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl StoreError {
    pub(in crate::image) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.into(),
            source: source.into(),
        }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::image::layer::is_full(source))
    }
}
