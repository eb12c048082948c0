//! The store: what is on the disk.
//!
//! ```text
//! STATE/                              0700: nobody else reaches the set-id files and devices in it
//!   version                           "1": the format; a newer one is refused
//!   layers/sha256-<diffID>/root       an unpacked layer, a lower directory of overlayfs
//!                        /layer.json  what it was made from, its entries and bytes
//!                        /content     what it holds, to compare it with: see `layer::content`
//!   layers/chain-<chainID>/…          a layer that needed the ones below it (a directory that it
//!                                     only implies, a hard link into a lower layer)
//!   layers/derived-<sha256>/…         a layer made here, by the digest of what it was made from and,
//!                                     if packages were installed in it, of what came of that
//!   images/<slug>-<12 hex>.json       an image: its source, its layers, its config
//!   tmp/<random>/                     work in progress, locked by who does it
//!   locks/image-…, locks/layer-…      exclusive while that is made
//! ```
//!
//! What is in `layers` and `images` is whole: it is made below `tmp`, written to the disk by one
//! `syncfs`, then renamed. What is to go is renamed back below `tmp` first. What is in `tmp` and
//! not locked is left from a run that was killed.
//!
//! A layer goes when no image has it and nobody uses it (`lock` says how that is told), in this
//! order: its root is locked, then the records of the images are read. A pull does the reverse: it
//! locks what it needs, then writes its record, then lets go.

mod collect;
mod error;
mod lock;
mod name;
mod reclaim;
mod record;
mod scratch;
mod usage;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use collect::{Garbage, GarbageLayer, Removal, User};
pub use error::StoreError;
pub(super) use lock::{Holds, Lock};
pub use name::LayerId;
pub use record::{Contents, ImageRecord, Origin, Stored};
pub use scratch::Leftover;
pub(super) use scratch::Scratch;
pub use usage::{Usage, usage};

use super::digest::Digest;
use super::layer::{Listed, Root, blocking};
use reclaim::Mission;

const VERSION: &str = "1";

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
    /// For one that makes an image bootable, the digest of what it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Digest>,
    /// For the same, the digest of what is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
    /// The digest of the listing of all that it holds, which is the file `content` beside its
    /// root; layers of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Digest>,
    /// What it says of the root.
    #[serde(default)]
    pub root: Root,
}

impl LayerRecord {
    /// That of a layer which was made here and has been listed.
    pub(super) fn made_here(made_from: String, listed: &Listed) -> Self {
        Self {
            diff_id: None,
            blob: None,
            made_from,
            entries: listed.entries,
            bytes: listed.bytes,
            inputs: None,
            content: None,
            listing: Some(listed.digest),
            root: Root::default(),
        }
    }
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

