//! `images`: what the store holds.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postroj::image::store::Origin;
use postroj::image::{LayerId, Overview, Total};
use serde::Serialize;

use crate::cli::commands::images::human_size;
use crate::cli::commands::machines::age;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;

/// List the images in the store, and what they take
///
/// SHARED is what lies in layers that other images have too, OWN what would be free without the
/// image. The last line counts each layer once. (`postroj list-images` lists what can be pulled by
/// name.)
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Print JSON: sizes in bytes, times in seconds since 1970
    #[arg(long)]
    json: bool,
}

/// An image of the store, as `--json` has it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    origin: Origin,
    source: &'a str,
    digest: String,
    created: u64,
    size: u64,
    shared_size: u64,
    own_size: u64,
    layers: Vec<&'a LayerId>,
    missing_layers: &'a [LayerId],
}

impl Images {
    pub(crate) fn run(&self, settings: &Settings, output: &Output) -> Result<Exit, CommandError> {
        require_root()?;
        let images = settings.images(&output.progress())?;
        let (overviews, total, contents) = images.overview()?;
        for error in &contents.unreadable {
            output.note(&format!("{error}; `postroj check` tells what to do"));
        }
        for overview in overviews.iter().filter(|one| !one.usage.missing.is_empty()) {
            output.note(&format!(
                "{}: {} of its layers are missing; `postroj check` tells what to do",
                overview.image.record.name,
                overview.usage.missing.len()
            ));
        }
        if self.json {
            let listed: Vec<Listed<'_>> = overviews.iter().map(listed).collect();
            output.json(&listed)?;
        } else {
            output.result(&table(&overviews, total));
        }
        Ok(Exit::Success)
    }
}

fn listed(overview: &Overview) -> Listed<'_> {
    let (record, usage) = (&overview.image.record, &overview.usage);
    Listed {
        name: &record.name,
        origin: record.origin,
        source: &record.source,
        digest: record.digest.to_string(),
        created: record.created,
        size: usage.shared + usage.own,
        shared_size: usage.shared,
        own_size: usage.own,
        layers: record.all_layers().collect(),
        missing_layers: &usage.missing,
    }
}

fn table(overviews: &[Overview], total: Total) -> String {
    let names = overviews
        .iter()
        .map(|one| printable(&one.image.record.name));
    let names: Vec<String> = names.collect();
    let width = names.iter().map(|name| name.chars().count());
    let width = width.chain([4]).max().unwrap_or_default();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<width$}  {:<9}  {:<12}  {:<8}  {:>8}  {:>8}  {:>8}",
        "NAME", "ORIGIN", "DIGEST", "AGE", "SHARED", "OWN", "SIZE"
    );
    for (overview, name) in overviews.iter().zip(names) {
        let (record, usage) = (&overview.image.record, &overview.usage);
        let since = UNIX_EPOCH + Duration::from_secs(record.created);
        let old = SystemTime::now().duration_since(since).unwrap_or_default();
        let _ = writeln!(
            text,
            "{name:<width$}  {:<9}  {:<12}  {:<8}  {:>8}  {:>8}  {:>8}",
            record.origin,
            record.digest.short(),
            age(old),
            human_size(usage.shared),
            human_size(usage.own),
            human_size(usage.shared + usage.own),
        );
    }
    let _ = writeln!(
        text,
        "{} in {}: {}",
        counted(overviews.len(), "image"),
        counted(total.layers, "layer"),
        human_size(total.bytes)
    );
    text
}

fn printable(text: &str) -> String {
    postroj::report::printable(text)
}

pub(super) fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
