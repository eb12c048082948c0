//! Images in local files: OCI layouts, and what `docker save` writes.
//!
//! Both come as a directory or as an archive of one, which may be compressed. They are as little
//! trusted as a registry: documents are bounded in size, and what has a digest must have it. An
//! archive of `docker save` names no digests of its layers, but its config has their diffIDs.

mod files;
mod names;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(in crate::image) use files::Section;
use files::{Files, Kind};
pub use names::{ImportName, NameError};

use super::manifest::{self, DOCUMENT_MAX, Document};
use super::{ImageConfig, OciError, RemoteLayer, same};
use crate::image::digest::Digest;
use crate::image::layer::Compression;
use crate::image::platform::Platform;

/// Why a local image cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that it refers to is not in it.
    #[error("{}: {what} is not in it", path.display())]
    Missing {
        /// The file or directory.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// A document in it is not what it has to be.
    #[error("{}: {source}", path.display())]
    Document {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        source: Box<OciError>,
    },
    /// It cannot be told which image is meant, or how it is called.
    #[error("{}: {source}", path.display())]
    Name {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        source: NameError,
    },
}

impl LocalError {
    /// Whether the disk is full, on which an archive is inflated.
    pub(in crate::image) fn is_full(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if crate::image::layer::is_full(source))
    }
}

/// An image in local files, whose documents have been checked.
#[derive(Debug)]
pub(in crate::image) struct LocalImage {
    /// The digest of the manifest, or of the config where there is no manifest.
    pub(in crate::image) digest: Digest,
    pub(in crate::image) config: ImageConfig,
    /// Bottom first.
    pub(in crate::image) layers: Vec<RemoteLayer>,
    /// The bytes of each.
    pub(in crate::image) blobs: Vec<Section>,
    /// How it is to be called in the store.
    pub(in crate::image) name: ImportName,
}