    /// Where the listing of its content is written.
    pub(super) fn listing(scratch: &Scratch) -> PathBuf {
        scratch.path().join("content")
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
        let version = root.join("version");
        let found = match std::fs::read_to_string(&version) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(StoreError::io(version, source)),
        };
        // Before anything is touched that another version may have its own mind about.
        if let Some(text) = &found
            && text.trim() != VERSION
        {
            return Err(StoreError::Version {
                path: root.to_owned(),
                found: text.trim().chars().take(20).collect(),
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
        if found.is_none() {
            record::replace(&store.tmp(), &version, format!("{VERSION}\n").as_bytes())?;
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
        self.layer_root(id).is_dir()
    }

    /// What is noted about a layer.
    pub fn layer_record(&self, id: &LayerId) -> Result<LayerRecord, StoreError> {
        let path = self.layer(id).join("layer.json");
        let text = std::fs::read(&path).map_err(|source| StoreError::io(&path, source))?;
        serde_json::from_slice(&text).map_err(|source| StoreError::Record { path, source })
    }

    /// The listing of what a layer holds.
    pub(super) fn layer_listing(&self, id: &LayerId) -> PathBuf {
        self.layer(id).join("content")
    }

    /// The layers that are there, by name.
    pub fn layers(&self) -> Result<Vec<LayerId>, StoreError> {
        let directory = self.root.join("layers");
        let wrap = |source| StoreError::io(&directory, source);
        let mut layers = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(wrap)? {
            let name = entry.map_err(wrap)?.file_name();
            let name = name.to_string_lossy().into_owned();
            layers.extend(LayerId::try_from(name).ok());
        }
        layers.sort();
        Ok(layers)
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The newest layer that was made here from these inputs, whatever came of them.
    /// With `content`, only one that came to this.
    pub(super) fn layer_made_from(
        &self,
        inputs: &Digest,
        content: Option<&Digest>,
    ) -> Result<Option<LayerId>, StoreError> {
        let mut found: Option<(std::time::SystemTime, LayerId)> = None;
        for id in self.layers()? {
            if !id.is_derived() {
                continue;
            }
            // One that is removed meanwhile is not there to be found.
            let Ok(noted) = self.layer_record(&id) else {
                continue;
            };
            if noted.inputs.as_ref() != Some(inputs)
                || (content.is_some() && noted.content.as_ref() != content)
            {
                continue;
            }
            let record = self.layer(&id).join("layer.json");
            let made = record.metadata().and_then(|found| found.modified());
            let made = made.map_err(|source| StoreError::io(&record, source))?;
            if found.as_ref().is_none_or(|(newest, _)| *newest < made) {
                found = Some((made, id));
            }
        }
        Ok(found.map(|(_, id)| id))
    }

    /// A directory for work in progress, which is removed with the value.
    pub(super) fn scratch(&self) -> Result<Scratch, StoreError> {
        Scratch::create(&self.tmp())
    }

    /// Removes what killed runs have left, and tells what it was.
    pub async fn sweep(&self) -> Result<Vec<Leftover>, StoreError> {
        let tmp = self.tmp();
        blocking(move |cancel| {
            let cancelled = || cancel.load(std::sync::atomic::Ordering::Relaxed);
            scratch::sweep(&tmp, Mission::Remove, &cancelled)
        })
        .await
        .map_err(|source| StoreError::io(self.tmp(), source))?
    }

    /// Puts layers where they are found, after one write to the disk for all of them, and holds
    /// them there.
    pub(super) async fn publish(&self, made: Vec<MadeLayer>) -> Result<Holds, StoreError> {
        let mut holds = Holds::default();
        let mut layers = Vec::new();
        for layer in made {
            // The same tarball under another name, say: there is nothing to write for those.
            match self.hold([&layer.id]).await? {
                Some(hold) => holds.extend(hold),
                None => layers.push(layer),
            }
        }
        let Some(first) = layers.first() else {
            return Ok(holds);
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
        for mut layer in layers {
            let hold = Holds::of_made(&layer.root())?;
            let target = self.layer(&layer.id);
            loop {
                if layer.scratch.publish(&target)? {
                    holds.push(hold);
                    break;
                }
                // Another run was faster, unless that layer has been removed again by now.
                if let Some(theirs) = self.hold([&layer.id]).await? {
                    holds.extend(theirs);
                    break;
                }
                // Somebody has removed its root by hand, say.
                self.put_aside(&layer.id)?;
            }
        }
        record::sync_directory(&self.root.join("layers"))?;
        Ok(holds)
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

    /// The record with this key, if there is one and all its layers are there. One that cannot be
    /// understood counts as none: the image is to be had anew.
    pub(super) fn image(&self, key: &str) -> Result<Option<ImageRecord>, StoreError> {
        let found = match record::load(&self.image_path(key)) {
            Err(error @ StoreError::Record { .. }) => {
                tracing::warn!(%error, "the image is taken for one that is not there");
                None
            }
            found => found?,
        };
        Ok(found.filter(|record| record.all_layers().all(|id| self.has_layer(id))))
    }

    /// Writes a record, in place of an older one with the same key.
    pub(super) fn put_image(&self, key: &str, record: &ImageRecord) -> Result<(), StoreError> {
        let path = self.image_path(key);
        let text =
            serde_json::to_vec_pretty(record).map_err(|error| StoreError::io(&path, error))?;
        record::replace(&self.tmp(), &path, &text)
    }

    /// All records, by the images' names.
    pub fn contents(&self) -> Result<Contents, StoreError> {
        record::contents(&self.root.join("images"))
    }

    fn image_path(&self, key: &str) -> PathBuf {
        self.root.join("images").join(format!("{key}.json"))
    }
}

/// What is in a directory that is no store yet, and would not be in one. To make a store of `/tmp`
/// would shut everybody out of it.
fn stranger(root: &Path) -> Option<String> {
    const OURS: [&str; 7] = [
        "layers",
        "images",
        "tmp",
        "locks",
        "tasks",
        "version",
        "lost+found",
    ];
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
    fn a_newer_store_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path()).unwrap();
        Store::open(directory.path()).unwrap();
        std::fs::write(directory.path().join("version"), "2\n").unwrap();
        std::fs::remove_dir(directory.path().join("tmp")).unwrap();
        let error = Store::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("has format 2"), "{error}");
        assert!(!directory.path().join("tmp").exists(), "it was touched");
    }

    #[tokio::test]
    async fn a_published_layer_is_found_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let id = LayerId::diff(Digest::of("x"));
        let record = LayerRecord {
            diff_id: None,
            blob: None,
            made_from: "a test".to_owned(),
            entries: 0,
            bytes: 0,
            inputs: None,
            content: None,
            listing: None,
            root: Root::default(),
        };
        let mut holds = Vec::new();
        for _ in 0..2 {
            let scratch = store.scratch().unwrap();
            std::fs::create_dir(scratch.path().join("root")).unwrap();
            let made = MadeLayer {
                id: id.clone(),
                scratch,
                record: record.clone(),
            };
            holds.push(store.publish(vec![made]).await.unwrap());
        }
        // Held by either of them, and by nobody when both have let go.
        for hold in holds {
            assert!(store.seize(&id).unwrap().is_none());
            drop(hold);
        }
        assert!(store.seize(&id).unwrap().is_some());
        assert!(store.has_layer(&id));
        assert_eq!(store.layer_record(&id).unwrap(), record);
        let left = std::fs::read_dir(directory.path().join("tmp"))
            .unwrap()
            .count();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn only_unlocked_work_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let scratch = store.scratch().unwrap();
        std::fs::create_dir_all(directory.path().join("tmp/left/over")).unwrap();
        assert_eq!(store.sweep().await.unwrap().len(), 1);
        assert!(scratch.path().is_dir());
        drop(scratch);
        assert_eq!(store.sweep().await.unwrap(), []);
    }
}
