//! `export`: images out of the store.

use std::path::PathBuf;

use crate::cli::commands::pkgprobe::Signals;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;

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
