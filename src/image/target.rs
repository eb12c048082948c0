//! What a reference stands for, before anything is fetched.

use super::acquire::Place;
use super::catalogue::{Entry, Source, SourceKind};
use super::error::{ImageError, word};
use super::lockfile::{LockFile, LockedImage};
use super::platform::Platform;

/// What a reference stands for.
pub(super) struct Target<'a> {
    pub(super) name: String,
    pub(super) machine_name: String,
    pub(super) key: String,
    pub(super) places: Vec<Place>,
    pub(super) entry: Option<&'a Entry>,
    /// What a lock file says that it has to be.
    pub(super) locked: Option<LockedImage>,
    /// Whether it is wanted without the layer that makes it bootable.
    pub(super) as_is: bool,
}

impl Target<'_> {
    /// Leaves the places that can have an image for another platform: registries.
    pub(super) fn only_for(&mut self, platform: &Platform) -> Result<(), ImageError> {
        if !platform.runs_here() {
            return Err(ImageError::Foreign {
                name: self.name.clone(),
                platform: platform.clone(),
            });
        }
        self.places
            .retain(|place| matches!(place, Place::Remote(Source::Oci(_))));
        if self.places.is_empty() {
            return Err(ImageError::NoSuchSource {
                name: self.name.clone(),
                kind: word(SourceKind::Oci),
            });
        }
        Ok(())
    }

    /// Leaves the one place that a lock file names, with the digest that it names.
    pub(super) fn lock(&mut self, file: &LockFile, platform: &Platform) -> Result<(), ImageError> {
        let refused = |reason| ImageError::NotLocked {
            name: self.name.clone(),
            file: file.path().to_owned(),
            reason,
        };
        let locked = file
            .find(&self.name, platform)
            .ok_or_else(|| refused("it does not have it"))?;
        let place = self
            .places
            .iter()
            .find(|place| place.origin() == locked.kind && place.describe() == locked.source)
            .ok_or_else(|| refused("the source that it names is none of the image's"))?;
        let place = place.clone().at(&locked.digest);
        self.places = vec![place];
        self.locked = Some(locked.clone());
        Ok(())
    }
}