/// The image at `path`, to be called `wanted` if that is given; `None` if what is there is a root,
/// or the archive of one.
///
/// A compressed archive is inflated in `scratch` for it, which takes long.
pub(in crate::image) fn open(
    path: &Path,
    wanted: Option<ImportName>,
    scratch: &Path,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<LocalImage>, LocalError> {
    let files = Files::open(path, scratch, cancelled);
    let files = files.map_err(|source| LocalError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let Some(files) = files else {
        return Ok(None);
    };
    let bundle = Bundle { path, files };
    match bundle.files.kind() {
        Kind::Layout => bundle.layout(wanted),
        Kind::Docker => bundle.docker(wanted),
    }
    .map(Some)
}

#[derive(Deserialize)]
struct RawIndex {
    manifests: Vec<RawEntry>,
}

#[derive(Deserialize)]
struct RawEntry {
    digest: String,
    #[serde(default)]
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl RawEntry {
    /// What it is called: docker notes the whole name, the specification only knows of a tag.
    fn names(&self) -> Vec<String> {
        let Some(annotations) = &self.annotations else {
            return Vec::new();
        };
        [
            "io.containerd.image.name",
            "org.opencontainers.image.ref.name",
        ]
        .iter()
        .filter_map(|key| annotations.get(*key).cloned())
        .collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawSaved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

struct Bundle<'a> {
    path: &'a Path,
    files: Files,
}

impl Bundle<'_> {
    /// See the [specification](https://github.com/opencontainers/image-spec/blob/main/image-layout.md).
    fn layout(&self, wanted: Option<ImportName>) -> Result<LocalImage, LocalError> {
        let index = self.document("index.json")?;
        let raw: RawIndex = self.json(&index, "manifest")?;
        let names: Vec<Vec<String>> = raw.manifests.iter().map(RawEntry::names).collect();
        let (at, name) = self.name(&names, wanted)?;
        // What is wanted of the entries of any index.
        if !matches!(
            self.wrong(manifest::parse(&index, None))?,
            Document::Index(_)
        ) {
            return Err(self.malformed("manifest", "index.json is no index"));
        }
        let digest =
            self.wrong(Digest::parse(&raw.manifests[at].digest).map_err(OciError::from))?;
        let native = Platform::native();
        let mut body = self.blob_document(&digest, "manifest")?;
        let mut document = self.wrong(manifest::parse(&body, None))?;
        if let Document::Index(inner) = document {
            let chosen = self.wrong(manifest::choose(inner, &native))?;
            body = self.blob_document(&chosen.digest, "manifest")?;
            document = self.wrong(manifest::parse(&body, None))?;
        }
        let Document::Image { config, layers } = document else {
            return Err(self.malformed("manifest", "an index of indexes"));
        };
        let body = self.blob_document(&config.digest, "config")?;
        let parsed = manifest::parse_config(&body, layers.len(), &native);
        let (config, diff_ids) = self.wrong(parsed)?;
        let mut blobs = Vec::new();
        let mut remote = Vec::new();
        for (layer, diff_id) in layers.into_iter().zip(diff_ids) {
            let blob = self.section(&blob_path(&layer.blob.digest))?;
            if blob.size() != layer.blob.size {
                let reason = format!(
                    "layer {} has {} bytes and should have {}",
                    layer.blob.digest,
                    blob.size(),
                    layer.blob.size
                );
                return Err(self.malformed("manifest", &reason));
            }
            blobs.push(blob);
            remote.push(RemoteLayer {
                diff_id,
                digest: layer.blob.digest,
                size: layer.blob.size,
                compression: layer.compression,
            });
        }
        Ok(LocalImage {
            digest,
            config,
            layers: remote,
            blobs,
            name,
        })
    }

    fn docker(&self, wanted: Option<ImportName>) -> Result<LocalImage, LocalError> {
        let body = self.document("manifest.json")?;
        let saved: Vec<RawSaved> = self.json(&body, "manifest")?;
        let names: Vec<Vec<String>> = saved
            .iter()
            .map(|image| image.repo_tags.clone().unwrap_or_default())
            .collect();
        let (at, name) = self.name(&names, wanted)?;
        let image = &saved[at];
        let body = self.document(&image.config)?;
        let digest = Digest::of(&body);
        let stem = image.config.rsplit('/').next().unwrap_or(&image.config);
        let stem = stem.strip_suffix(".json").unwrap_or(stem);
        if let Ok(named) = Digest::parse(&format!("sha256:{stem}")) {
            self.wrong(same(named, digest))?;
        }
        let native = Platform::native();
        let parsed = manifest::parse_config(&body, image.layers.len(), &native);
        let (config, diff_ids) = self.wrong(parsed)?;
        if image.layers.is_empty() || image.layers.len() > manifest::LAYERS_MAX {
            let reason = format!("it has {} layers", image.layers.len());
            return Err(self.malformed("manifest", &reason));
        }
        let mut layers = Vec::new();
        let mut blobs = Vec::new();
        for (path, diff_id) in image.layers.iter().zip(diff_ids) {
            let blob = self.section(path)?;
            let (compression, digest) = self.unreadable(identify(&blob, diff_id))?;
            layers.push(RemoteLayer {
                diff_id,
                digest,
                size: blob.size(),
                compression,
            });
            blobs.push(blob);
        }
        Ok(LocalImage {
            digest,
            config,
            layers,
            blobs,
            name,
        })
    }

    fn name(
        &self,
        names: &[Vec<String>],
        wanted: Option<ImportName>,
    ) -> Result<(usize, ImportName), LocalError> {
        names::choose(names, wanted).map_err(|source| LocalError::Name {
            path: self.path.to_owned(),
            source,
        })
    }

    fn blob_document(&self, digest: &Digest, what: &'static str) -> Result<Vec<u8>, LocalError> {
        let body = self.document(&blob_path(digest))?;
        let found = Digest::of(&body);
        if found != *digest {
            let reason = format!("{digest} has the digest {found}");
            return Err(self.malformed(what, &reason));
        }
        Ok(body)
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, LocalError> {
        let section = self.section(name)?;
        if section.size() > DOCUMENT_MAX {
            let reason = format!("{} has {} bytes", name.escape_debug(), section.size());
            return Err(self.malformed("manifest", &reason));
        }
        let mut body = Vec::new();
        self.unreadable(section.reader().read_to_end(&mut body))?;
        Ok(body)
    }

    fn section(&self, name: &str) -> Result<Section, LocalError> {
        let found = self.unreadable(self.files.get(name))?;
        found.ok_or_else(|| LocalError::Missing {
            path: self.path.to_owned(),
            what: name.escape_debug().to_string(),
        })
    }

    fn json<T: for<'de> Deserialize<'de>>(
        &self,
        body: &[u8],
        what: &'static str,
    ) -> Result<T, LocalError> {
        serde_json::from_slice(body).map_err(|error| self.malformed(what, &error.to_string()))
    }

    fn malformed(&self, what: &'static str, reason: &str) -> LocalError {
        let source = Box::new(OciError::Malformed {
            what,
            reason: reason.to_owned(),
        });
        LocalError::Document {
            path: self.path.to_owned(),
            source,
        }
    }

    fn wrong<T>(&self, outcome: Result<T, OciError>) -> Result<T, LocalError> {
        outcome.map_err(|source| LocalError::Document {
            path: self.path.to_owned(),
            source: Box::new(source),
        })
    }

    fn unreadable<T>(&self, outcome: io::Result<T>) -> Result<T, LocalError> {
        outcome.map_err(|source| LocalError::Unreadable {
            path: self.path.to_owned(),
            source,
        })
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// How a layer of `docker save` is compressed, which mostly it is not, and its digest as it is.
fn identify(blob: &Section, diff_id: Digest) -> io::Result<(Compression, Digest)> {
    let mut start = Vec::new();
    blob.reader().take(6).read_to_end(&mut start)?;
    match Compression::sniff(&start) {
        Compression::Plain => Ok((Compression::Plain, diff_id)),
        packed => {
            let mut hashing = crate::image::digest::Hashing::new(blob.reader());
            io::copy(&mut hashing, &mut io::sink())?;
            Ok((packed, hashing.into_parts().1.0))
        }
    }
}
