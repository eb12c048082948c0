//! The store: what is on the disk.
//!
//! ```text
//! STATE/                              0700: nobody else reaches the set-id files and devices in it
//!   version                           "1": the format; a newer one is refused
//!   layers/sha256-<diffID>/root       an unpacked layer, a lower directory of overlayfs
//!                        /layer.json  what it was made from, its entries and bytes
//!   layers/chain-<chainID>/…          a layer that needed the ones below it (a directory that it
//!                                     only implies, a hard link into a lower layer)
//!   layers/derived-<sha256>/…         a layer made here, by the digest of what it was made from
//!   images/<slug>-<12 hex>.json       an image: its source, its layers, its config
//!   tmp/<random>/                     work in progress, locked by who does it
//!   locks/store                       shared while anything is used, exclusive to remove
//!   locks/image-…, locks/layer-…      exclusive while that is made
//! ```
//!
//! What is in `layers` and `images` is whole: it is made below `tmp`, written to the disk by one
//! `syncfs`, then renamed. What is in `tmp` and not locked is left from a run that was killed.

mod lock;
mod record;
mod scratch;

use std::fmt;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use lock::Lock;
pub use record::{ImageRecord, Origin};
pub(super) use scratch::Scratch;

use super::digest::Digest;

const VERSION: &str = "1";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory is somebody else's.
    #[error("{} is no store of postroj: it holds {stranger}", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
        /// What does not belong there.
        stranger: String,
    },
    /// Something in it cannot be read or written.
    #[error("store: {}: {source}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A newer postroj has made it.
    #[error("store: {} has format {found}; this postroj knows formats up to {VERSION}", path.display())]
    Version {
        /// The store's directory.
        path: PathBuf,
        /// What the file `version` says.
        found: String,
    },
    /// A record is not what it has to be.
    #[error("store: {}: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl StoreError {
    pub(super) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            path: path.into(),
            source: source.into(),
        }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::layer::is_full(source))
    }
}

/// The name of a layer's directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct LayerId {
    kind: Kind,
    digest: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Diff,
    Chain,
    Derived,
}

impl LayerId {
    /// A layer that is what its archive alone says.
    pub(super) fn diff(diff_id: Digest) -> Self {
        Self {
            kind: Kind::Diff,
            digest: diff_id,
        }
    }

    /// A layer that also depends on the ones below it.
    pub(super) fn chain(chain_id: Digest) -> Self {
        Self {
            kind: Kind::Chain,
            digest: chain_id,
        }
    }

    /// A layer that was made here.
    pub(super) fn derived(inputs: Digest) -> Self {
        Self {
            kind: Kind::Derived,
            digest: inputs,
        }
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Diff => "sha256",
            Kind::Chain => "chain",
            Kind::Derived => "derived",
        };
        write!(f, "{kind}-{}", self.digest.hex())
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for LayerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no name of a layer");
        let (kind, hex) = text.split_once('-').ok_or_else(wrong)?;
        let kind = match kind {
            "sha256" => Kind::Diff,
            "chain" => Kind::Chain,
            "derived" => Kind::Derived,
            _ => return Err(wrong()),
        };
        let digest = Digest::parse(&format!("sha256:{hex}")).map_err(|_| wrong())?;
        Ok(Self { kind, digest })
    }
}

/// What is noted beside a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The digest of its uncompressed archive; none for one that was made here.
    pub diff_id: Option<Digest>,
    /// The digest of the archive as it came.
    pub blob: Option<Digest>,
    /// What it was made from, for people.
    pub made_from: String,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes are in its files.
    pub bytes: u64,
}

/// A layer that is whole and still below `tmp`.
#[derive(Debug)]
pub(super) struct MadeLayer {
    pub(super) id: LayerId,
    pub(super) scratch: Scratch,
    pub(super) record: LayerRecord,
}

impl MadeLayer {
    pub(super) fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }
}

