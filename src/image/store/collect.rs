//! What nobody needs any more, and removing it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::reclaim::{Mission, reclaim};
use super::record::{self, Stored};
use super::scratch::{self, Leftover, Scratch};
use super::{LayerId, Store, StoreError};
use crate::image::layer::blocking;

/// A layer that has gone or is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GarbageLayer {
    /// Its name.
    pub id: LayerId,
    /// What it was made from, where that can be told.
    pub made_from: String,
    /// How many bytes it takes on the disk.
    pub bytes: u64,
}

/// What a collection has found.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Work that was left by killed runs.
    pub leftovers: Vec<Leftover>,
    /// Layers that no image has.
    pub layers: Vec<GarbageLayer>,
    /// Layers that no image has and that somebody uses: they stay.
    pub in_use: Vec<LayerId>,
    /// Records that cannot be read. As they may name any layer, all of those stay.
    pub unreadable: Vec<StoreError>,
}

/// What the removal of an image came to.
#[derive(Debug, Default)]
pub struct Removal {
    /// The layers that went with it.
    pub layers: Vec<GarbageLayer>,
    /// Layers that were only its own and that somebody uses: they stay.
    pub in_use: Vec<LayerId>,
}

/// A layer that nobody else can use while its root is locked so.
type Seized = (LayerId, File);

/// A container, with the directories that its root is made of.
#[derive(Debug, Clone)]
pub struct User {
    /// The container's name.
    pub machine: String,
    /// The roots of its layers.
    pub layers: Vec<PathBuf>,
}

impl Store {
    /// Removes what no image needs and nobody uses, or only tells what that is.
    pub async fn collect(&self, dry_run: bool) -> Result<Garbage, StoreError> {
        let store = self.clone();
        let collected = blocking(move |cancel| {
            let cancelled = || cancel.load(Ordering::Relaxed);
            store.collect_all(dry_run, &cancelled)
        });
        let wrap = |source| StoreError::io(self.root(), source);
        collected.await.map_err(wrap)?
    }

    fn collect_all(
        &self,
        dry_run: bool,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Garbage, StoreError> {
        let mission = if dry_run {
            Mission::Measure
        } else {
            Mission::Remove
        };
        let mut garbage = Garbage {
            leftovers: scratch::sweep(&self.tmp(), mission, cancelled)?,
            ..Garbage::default()
        };
        let mut contents = self.contents()?;
        garbage.unreadable = std::mem::take(&mut contents.unreadable);
        if !garbage.unreadable.is_empty() {
            return Ok(garbage);
        }
        let known = contents.layers();
        let idle = self.layers()?.into_iter().filter(|id| !known.contains(id));
        let (seized, in_use) = self.seize_all(idle.collect())?;
        garbage.in_use = in_use;
        garbage.layers = self.discard(seized, mission, cancelled)?;
        Ok(garbage)
    }

    /// Removes an image, and the layers that only it has. `users` are the containers that are up.
    pub async fn remove(&self, image: &Stored, users: Vec<User>) -> Result<Removal, StoreError> {
        let (store, image) = (self.clone(), image.clone());
        let removed = blocking(move |cancel| {
            let cancelled = || cancel.load(Ordering::Relaxed);
            store.remove_now(&image, &users, &cancelled)
        });
        let wrap = |source| StoreError::io(self.root(), source);
        removed.await.map_err(wrap)?
    }

    fn remove_now(
        &self,
        image: &Stored,
        users: &[User],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Removal, StoreError> {
        let mut contents = self.contents()?;
        contents.images.retain(|other| other.key != image.key);
        let shared = contents.layers();
        let own: BTreeSet<LayerId> = image
            .record
            .all_layers()
            .filter(|id| !shared.contains(id))
            .cloned()
            .collect();
        let (seized, in_use) = self.seize_all(own)?;
        let roots: Vec<PathBuf> = in_use.iter().map(|id| self.layer_root(id)).collect();
        let machines: Vec<String> = users
            .iter()
            .filter(|user| user.layers.iter().any(|layer| roots.contains(layer)))
            .map(|user| user.machine.clone())
            .collect();
        if !machines.is_empty() {
            return Err(StoreError::InUse {
                image: image.record.name.clone(),
                machines,
            });
        }
        self.remove_record(&self.image_path(&image.key))?;
        let layers = if contents.unreadable.is_empty() {
            self.discard(seized, Mission::Remove, cancelled)?
        } else {
            // One of those may be of an image that has them.
            Vec::new()
        };
        Ok(Removal { layers, in_use })
    }

    /// Takes a layer, or what is left of one, out of the store at once; false if somebody uses it.
    pub(in crate::image) fn put_aside(&self, id: &LayerId) -> Result<bool, StoreError> {
        let from = self.layer(id);
        let lock = self.seize(id)?;
        if lock.is_none() && self.has_layer(id) {
            return Ok(false);
        }
        let scratch = self.scratch()?;
        match std::fs::rename(&from, scratch.path().join("layer")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(|source| StoreError::io(&from, source))?,
        }
        Ok(true)
    }

    /// Removes a record.
    pub(in crate::image) fn remove_record(&self, path: &Path) -> Result<(), StoreError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.map_err(|source| StoreError::io(path, source))?,
        }
        record::sync_directory(&self.root.join("images"))
    }

    /// Takes layers away from everybody else; gives those that it could and those that are used.
    fn seize_all(
        &self,
        layers: BTreeSet<LayerId>,
    ) -> Result<(Vec<Seized>, Vec<LayerId>), StoreError> {
        let (mut seized, mut in_use) = (Vec::new(), Vec::new());
        for id in layers {
            match self.seize(&id)? {
                Some(lock) => seized.push((id, lock)),
                None if self.has_layer(&id) => in_use.push(id),
                None => {}
            }
        }
        Ok((seized, in_use))
    }

    /// Removes or measures seized layers, but for those that an image has got in the meantime.
    fn discard(
        &self,
        seized: Vec<Seized>,
        mission: Mission,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<GarbageLayer>, StoreError> {
        let contents = self.contents()?;
        let known = contents.layers();
        let mut going: Vec<(GarbageLayer, PathBuf, Option<Scratch>)> = Vec::new();
        for (id, lock) in seized {
            if known.contains(&id) {
                continue;
            }
            let record = self.layer_record(&id);
            let from = self.layer(&id);
            let (path, scratch) = match mission {
                Mission::Measure => (from, None),
                Mission::Remove => {
                    let scratch = self.scratch()?;
                    let to = scratch.path().join("layer");
                    std::fs::rename(&from, &to).map_err(|source| StoreError::io(&from, source))?;
                    (to, Some(scratch))
                }
            };
            drop(lock);
            let layer = GarbageLayer {
                id,
                made_from: record.map(|record| record.made_from).unwrap_or_default(),
                bytes: 0,
            };
            going.push((layer, path, scratch));
        }
        let mut gone = Vec::new();
        let mut failed = None;
        for (mut layer, path, scratch) in going {
            match (&failed, reclaim(&path, mission, cancelled)) {
                (None, Ok(bytes)) => {
                    layer.bytes = bytes;
                    gone.push(layer);
                }
                (None, Err(source)) => {
                    failed = Some(StoreError::io(path, source));
                    scratch.into_iter().for_each(Scratch::leave);
                }
                (Some(_), _) => scratch.into_iter().for_each(Scratch::leave),
            }
        }
        failed.map_or(Ok(gone), Err)
    }
}
