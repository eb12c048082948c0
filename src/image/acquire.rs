//! From one source to layers that are whole and still below the store's `tmp`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::try_join_all;

use super::access::Access;
use super::bootstrap::{BootstrapError, bootstrap};
use super::catalogue::{Bootstrap, Source};
use super::digest::Digest;
use super::directory::{self, DirectoryError};
use super::error::SourceError;
use super::http::FetchError;
use super::layer::{self, Feed, Job, LayerError, Limits, Options, Unpacked, blocking};
use super::oci::{ImageConfig, OciError, RemoteImage, RemoteLayer};
use super::reference::OciReference;
use super::rootfs::Rootfs;
use super::store::{
    Holds, LayerId, LayerRecord, Lock, MadeLayer, Origin, Scratch, Store, StoreError,
};
use super::tarball::{self, TarballError, Validators, Watched};
use crate::progress::{Event, SharedProgress, Step};

/// One place that an image can be had from.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Remote(Source),
    File(PathBuf),
    Directory(PathBuf),
}

impl Place {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Remote(Source::Oci(_)) => Origin::Oci,
            Self::Remote(Source::Tarball { .. }) | Self::File(_) => Origin::Tarball,
            Self::Remote(Source::Bootstrap(_)) => Origin::Bootstrap,
            Self::Directory(_) => Origin::Directory,
        }
    }

    /// Whether it is reached over the network.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// The same place, where the image is to be had by this digest: what a registry has can be asked
    /// for by it.
    pub(super) fn at(self, digest: &Digest) -> Self {
        match self {
            Self::Remote(Source::Oci(reference)) => {
                let name = reference
                    .split_once('@')
                    .map_or(&*reference, |(name, _)| name);
                Self::Remote(Source::Oci(format!("{name}@{digest}")))
            }
            Self::Remote(Source::Tarball { url, .. }) => Self::Remote(Source::Tarball {
                url,
                sha256: Some(digest.hex()),
            }),
            place => place,
        }
    }

    /// How a message names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Remote(source) => source.to_string(),
            Self::File(path) | Self::Directory(path) => path.display().to_string(),
        }
    }
}

/// An image that has been fetched.
pub(super) struct Acquired {
    pub(super) digest: Digest,
    pub(super) config: ImageConfig,
    pub(super) fingerprint: Option<String>,
    /// All its layers, bottom first.
    pub(super) layers: Vec<LayerId>,
    /// Those of them that are not in the store yet.
    pub(super) made: Vec<MadeLayer>,
    /// Held until those are.
    pub(super) locks: Vec<Lock>,
    /// Keeps those that are where they are.
    pub(super) holds: Holds,
}

/// What fetching needs besides the place.
pub(super) struct Fetcher<'a> {
    pub(super) store: &'a Store,
    pub(super) access: &'a Access,
    pub(super) progress: &'a SharedProgress,
}

/// An unpacking with the directory that it goes to. The job is the first field: it has to have
/// ended before the directory is removed.
struct Unpacking {
    job: Job<Result<Unpacked, LayerError>>,
    scratch: Scratch,
}

/// An archive that is unpacked but may still need the layers below it.
struct Loose {
    unpacked: Unpacked,
    scratch: Scratch,
}

