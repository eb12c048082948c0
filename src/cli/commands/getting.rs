//! What the commands that get images have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postroj::image::{Images, LockFile, Platform, PullOptions, PullPolicy};
use postroj::progress::SharedProgress;

use crate::cli::access::RegistryOptions;
use crate::cli::config::Settings;
use crate::cli::error::CommandError;

/// How images are got.
#[derive(Debug, clap::Args)]
pub(crate) struct Getting {
    /// Take the images that FILE has, by their digests, and no others; `postroj pull --lock FILE`
    /// writes it. What has no digest to ask for (a bootstrap, and the layer that makes an image
    /// bootable) has to be in the store or to come out the same
    #[arg(long, value_name = "FILE")]
    locked: Option<PathBuf>,
    /// Leave the network alone: take what the store and the caches have, and say what is missing
    #[arg(long, env = "POSTROJ_OFFLINE", hide_env = true)]
    offline: bool,
    /// Take the image for OS/ARCH[/VARIANT] of those that a registry has [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub(super) platform: Option<Platform>,
    #[command(flatten)]
    registry: RegistryOptions,
}

impl Getting {
    /// The images, reached as the options say.
    pub(crate) fn images(
        &self,
        settings: &Settings,
        progress: &SharedProgress,
    ) -> Result<Images, CommandError> {
        settings.images_by(progress, &self.registry)
    }

    pub(crate) fn is_offline(&self, settings: &Settings) -> bool {
        self.offline || settings.offline
    }

    /// How images are pulled, as far as all commands have options for it.
    pub(crate) fn pull_options(
        &self,
        policy: PullPolicy,
        settings: &Settings,
    ) -> Result<PullOptions, CommandError> {
        Ok(PullOptions {
            policy,
            locked: self.lock_file()?,
            offline: self.is_offline(settings),
            platform: self.platform.clone(),
            ..PullOptions::default()
        })
    }

    /// Reads the lock file, if one was named.
    fn lock_file(&self) -> Result<Option<Arc<LockFile>>, CommandError> {
        let load = |path: &PathBuf| LockFile::load(path).map(Arc::new);
        let file = self.locked.as_ref().map(load).transpose();
        file.map_err(|error| {
            let hint = self.locked.as_deref().map(hint);
            CommandError::usage(error).with_hint(hint)
        })
    }
}

fn hint(file: &Path) -> String {
    format!(
        "`postroj pull --lock {} IMAGE...` writes it",
        file.display()
    )
}

/// When an image is pulled.
#[derive(Debug, clap::Args)]
pub(crate) struct Pulling {
    /// When to ask the image's source: always takes what the store has only if there is nothing
    /// newer, missing (the default) whenever the store has the image, never in any case
    #[arg(
        long,
        value_name = "WHEN",
        hide_possible_values = true,
        default_value = "missing",
        hide_default_value = true
    )]
    pull: Pull,
}

impl Pulling {
    /// As the library has it.
    pub(crate) fn policy(&self) -> PullPolicy {
        self.pull.into()
    }
}

/// When the source of an image is asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pull {
    /// In any case: the store's is taken if there is nothing newer
    Always,
    /// When the store does not have it
    Missing,
    /// In no case
    Never,
}

impl From<Pull> for PullPolicy {
    fn from(pull: Pull) -> Self {
        match pull {
            Pull::Always => Self::Always,
            Pull::Missing => Self::Missing,
            Pull::Never => Self::Never,
        }
    }
}
