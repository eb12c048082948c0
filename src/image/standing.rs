//! Whether what the store has is what a pull would lead to.

use super::acquire::Place;
use super::catalogue::{Source, SourceKind};
use super::digest::Digest;
use super::directory;
use super::error::{ImageError, SourceError};
use super::images::Images;
use super::layer::blocking;
use super::oci;
use super::policy::{PullOptions, PullPolicy, Pulled};
use super::reference::OciReference;
use super::store::{ImageRecord, Origin, StoreError};
use super::tarball::{self, TarballError, Validators};
use super::target::Target;
use crate::progress::Step;

/// What the store has of an image.
#[derive(Debug)]
pub(super) enum Standing {
    /// All of it, as it has to be.
    Current(ImageRecord, Pulled),
    /// The layers that it came with; the one that makes it bootable has to be made anew.
    Unprovisioned(ImageRecord),
    /// Nothing, or what is not wanted any more.
    Stale(Option<ImageRecord>),
}

impl Images {
    /// Tells what the store has of the image, asking its source where the options want that.
    pub(super) async fn standing(
        &self,
        target: &Target<'_>,
        options: &PullOptions,
    ) -> Result<Standing, ImageError> {
        let Some(record) = self.store.image(&target.key)? else {
            return Ok(Standing::Stale(None));
        };
        if options
            .source
            .is_some_and(|kind| record.origin != origin(kind))
        {
            return Ok(Standing::Stale(Some(record)));
        }
        if record.platform.as_ref() != options.foreign_platform() {
            return Ok(Standing::Stale(Some(record)));
        }
        if let Some(locked) = &target.locked {
            let same = record.digest == locked.digest
                && (target.as_is || self.provision_content(&record)? == locked.provision);
            return Ok(if same {
                Standing::Current(record, Pulled::Stored)
            } else {
                Standing::Stale(Some(record))
            });
        }
        if options.policy == PullPolicy::Never && (target.as_is || !record.as_is) {
            return Ok(Standing::Current(record, Pulled::Stored));
        }
        let place = target
            .places
            .iter()
            .find(|place| place.origin() == record.origin && place.describe() == record.source);
        let pulled = match place {
            // Whoever gave it that name wants it, and not what a registry may have.
            None if record.origin == Origin::Import => Some(Pulled::Stored),
            Some(place) => self.compare(target, place, &record, options).await?,
            // The catalogue does not list that source any more.
            None => None,
        };
        Ok(match pulled {
            None => Standing::Stale(Some(record)),
            Some(_) if !target.as_is && !self.is_provisioned(target, &record)? => {
                Standing::Unprovisioned(record)
            }
            Some(pulled) => Standing::Current(record, pulled),
        })
    }

    /// How the record stands to its source; none if it is to be had anew.
    async fn compare(
        &self,
        target: &Target<'_>,
        place: &Place,
        record: &ImageRecord,
        options: &PullOptions,
    ) -> Result<Option<Pulled>, ImageError> {
        let wrong = |source: SourceError| ImageError::Source {
            name: target.name.clone(),
            source,
        };
        let asks = options.policy == PullPolicy::Always && !options.offline;
        let unasked = if options.policy == PullPolicy::Always {
            Pulled::UpToDate
        } else {
            Pulled::Stored
        };
        let current = match place {
            Place::Import(..) => false,
            Place::File(path) => {
                let opened = tarball::open(path).map_err(|error| wrong(error.into()))?;
                record.fingerprint == Some(opened.2)
            }
            Place::Directory(path) => {
                let root = path.clone();
                let taken = blocking(move |cancel| {
                    let cancelled = || cancel.load(std::sync::atomic::Ordering::Relaxed);
                    directory::fingerprint(&root, &cancelled)
                })
                .await
                .map_err(|source| StoreError::io(path, source))?;
                let taken = taken.map_err(|error| wrong(error.into()))?;
                record.fingerprint == Some(taken.to_string())
            }
            Place::Remote(Source::Bootstrap(bootstrap)) => {
                record.fingerprint == Some(bootstrap.fingerprint())
            }
            Place::Remote(Source::Tarball {
                sha256: Some(sum), ..
            }) => record.digest.hex() == *sum,
            Place::Remote(Source::Tarball { url, sha256: None }) if asks => {
                let step = Step::start(
                    &self.progress,
                    format!("look up {}", tarball::shown(url)),
                    None,
                );
                let known = record
                    .fingerprint
                    .as_deref()
                    .and_then(Validators::from_text);
                let current = tarball::is_current(url, known, self.access.patience).await;
                let current = current.map_err(|error| wrong(TarballError::from(error).into()))?;
                step.finish();
                current
            }
            Place::Remote(Source::Oci(reference)) if asks => {
                let reference =
                    OciReference::parse(reference).map_err(|error| wrong(error.into()))?;
                reference.digest.is_some() || {
                    let now = self.ask(&reference).await;
                    now.map_err(|error| wrong(error.into()))? == record.digest
                }
            }
            Place::Remote(_) => return Ok(Some(if asks { unasked } else { Pulled::Stored })),
        };
        Ok(current.then_some(unasked))
    }

    /// The digest that the registry has for the reference now.
    async fn ask(&self, reference: &OciReference) -> Result<Digest, oci::OciError> {
        let step = Step::start(&self.progress, format!("look up {reference}"), None);
        let digest = oci::current_digest(reference, &self.access).await?;
        step.finish();
        Ok(digest)
    }
}

fn origin(kind: SourceKind) -> Origin {
    match kind {
        SourceKind::Oci => Origin::Oci,
        SourceKind::Tarball => Origin::Tarball,
        SourceKind::Bootstrap => Origin::Bootstrap,
    }
}
