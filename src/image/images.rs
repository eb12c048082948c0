//! The façade: from a reference to an image that is ready to boot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::acquire::{Acquired, Fetcher, Place};
use super::catalogue::{Catalogue, Entry, Family, Provision, Source, SourceKind};
use super::digest::Digest;
use super::directory;
use super::error::{ImageError, SourceError, word};
use super::layer::blocking;
use super::oci::ImageConfig;
use super::provision::{self, Readiness};
use super::reference::Reference;
use super::registries::Registries;
use super::rootfs::Rootfs;
use super::store::{
    Holds, ImageRecord, LayerId, LayerRecord, MadeLayer, Origin, Store, StoreError,
};
use super::tarball;
use crate::machine::{Build, build};
use crate::progress::{Event, SharedProgress, Step};

/// How an image is to be pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullOptions {
    /// Whether to ask the source although the image is in the store.
    pub force: bool,
    /// The one kind of source to take, of those that the catalogue lists.
    pub source: Option<SourceKind>,
}

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
    /// Its layers are not removed from the store while somebody has this.
    _holds: Arc<Holds>,
}

/// The images: the catalogue, the store and what leads from one to the other.
pub struct Images {
    store: Store,
    catalogue: Catalogue,
    registries: Registries,
    progress: SharedProgress,
}

/// What a reference stands for.
struct Target<'a> {
    name: String,
    machine_name: String,
    key: String,
    places: Vec<Place>,
    entry: Option<&'a Entry>,
}

