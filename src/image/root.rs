//! What only shows once the layers of an image are put together: whose word on the root counts.
//!
//! overlayfs takes the metadata of the root from the topmost layer, whether or not an entry of that
//! layer named it, and shows the root's content of all layers, opaque or not. Where the layers mean
//! something else, those that do not show are left out, and a layer that holds nothing but the
//! right root goes on top.

use std::path::PathBuf;

use super::acquire::{Acquired, Fetcher};
use super::digest::Digest;
use super::error::SourceError;
use super::layer::{self, Metadata, Root, blocking};
use super::store::{LayerId, LayerRecord, MadeLayer, StoreError};

impl Fetcher<'_> {
    /// The image with layers that overlayfs composes to what they mean.
    pub(super) async fn composed(&self, mut acquired: Acquired) -> Result<Acquired, SourceError> {
        let mut roots = Vec::new();
        for id in &acquired.layers {
            roots.push(self.root(&acquired, id)?);
        }
        let said = roots.iter().rposition(|(_, root)| !root.implied);
        let top = roots.len().saturating_sub(1);
        if let Some(said) = said
            && said < top
        {
            let own = |at: usize| -> Result<Metadata, StoreError> {
                let path = &roots[at].0;
                let found = std::fs::File::open(path).and_then(layer::metadata_of);
                let found = found.map_err(|source| StoreError::io(path, source))?;
                // Every boot gives the root a time of its own.
                Ok(found.at_the_epoch())
            };
            let meant = own(said)?;
            if meant != own(top)? {
                let made = self.root_layer(meant).await?;
                acquired.layers.push(made.id.clone());
                acquired.made.push(made);
            }
        }
        if let Some(opaque) = roots.iter().rposition(|(_, root)| root.opaque) {
            acquired.layers.drain(..opaque);
            let layers = &acquired.layers;
            acquired.made.retain(|made| layers.contains(&made.id));
        }
        Ok(acquired)
    }

    /// Where the root of a layer is, and what the layer says of it.
    fn root(&self, acquired: &Acquired, id: &LayerId) -> Result<(PathBuf, Root), StoreError> {
        match acquired.made.iter().find(|made| made.id == *id) {
            Some(made) => Ok((made.root(), made.record.root)),
            None => Ok((self.store.layer_root(id), self.store.layer_record(id)?.root)),
        }
    }

    /// A layer that holds nothing but a root.
    async fn root_layer(&self, metadata: Metadata) -> Result<MadeLayer, SourceError> {
        let id = LayerId::derived(Digest::of(format!("root {metadata:?}")));
        let scratch = self.layer_scratch()?;
        let path = scratch.path().join("root");
        let (root, listing) = (path.clone(), MadeLayer::listing(&scratch));
        let listed = blocking(move |cancel| {
            layer::apply(std::fs::File::open(&root)?, &metadata)?;
            layer::record(&root, &listing, cancel)
        })
        .await
        .and_then(|outcome| outcome)
        .map_err(|source| StoreError::io(path, source))?;
        Ok(MadeLayer {
            id,
            scratch,
            record: LayerRecord::made_here("the root of a lower layer".to_owned(), &listed),
        })
    }
}
