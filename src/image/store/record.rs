//! Records of images.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{LayerId, Scratch, StoreError};
use crate::image::digest::Digest;
use crate::image::oci::ImageConfig;
use crate::image::platform::Platform;

/// What kind of source an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A registry.
    Oci,
    /// A tarball, from a URL or a file.
    Tarball,
    /// The package mirror of the distribution.
    Bootstrap,
    /// A local directory.
    Directory,
    /// A local file or directory, of which nothing is known any more but the name it was given.
    Import,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Oci => "oci",
            Self::Tarball => "tarball",
            Self::Bootstrap => "bootstrap",
            Self::Directory => "directory",
            Self::Import => "import",
        })
    }
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// As the user names it: `debian-bookworm`, `docker.io/library/debian:bookworm`, a URL, a path.
    pub name: String,
    /// A host name made from that.
    pub machine_name: String,
    /// What kind of source it came from.
    pub origin: Origin,
    /// Where exactly it came from.
    pub source: String,
    /// The digest of the manifest, of the tarball, or of a directory's listing.
    pub digest: Digest,
    /// What the local file or directory looked like when it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The layers as they came, bottom first.
    pub layers: Vec<LayerId>,
    /// The layer on top that makes it bootable, if it was not.
    pub provision: Option<LayerId>,
    /// Whether nobody has made it bootable yet: it was taken as it came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_is: bool,
    /// What its source says about running it.
    #[serde(default)]
    pub config: ImageConfig,
    /// What it is for, if not for this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// When it was taken, in seconds since 1970.
    pub created: u64,
    /// The bytes in the files of all its layers.
    pub bytes: u64,
}

impl ImageRecord {
    /// All layers, bottom first.
    pub fn all_layers(&self) -> impl Iterator<Item = &LayerId> {
        self.layers.iter().chain(&self.provision)
    }
}

/// An image in the store, with what its record is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The name of the record, without its ending.
    pub key: String,
    /// The record.
    pub record: ImageRecord,
}

/// All the images in a store.
#[derive(Debug, Default)]
pub struct Contents {
    /// The images, by name.
    pub images: Vec<Stored>,
    /// The records that cannot be read, and why.
    pub unreadable: Vec<StoreError>,
}

impl Contents {
    /// The layers that images have.
    pub fn layers(&self) -> BTreeSet<&LayerId> {
        self.images
            .iter()
            .flat_map(|image| image.record.all_layers())
            .collect()
    }
}

pub(super) fn contents(directory: &Path) -> Result<Contents, StoreError> {
    let wrap = |source| StoreError::io(directory, source);
    let mut contents = Contents::default();
    for entry in std::fs::read_dir(directory).map_err(wrap)? {
        let path = entry.map_err(wrap)?.path();
        let Some(key) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".json"))
        else {
            continue;
        };
        match load(&path) {
            Ok(Some(record)) => contents.images.push(Stored {
                key: key.to_owned(),
                record,
            }),
            // Removed just now.
            Ok(None) => {}
            Err(error) => contents.unreadable.push(error),
        }
    }
    contents
        .images
        .sort_by(|one, other| (&one.record.name, &one.key).cmp(&(&other.record.name, &other.key)));
    Ok(contents)
}

pub(super) fn load(path: &Path) -> Result<Option<ImageRecord>, StoreError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::io(path, source)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| StoreError::Record {
            path: path.to_owned(),
            source,
        })
}

/// Writes a file whole or not at all, and to the disk; it is made below `tmp`, where a killed run
/// may leave it.
pub(super) fn replace(tmp: &Path, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let scratch = Scratch::create(tmp)?;
    let new = scratch.path().join("new");
    write(&new, content)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|source| StoreError::io(path, source))?;
    sync_directory(path.parent().unwrap_or(path))
}

/// Has the names in a directory written to the disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StoreError::io(path, source))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}
