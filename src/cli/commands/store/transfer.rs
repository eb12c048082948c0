//! `export` and `import`: images out of the store, and into it.

use std::path::PathBuf;

use postroj::image::{ImportName, PullOptions};

use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// Write an image of the store to a file or a directory
///
/// A file gets the archive of the root file system, as `podman export` writes one, packed as its
/// name says. A directory, which has to be empty or missing, becomes an OCI layout with the root as
/// its one layer, for `skopeo copy oci:DIR …`, `podman pull oci:DIR` and `postroj import`. The same
/// image gives the same bytes.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The image, as `postroj images` lists it
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where to: FILE.tar, .tar.gz, .tar.xz or .tar.zst, or a directory (with a / at its end if it
    /// is not there yet)
    #[arg(value_name = "FILE|DIR")]
    target: PathBuf,
}

impl Export {
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        require_root()?;
        let mut signals = Signals::listen()?;
        let images = settings.images(&output.progress())?;
        let image = images.stored(&self.image)?;
        tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal)),
            exported = images.export(&image, &self.target) => exported?,
        }
        Ok(Exit::Success)
    }
}

/// Take local files into the store, as an image that is ready to boot
///
/// They can be an OCI layout or what `docker save`, `podman save` and `skopeo copy` write, each a
/// directory or an archive of one; the archive of a root file system, such as `podman export` and
/// `postroj export` write; or a directory tree. Archives may be packed with gzip, xz or zstd. What
/// has digests is checked against them.
///
/// The name is that of an image in a registry, so that IMAGE arguments can have it:
/// `localhost/NAME` or `localhost/NAME:TAG`, or any other, which then stands for what was imported
/// and not for what that registry has. An image with the name is replaced.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The file or directory
    #[arg(value_name = "FILE|DIR")]
    source: PathBuf,
    /// What the image is called, such as localhost/NAME:TAG [default: the name that it has in FILE
    /// or DIR]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Leave the network alone: fail if the image needs packages to be bootable
    #[arg(long)]
    offline: bool,
}

impl Import {
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        let name = match self.name.as_deref().map(ImportName::parse) {
            Some(Err(error)) => {
                let hint = error.hint();
                return Err(CommandError::usage(error).with_hint(hint));
            }
            Some(Ok(name)) => Some(name),
            None => None,
        };
        require_root()?;
        let mut signals = Signals::listen()?;
        let images = settings.images(&output.progress())?;
        let options = PullOptions {
            offline: self.offline || settings.offline,
            ..PullOptions::default()
        };
        let image = tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal)),
            image = images.import(&self.source, name, &options) => image?,
        };
        output.note(&format!("{}: imported", image.record.name));
        Ok(Exit::Success)
    }
}