impl Fetcher<'_> {
    /// Fetches an image.
    pub(super) async fn acquire(&self, place: &Place) -> Result<Acquired, SourceError> {
        match place {
            Place::Remote(Source::Oci(reference)) => {
                self.oci(&OciReference::parse(reference)?).await
            }
            Place::Remote(Source::Tarball { url, sha256 }) => {
                self.url(url, sha256.as_deref()).await
            }
            Place::Remote(Source::Bootstrap(entry)) => self.bootstrap(entry).await,
            Place::File(path) => self.file(path).await,
            Place::Directory(path) => self.directory(path).await,
        }
    }

    async fn oci(&self, reference: &OciReference) -> Result<Acquired, SourceError> {
        let step = Step::start(self.progress, format!("look up {reference}"), None);
        let image = RemoteImage::find(reference, self.access).await?;
        step.finish();

        let chains: Vec<Digest> = image
            .layers
            .iter()
            .scan(None, |below, layer| {
                let chain = Digest::chain(below.as_ref(), &layer.diff_id);
                *below = Some(chain);
                Some(chain)
            })
            .collect();
        let names = |at: usize| {
            [
                LayerId::diff(image.layers[at].diff_id),
                LayerId::chain(chains[at]),
            ]
        };
        let there = |at: usize| names(at).iter().any(|id| self.store.has_layer(id));
        let locks = self.lock_layers(&image.layers, there).await?;
        let mut holds = Holds::default();
        let mut known: Vec<Option<LayerId>> = Vec::new();
        for at in 0..image.layers.len() {
            let mut found = None;
            for id in names(at) {
                if let Some(hold) = self.store.hold([&id]).await? {
                    holds.extend(hold);
                    found = Some(id);
                    break;
                }
            }
            known.push(found);
        }

        let missing: BTreeSet<usize> = (0..image.layers.len())
            .filter(|at| known[*at].is_none())
            // The same layer may be listed twice, such as an empty one.
            .filter(|at| {
                let same = |layer: &RemoteLayer| layer.diff_id == image.layers[*at].diff_id;
                image.layers.iter().position(same) == Some(*at)
            })
            .collect();
        let fetches = missing.iter().map(|at| self.remote_layer(&image, *at));
        let mut loose = missing
            .iter()
            .copied()
            .zip(try_join_all(fetches).await?)
            .collect::<std::collections::BTreeMap<usize, Loose>>();

        // From the bottom up: a layer may need what lies below it.
        let mut layers: Vec<LayerId> = Vec::new();
        let mut roots: Vec<PathBuf> = Vec::new();
        let mut made: Vec<MadeLayer> = Vec::new();
        for (at, layer) in image.layers.iter().enumerate() {
            let id = if let Some(loose) = loose.remove(&at) {
                let id = if loose.unpacked.needs_lower() {
                    LayerId::chain(chains[at])
                } else {
                    LayerId::diff(layer.diff_id)
                };
                let names = Names {
                    layer: layer.digest.to_string(),
                    made_from: format!("{reference} {}", layer.digest),
                };
                let lowers = roots.iter().rev().cloned().collect();
                made.push(settle(loose, id.clone(), lowers, names).await?);
                id
            } else {
                let twin = image.layers[..at]
                    .iter()
                    .position(|twin| twin.diff_id == layer.diff_id)
                    .map(|twin| layers[twin].clone());
                match known[at].clone().or(twin) {
                    Some(id) => id,
                    None => unreachable!("a layer is known, fetched or a twin of one"),
                }
            };
            roots.push(match made.iter().find(|made| made.id == id) {
                Some(made) => made.root(),
                None => self.store.layer_root(&id),
            });
            layers.push(id);
        }
        Ok(Acquired {
            digest: image.digest,
            config: image.config,
            fingerprint: None,
            layers,
            made,
            locks,
            holds,
        })
    }

    /// Locks the layers that are to be made, always in the same order, so that two runs that need
    /// the same ones never wait for each other in a circle.
    async fn lock_layers(
        &self,
        layers: &[RemoteLayer],
        there: impl Fn(usize) -> bool,
    ) -> Result<Vec<Lock>, StoreError> {
        let wanted: BTreeSet<Digest> = (0..layers.len())
            .filter(|at| !there(*at))
            .map(|at| layers[at].diff_id)
            .collect();
        let mut locks = Vec::new();
        for digest in wanted {
            let name = format!("layer-{}", digest.hex());
            let waiting = || {
                let text = format!(
                    "waiting for another postroj that fetches layer {}",
                    digest.short()
                );
                self.progress.report(&Event::Note(text));
            };
            locks.push(self.store.lock_exclusive(&name, waiting).await?);
        }
        Ok(locks)
    }

    async fn remote_layer(&self, image: &RemoteImage, at: usize) -> Result<Loose, SourceError> {
        let layer = &image.layers[at];
        let step = Step::start(
            self.progress,
            format!("pull layer {}", layer.digest.short()),
            Some(layer.size),
        );
        let options = Options {
            compression: Some(layer.compression),
            whiteouts: true,
            limits: Limits::default(),
        };
        let (unpacking, feed) = self.unpack(options)?;
        let fetched = image.fetch(layer, &feed, &step).await;
        drop(feed);
        let fetched = fetched.map_err(OciError::from);
        let loose = unpacking.finish(fetched, &layer.digest.to_string()).await?;
        let wrong = |what, found: Digest, expected: Digest| SourceError::WrongLayer {
            layer: layer.digest.to_string(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        };
        let archive = loose.unpacked.archive;
        if archive.blob != layer.digest {
            return Err(wrong("digest", archive.blob, layer.digest));
        }
        if archive.diff_id != layer.diff_id {
            return Err(wrong("diffID", archive.diff_id, layer.diff_id));
        }
        step.finish();
        Ok(loose)
    }

    async fn url(&self, url: &str, sha256: Option<&str>) -> Result<Acquired, SourceError> {
        let shown = tarball::shown(url);
        let step = Step::start(self.progress, format!("fetch {shown}"), None);
        let (unpacking, feed) = self.unpack(ROOTFS)?;
        let mut validators = Validators::default();
        let fetched = tarball::fetch(url, &feed, &step, self.access.patience)
            .await
            .map(|found| validators = found);
        drop(feed);
        let loose = unpacking
            .finish(fetched.map_err(TarballError::from), &shown)
            .await?;
        let found = loose.unpacked.archive.blob;
        if let Some(expected) = sha256
            && expected.trim_start_matches("sha256:") != found.hex()
        {
            return Err(SourceError::Tarball(TarballError::WrongDigest {
                url: shown,
                expected: expected.to_owned(),
                found,
            }));
        }
        step.finish();
        single(loose, shown, validators.to_text()).await
    }

    async fn file(&self, path: &Path) -> Result<Acquired, SourceError> {
        let (file, size, fingerprint) = tarball::open(path)?;
        let step = Step::start(
            self.progress,
            format!("unpack {}", path.display()),
            Some(size),
        );
        let step = Arc::new(step);
        let scratch = self.layer_scratch()?;
        let root = scratch.path().join("root");
        let reader = Watched {
            inner: file,
            step: Arc::clone(&step),
        };
        let job = Job::start(move |cancel| layer::unpack(reader, &root, &ROOTFS, cancel));
        let job = job.map_err(|source| StoreError::io(path, source))?;
        let unpacking = Unpacking { job, scratch };
        let name = path.display().to_string();
        let unpacked = unpacking.finish(Ok::<_, SourceError>(()), &name).await;
        let loose = unpacked.map_err(|error| match error {
            SourceError::Layer {
                source:
                    source @ (LayerError::Archive { .. }
                    | LayerError::Refused { .. }
                    | LayerError::TooLarge { .. }),
                ..
            } => SourceError::Tarball(TarballError::Malformed {
                path: path.to_owned(),
                source,
            }),
            error => error,
        })?;
        let acquired = single(loose, name, Some(fingerprint)).await?;
        if let Some(step) = Arc::into_inner(step) {
            step.finish();
        }
        Ok(acquired)
    }

    async fn bootstrap(&self, entry: &Bootstrap) -> Result<Acquired, SourceError> {
        let title = format!("bootstrap {} with mmdebstrap", entry.suite);
        let step = Step::start(self.progress, title, None);
        let temporary = self.store.scratch()?;
        let (unpacking, feed) = self.unpack(ROOTFS)?;
        let fetched = bootstrap(entry, temporary.path(), &feed, &step).await;
        drop(feed);
        let name = format!("mmdebstrap {}", entry.suite);
        let loose = unpacking.finish(fetched, &name).await?;
        step.finish();
        single(loose, name, Some(entry.fingerprint())).await
    }

    async fn directory(&self, path: &Path) -> Result<Acquired, SourceError> {
        let step = Step::start(self.progress, format!("copy {}", path.display()), None);
        let scratch = self.layer_scratch()?;
        let (from, to) = (path.to_owned(), scratch.path().join("root"));
        let listing = MadeLayer::listing(&scratch);
        let copied = blocking(move |cancel| {
            let cancelled = || cancel.load(std::sync::atomic::Ordering::Relaxed);
            // Taken before: a change during the copy then leads to another copy, not to a wrong one.
            let fingerprint = directory::fingerprint(&from, &cancelled)?;
            let listed = layer::copy_tree(&from, &to, &cancelled)
                .and_then(|()| layer::record(&to, &listing, cancel))
                .map_err(|source| DirectoryError { path: from, source })?;
            Ok::<_, DirectoryError>((fingerprint, listed))
        })
        .await;
        let (fingerprint, listed) = copied.map_err(|source| StoreError::io(path, source))??;
        step.finish();
        let id = LayerId::derived(fingerprint);
        Ok(Acquired {
            digest: fingerprint,
            config: ImageConfig::default(),
            fingerprint: Some(fingerprint.to_string()),
            layers: vec![id.clone()],
            made: vec![MadeLayer {
                id,
                scratch,
                record: LayerRecord {
                    diff_id: None,
                    blob: None,
                    made_from: path.display().to_string(),
                    entries: listed.entries,
                    bytes: listed.bytes,
                    inputs: None,
                    content: None,
                    listing: Some(listed.digest),
                },
            }],
            locks: Vec::new(),
            holds: Holds::default(),
        })
    }

    fn layer_scratch(&self) -> Result<Scratch, StoreError> {
        let scratch = self.store.scratch()?;
        let root = scratch.path().join("root");
        std::fs::create_dir(&root).map_err(|source| StoreError::io(root, source))?;
        Ok(scratch)
    }

    fn unpack(&self, options: Options) -> Result<(Unpacking, Feed), StoreError> {
        let scratch = self.layer_scratch()?;
        let root = scratch.path().join("root");
        let (job, feed) =
            Job::fed(move |reader, cancel| layer::unpack(reader, &root, &options, cancel))
                .map_err(|source| StoreError::io(scratch.path(), source))?;
        Ok((Unpacking { job, scratch }, feed))
    }
}

