//! `rmi` and `gc`: images and garbage that go.

use std::fmt::Write as _;

use postroj::image::store::{Garbage, Removal};
use postroj::install::{CutDownload, sweep_cut_downloads};
use postroj::machine::Runtime;
use postroj::report::printable;

use super::list::counted;
use crate::cli::commands::images::human_size;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// Remove images from the store
///
/// Layers that no other image has go too. An image that a container runs on, one kept with --keep
/// for example, is not removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// The images, as `postroj images` lists them
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    images: Vec<String>,
    /// Remove every image
    #[arg(long, short, conflicts_with = "images")]
    all: bool,
}

impl Rmi {
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        require_root()?;
        let mut signals = Signals::listen()?;
        let images = settings.images(&output.progress())?;
        let mut chosen = Vec::new();
        if self.all {
            let (overviews, ..) = images.overview()?;
            chosen.extend(overviews.into_iter().map(|overview| overview.image));
        }
        for name in &self.images {
            let image = images.stored(name)?;
            if !chosen.contains(&image) {
                chosen.push(image);
            }
        }
        let mut first_error: Option<CommandError> = None;
        for image in &chosen {
            let removed = tokio::select! {
                signal = signals.next() => return Ok(Exit::Signal(signal)),
                removed = images.remove(image) => removed,
            };
            match removed {
                Ok(removal) => output.result(&removed_line(&image.record.name, &removal)),
                Err(error) if chosen.len() > 1 => {
                    output.note(&error.to_string());
                    first_error.get_or_insert(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        first_error.map_or(Ok(Exit::Success), Err)
    }
}

fn removed_line(name: &str, removal: &Removal) -> String {
    let bytes = removal.layers.iter().map(|layer| layer.bytes).sum();
    let mut line = format!("{}: removed", printable(name));
    if !removal.layers.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            ", with {} that no other image has: {} freed",
            counted(removal.layers.len(), "layer"),
            human_size(bytes)
        );
    }
    if !removal.in_use.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "; {} in use, for `postroj gc` to remove later",
            counted(removal.in_use.len(), "layer")
        );
    }
    line.push('\n');
    line
}

/// Remove what nobody needs: layers without an image, and what killed runs have left
///
/// That is work in the store that was not finished, containers, and downloads that were cut.
/// It may run beside anything else: what another postroj or a container uses, or is making, stays.
/// To remove images themselves is for `postroj rmi`.
#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
}

impl Gc {
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        require_root()?;
        let mut signals = Signals::listen()?;
        let images = settings.images(&output.progress())?;
        let runtime = Runtime::default();
        let machines = if self.dry_run {
            runtime.leftovers()
        } else {
            runtime.sweep()
        };
        let machines = machines.map_err(|error| {
            CommandError::internal(format!("cannot read /run/postroj: {error}"))
        })?;
        let cut = sweep_cut_downloads(&settings.cache_dir, self.dry_run).map_err(|error| {
            let cache = settings.cache_dir.display();
            CommandError::internal(format!("cannot sweep {cache}: {error}"))
        })?;
        let garbage = tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal)),
            garbage = images.collect(self.dry_run) => garbage?,
        };
        output.result(&self.text(&machines, &cut, &garbage));
        for id in &garbage.in_use {
            let machines = images.machines_on(id)?;
            let users = if machines.is_empty() {
                "another postroj".to_owned()
            } else {
                machines.join(", ")
            };
            output.note(&format!(
                "layer {} stays: no image has it, but {users} uses it",
                id.short()
            ));
        }
        let Some(error) = garbage.unreadable.first() else {
            return Ok(Exit::Success);
        };
        Err(
            CommandError::internal(format!("no layer was removed: {error}")).with_hint(Some(
                "`postroj check --repair` removes a record that cannot be read",
            )),
        )
    }

    fn text(&self, machines: &[String], cut: &[CutDownload], garbage: &Garbage) -> String {
        let (done, freed) = if self.dry_run {
            ("would go", "would be free")
        } else {
            ("removed", "freed")
        };
        let mut text = String::new();
        let mut bytes = 0;
        // Writing to a string cannot fail.
        for machine in machines {
            let _ = writeln!(text, "{done}: what is left of the container {machine}");
        }
        for download in cut {
            bytes += download.bytes;
            let _ = writeln!(
                text,
                "{done}: {}, a download that was cut: {}",
                printable(&download.path.display().to_string()),
                human_size(download.bytes)
            );
        }
        for leftover in &garbage.leftovers {
            bytes += leftover.bytes;
            let _ = writeln!(
                text,
                "{done}: {}, left by a killed run: {}",
                printable(&leftover.path.display().to_string()),
                human_size(leftover.bytes)
            );
        }
        for layer in &garbage.layers {
            bytes += layer.bytes;
            let _ = writeln!(
                text,
                "{done}: layer {} of {}: {}",
                layer.id.short(),
                printable(&layer.made_from),
                human_size(layer.bytes)
            );
        }
        let _ = writeln!(text, "{} {freed}", human_size(bytes));
        text
    }
}
