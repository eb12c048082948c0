//! What the command line, the environment and the configuration files say together.
//!
//! Precedence: flag, environment, `/etc/postroj/config.toml`, the user's file, default. `--config`
//! names the one file to read instead of both.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use postroj::image::catalogue::Catalogue;
use postroj::image::{Access, Images, Registries};
use postroj::progress::{SharedProgress, Silent};
use serde::Deserialize;

use super::Global;
use super::access::RegistryOptions;
use super::error::CommandError;

const SYSTEM_CONFIG: &str = "/etc/postroj/config.toml";
const SYSTEM_IMAGES: &str = "/etc/postroj/images";
const SYSTEM_REGISTRIES: &str = "/etc/containers/registries.conf";
const DEFAULT_STATE: &str = "/var/lib/postroj";
const DEFAULT_CACHE: &str = "/var/cache/postroj";

/// A configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    state_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    registries_conf: Option<PathBuf>,
    images_dir: Option<PathBuf>,
    offline: Option<bool>,
    /// The tables of a registries.conf, before which they take precedence.
    registry: Option<toml::Value>,
}

/// What holds for this run.
pub(crate) struct Settings {
    pub(crate) state_dir: PathBuf,
    pub(crate) cache_dir: PathBuf,
    /// Whether the network is to be left alone.
    pub(crate) offline: bool,
    images_dir: PathBuf,
    registries_conf: Option<PathBuf>,
    registries: Registries,
}

impl Settings {
    pub(crate) fn load(global: &Global) -> Result<Self, CommandError> {
        let files = if let Some(path) = &global.config {
            vec![read(path, true)?]
        } else {
            let mut files = vec![read(Path::new(SYSTEM_CONFIG), false)?];
            if let Some(directories) = directories::ProjectDirs::from("", "", "postroj") {
                let path = directories.config_dir().join("config.toml");
                files.push(read(&path, false)?);
            }
            files
        };
        let mut registries = Registries::default();
        for (file, path) in files.iter().rev() {
            if let Some(tables) = &file.registry {
                let text = toml::to_string(&toml::Table::from_iter([(
                    "registry".to_owned(),
                    tables.clone(),
                )]))
                .map_err(CommandError::internal)?;
                let own = Registries::parse(&text, path).map_err(CommandError::usage)?;
                registries = registries.overridden_by(own);
            }
        }
        let from_files = |pick: fn(&File) -> &Option<PathBuf>| {
            files.iter().find_map(|(file, _)| pick(file).clone())
        };
        let or_default = |flag: &Option<PathBuf>, pick, default: &str| {
            let path = flag.clone().or_else(|| from_files(pick));
            absolute(&path.unwrap_or_else(|| PathBuf::from(default)))
        };
        Ok(Self {
            state_dir: or_default(&global.state_dir, |file| &file.state_dir, DEFAULT_STATE)?,
            cache_dir: or_default(&global.cache_dir, |file| &file.cache_dir, DEFAULT_CACHE)?,
            images_dir: or_default(&None, |file| &file.images_dir, SYSTEM_IMAGES)?,
            offline: files
                .iter()
                .find_map(|(file, _)| file.offline)
                .unwrap_or_default(),
            registries_conf: global
                .registries_conf
                .clone()
                .or_else(|| from_files(|file| &file.registries_conf)),
            registries,
        })
    }

    /// The images that are known by name.
    pub(crate) fn catalogue(&self) -> Result<Catalogue, CommandError> {
        Catalogue::builtin()
            .and_then(|catalogue| catalogue.with_directory(&self.images_dir))
            .map_err(CommandError::usage)
    }

    /// The images, those in the store and those that can be pulled.
    pub(crate) fn images(&self, progress: &SharedProgress) -> Result<Images, CommandError> {
        self.images_by(progress, &RegistryOptions::default())
    }

    /// The same, where it was said how registries are reached.
    pub(crate) fn images_by(
        &self,
        progress: &SharedProgress,
        options: &RegistryOptions,
    ) -> Result<Images, CommandError> {
        let images = Images::open(
            &self.state_dir,
            self.catalogue()?,
            self.access(options)?,
            progress.clone(),
        )?;
        Ok(images.with_package_cache(&self.cache_dir))
    }

    /// How registries are reached.
    pub(crate) fn access(&self, options: &RegistryOptions) -> Result<Access, CommandError> {
        let file = match &self.registries_conf {
            Some(path) => Registries::load(path, true),
            None => Registries::load(Path::new(SYSTEM_REGISTRIES), false),
        };
        let registries = file
            .map_err(CommandError::usage)?
            .overridden_by(self.registries.clone());
        Ok(options.access(registries))
    }

    /// The sizes of the images in the store, by name. A store that is not there, or not ours to
    /// read, has none.
    pub(crate) fn stored_sizes(&self) -> Result<HashMap<String, u64>, CommandError> {
        if std::fs::read_dir(&self.state_dir).is_err() {
            return Ok(HashMap::new());
        }
        let progress: SharedProgress = std::sync::Arc::new(Silent);
        let records = self.images(&progress)?.list()?;
        Ok(records
            .into_iter()
            .map(|record| (record.name, record.bytes))
            .collect())
    }
}

fn read(path: &Path, required: bool) -> Result<(File, PathBuf), CommandError> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => String::new(),
        text => {
            text.map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))?
        }
    };
    let file = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].lines().count().max(1));
        CommandError::usage(format!("{}:{line}: {}", path.display(), error.message()))
    })?;
    Ok((file, path.to_owned()))
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path)
        .map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))
}
