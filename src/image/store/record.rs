//! Records of images.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{LayerId, StoreError};
use crate::image::digest::Digest;
use crate::image::oci::ImageConfig;

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
    /// What its source says about running it.
    #[serde(default)]
    pub config: ImageConfig,
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

/// Writes a file whole or not at all, and to the disk.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = Path::new(&name);
    let outcome = write(new, content).and_then(|()| std::fs::rename(new, path));
    if outcome.is_err() {
        let _ = std::fs::remove_file(new);
    }
    outcome.map_err(|source| StoreError::io(path, source))?;
    let parent = path.parent().unwrap_or(path);
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StoreError::io(parent, source))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}
