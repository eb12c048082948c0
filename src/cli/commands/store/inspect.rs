//! `inspect`: all that is known of an image.

use std::path::PathBuf;

use postroj::image::store::Origin;
use postroj::image::{ImageConfig, LayerDetails, Platform};
use serde::Serialize;

use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;

/// Print all that is known of images in the store, as JSON
///
/// It is a list with an object for each image: sizes in bytes, times in seconds since 1970, layers
/// from the bottom up. The path of a layer is a directory to look into, and not to change anything
/// in.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// The images, as `postroj images` lists them
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Inspected<'a> {
    name: &'a str,
    machine_name: &'a str,
    origin: Origin,
    source: &'a str,
    digest: String,
    platform: String,
    created: u64,
    size: u64,
    shared_size: u64,
    own_size: u64,
    config: &'a ImageConfig,
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
struct Layer {
    id: String,
    path: PathBuf,
    diff_id: Option<String>,
    blob: Option<String>,
    made_from: Option<String>,
    entries: Option<u64>,
    size: Option<u64>,
    shared: bool,
    provision: bool,
    missing: bool,
}

impl Inspect {
    pub(crate) fn run(&self, settings: &Settings, output: &Output) -> Result<Exit, CommandError> {
        require_root()?;
        let images = settings.images(&output.progress())?;
        let mut found = Vec::new();
        for name in &self.images {
            let image = images.stored(name)?;
            let layers = images.layers_of(&image)?;
            found.push((image, layers));
        }
        let inspected = found.iter().map(|(image, layers)| {
            let record = &image.record;
            let mut counted: Vec<&LayerDetails> = layers.iter().collect();
            // An image may have a layer twice.
            counted.sort_by_key(|layer| &layer.id);
            counted.dedup_by_key(|layer| &layer.id);
            let sum = |shared: bool| {
                let layers = counted.iter().filter(|layer| layer.shared == shared);
                layers
                    .filter_map(|layer| Some(layer.record.as_ref()?.bytes))
                    .sum::<u64>()
            };
            Inspected {
                name: &record.name,
                machine_name: &record.machine_name,
                origin: record.origin,
                source: &record.source,
                digest: record.digest.to_string(),
                platform: match &record.platform {
                    Some(platform) => platform.to_string(),
                    None => Platform::native().to_string(),
                },
                created: record.created,
                size: sum(true) + sum(false),
                shared_size: sum(true),
                own_size: sum(false),
                config: &record.config,
                layers: layers
                    .iter()
                    .map(|layer| described(layer, images.store().layer_root(&layer.id)))
                    .collect(),
            }
        });
        output.json(&inspected.collect::<Vec<_>>())?;
        Ok(Exit::Success)
    }
}

fn described(layer: &LayerDetails, path: PathBuf) -> Layer {
    let record = layer.record.as_ref();
    Layer {
        id: layer.id.to_string(),
        path,
        diff_id: record
            .and_then(|record| record.diff_id)
            .map(|id| id.to_string()),
        blob: record
            .and_then(|record| record.blob)
            .map(|id| id.to_string()),
        made_from: record.map(|record| record.made_from.clone()),
        entries: record.map(|record| record.entries),
        size: record.map(|record| record.bytes),
        shared: layer.shared,
        provision: layer.provision,
        missing: record.is_none(),
    }
}
