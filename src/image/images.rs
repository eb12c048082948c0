//! The façade: from a reference to an image that is ready to boot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::access::Access;
use super::acquire::{Acquired, Fetcher, Place};
use super::catalogue::{Catalogue, Entry, Family, Source};
use super::digest::Digest;
use super::error::{ImageError, Missing, SourceError, word};
use super::lockfile::LockFile;
use super::oci::ImageConfig;
use super::platform::Platform;
use super::policy::{PullOptions, PullPolicy, Pulled};
use super::provision;
use super::reference::Reference;
use super::rootfs::Rootfs;
use super::standing::Standing;
use super::store::{Holds, ImageRecord, LayerId, Origin, Store, StoreError, Stored};
use super::target::Target;
use crate::packages::PackageCache;
use crate::progress::{Event, SharedProgress};

/// An image in the store, complete, and kept there for as long as this lives.
#[derive(Debug, Clone)]
pub struct ReadyImage {
    /// A host name made from the image's name.
    pub name: String,
    /// The lower directories for overlayfs, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The family of its distribution, where it is known.
    pub family: Option<Family>,
    /// What its source says about running it.
    pub config: ImageConfig,
    /// What the store knows about it.
    pub record: ImageRecord,
    /// How it came to be there.
    pub pulled: Pulled,
    /// What its package manager has downloaded, where that is kept.
    pub packages: Option<PackageCache>,
    /// Its layers are not removed from the store while somebody has this.
    _holds: Arc<Holds>,
}

/// The images: the catalogue, the store and what leads from one to the other.
#[derive(Clone)]
pub struct Images {
    pub(super) store: Store,
    pub(super) catalogue: Catalogue,
    pub(super) access: Access,
    pub(super) progress: SharedProgress,
    /// The cache directory, for what package managers download.
    cache_dir: Option<PathBuf>,
}

