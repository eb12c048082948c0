//! Why there is no image.

use std::fmt;
use std::path::PathBuf;

use super::bootstrap::BootstrapError;
use super::catalogue::SourceKind;
use super::digest::Digest;
use super::directory::DirectoryError;
use super::export::ExportError;
use super::layer::LayerError;
use super::lockfile::LockFileError;
use super::oci::OciError;
use super::oci::local::LocalError;
use super::platform::Platform;
use super::reference::ReferenceError;
use super::registries::RegistriesError;
use super::store::StoreError;
use super::tarball::TarballError;
use crate::machine::BuildError;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The catalogue has no such name.
    #[error("there is no image {name} in the catalogue")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that are like it.
        nearest: Vec<String>,
    },
    /// The catalogue says that it cannot work.
    #[error("{name} is not supported: {reason}")]
    Unsupported {
        /// The image.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The store does not have it.
    #[error("there is no image {name} in the store")]
    NotStored {
        /// What was asked for.
        name: String,
    },
    /// The file that it is to be imported from is not one that can be taken.
    #[error("{name}: {}: {source}", path.display())]
    Import {
        /// The image.
        name: String,
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<SourceError>,
    },
    /// The file that it is to be imported from cannot be understood.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// It was imported, and nobody can be asked for it.
    #[error("{name} was imported from {source_path} and is in no registry")]
    Imported {
        /// The image.
        name: String,
        /// Where it was imported from.
        source_path: String,
    },
    /// The store has its record, and not all of its layers.
    #[error("layers of {name} are missing in the store")]
    Incomplete {
        /// The image.
        name: String,
    },
    /// It cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// It cannot be told which containers are up.
    #[error("cannot tell which containers are up: {source}")]
    Machines {
        /// Why not.
        source: std::io::Error,
    },
    /// It would be for a platform that this machine does not have.
    #[error(
        "{name}: an image for {platform} cannot boot on this machine ({})",
        Platform::native()
    )]
    Foreign {
        /// The image.
        name: String,
        /// What it would be for.
        platform: Platform,
    },
    /// There is no source of the kind that was asked for.
    #[error("{name} has no source of the kind {kind}")]
    NoSuchSource {
        /// The image.
        name: String,
        /// The kind.
        kind: &'static str,
    },
    /// The reference means nothing.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// registries.conf cannot be used.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The one source that was tried does not give the image.
    #[error("{name}: {source}")]
    Source {
        /// The image.
        name: String,
        /// Why not.
        source: SourceError,
    },
    /// None of the sources can be reached.
    #[error("{name}: no source can be had: {}", Tried(tried))]
    NoSource {
        /// The image.
        name: String,
        /// Each source and why it cannot be had.
        tried: Vec<(String, SourceError)>,
    },
    /// The image lacks something to boot and it is not known how to install it.
    #[error("{name} lacks {lacks}, and its distribution is of no known family")]
    NotBootable {
        /// The image.
        name: String,
        /// What it lacks.
        lacks: &'static str,
    },
    /// The store does not have it, and nobody is to be asked for it.
    #[error("{name} is not in the store, and --pull never gets nothing")]
    NeverPulled {
        /// The image.
        name: String,
    },
    /// The network is to be left alone.
    #[error("{name}: {missing}, and --offline leaves the network alone")]
    Offline {
        /// The image.
        name: String,
        /// What it would take.
        missing: Missing,
    },
    /// The lock file does not say which image it is.
    #[error("{name} is not locked by {}: {reason}", file.display())]
    NotLocked {
        /// The image.
        name: String,
        /// The lock file.
        file: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// What was made is not what was locked.
    #[error(
        "{name}: {what} is not what was locked: {} instead of {}",
        Content(found),
        Content(expected)
    )]
    LockedDiffers {
        /// The image.
        name: String,
        /// What of it.
        what: &'static str,
        /// The digest in the lock file.
        expected: Option<Digest>,
        /// What there is now.
        found: Option<Digest>,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    LockFile(#[from] LockFileError),
    /// Making the image bootable has failed.
    #[error("{name} cannot be made bootable: {source}")]
    Provision {
        /// The image.
        name: String,
        /// Why not.
        source: Box<BuildError>,
    },
}

/// What is not there, and would have to come over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The image.
    Image,
    /// Packages with what the image lacks to boot.
    Packages(&'static str),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image => f.write_str("the image is not in the store"),
            Self::Packages(lacks) => write!(
                f,
                "the image lacks {lacks}, which comes from its distribution's repositories"
            ),
        }
    }
}

/// A digest, or that there is nothing to have one.
struct Content<'a>(&'a Option<Digest>);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(digest) => digest.fmt(f),
            None => f.write_str("none"),
        }
    }
}

struct Tried<'a>(&'a [(String, SourceError)]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (source, error)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{source}: {error}")?;
        }
        Ok(())
    }
}