/// The store below one directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store, making what is missing of it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let store = Self {
            root: root.to_owned(),
        };
        if let Some(stranger) = stranger(root) {
            return Err(StoreError::NoStore {
                path: root.to_owned(),
                stranger,
            });
        }
        for directory in ["", "layers", "images", "tmp", "locks"] {
            let path = root.join(directory);
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| StoreError::io(&path, source))?;
        }
        // One that was there before us may have been made with another mode.
        let private = rustix::fs::Mode::from_raw_mode(0o700);
        rustix::fs::chmod(root, private).map_err(|source| StoreError::io(root, source))?;
        let version = root.join("version");
        match std::fs::read_to_string(&version) {
            Ok(text) if text.trim() == VERSION => {}
            Ok(text) => {
                return Err(StoreError::Version {
                    path: root.to_owned(),
                    found: text.trim().chars().take(20).collect(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                record::replace(&version, format!("{VERSION}\n").as_bytes())?;
            }
            Err(source) => return Err(StoreError::io(version, source)),
        }
        Ok(store)
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root of a layer, whether it is there or not.
    pub fn layer_root(&self, id: &LayerId) -> PathBuf {
        self.layer(id).join("root")
    }

    fn layer(&self, id: &LayerId) -> PathBuf {
        self.root.join("layers").join(id.to_string())
    }

    /// Whether the layer is there.
    pub(super) fn has_layer(&self, id: &LayerId) -> bool {
        self.layer(id).is_dir()
    }

    /// What is noted about a layer.
    pub fn layer_record(&self, id: &LayerId) -> Result<LayerRecord, StoreError> {
        let path = self.layer(id).join("layer.json");
        let text = std::fs::read(&path).map_err(|source| StoreError::io(&path, source))?;
        serde_json::from_slice(&text).map_err(|source| StoreError::Record { path, source })
    }

    /// A directory for work in progress, which is removed with the value.
    pub(super) fn scratch(&self) -> Result<Scratch, StoreError> {
        Scratch::create(&self.root.join("tmp"))
    }

    /// Removes what killed runs have left; returns how many leftovers there were.
    pub fn sweep(&self) -> Result<usize, StoreError> {
        scratch::sweep(&self.root.join("tmp"))
    }

    /// Puts layers where they are found, after one write to the disk for all of them.
    pub(super) fn publish(&self, mut layers: Vec<MadeLayer>) -> Result<(), StoreError> {
        // The same tarball under another name, say: there is nothing to write for those.
        layers.retain(|layer| !self.has_layer(&layer.id));
        let Some(first) = layers.first() else {
            return Ok(());
        };
        for layer in &layers {
            let path = layer.scratch.path().join("layer.json");
            let text = serde_json::to_vec_pretty(&layer.record)
                .map_err(|error| StoreError::io(&path, error))?;
            std::fs::write(&path, text).map_err(|source| StoreError::io(&path, source))?;
        }
        let path = first.scratch.path();
        std::fs::File::open(path)
            .and_then(|file| Ok(rustix::fs::syncfs(&file)?))
            .map_err(|source| StoreError::io(path, source))?;
        for layer in layers {
            let target = self.layer(&layer.id);
            layer.scratch.publish(&target)?;
        }
        let directory = self.root.join("layers");
        std::fs::File::open(&directory)
            .and_then(|file| file.sync_all())
            .map_err(|source| StoreError::io(directory, source))
    }

    /// Takes the lock that keeps everything in the store where it is.
    pub(super) async fn lock_shared(&self) -> Result<Lock, StoreError> {
        Lock::shared(self.lock_path("store")).await
    }

    /// Takes the lock on the making of `name`; `waiting` is called if another run has it.
    pub(super) async fn lock_exclusive(
        &self,
        name: &str,
        waiting: impl FnOnce(),
    ) -> Result<Lock, StoreError> {
        Lock::exclusive(self.lock_path(name), waiting).await
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    /// The record with this key, if there is one and all its layers are there.
    pub(super) fn image(&self, key: &str) -> Result<Option<ImageRecord>, StoreError> {
        let found = record::load(&self.image_path(key))?;
        Ok(found.filter(|record| record.all_layers().all(|id| self.has_layer(id))))
    }

    /// Writes a record, in place of an older one with the same key.
    pub(super) fn put_image(&self, key: &str, record: &ImageRecord) -> Result<(), StoreError> {
        let path = self.image_path(key);
        let text =
            serde_json::to_vec_pretty(record).map_err(|error| StoreError::io(&path, error))?;
        record::replace(&path, &text)
    }

    /// All records, by name.
    pub fn images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        let directory = self.root.join("images");
        let wrap = |source| StoreError::io(&directory, source);
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(wrap)? {
            let path = entry.map_err(wrap)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                records.extend(record::load(&path)?);
            }
        }
        records.sort_by(|one: &ImageRecord, other| one.name.cmp(&other.name));
        Ok(records)
    }

    fn image_path(&self, key: &str) -> PathBuf {
        self.root.join("images").join(format!("{key}.json"))
    }
}

/// What is in a directory that is no store yet, and would not be in one. To make a store of `/tmp`
/// would shut everybody out of it.
fn stranger(root: &Path) -> Option<String> {
    const OURS: [&str; 6] = ["layers", "images", "tmp", "locks", "version", "lost+found"];
    if root.join("version").exists() {
        return None;
    }
    std::fs::read_dir(root)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|name| !OURS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_layers_are_read_back() {
        for id in [
            LayerId::diff(Digest::of("x")),
            LayerId::chain(Digest::of("x")),
            LayerId::derived(Digest::of("x")),
        ] {
            assert_eq!(LayerId::try_from(id.to_string()).unwrap(), id);
        }
        for bad in ["", "sha256-../x", "other-x", "sha256"] {
            assert!(LayerId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_newer_store_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path()).unwrap();
        Store::open(directory.path()).unwrap();
        std::fs::write(directory.path().join("version"), "2\n").unwrap();
        let error = Store::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("has format 2"), "{error}");
    }

    #[test]
    fn a_published_layer_is_found_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let id = LayerId::diff(Digest::of("x"));
        let record = LayerRecord {
            diff_id: None,
            blob: None,
            made_from: "a test".to_owned(),
            entries: 0,
            bytes: 0,
        };
        for _ in 0..2 {
            let scratch = store.scratch().unwrap();
            std::fs::create_dir(scratch.path().join("root")).unwrap();
            let made = MadeLayer {
                id: id.clone(),
                scratch,
                record: record.clone(),
            };
            store.publish(vec![made]).unwrap();
        }
        assert!(store.has_layer(&id));
        assert_eq!(store.layer_record(&id).unwrap(), record);
        let left = std::fs::read_dir(directory.path().join("tmp"))
            .unwrap()
            .count();
        assert_eq!(left, 0);
    }

    #[test]
    fn only_unlocked_work_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let scratch = store.scratch().unwrap();
        std::fs::create_dir_all(directory.path().join("tmp/left/over")).unwrap();
        assert_eq!(store.sweep().unwrap(), 1);
        assert!(scratch.path().is_dir());
        drop(scratch);
        assert_eq!(store.sweep().unwrap(), 0);
    }
}
