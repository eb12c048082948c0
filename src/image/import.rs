//! Local files into the store, under the name of an image in a registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::acquire::{Import, Place};
use super::error::{ImageError, SourceError};
use super::images::{Images, ReadyImage};
use super::layer::{LayerError, blocking};
use super::oci::local::{self, ImportName, LocalError, NameError};
use super::policy::{PullOptions, Pulled};
use super::reference::Reference;
use super::store::StoreError;
use crate::progress::Event;

impl Images {
    /// Takes what is at `path` into the store, ready to boot: an OCI layout or what `docker save`
    /// writes, each a directory or an archive; the archive of a root; or a tree. An image with that
    /// name is replaced.
    ///
    /// Without a name, the image has to have one of its own.
    pub async fn import(
        &self,
        path: &Path,
        name: Option<ImportName>,
        options: &PullOptions,
    ) -> Result<ReadyImage, ImageError> {
        let unreadable = |source| LocalError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let path = path.canonicalize().map_err(unreadable)?;
        let metadata = path.metadata().map_err(unreadable)?;
        if !metadata.is_dir() && !metadata.is_file() {
            let source = std::io::Error::other("neither a file nor a directory");
            return Err(unreadable(source).into());
        }
        let local = self.local(&path, name.clone()).await?;
        let own = local.as_ref().map(|image| image.name.clone());
        let Some(name) = own.or(name) else {
            return Err(ImageError::Local(LocalError::Name {
                path,
                source: NameError::Needed { names: Vec::new() },
            }));
        };
        let import = match local {
            Some(image) => Import::Image(Arc::new(image)),
            None if metadata.is_dir() => Import::Tree,
            None => Import::Archive,
        };
        let mut target = self.target(&Reference::Oci(name.reference().clone()))?;
        target.places = vec![Place::Import(path.clone(), import)];
        let waiting = || {
            let text = format!("{name}: waiting for another postroj that makes it");
            self.progress().report(&Event::Note(text));
        };
        let lock = format!("image-{}", target.key);
        let _lock = self.store().lock_exclusive(&lock, waiting).await?;
        let acquired = self.acquire(&target, options).await;
        let (place, acquired) = acquired.map_err(|error| at_fault(error, &path))?;
        let completed = self.complete(&target, &place, acquired, options).await?;
        let (record, holds) = completed;
        self.store().put_image(&target.key, &record)?;
        self.held(record, Pulled::New, &target, holds)
    }

    async fn local(
        &self,
        path: &Path,
        name: Option<ImportName>,
    ) -> Result<Option<local::LocalImage>, ImageError> {
        let scratch = self.store().scratch()?;
        let owned = path.to_owned();
        let opened = blocking(move |cancel| {
            let cancelled = || cancel.load(Ordering::Relaxed);
            local::open(&owned, name, scratch.path(), &cancelled)
        });
        let opened = opened.await;
        Ok(opened.map_err(|source| StoreError::io(path, source))??)
    }
}

/// Tells what is wrong with the file from what is in the way of taking it.
fn at_fault(error: ImageError, path: &Path) -> ImageError {
    match error {
        ImageError::Source {
            name,
            source:
                source @ (SourceError::WrongLayer { .. }
                | SourceError::Layer {
                    source:
                        LayerError::Archive { .. }
                        | LayerError::Refused { .. }
                        | LayerError::TooLarge { .. },
                    ..
                }),
        } => ImageError::Import {
            name,
            path: PathBuf::from(path),
            source: Box::new(source),
        },
        error => error,
    }
}