/// Why one source does not give the image.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A registry.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A tarball.
    #[error(transparent)]
    Tarball(#[from] TarballError),
    /// A bootstrap.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// A local directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A layer cannot be unpacked.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer, by its digest or by what it is made from.
        layer: String,
        /// Why not.
        source: LayerError,
    },
    /// A layer is not what the config of the image says.
    #[error("layer {layer} has the {what} {found} and should have {expected}")]
    WrongLayer {
        /// The layer, by the digest of its blob.
        layer: String,
        /// `digest` or `diffID`.
        what: &'static str,
        /// What it has.
        found: String,
        /// What the manifest or config says.
        expected: String,
    },
    /// The reference in the catalogue is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SourceError {
    /// Whether another source may be tried: nothing came, rather than something wrong.
    pub(super) fn is_unavailable(&self) -> bool {
        use super::http::FetchError;
        let fetch = |error: &FetchError| {
            !matches!(
                error,
                FetchError::WrongSize { .. } | FetchError::Unwanted { .. } | FetchError::Setup(_)
            )
        };
        match self {
            Self::Oci(error) => error.is_unavailable(),
            Self::Tarball(TarballError::Fetch(error)) => fetch(error),
            Self::Bootstrap(error) => !matches!(error, BootstrapError::Unwanted),
            _ => false,
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Layer { source, .. } => source.is_full(),
            Self::Store(error) => error.is_full(),
            _ => false,
        }
    }
}

impl ImageError {
    /// Whether what was asked for is wrong, rather than that it cannot be had.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Unknown { .. }
            | Self::NotStored { .. }
            | Self::Import { .. }
            | Self::Imported { .. }
            | Self::Unsupported { .. }
            | Self::NoSuchSource { .. }
            | Self::Reference(_)
            | Self::NotLocked { .. }
            | Self::LockFile(_)
            | Self::Export(
                ExportError::Format { .. }
                | ExportError::NotEmpty { .. }
                | ExportError::Target { .. },
            )
            | Self::Registries(
                RegistriesError::Unreadable { .. }
                | RegistriesError::Malformed { .. }
                | RegistriesError::Meaningless { .. }
                | RegistriesError::Ambiguous { .. }
                | RegistriesError::Nonsense { .. },
            ) => true,
            Self::Local(error) => !error.is_full(),
            Self::Source { source, .. } => match source {
                SourceError::Oci(error) => error.is_usage(),
                SourceError::Tarball(error) => matches!(
                    error,
                    TarballError::Unreadable { .. } | TarballError::Malformed { .. }
                ),
                _ => false,
            },
            _ => false,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { name, nearest } => {
                let near = match nearest.as_slice() {
                    [] => "`postroj list-images` lists the names.".to_owned(),
                    names => format!("did you mean {}?", names.join(" or ")),
                };
                Some(format!(
                    "{near} For an image of a registry write {name}:TAG or docker://{name}."
                ))
            }
            Self::NotStored { .. } => Some("`postroj images` lists those that are".to_owned()),
            Self::Local(error) if error.is_full() => Some(FULL.to_owned()),
            Self::Local(LocalError::Name { source, .. }) => source.hint(),
            Self::Imported { source_path, name } => {
                Some(format!("postroj import {source_path} --name {name}"))
            }
            Self::Registries(RegistriesError::Ambiguous { name, registries }) => registries
                .first()
                .map(|first| format!("write it in full: {first}/{name}")),
            Self::Foreign { .. } => Some(
                "qemu-user-static and binfmt-support run programs of other architectures"
                    .to_owned(),
            ),
            Self::Incomplete { name } => Some(format!("postroj check --repair {name}")),
            Self::Store(StoreError::InUse { machines, .. }) => {
                Some(format!("end it first: postroj stop {}", machines.join(" ")))
            }
            Self::NeverPulled { name } => Some(format!("get it with `postroj pull {name}`")),
            Self::Offline { missing, name } => Some(match missing {
                Missing::Image => format!("`postroj pull {name}` gets it while there is a network"),
                Missing::Packages(_) => {
                    format!("`postroj pull {name}` makes it bootable while there is a network")
                }
            }),
            Self::NotLocked { name, file, .. } => {
                Some(format!("postroj pull --lock {} {name}", file.display()))
            }
            Self::LockedDiffers { name, .. } => Some(format!(
                "its source has moved on; `postroj pull --lock FILE {name}` locks what there is now"
            )),
            Self::Source { source, .. } if source.is_full() => Some(FULL.to_owned()),
            Self::Store(error) if error.is_full() => Some(FULL.to_owned()),
            Self::NoSource { tried, .. } => tried.iter().find_map(|(_, error)| hint(error)),
            Self::Source { source, .. } => hint(source),
            _ => None,
        }
    }
}

const FULL: &str = "the disk is full: free some space, or choose another disk with --state-dir";

fn hint(error: &SourceError) -> Option<String> {
    match error {
        SourceError::Bootstrap(
            BootstrapError::Missing { package, .. } | BootstrapError::Keyring { package, .. },
        ) => Some(format!("apt-get install {package}")),
        SourceError::Oci(error) => error.hint(),
        _ => None,
    }
}

/// The word for a kind of source, as the command line has it.
pub(super) fn word(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Oci => "oci",
        SourceKind::Tarball => "tarball",
        SourceKind::Bootstrap => "bootstrap",
    }
}
