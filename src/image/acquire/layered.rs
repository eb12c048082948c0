//! Images that come layer by layer, of which only those are fetched that the store lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Acquired, Fetcher, Loose, Names, settle};
use crate::image::digest::Digest;
use crate::image::error::SourceError;
use crate::image::layer::{Limits, Memory, Options};
use crate::image::oci::local::LocalImage;
use crate::image::oci::{ImageConfig, OciError, RemoteImage, RemoteLayer};
use crate::image::store::{Holds, LayerId, Lock, MadeLayer, StoreError};
use crate::progress::{Event, Step};

/// Each has two threads, a socket, and a window of what it inflates.
const LAYERS_AT_ONCE: usize = 3;

/// An image that is had layer by layer.
pub(super) enum Layered<'a> {
    Remote(&'a RemoteImage),
    Local(&'a LocalImage),
}

impl Layered<'_> {
    /// What is done to get it.
    fn verb(&self) -> &'static str {
        match self {
            Self::Remote(_) => "pull",
            Self::Local(_) => "unpack",
        }
    }

    fn layers(&self) -> &[RemoteLayer] {
        match self {
            Self::Remote(image) => &image.layers,
            Self::Local(image) => &image.layers,
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Remote(image) => image.digest,
            Self::Local(image) => image.digest,
        }
    }

    fn config(&self) -> &ImageConfig {
        match self {
            Self::Remote(image) => &image.config,
            Self::Local(image) => &image.config,
        }
    }
}

