//! When a source is asked for an image, and what came of it.

use std::sync::Arc;

use super::catalogue::SourceKind;
use super::lockfile::LockFile;
use super::platform::Platform;

/// When the source of an image is asked for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// In any case: what the store has is taken if the source has nothing newer.
    Always,
    /// When the store lacks it.
    #[default]
    Missing,
    /// In no case: what the store has is taken as it is.
    Never,
}

/// How an image is to be pulled.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// When the source is asked.
    pub policy: PullPolicy,
    /// Whether to get it anew and make it bootable anew, although the store has it.
    pub force: bool,
    /// The one kind of source to take, of those that the catalogue lists.
    pub source: Option<SourceKind>,
    /// The file that says by digest which image each name stands for.
    pub locked: Option<Arc<LockFile>>,
    /// Whether to leave the network alone.
    pub offline: bool,
    /// What the image is to be for, if not for this machine.
    pub platform: Option<Platform>,
    /// Whether it is taken as it comes, and not made bootable.
    pub as_is: bool,
}

impl PullOptions {
    /// The platform, where it is another than this machine's.
    pub(super) fn foreign_platform(&self) -> Option<&Platform> {
        self.platform
            .as_ref()
            .filter(|platform| **platform != Platform::native())
    }
}

/// How an image came to be in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// It was there, and nobody was asked.
    Stored,
    /// It was there, and its source has nothing newer.
    UpToDate,
    /// It was not there.
    New,
    /// It was there, and what the source has now has taken its place.
    Newer,
}
