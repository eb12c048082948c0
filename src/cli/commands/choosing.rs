//! What the commands that run on several images have in common.

use postroj::image::Catalogue;
use postroj::matrix::{Pace, Selection, SelectionError, default_jobs, select};

use crate::cli::error::CommandError;

/// Which images, and how they are gone through.
#[derive(Debug, clap::Args)]
pub(crate) struct Choosing {
    /// The image: a name of `postroj list-images`, a pattern for those (debian-*), a registry's
    /// NAME:TAG or `docker://NAME`, the URL or the path (with a /) of a root-filesystem tarball, or a
    /// directory; may be repeated, or be a list with commas
    #[arg(long = "image", value_name = "IMAGE")]
    images: Vec<String>,
    /// How many images are tested at once [default: one for each processor, but no more than one for
    /// each 2 GiB of memory]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Stop when the package is at fault on one image: the others are reported as not run
    #[arg(long)]
    fail_fast: bool,
}

impl Choosing {
    /// Whether an image was named.
    pub(crate) fn has_images(&self) -> bool {
        !self.images.is_empty()
    }

    /// The images that are meant.
    pub(crate) fn images(
        &self,
        catalogue: &Catalogue,
        all: bool,
    ) -> Result<Selection, CommandError> {
        let selection = select(catalogue, &self.images, all).map_err(|error| {
            let hint = match &error {
                SelectionError::NoMatch { nearest, .. } if !nearest.is_empty() => {
                    format!("did you mean {}?", nearest.join(" or "))
                }
                SelectionError::NoMatch { .. } | SelectionError::Unsupported { .. } => {
                    "`postroj list-images` lists them".to_owned()
                }
                SelectionError::Reference(_) => return CommandError::usage(error),
            };
            CommandError::usage(error).with_hint(Some(hint))
        })?;
        for image in &selection.images {
            postroj::image::check(catalogue, image)?;
        }
        Ok(selection)
    }

    /// How they are gone through.
    pub(crate) fn pace(&self, images: usize) -> Pace {
        let jobs = self.jobs.map_or_else(default_jobs, usize::from);
        Pace {
            jobs: jobs.min(images),
            fail_fast: self.fail_fast,
        }
    }
}