/// The archive of a whole root, where `.wh.` is a name like any other.
const ROOTFS: Options = Options {
    compression: None,
    whiteouts: false,
    limits: Limits::DEFAULT,
};

/// Whether a failure to feed only says that the other side has failed.
trait Unwanted {
    fn is_unwanted(&self) -> bool;
}

impl Unwanted for OciError {
    fn is_unwanted(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Unwanted { .. }))
    }
}

impl Unwanted for TarballError {
    fn is_unwanted(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Unwanted { .. }))
    }
}

impl Unwanted for BootstrapError {
    fn is_unwanted(&self) -> bool {
        matches!(self, Self::Unwanted)
    }
}

impl Unwanted for SourceError {
    fn is_unwanted(&self) -> bool {
        false
    }
}

impl Unpacking {
    /// Waits for the thread; of two failures, tells the one that caused the other.
    async fn finish<E>(self, fed: Result<(), E>, name: &str) -> Result<Loose, SourceError>
    where
        E: Unwanted,
        SourceError: From<E>,
    {
        match fed {
            Err(error) if !error.is_unwanted() => return Err(error.into()),
            _ => {}
        }
        let wrap = |source| SourceError::Layer {
            layer: name.to_owned(),
            source,
        };
        match self.job.outcome().await {
            Some(Ok(unpacked)) => Ok(Loose {
                unpacked,
                scratch: self.scratch,
            }),
            Some(Err(error)) => Err(wrap(error)),
            None => Err(wrap(LayerError::Interrupted)),
        }
    }
}