impl Images {
    /// Opens the store below `state_dir`.
    pub fn open(
        state_dir: &Path,
        catalogue: Catalogue,
        access: Access,
        progress: SharedProgress,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            store: Store::open(state_dir)?,
            catalogue,
            access,
            progress,
            cache_dir: None,
        })
    }

    /// The directory of the store, on whose disk containers may write.
    pub fn storage(&self) -> &Path {
        self.store.root()
    }

    /// Keeps what package managers download, in images and while those are made, below `cache_dir`.
    #[must_use]
    pub fn with_package_cache(mut self, cache_dir: &Path) -> Self {
        self.cache_dir = Some(cache_dir.to_owned());
        self
    }

    /// The same images for another who listens.
    #[must_use]
    pub fn telling(mut self, progress: SharedProgress) -> Self {
        self.progress = progress;
        self
    }

    /// The cache of what the image's package manager downloads. Each image of the catalogue is a
    /// distribution that is trusted; any other one is trusted with a cache of its own only.
    pub(super) fn packages(
        &self,
        target: &Target<'_>,
        family: Family,
        platform: Option<&Platform>,
    ) -> Option<PackageCache> {
        let name = match target.entry {
            Some(entry) => &entry.name,
            None => &target.key,
        };
        let cache_dir = self.cache_dir.as_deref()?;
        let platform = match platform {
            Some(platform) => platform.to_string(),
            None => Platform::native().to_string(),
        };
        let name = format!("{name}-{}", platform.replace('/', "-"));
        Some(PackageCache::new(cache_dir, &name, family))
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// All images in the store, by name, but for those whose record cannot be read.
    pub fn list(&self) -> Result<Vec<ImageRecord>, ImageError> {
        let images = self.store.contents()?.images;
        Ok(images.into_iter().map(|image| image.record).collect())
    }

    /// What the store knows about the image, if it is there.
    pub fn find_record(&self, image: &Reference) -> Result<Option<ImageRecord>, ImageError> {
        let target = self.target(image)?;
        Ok(self.store.image(&target.key)?)
    }

    /// The image as it is in the store, if it is there.
    pub async fn find(&self, image: &Reference) -> Result<Option<ReadyImage>, ImageError> {
        let target = self.target(image)?;
        match self.store.image(&target.key)? {
            Some(record) => self.ready(record, Pulled::Stored, &target).await,
            None => Ok(None),
        }
    }

    /// Gets the image into the store, ready to boot, unless what is there will do.
    ///
    /// What the store has will do when it comes from a source that is still listed, in the same way
    /// (a local file or directory, or a bootstrap's recipe, must not have changed), and, under
    /// [`PullPolicy::Always`], when the source has nothing newer. Else the sources are tried in the
    /// catalogue's order. One that cannot be reached is passed over and noted; one that answers
    /// something wrong ends the pull. Dropping the future ends all work and removes what was done so
    /// far, except whole layers.
    pub async fn pull(
        &self,
        image: &Reference,
        options: &PullOptions,
    ) -> Result<ReadyImage, ImageError> {
        check(&self.catalogue, image)?;
        let mut target = self.target(image)?;
        target.as_is = options.as_is;
        if let Some(kind) = options.source {
            target
                .places
                .retain(|place| matches!(place, Place::Remote(source) if source.kind() == kind));
            if target.places.is_empty() {
                return Err(ImageError::NoSuchSource {
                    name: target.name,
                    kind: word(kind),
                });
            }
        }
        if let Some(platform) = options.foreign_platform() {
            target.only_for(platform)?;
        }
        if let Some(file) = &options.locked {
            let native = Platform::native();
            target.lock(file, options.foreign_platform().unwrap_or(&native))?;
        }
        if let Err(error) = self.store.sweep().await {
            tracing::debug!(%error, "cannot sweep");
        }
        let before = self.store.image(&target.key)?;
        if options.force
            && let (Some(record), Reference::Oci(reference)) = (&before, image)
            && record.origin == Origin::Import
            && reference.registry == "localhost"
        {
            return Err(ImageError::Imported {
                name: target.name,
                source_path: record.source.clone(),
            });
        }
        if !options.force
            && let Standing::Current(record, pulled) = self.standing(&target, options).await?
            && let Some(image) = self.ready(record, pulled, &target).await?
        {
            return Ok(image);
        }
        if options.policy == PullPolicy::Never {
            return Err(ImageError::NeverPulled { name: target.name });
        }
        let name = target.name.clone();
        let waiting = || {
            let text = format!("{name}: waiting for another postroj that pulls it");
            self.progress.report(&Event::Note(text));
        };
        let lock = format!("image-{}", target.key);
        let _lock = self.store.lock_exclusive(&lock, waiting).await?;
        // Whoever had the lock may have done our work.
        let mut standing = if options.force && self.store.image(&target.key)? == before {
            Standing::Stale(before)
        } else {
            self.standing(&target, options).await?
        };
        loop {
            let old = match standing {
                Standing::Current(record, pulled) => {
                    match self.ready(record.clone(), pulled, &target).await? {
                        Some(image) => return Ok(image),
                        // A layer of it was removed meanwhile.
                        None => Some(record),
                    }
                }
                Standing::Unprovisioned(mut record) => {
                    let Some(mut holds) = self.store.hold(&record.layers).await? else {
                        standing = Standing::Stale(Some(record));
                        continue;
                    };
                    let made = self.provision(&target, &record.layers, options, &mut holds);
                    record.provision = made.await?;
                    record.as_is = false;
                    record.bytes = self.bytes(&record)?;
                    self.store.put_image(&target.key, &record)?;
                    return self.held(record, Pulled::Newer, &target, holds);
                }
                Standing::Stale(old) => old,
            };
            let (place, acquired) = self.acquire(&target, options).await?;
            let completed = self.complete(&target, &place, acquired, options).await?;
            let (record, holds) = completed;
            let pulled = match &old {
                None => Pulled::New,
                Some(old) if same_bytes(old, &record) => Pulled::UpToDate,
                Some(_) => Pulled::Newer,
            };
            self.store.put_image(&target.key, &record)?;
            return self.held(record, pulled, &target, holds);
        }
    }

    /// Notes in a lock file what the image's name stands for now.
    pub fn lock(&self, image: &ReadyImage, file: &mut LockFile) -> Result<(), ImageError> {
        file.insert(&image.record, self.provision_content(&image.record)?);
        Ok(())
    }

    /// Who listens to what is done.
    pub(super) fn progress(&self) -> &SharedProgress {
        &self.progress
    }

    /// The lower directories of an image of the store, topmost first, held where they are.
    pub(super) async fn hold_stored(
        &self,
        image: &Stored,
    ) -> Result<(Vec<PathBuf>, Holds), ImageError> {
        match self.store.hold(image.record.all_layers()).await? {
            Some(holds) => Ok((self.lowers(image.record.all_layers()), holds)),
            None => Err(ImageError::Incomplete {
                name: image.record.name.clone(),
            }),
        }
    }

    /// What the record of an image is found by.
    pub(super) fn key(&self, image: &Reference) -> Result<String, ImageError> {
        Ok(self.target(image)?.key)
    }

    /// Tells what a reference stands for.
    pub(super) fn target(&self, image: &Reference) -> Result<Target<'_>, ImageError> {
        let (name, machine_name, places, entry) = match image {
            Reference::Catalogue(name) => {
                let entry = entry(&self.catalogue, name)?;
                let places = entry.sources.iter().cloned().map(Place::Remote).collect();
                let own = Reference::Catalogue(entry.name.clone());
                (entry.name.clone(), own.machine_name(), places, Some(entry))
            }
            Reference::Short(name) => {
                let meant = self.access.registries.resolve_short(name)?;
                let places = meant
                    .iter()
                    .map(|oci| Place::Remote(Source::Oci(oci.to_string())))
                    .collect();
                // Which of several it is, only asking them tells.
                let own = match meant.as_slice() {
                    [only] => Reference::Oci(only.clone()),
                    _ => image.clone(),
                };
                (own.to_string(), own.machine_name(), places, None)
            }
            other => {
                let place = match other {
                    Reference::Catalogue(_) | Reference::Short(_) => {
                        unreachable!("matched above")
                    }
                    Reference::Oci(oci) => Place::Remote(Source::Oci(oci.to_string())),
                    Reference::TarballUrl(url) => Place::Remote(Source::Tarball {
                        url: url.clone(),
                        sha256: None,
                    }),
                    Reference::TarballFile(path) => Place::File(path.clone()),
                    Reference::Directory(path) => Place::Directory(path.clone()),
                };
                (other.to_string(), other.machine_name(), vec![place], None)
            }
        };
        // The name alone would not tell an image of the catalogue from one of a registry.
        let kind = if entry.is_some() {
            "catalogue"
        } else {
            "reference"
        };
        let key = format!(
            "{machine_name}-{}",
            Digest::of(format!("{kind} {name}")).short()
        );
        Ok(Target {
            name,
            machine_name,
            key,
            places,
            entry,
            locked: None,
            as_is: false,
        })
    }

    pub(super) async fn acquire(
        &self,
        target: &Target<'_>,
        options: &PullOptions,
    ) -> Result<(Place, Acquired), ImageError> {
        if options.offline && target.places.iter().all(Place::is_remote) {
            return Err(ImageError::Offline {
                name: target.name.clone(),
                missing: Missing::Image,
            });
        }
        let fetcher = Fetcher {
            store: &self.store,
            access: &self.access,
            platform: options.platform.clone().unwrap_or_else(Platform::native),
            progress: &self.progress,
        };
        let mut tried: Vec<(String, SourceError)> = Vec::new();
        let mut places = target.places.iter().peekable();
        while let Some(place) = places.next() {
            match fetcher.acquire(place).await {
                Ok(acquired) => return Ok((place.clone(), acquired)),
                Err(error) if error.is_unavailable() => {
                    if let Some(next) = places.peek() {
                        let text = format!(
                            "{}: {} cannot be had ({error}), trying {}",
                            target.name,
                            place.describe(),
                            next.describe()
                        );
                        self.progress.report(&Event::Note(text));
                    }
                    tried.push((place.describe(), error));
                }
                Err(source) => {
                    return Err(ImageError::Source {
                        name: target.name.clone(),
                        source,
                    });
                }
            }
        }
        let name = target.name.clone();
        if tried.len() == 1
            && let Some((_, source)) = tried.pop()
        {
            return Err(ImageError::Source { name, source });
        }
        Err(ImageError::NoSource { name, tried })
    }

    /// Publishes the layers, makes the image bootable, and says what it is.
    pub(super) async fn complete(
        &self,
        target: &Target<'_>,
        place: &Place,
        acquired: Acquired,
        options: &PullOptions,
    ) -> Result<(ImageRecord, Holds), ImageError> {
        let Acquired {
            digest,
            config,
            fingerprint,
            layers,
            made,
            locks,
            mut holds,
        } = acquired;
        if let Some(locked) = &target.locked
            && locked.digest != digest
        {
            return Err(ImageError::LockedDiffers {
                name: target.name.clone(),
                what: "it",
                expected: Some(locked.digest),
                found: Some(digest),
            });
        }
        holds.extend(self.store.publish(made).await?);
        drop(locks);
        let provision = if target.as_is {
            None
        } else {
            let provision = self.provision(target, &layers, options, &mut holds);
            provision.await?
        };
        let source = match &target.locked {
            // Without the digest, so that it is the catalogue's.
            Some(locked) => locked.source.clone(),
            None => place.describe(),
        };
        let mut record = ImageRecord {
            name: target.name.clone(),
            machine_name: target.machine_name.clone(),
            origin: place.origin(),
            source,
            digest,
            fingerprint,
            layers,
            provision,
            as_is: target.as_is,
            config,
            platform: options.foreign_platform().cloned(),
            created: now(),
            bytes: 0,
        };
        record.bytes = self.bytes(&record)?;
        Ok((record, holds))
    }

    /// The bytes in the files of all layers.
    fn bytes(&self, record: &ImageRecord) -> Result<u64, ImageError> {
        let mut bytes = 0;
        for id in record.all_layers() {
            bytes += self.store.layer_record(id)?.bytes;
        }
        Ok(bytes)
    }

    /// The lower directories for overlayfs, topmost first. An image may have a layer twice, which
    /// overlayfs refuses: what is in the upper one hides all of the lower.
    pub(super) fn lowers<'a>(&self, layers: impl IntoIterator<Item = &'a LayerId>) -> Vec<PathBuf> {
        let mut lowers: Vec<PathBuf> = Vec::new();
        for id in layers {
            let root = self.store.layer_root(id);
            lowers.retain(|lower| *lower != root);
            lowers.push(root);
        }
        lowers.reverse();
        lowers
    }

    /// The image, held in the store; `None` if a layer of it has gone meanwhile.
    async fn ready(
        &self,
        record: ImageRecord,
        pulled: Pulled,
        target: &Target<'_>,
    ) -> Result<Option<ReadyImage>, ImageError> {
        match self.store.hold(record.all_layers()).await? {
            Some(holds) => self.held(record, pulled, target, holds).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn held(
        &self,
        record: ImageRecord,
        pulled: Pulled,
        target: &Target<'_>,
        holds: Holds,
    ) -> Result<ReadyImage, ImageError> {
        let lowers = if target.as_is {
            self.lowers(&record.layers)
        } else {
            self.lowers(record.all_layers())
        };
        let family = match target.entry {
            Some(entry) => Some(entry.family),
            None => Rootfs::open(&lowers)
                .and_then(|root| provision::family(&root))
                .map_err(|source| StoreError::io(self.store.root(), source))?,
        };
        Ok(ReadyImage {
            packages: family
                .and_then(|family| self.packages(target, family, record.platform.as_ref())),
            name: target.machine_name.clone(),
            lowers,
            family,
            config: record.config.clone(),
            record,
            pulled,
            _holds: Arc::new(holds),
        })
    }
}

/// Makes sure that an image can be asked for, before anything is done for it: that the catalogue
/// has its name, and does not say that it cannot work.
pub fn check(catalogue: &Catalogue, image: &Reference) -> Result<(), ImageError> {
    let Reference::Catalogue(name) = image else {
        return Ok(());
    };
    let entry = entry(catalogue, name)?;
    match &entry.unsupported {
        Some(reason) => Err(ImageError::Unsupported {
            name: entry.name.clone(),
            reason: reason.clone(),
        }),
        None => Ok(()),
    }
}

fn entry<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Entry, ImageError> {
    catalogue.find(name).ok_or_else(|| ImageError::Unknown {
        name: name.to_owned(),
        nearest: catalogue
            .nearest(name)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}

/// Whether two pulls came to the same: whatever was fetched or made was the same again.
fn same_bytes(old: &ImageRecord, new: &ImageRecord) -> bool {
    old.origin == new.origin
        && old.digest == new.digest
        && old.platform == new.platform
        && old.provision == new.provision
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