impl Fetcher<'_> {
    /// Gets the layers of an image that the store lacks; `name` is what the image is called.
    pub(super) async fn layered(
        &self,
        image: &Layered<'_>,
        name: &str,
    ) -> Result<Acquired, SourceError> {
        let wanted = image.layers();
        let chains: Vec<Digest> = wanted
            .iter()
            .scan(None, |below, layer| {
                let chain = Digest::chain(below.as_ref(), &layer.diff_id);
                *below = Some(chain);
                Some(chain)
            })
            .collect();
        let names = |at: usize| {
            [
                LayerId::diff(wanted[at].diff_id),
                LayerId::chain(chains[at]),
            ]
        };
        let there = |at: usize| names(at).iter().any(|id| self.store.has_layer(id));
        let locks = self.lock_layers(wanted, there).await?;
        let mut holds = Holds::default();
        let mut known: Vec<Option<LayerId>> = Vec::new();
        for at in 0..wanted.len() {
            let mut found = None;
            for id in names(at) {
                if let Some(hold) = self.store.hold([&id]).await? {
                    holds.extend(hold);
                    found = Some(id);
                    break;
                }
            }
            known.push(found);
        }

        let missing: BTreeSet<usize> = (0..wanted.len())
            .filter(|at| known[*at].is_none())
            // The same layer may be listed twice, such as an empty one.
            .filter(|at| {
                let same = |layer: &RemoteLayer| layer.diff_id == wanted[*at].diff_id;
                wanted.iter().position(same) == Some(*at)
            })
            .collect();
        let mut loose = self.loose_layers(image, name, &missing).await?;

        // From the bottom up: a layer may need what lies below it.
        let mut layers: Vec<LayerId> = Vec::new();
        let mut roots: Vec<PathBuf> = Vec::new();
        let mut made: Vec<MadeLayer> = Vec::new();
        for (at, layer) in wanted.iter().enumerate() {
            let id = if let Some(loose) = loose.remove(&at) {
                let id = if loose.unpacked.needs_lower() {
                    LayerId::chain(chains[at])
                } else {
                    LayerId::diff(layer.diff_id)
                };
                let names = Names {
                    layer: layer.digest.to_string(),
                    made_from: format!("{name} {}", layer.digest),
                };
                let lowers = roots.iter().rev().cloned().collect();
                made.push(settle(loose, id.clone(), lowers, names).await?);
                id
            } else {
                let twin = wanted[..at]
                    .iter()
                    .position(|twin| twin.diff_id == layer.diff_id)
                    .map(|twin| layers[twin].clone());
                match known[at].clone().or(twin) {
                    Some(id) => id,
                    None => unreachable!("a layer is known, fetched or a twin of one"),
                }
            };
            roots.push(match made.iter().find(|made| made.id == id) {
                Some(made) => made.root(),
                None => self.store.layer_root(&id),
            });
            layers.push(id);
        }
        self.composed(Acquired {
            digest: image.digest(),
            config: image.config().clone(),
            fingerprint: None,
            layers,
            made,
            locks,
            holds,
        })
        .await
    }

    /// Locks the layers that are to be made, always in the same order, so that two runs that need
    /// the same ones never wait for each other in a circle.
    async fn lock_layers(
        &self,
        layers: &[RemoteLayer],
        there: impl Fn(usize) -> bool,
    ) -> Result<Vec<Lock>, StoreError> {
        let wanted: BTreeSet<Digest> = (0..layers.len())
            .filter(|at| !there(*at))
            .map(|at| layers[at].diff_id)
            .collect();
        let mut locks = Vec::new();
        for digest in wanted {
            let name = format!("layer-{}", digest.hex());
            let waiting = || {
                let text = format!(
                    "waiting for another postroj that fetches layer {}",
                    digest.short()
                );
                self.progress.report(&Event::Note(text));
            };
            locks.push(self.store.lock_exclusive(&name, waiting).await?);
        }
        Ok(locks)
    }

    /// Gets layers, a few at a time.
    async fn loose_layers(
        &self,
        image: &Layered<'_>,
        name: &str,
        wanted: &BTreeSet<usize>,
    ) -> Result<BTreeMap<usize, Loose>, SourceError> {
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let bytes = wanted.iter().map(|at| image.layers()[*at].size).sum();
        let title = format!("{} {name}", image.verb());
        let step = Step::start(self.progress, title, Some(bytes));
        let memory = Memory::default();
        let fetches = wanted.iter().map(async |at| {
            let loose = self.loose_layer(image, *at, &memory, &step).await?;
            Ok::<_, SourceError>((*at, loose))
        });
        let loose = stream::iter(fetches)
            .buffer_unordered(LAYERS_AT_ONCE)
            .try_collect()
            .await?;
        step.finish();
        Ok(loose)
    }

    async fn loose_layer(
        &self,
        image: &Layered<'_>,
        at: usize,
        memory: &Memory,
        whole: &Step,
    ) -> Result<Loose, SourceError> {
        let layer = &image.layers()[at];
        let title = format!("{} layer {}", image.verb(), layer.digest.short());
        let step = Arc::new(whole.part(title, Some(layer.size)));
        let options = Options {
            compression: Some(layer.compression),
            whiteouts: true,
            limits: Limits::default(),
            memory: memory.clone(),
        };
        let (unpacking, fetched) = match image {
            Layered::Remote(image) => {
                let (unpacking, feed) = self.unpack(options)?;
                let fetched = image.fetch(layer, &feed, &step).await;
                (unpacking, fetched.map_err(OciError::from))
            }
            Layered::Local(image) => {
                let reader = image.blobs[at].reader();
                let step = Arc::clone(&step);
                (self.read(reader, options, step)?, Ok(()))
            }
        };
        let loose = unpacking.finish(fetched, &layer.digest.to_string()).await?;
        let wrong = |what, found: Digest, expected: Digest| SourceError::WrongLayer {
            layer: layer.digest.to_string(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        };
        let archive = loose.unpacked.archive;
        if archive.blob != layer.digest {
            return Err(wrong("digest", archive.blob, layer.digest));
        }
        if archive.diff_id != layer.diff_id {
            return Err(wrong("diffID", archive.diff_id, layer.diff_id));
        }
        if let Some(step) = Arc::into_inner(step) {
            step.finish();
        }
        Ok(loose)
    }
}
