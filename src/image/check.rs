//! Whether what the store holds is what was verified when it was taken, and making it so again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::error::ImageError;
use super::images::Images;
use super::layer::{Difference, blocking, verify};
use super::oci::local::ImportName;
use super::policy::PullOptions;
use super::reference::Reference;
use super::store::{Holds, LayerId, Origin, StoreError, Stored};
use crate::progress::Step;

/// How often somebody looks for a layer that is missing, and the pause between two looks.
const LOOKS: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The record of an image cannot be understood.
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An image has a layer that is not there.
    Missing {
        /// The layer.
        layer: LayerId,
        /// The images that have it.
        images: Vec<String>,
    },
    /// A layer cannot be compared with anything.
    Unknown {
        /// The layer.
        layer: LayerId,
        /// The images that have it.
        images: Vec<String>,
        /// Why not.
        reason: String,
    },
    /// A layer holds something else than it did.
    Different {
        /// The layer.
        layer: LayerId,
        /// The images that have it.
        images: Vec<String>,
        /// What is different.
        difference: Difference,
    },
}

impl Problem {
    /// The layer that is to be had again.
    fn layer(&self) -> Option<&LayerId> {
        match self {
            Self::Record { .. } => None,
            Self::Missing { layer, .. }
            | Self::Unknown { layer, .. }
            | Self::Different { layer, .. } => Some(layer),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |images: &[String]| match images {
            [] => String::new(),
            images => format!(" of {}", images.join(", ")),
        };
        match self {
            Self::Record { path, reason } => {
                write!(f, "record {}: {reason}", path.display())
            }
            Self::Missing { layer, images } => {
                write!(f, "layer {}{}: is missing", layer.short(), of(images))
            }
            Self::Unknown {
                layer,
                images,
                reason,
            } => write!(f, "layer {}{}: {reason}", layer.short(), of(images)),
            Self::Different {
                layer,
                images,
                difference,
            } => write!(f, "layer {}{}: {difference}", layer.short(), of(images)),
        }
    }
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many layers were looked at.
    pub layers: usize,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What could not be made good again.
#[derive(Debug)]
pub struct Unrepaired {
    /// The image, layer or record.
    pub what: String,
    /// Why not.
    pub reason: String,
}

/// What a repair has come to.
#[derive(Debug, Default)]
pub struct Repaired {
    /// The images that were had again.
    pub images: Vec<String>,
    /// The layers and records that were removed because no image can have them.
    pub removed: Vec<String>,
    /// What is as broken as it was.
    pub unrepaired: Vec<Unrepaired>,
}

/// What has become of a layer that was listed.
enum Holding {
    /// It is there, and stays.
    Held(Holds),
    /// Nobody has it any more.
    Gone,
    /// An image has it, and it is not there.
    Missing,
}

impl Images {
    /// Compares layers with what was noted when they were verified: those of the given images, or
    /// all that there are, and then the records of images too. Every file is read.
    pub async fn check(&self, images: Option<&[Stored]>) -> Result<Checked, ImageError> {
        let mut problems = Vec::new();
        let contents = self.store().contents()?;
        if images.is_none() {
            for error in &contents.unreadable {
                problems.push(unreadable(error));
            }
        }
        let mut users: BTreeMap<LayerId, Vec<String>> = BTreeMap::new();
        for image in images.unwrap_or(&contents.images) {
            for id in image.record.all_layers() {
                let users = users.entry(id.clone()).or_default();
                if users.last() != Some(&image.record.name) {
                    users.push(image.record.name.clone());
                }
            }
        }
        if images.is_none() {
            for id in self.store().layers()? {
                users.entry(id).or_default();
            }
        }
        let layers = users.len();
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        let found: Vec<Vec<Problem>> = stream::iter(users)
            .map(|(layer, images)| self.check_layer(layer, images))
            .buffered(at_once)
            .try_collect()
            .await?;
        problems.extend(found.into_iter().flatten());
        Ok(Checked { layers, problems })
    }

    async fn check_layer(
        &self,
        layer: LayerId,
        images: Vec<String>,
    ) -> Result<Vec<Problem>, ImageError> {
        let _hold = match self.hold_listed(&layer).await? {
            Holding::Held(hold) => hold,
            Holding::Gone => return Ok(Vec::new()),
            Holding::Missing => return Ok(vec![Problem::Missing { layer, images }]),
        };
        let unknown = |reason: String| {
            Ok(vec![Problem::Unknown {
                layer: layer.clone(),
                images: images.clone(),
                reason,
            }])
        };
        let record = match self.store().layer_record(&layer) {
            Ok(record) => record,
            Err(error) => return unknown(format!("its record cannot be read: {error}")),
        };
        let Some(content) = record.listing else {
            return unknown("it was made without a listing of what it holds".to_owned());
        };
        let title = format!("check layer {}", layer.short());
        let step = Step::start(self.progress(), title, None);
        let root = self.store().layer_root(&layer);
        let listing = self.store().layer_listing(&layer);
        let compared = blocking({
            let root = root.clone();
            move |cancel| verify(&root, &listing, &content, cancel)
        });
        let differences = match compared.await.and_then(|outcome| outcome) {
            Ok(differences) => differences,
            // A disk that cannot read it any more, say.
            Err(error) => return unknown(format!("it cannot be read: {error}")),
        };
        step.finish();
        let different = differences
            .into_iter()
            .map(|difference| Problem::Different {
                layer: layer.clone(),
                images: images.clone(),
                difference,
            });
        Ok(different.collect())
    }

    /// Holds a layer that is listed. It, or the last image that had it, may have been removed meanwhile, and
    /// had again since, each time anew: what is missing is missing whenever somebody looks.
    async fn hold_listed(&self, layer: &LayerId) -> Result<Holding, ImageError> {
        for _ in 0..LOOKS {
            if let Some(hold) = self.store().hold([layer]).await? {
                return Ok(Holding::Held(hold));
            }
            let root = self.store().layer_root(layer);
            let is_left = root.parent().is_some_and(Path::exists);
            if !is_left && !self.store().contents()?.layers().contains(layer) {
                return Ok(Holding::Gone);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(Holding::Missing)
    }

    /// Makes good again what a check has found: broken layers are put aside at once, then the
    /// images that need them are had from their sources again; layers that no image has, and
    /// records that cannot be understood, are removed.
    pub async fn repair(&self, problems: &[Problem]) -> Result<Repaired, ImageError> {
        let mut repaired = Repaired::default();
        for problem in problems {
            if let Problem::Record { path, .. } = problem {
                self.store().remove_record(path)?;
                repaired.removed.push(format!("record {}", path.display()));
            }
        }
        let broken: BTreeSet<&LayerId> = problems.iter().filter_map(Problem::layer).collect();
        let contents = self.store().contents()?;
        let known = contents.layers();
        let mut kept: BTreeSet<&LayerId> = BTreeSet::new();
        for id in &broken {
            let what = format!("layer {}", id.short());
            match self.store().put_aside(id)? {
                true if known.contains(*id) => {}
                true => repaired.removed.push(what),
                false => {
                    kept.insert(id);
                    let machines = self.machines_on(id)?;
                    let reason = if machines.is_empty() {
                        "it is in use by another postroj".to_owned()
                    } else {
                        format!("it is in use by {}", machines.join(", "))
                    };
                    repaired.unrepaired.push(Unrepaired { what, reason });
                }
            }
        }
        for image in &contents.images {
            let needs = |layers: &BTreeSet<&LayerId>| {
                image.record.all_layers().any(|id| layers.contains(id))
            };
            if !needs(&broken) || needs(&kept) {
                continue;
            }
            match self.have_again(image).await {
                Ok(()) => repaired.images.push(image.record.name.clone()),
                Err(error) => repaired.unrepaired.push(Unrepaired {
                    what: image.record.name.clone(),
                    reason: error.to_string(),
                }),
            }
        }
        Ok(repaired)
    }

    async fn have_again(&self, image: &Stored) -> Result<(), ImageError> {
        let record = &image.record;
        let options = PullOptions {
            platform: record.platform.clone(),
            ..PullOptions::default()
        };
        if record.origin == Origin::Import {
            let name = ImportName::parse(&record.name).ok();
            self.import(Path::new(&record.source), name, &options)
                .await?;
        } else {
            let reference = Reference::load(&record.name)?;
            self.pull(&reference, &options).await?;
        }
        Ok(())
    }
}

fn unreadable(error: &StoreError) -> Problem {
    let (path, reason) = match error {
        StoreError::Record { path, source } => (path, source.to_string()),
        StoreError::Io { path, source } => (path, source.to_string()),
        other => {
            return Problem::Record {
                path: PathBuf::new(),
                reason: other.to_string(),
            };
        }
    };
    Problem::Record {
        path: path.clone(),
        reason,
    }
}
