//! From one source to layers that are whole and still below the store's `tmp`.

mod layered;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access::Access;
use super::bootstrap::{BootstrapError, bootstrap};
use super::catalogue::{Bootstrap, Source};
use super::digest::Digest;
use super::directory::{self, DirectoryError};
use super::error::SourceError;
use super::http::FetchError;
use super::layer::{self, Feed, Job, LayerError, Limits, Memory, Options, Unpacked, blocking};
use super::oci::local::LocalImage;
use super::oci::{ImageConfig, OciError, RemoteImage};
use super::platform::Platform;
use super::reference::OciReference;
use super::rootfs::Rootfs;
use super::store::{
    Holds, LayerId, LayerRecord, Lock, MadeLayer, Origin, Scratch, Store, StoreError,
};
use super::tarball::{self, TarballError, Validators, Watched};
use crate::progress::{SharedProgress, Step};
use layered::Layered;

/// One place that an image can be had from.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Remote(Source),
    File(PathBuf),
    Directory(PathBuf),
    /// What is imported under another name.
    Import(PathBuf, Import),
}

/// What is imported.
#[derive(Debug, Clone)]
pub(super) enum Import {
    /// The archive of a root.
    Archive,
    /// A tree.
    Tree,
    /// An image with its layers.
    Image(Arc<LocalImage>),
}

impl Place {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Remote(Source::Oci(_)) => Origin::Oci,
            Self::Remote(Source::Tarball { .. }) | Self::File(_) => Origin::Tarball,
            Self::Remote(Source::Bootstrap(_)) => Origin::Bootstrap,
            Self::Directory(_) => Origin::Directory,
            Self::Import(..) => Origin::Import,
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
            Self::File(path) | Self::Directory(path) | Self::Import(path, _) => {
                path.display().to_string()
            }
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
    pub(super) platform: Platform,
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
            Place::File(path) | Place::Import(path, Import::Archive) => self.file(path).await,
            Place::Directory(path) | Place::Import(path, Import::Tree) => {
                self.directory(path).await
            }
            Place::Import(path, Import::Image(image)) => {
                let name = path.display().to_string();
                self.layered(&Layered::Local(image), &name).await
            }
        }
    }

    async fn oci(&self, reference: &OciReference) -> Result<Acquired, SourceError> {
        let step = Step::start(self.progress, format!("look up {reference}"), None);
        let image = RemoteImage::find(reference, self.access, &self.platform).await?;
        step.finish();
        self.layered(&Layered::Remote(&image), &reference.to_string())
            .await
    }

    async fn url(&self, url: &str, sha256: Option<&str>) -> Result<Acquired, SourceError> {
        let shown = tarball::shown(url);
        let step = Step::start(self.progress, format!("fetch {shown}"), None);
        let (unpacking, feed) = self.unpack(rootfs())?;
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
        let unpacking = self.read(file, rootfs(), Arc::clone(&step))?;
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
        let title = match entry {
            Bootstrap::Debian(debian) => format!("bootstrap {} with mmdebstrap", debian.suite),
            entry => format!("bootstrap from {entry}"),
        };
        let step = Step::start(self.progress, title, None);
        let temporary = self.store.scratch()?;
        let (unpacking, feed) = self.unpack(rootfs())?;
        let fetched = bootstrap(entry, temporary.path(), &feed, &step).await;
        drop(feed);
        let name = match entry {
            Bootstrap::Debian(debian) => format!("mmdebstrap {}", debian.suite),
            entry => entry.to_string(),
        };
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
            let cancelled = || cancel.load(Ordering::Relaxed);
            // Taken before: a change during the copy then leads to another copy, not to a wrong one.
            let fingerprint = directory::fingerprint(&from, &cancelled)?;
            let listed = layer::copy_tree(&from, &to, &listing, cancel)
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
                record: LayerRecord::made_here(path.display().to_string(), &listed),
            }],
            locks: Vec::new(),
            holds: Holds::default(),
        })
    }

    pub(super) fn layer_scratch(&self) -> Result<Scratch, StoreError> {
        let scratch = self.store.scratch()?;
        let root = scratch.path().join("root");
        std::fs::create_dir(&root).map_err(|source| StoreError::io(root, source))?;
        Ok(scratch)
    }

    /// Unpacks what is read from a local file.
    fn read(
        &self,
        inner: impl std::io::Read + Send + 'static,
        options: Options,
        step: Arc<Step>,
    ) -> Result<Unpacking, StoreError> {
        let scratch = self.layer_scratch()?;
        let root = scratch.path().join("root");
        let reader = Watched { inner, step };
        let job = Job::start(move |cancel| layer::unpack(reader, &root, &options, cancel))
            .map_err(|source| StoreError::io(scratch.path(), source))?;
        Ok(Unpacking { job, scratch })
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
fn rootfs() -> Options {
    Options {
        compression: None,
        whiteouts: false,
        limits: Limits::DEFAULT,
        memory: Memory::default(),
    }
}

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
    let (archive, root) = (unpacked.archive, unpacked.root);
    let listing = MadeLayer::listing(&scratch);
    let settled = blocking(move |cancel| {
        let lower = Rootfs::open(&lowers).map_err(|source| LayerError::Write {
            path: Vec::new(),
            source,
        })?;
        unpacked.settle(&lower, &listing, cancel)
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
        root,
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
    // Not the layer of an image with the same bytes: `.wh.` means nothing here.
    let id = LayerId::derived(Digest::of(format!("tarball {}", archive.diff_id)));
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