/// What a layer is called.
struct Names {
    /// In an error.
    layer: String,
    /// In its record.
    made_from: String,
}

/// Completes a layer with what it needs from the ones below it, topmost first.
async fn settle(
    loose: Loose,
    id: LayerId,
    lowers: Vec<PathBuf>,
    names: Names,
) -> Result<MadeLayer, SourceError> {
    let Loose { unpacked, scratch } = loose;
    let archive = unpacked.archive;
    let (root, listing) = (scratch.path().join("root"), MadeLayer::listing(&scratch));
    let settled = blocking(move |cancel| {
        let lower = Rootfs::open(&lowers).map_err(|source| LayerError::Write {
            path: Vec::new(),
            source,
        })?;
        unpacked.settle(&lower)?;
        layer::record(&root, &listing, cancel).map_err(|source| LayerError::Write {
            path: Vec::new(),
            source,
        })
    })
    .await;
    let listed = settled
        .map_err(|source| StoreError::io(scratch.path(), source))?
        .map_err(|source| SourceError::Layer {
            layer: names.layer,
            source,
        })?;
    let record = LayerRecord {
        diff_id: Some(archive.diff_id),
        blob: Some(archive.blob),
        made_from: names.made_from,
        entries: listed.entries,
        bytes: listed.bytes,
        inputs: None,
        content: None,
        listing: Some(listed.digest),
    };
    Ok(MadeLayer {
        id,
        scratch,
        record,
    })
}

/// An image of one layer.
async fn single(
    loose: Loose,
    made_from: String,
    fingerprint: Option<String>,
) -> Result<Acquired, SourceError> {
    let archive = loose.unpacked.archive;
    let id = if loose.unpacked.needs_lower() {
        LayerId::chain(archive.diff_id)
    } else {
        LayerId::diff(archive.diff_id)
    };
    let names = Names {
        layer: made_from.clone(),
        made_from,
    };
    let made = settle(loose, id.clone(), Vec::new(), names).await?;
    Ok(Acquired {
        digest: archive.blob,
        config: ImageConfig::default(),
        fingerprint,
        layers: vec![id],
        made: vec![made],
        locks: Vec::new(),
        holds: Holds::default(),
    })
}