impl Images {
    /// Opens the store below `state_dir`.
    pub fn open(
        state_dir: &Path,
        catalogue: Catalogue,
        registries: Registries,
        progress: SharedProgress,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            store: Store::open(state_dir)?,
            catalogue,
            registries,
            progress,
        })
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
            Some(record) => self.ready(record, &target).await,
            None => Ok(None),
        }
    }

    /// The image from the store, or else pulled. A local file or directory that has changed is
    /// taken anew.
    pub async fn get_or_pull(&self, image: &Reference) -> Result<ReadyImage, ImageError> {
        self.pull(image, &PullOptions::default()).await
    }

    /// Gets the image into the store, ready to boot, unless it is there already.
    ///
    /// The sources are tried in the catalogue's order. One that cannot be reached is passed over
    /// and noted; one that answers something wrong ends the pull. Dropping the future ends all
    /// work and removes what was done so far, except whole layers.
    pub async fn pull(
        &self,
        image: &Reference,
        options: &PullOptions,
    ) -> Result<ReadyImage, ImageError> {
        check(&self.catalogue, image)?;
        let mut target = self.target(image)?;
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
        if let Err(error) = self.store.sweep().await {
            tracing::debug!(%error, "cannot sweep");
        }
        if !options.force
            && let Some(record) = self.current(&target, options).await?
            && let Some(image) = self.ready(record, &target).await?
        {
            return Ok(image);
        }
        let name = target.name.clone();
        let waiting = || {
            let text = format!("{name}: waiting for another postroj that pulls it");
            self.progress.report(&Event::Note(text));
        };
        let before = now();
        let lock = format!("image-{}", target.key);
        let _lock = self.store.lock_exclusive(&lock, waiting).await?;
        // Whoever had the lock may have done our work.
        if let Some(record) = self.current(&target, options).await?
            && (!options.force || record.created > before)
            && let Some(image) = self.ready(record, &target).await?
        {
            return Ok(image);
        }
        let (place, acquired) = self.acquire(&target).await?;
        let (record, holds) = self.complete(&target, &place, acquired).await?;
        self.store.put_image(&target.key, &record)?;
        self.held(record, &target, holds)
    }

    /// What the record of an image is found by.
    pub(super) fn key(&self, image: &Reference) -> Result<String, ImageError> {
        Ok(self.target(image)?.key)
    }

    /// Tells what a reference stands for.
    fn target(&self, image: &Reference) -> Result<Target<'_>, ImageError> {
        let (name, machine_name, places, entry) = match image {
            Reference::Catalogue(name) => {
                let entry = entry(&self.catalogue, name)?;
                let places = entry.sources.iter().cloned().map(Place::Remote).collect();
                let own = Reference::Catalogue(entry.name.clone());
                (entry.name.clone(), own.machine_name(), places, Some(entry))
            }
            other => {
                let place = match other {
                    Reference::Catalogue(_) => unreachable!("matched above"),
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
        })
    }

    /// The record in the store, if it is what a pull with these options would lead to.
    async fn current(
        &self,
        target: &Target<'_>,
        options: &PullOptions,
    ) -> Result<Option<ImageRecord>, ImageError> {
        let Some(record) = self.store.image(&target.key)? else {
            return Ok(None);
        };
        if let Some(kind) = options.source {
            let wanted = match kind {
                SourceKind::Oci => Origin::Oci,
                SourceKind::Tarball => Origin::Tarball,
                SourceKind::Bootstrap => Origin::Bootstrap,
            };
            if record.origin != wanted {
                return Ok(None);
            }
        }
        let wrong = |source: SourceError| ImageError::Source {
            name: target.name.clone(),
            source,
        };
        let fingerprint = match target.places.first() {
            Some(Place::File(path)) => {
                Some(tarball::open(path).map_err(|error| wrong(error.into()))?.2)
            }
            Some(Place::Directory(path)) => {
                let root = path.clone();
                let taken = blocking(move |cancel| {
                    let cancelled = || cancel.load(std::sync::atomic::Ordering::Relaxed);
                    directory::fingerprint(&root, &cancelled)
                })
                .await
                .map_err(|source| StoreError::io(path, source))?;
                Some(taken.map_err(|error| wrong(error.into()))?.to_string())
            }
            _ => None,
        };
        Ok((record.fingerprint == fingerprint).then_some(record))
    }

    async fn acquire(&self, target: &Target<'_>) -> Result<(Place, Acquired), ImageError> {
        let fetcher = Fetcher {
            store: &self.store,
            registries: &self.registries,
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
    async fn complete(
        &self,
        target: &Target<'_>,
        place: &Place,
        acquired: Acquired,
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
        holds.extend(self.store.publish(made).await?);
        drop(locks);
        let provision = self.provision(target, &layers, &mut holds).await?;
        let mut bytes = 0;
        for id in layers.iter().chain(&provision) {
            bytes += self.store.layer_record(id)?.bytes;
        }
        let record = ImageRecord {
            name: target.name.clone(),
            machine_name: target.machine_name.clone(),
            origin: place.origin(),
            source: place.describe(),
            digest,
            fingerprint,
            layers,
            provision,
            config,
            created: now(),
            bytes,
        };
        Ok((record, holds))
    }

    /// Makes the layer that makes the image bootable, if it needs one that is not there yet.
    async fn provision(
        &self,
        target: &Target<'_>,
        layers: &[LayerId],
        holds: &mut Holds,
    ) -> Result<Option<LayerId>, ImageError> {
        let lowers = self.lowers(layers);
        let look = |source| StoreError::io(self.store.root(), source);
        let root = Rootfs::open(&lowers).map_err(look)?;
        let has_recipe = target
            .entry
            .is_some_and(|entry| entry.provision != Provision::default());
        let lacks = match provision::readiness(&root).map_err(look)? {
            Readiness::Lacks(lacks) => lacks,
            // It boots; what it installs packages from may still have to be mended.
            Readiness::Ready if has_recipe => "what the catalogue adds",
            Readiness::Ready => return Ok(None),
        };
        let family = match target.entry {
            Some(entry) => Some(entry.family),
            None => provision::family(&root).map_err(look)?,
        };
        let Some(family) = family else {
            return Err(ImageError::NotBootable {
                name: target.name.clone(),
                lacks,
            });
        };
        let plain = Provision::default();
        let script = provision::script(
            family,
            target.entry.map_or(&plain, |entry| &entry.provision),
        );
        let id = provision::layer_id(&script, layers);
        let name = target.name.clone();
        let waiting = || {
            let text = format!("{name}: waiting for another postroj that makes it bootable");
            self.progress.report(&Event::Note(text));
        };
        let _lock = self
            .store
            .lock_exclusive(&format!("layer-{id}"), waiting)
            .await?;
        if let Some(hold) = self.store.hold([&id]).await? {
            holds.extend(hold);
            return Ok(Some(id));
        }
        let step = Step::start(
            &self.progress,
            format!("make {} bootable (it lacks {lacks})", target.name),
            None,
        );
        let scratch = self.store.scratch()?;
        let (upper, work) = (scratch.path().join("root"), scratch.path().join("work"));
        for path in [&upper, &work] {
            std::fs::create_dir(path).map_err(|source| StoreError::io(path, source))?;
        }
        let mode = rustix::fs::Mode::from_raw_mode(provision::root_mode(&root).map_err(look)?);
        rustix::fs::chmod(&upper, mode).map_err(|source| StoreError::io(&upper, source))?;
        let output = build(Build {
            image: &target.machine_name,
            lowers: &lowers,
            upper: &upper,
            work: &work,
            script: &script,
            timeout: provision::TIMEOUT,
        })
        .await
        .map_err(|source| ImageError::Provision {
            name: target.name.clone(),
            source: Box::new(source),
        })?;
        tracing::debug!(image = target.name, "{output}");
        let below = upper.clone();
        let measured = blocking(move |_| {
            provision::scrub(&below)?;
            std::fs::remove_dir_all(&work)?;
            provision::measure(&below)
        })
        .await;
        let (entries, bytes) = measured
            .and_then(|outcome| outcome)
            .map_err(|source| StoreError::io(&upper, source))?;
        let record = LayerRecord {
            diff_id: None,
            blob: None,
            made_from: format!("the {family} recipe for {}", target.name),
            entries,
            bytes,
        };
        let layer = MadeLayer {
            id: id.clone(),
            scratch,
            record,
        };
        holds.extend(self.store.publish(vec![layer]).await?);
        step.finish();
        Ok(Some(id))
    }

    /// The lower directories for overlayfs, topmost first. An image may have a layer twice, which
    /// overlayfs refuses: what is in the upper one hides all of the lower.
    fn lowers<'a>(&self, layers: impl IntoIterator<Item = &'a LayerId>) -> Vec<PathBuf> {
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
        target: &Target<'_>,
    ) -> Result<Option<ReadyImage>, ImageError> {
        match self.store.hold(record.all_layers()).await? {
            Some(holds) => self.held(record, target, holds).map(Some),
            None => Ok(None),
        }
    }

    fn held(
        &self,
        record: ImageRecord,
        target: &Target<'_>,
        holds: Holds,
    ) -> Result<ReadyImage, ImageError> {
        let lowers = self.lowers(record.all_layers());
        let family = match target.entry {
            Some(entry) => Some(entry.family),
            None => Rootfs::open(&lowers)
                .and_then(|root| provision::family(&root))
                .map_err(|source| StoreError::io(self.store.root(), source))?,
        };
        Ok(ReadyImage {
            name: target.machine_name.clone(),
            lowers,
            family,
            config: record.config.clone(),
            record,
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

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
