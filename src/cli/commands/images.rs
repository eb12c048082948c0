//! `list-images` and `pull`: the catalogue and the store.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use postroj::duration;
use postroj::image::catalogue::{Entry, Family, SourceKind};
use postroj::image::{LockFile, PullOptions, PullPolicy, Pulled, ReadyImage, Reference};
use serde::Serialize;

use super::getting::Getting;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// List the images that are known by name
#[derive(Debug, clap::Args)]
pub(crate) struct ListImages {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An image of the catalogue, as `--json` has it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    aliases: &'a [String],
    title: &'a str,
    family: Family,
    end_of_life: Option<&'a str>,
    unsupported: Option<&'a str>,
    sources: Vec<String>,
    in_store: bool,
    size: Option<u64>,
}

impl ListImages {
    pub(crate) fn run(&self, settings: &Settings, output: &Output) -> Result<Exit, CommandError> {
        let catalogue = settings.catalogue()?;
        let stored = settings.stored_sizes()?;
        let listed: Vec<Listed<'_>> = catalogue
            .iter()
            .map(|entry| Listed {
                name: &entry.name,
                aliases: &entry.aliases,
                title: &entry.title,
                family: entry.family,
                end_of_life: entry.end_of_life.as_deref(),
                unsupported: entry.unsupported.as_deref(),
                sources: sources(entry),
                in_store: stored.contains_key(&entry.name),
                size: stored.get(&entry.name).copied(),
            })
            .collect();
        if self.json {
            output.json(&listed)?;
        } else {
            output.result(&table(&listed));
        }
        Ok(Exit::Success)
    }
}

fn sources(entry: &Entry) -> Vec<String> {
    entry.sources.iter().map(ToString::to_string).collect()
}

fn table(listed: &[Listed<'_>]) -> String {
    let aliases: Vec<String> = listed
        .iter()
        .map(|image| image.aliases.join(", "))
        .collect();
    let wide = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let names = wide(&mut listed.iter().map(|image| image.name.len()).chain([4]));
    let alias_width = wide(&mut aliases.iter().map(String::len).chain([7]));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<names$}  {:<alias_width$}  {:<6}  {:>9}  SOURCE",
        "NAME", "ALIASES", "FAMILY", "IN STORE"
    );
    for (image, aliases) in listed.iter().zip(aliases) {
        let size = match (image.size, image.in_store) {
            (Some(size), true) => human_size(size),
            _ => "-".to_owned(),
        };
        let source = match image.unsupported {
            Some(reason) => format!("unsupported: {reason}"),
            None => image.sources.first().cloned().unwrap_or_default(),
        };
        let _ = writeln!(
            text,
            "{:<names$}  {aliases:<alias_width$}  {:<6}  {size:>9}  {source}",
            image.name,
            image.family.to_string()
        );
    }
    text
}

/// A size in bytes for people: `123 MB`.
pub(in crate::cli) fn human_size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1000),
        1_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// Get images into the store, ready to boot
///
/// The sources of an image are tried in order; one that cannot be reached is passed over, and a
/// line says so.
///
/// An image that is in the store is compared with the source that it came from. A registry is asked
/// for the digest that it has under the tag now, a web server whether a tarball has changed; an
/// image that was asked for by digest, a file or directory that has not changed, and a bootstrap
/// whose recipe has not changed are up to date without anybody being asked. --force gets the image
/// anew all the same, and makes it bootable anew, from what the package mirror has now.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// The images; see `postroj pkgprobe --help` for what they can be
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    images: Vec<String>,
    /// Pull every image of the catalogue that can work
    #[arg(long, conflicts_with = "images")]
    all: bool,
    /// Get it anew, and make it bootable anew, even if it is up to date
    #[arg(long, conflicts_with = "offline")]
    force: bool,
    /// Note in FILE, for --locked, which images the names stand for now; what it says of other
    /// images stays
    #[arg(long, value_name = "FILE", conflicts_with = "locked")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    getting: Getting,
    /// How long each image may take [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Take it from this kind of source only
    #[arg(long, value_name = "KIND")]
    source: Option<Source>,
}

/// Where an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// A registry
    Oci,
    /// A root-filesystem tarball
    Tarball,
    /// The distribution's own package mirror
    Bootstrap,
}

impl Pull {
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        let mut references = Vec::new();
        for image in &self.images {
            references.push(Reference::load(image).map_err(CommandError::usage)?);
        }
        let catalogue = settings.catalogue()?;
        for reference in &references {
            postroj::image::check(&catalogue, reference)?;
        }
        let progress = output.progress();
        require_root()?;
        let mut signals = Signals::listen()?;
        let images = self.getting.images(settings, &progress)?;
        if self.all {
            for entry in catalogue.iter() {
                match &entry.unsupported {
                    Some(reason) => output.note(&format!("{}: left out: {reason}", entry.name)),
                    None => {
                        references.push(Reference::load(&entry.name).map_err(CommandError::usage)?);
                    }
                }
            }
        }
        let options = PullOptions {
            force: self.force,
            source: self.source.map(|source| match source {
                Source::Oci => SourceKind::Oci,
                Source::Tarball => SourceKind::Tarball,
                Source::Bootstrap => SourceKind::Bootstrap,
            }),
            ..self.getting.pull_options(PullPolicy::Always, settings)?
        };
        let mut lock = match &self.lock {
            Some(path) => Some(LockFile::load_or_new(path).map_err(CommandError::usage)?),
            None => None,
        };
        let mut failed = Vec::new();
        for reference in &references {
            let pulled = tokio::select! {
                signal = signals.next() => return Ok(Exit::Signal(signal)),
                pulled = in_time(self.timeout, images.pull(reference, &options)) => pulled,
            };
            let pulled = match pulled {
                Some(pulled) => pulled.map_err(CommandError::from),
                None => Err(CommandError::internal(format!(
                    "{reference} was not pulled within the --timeout"
                ))),
            };
            match pulled {
                Ok(image) => {
                    output.note(&format!(
                        "{}: {}",
                        image.record.name,
                        outcome(&image, &options)
                    ));
                    if let Some(file) = &mut lock {
                        images.lock(&image, file)?;
                    }
                }
                // With several, one that fails does not keep the others from being had.
                Err(error) if references.len() > 1 => {
                    output.note(&format!("{reference}: {}", error.message()));
                    failed.push(reference.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(file) = &lock {
            file.save().map_err(CommandError::usage)?;
        }
        if failed.is_empty() {
            Ok(Exit::Success)
        } else {
            Err(CommandError::internal(format!(
                "not pulled: {}",
                failed.join(", ")
            )))
        }
    }
}

/// What comes of some work within a time, if it ends in it.
async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

/// What came of a pull.
fn outcome(image: &ReadyImage, options: &PullOptions) -> &'static str {
    match image.pulled {
        Pulled::New => "pulled",
        Pulled::Newer => "a newer one was pulled",
        Pulled::UpToDate => "up to date",
        Pulled::Stored if options.locked.is_some() => "in the store, as locked",
        Pulled::Stored if image.record.origin == postroj::image::store::Origin::Import => {
            "in the store, as imported"
        }
        Pulled::Stored => "in the store",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(human_size(12_345), "12 kB");
        assert_eq!(human_size(196_482_560), "196 MB");
    }
}
