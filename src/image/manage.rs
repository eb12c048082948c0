//! What is in the store: listed, looked at, and removed.

use super::error::ImageError;
use super::images::Images;
use super::reference::Reference;
use super::store::{Contents, Garbage, LayerId, LayerRecord, Removal, Stored, Usage, User, usage};
use crate::machine::Runtime;

/// What is known of a layer of an image.
#[derive(Debug, Clone)]
pub struct LayerDetails {
    /// Its name.
    pub id: LayerId,
    /// What is noted beside it; none if it is not there.
    pub record: Option<LayerRecord>,
    /// Whether other images have it too.
    pub shared: bool,
    /// Whether it was made here, to make the image bootable.
    pub provision: bool,
}

/// An image of the store and what it takes.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The image.
    pub image: Stored,
    /// What it takes.
    pub usage: Usage,
}

impl Images {
    /// The images in the store with what each takes, by name; the number of different layers and
    /// the bytes in their files; and the records that cannot be read.
    pub fn overview(&self) -> Result<(Vec<Overview>, Total, Contents), ImageError> {
        let mut contents = self.store().contents()?;
        let (usages, bytes) = usage(self.store(), &contents);
        let total = Total {
            layers: contents.layers().len(),
            bytes,
        };
        let images = std::mem::take(&mut contents.images);
        let overviews = images
            .into_iter()
            .zip(usages)
            .map(|(image, usage)| Overview { image, usage })
            .collect();
        Ok((overviews, total, contents))
    }

    /// The image of the store that `text` names: as the store has its name, or in any other form
    /// that means the same image.
    pub fn stored(&self, text: &str) -> Result<Stored, ImageError> {
        let mut contents = self.store().contents()?;
        let by_name = |image: &Stored| image.record.name == text;
        let at = match contents.images.iter().position(by_name) {
            Some(at) => Some(at),
            // What names nothing at all, a local file that has gone say, names no image here.
            None => Reference::load(text)
                .ok()
                .and_then(|reference| self.key(&reference).ok())
                .and_then(|key| contents.images.iter().position(|image| image.key == key)),
        };
        match at {
            Some(at) => Ok(contents.images.swap_remove(at)),
            None => Err(ImageError::NotStored {
                name: text.to_owned(),
            }),
        }
    }

    /// The layers of an image, bottom first.
    pub fn layers_of(&self, image: &Stored) -> Result<Vec<LayerDetails>, ImageError> {
        let mut contents = self.store().contents()?;
        contents.images.retain(|other| other.key != image.key);
        let others = contents.layers();
        let provision = image.record.provision.as_ref();
        let layers = image.record.all_layers().map(|id| LayerDetails {
            id: id.clone(),
            record: self.store().layer_record(id).ok(),
            shared: others.contains(id),
            provision: Some(id) == provision,
        });
        Ok(layers.collect())
    }

    /// Removes an image from the store, with the layers that only it has.
    ///
    /// One that a container runs on is refused. A layer that another process uses stays, for
    /// [`Images::collect`] to remove later.
    pub async fn remove(&self, image: &Stored) -> Result<Removal, ImageError> {
        Ok(self.store().remove(image, users()?).await?)
    }

    /// Removes from the store what no image needs and nobody uses: layers, and what killed runs
    /// have left. With `dry_run` it only tells what that is.
    pub async fn collect(&self, dry_run: bool) -> Result<Garbage, ImageError> {
        Ok(self.store().collect(dry_run).await?)
    }

    /// The containers that use a layer.
    pub fn machines_on(&self, layer: &LayerId) -> Result<Vec<String>, ImageError> {
        let root = self.store().layer_root(layer);
        let mut users = users()?;
        users.retain(|user| user.layers.contains(&root));
        Ok(users.into_iter().map(|user| user.machine).collect())
    }
}

/// What all images take together, layers that they share counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// How many layers they have.
    pub layers: usize,
    /// The bytes in the files of those.
    pub bytes: u64,
}

/// The containers that are up.
fn users() -> Result<Vec<User>, ImageError> {
    let machines = Runtime::default().machines();
    let machines = machines.map_err(|source| ImageError::Machines { source })?;
    let users = machines.into_iter().map(|record| User {
        machine: record.machine,
        layers: record.layers,
    });
    Ok(users.collect())
}
