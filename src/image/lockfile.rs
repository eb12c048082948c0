//! Lock files: which image each name stands for, so that a run can be repeated to the byte.
//!
//! ```toml
//! version = 1
//!
//! [[image]]
//! name = "debian-bookworm"        # as the catalogue has it; else the reference, the URL or the path
//! platform = "linux/amd64"        # what it was pulled for: each has a layer of its own on top
//! kind = "oci"                    # oci, tarball, bootstrap, directory
//! source = "docker.io/library/debian:bookworm"
//! digest = "sha256:…"             # of the manifest (the index, where there is one) or the archive
//! provision = "sha256:…"          # of the content of the layer that makes it bootable, if it has one
//! ```
//!
//! What a registry keeps under a digest is asked for by it. What has no digest to ask for, a
//! bootstrap or the layer that makes an image bootable, is taken from the store or made once more,
//! and has to come out the same.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::platform::Platform;
use super::store::{ImageRecord, Origin};

/// The format that this postroj writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockFileError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It says what cannot be.
    #[error("{}:{line}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The mistake, in one line.
        message: String,
    },
    /// A newer postroj has written it.
    #[error("{}: its version is {found}; this postroj knows version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
}

/// What a lock file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockFile {
    path: PathBuf,
    /// By name and platform, which is the order in which they are written.
    images: BTreeMap<(String, String), LockedImage>,
}

/// An image that is fixed by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// What names it.
    pub name: String,
    /// What it is for.
    pub platform: Platform,
    /// What kind of source it is from.
    pub kind: Origin,
    /// Where it is from.
    pub source: String,
    /// The digest of the manifest, of the archive, or of a directory's listing.
    pub digest: Digest,
    /// The digest of what the layer holds that makes it bootable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provision: Option<Digest>,
}

impl LockedImage {
    fn key(&self) -> (String, String) {
        (self.name.clone(), self.platform.to_string())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    #[serde(default, rename = "image")]
    images: Vec<LockedImage>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl LockFile {
    /// Reads a lock file.
    pub fn load(path: &Path) -> Result<Self, LockFileError> {
        let text = std::fs::read_to_string(path).map_err(|source| LockFileError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Reads a lock file that is to be written, which need not be there yet.
    pub fn load_or_new(path: &Path) -> Result<Self, LockFileError> {
        match Self::load(path) {
            Err(LockFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self {
                    path: path.to_owned(),
                    images: BTreeMap::new(),
                })
            }
            outcome => outcome,
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, LockFileError> {
        let malformed = |error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            LockFileError::Malformed {
                path: path.to_owned(),
                line: 1 + text.get(..start).unwrap_or_default().matches('\n').count(),
                message: error.message().replace('\n', ", "),
            }
        };
        // First of all: a newer version may have anything else besides.
        let found = toml::from_str::<Version>(text).map_err(malformed)?.version;
        if found != VERSION {
            return Err(LockFileError::Version {
                path: path.to_owned(),
                found,
            });
        }
        let written: Written = toml::from_str(text).map_err(malformed)?;
        let images = written.images.into_iter();
        Ok(Self {
            path: path.to_owned(),
            images: images.map(|image| (image.key(), image)).collect(),
        })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the name stands for on a platform.
    pub fn find(&self, name: &str, platform: &Platform) -> Option<&LockedImage> {
        self.images.get(&(name.to_owned(), platform.to_string()))
    }

    /// Lets the image's name stand for it from now on.
    pub(super) fn insert(&mut self, record: &ImageRecord, provision: Option<Digest>) {
        let image = LockedImage {
            name: record.name.clone(),
            platform: record.platform.clone().unwrap_or_else(Platform::native),
            kind: record.origin,
            source: record.source.clone(),
            digest: record.digest,
            provision,
        };
        self.images.insert(image.key(), image);
    }

    /// Writes it, whole or not at all.
    pub fn save(&self) -> Result<(), LockFileError> {
        let wrap = |source| LockFileError::Io {
            path: self.path.clone(),
            source,
        };
        let written = Written {
            version: VERSION,
            images: self.images.values().cloned().collect(),
        };
        let text = toml::to_string(&written).map_err(|error| wrap(io::Error::other(error)))?;
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}.new", std::process::id()));
        let new = PathBuf::from(name);
        let write = || {
            let mut file = std::fs::File::create(&new)?;
            file.write_all(HEAD.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&new);
            wrap(error)
        })
    }
}

const HEAD: &str =
    "# Written by `postroj pull --lock`; `--locked` takes these images and no others.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> ImageRecord {
        ImageRecord {
            name: name.to_owned(),
            machine_name: name.to_owned(),
            origin: Origin::Oci,
            source: "docker.io/library/debian:bookworm".to_owned(),
            digest: Digest::of(name),
            fingerprint: None,
            layers: Vec::new(),
            provision: None,
            as_is: false,
            config: crate::image::ImageConfig::default(),
            platform: None,
            created: 0,
            bytes: 0,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postroj.lock");
        let mut file = LockFile::load_or_new(&path).unwrap();
        file.insert(&record("b"), Some(Digest::of("x")));
        file.insert(&record("a"), None);
        file.save().unwrap();
        let read = LockFile::load(&path).unwrap();
        assert_eq!(read, file);
        let find = |name| read.find(name, &Platform::native());
        assert_eq!(find("a").unwrap().digest, Digest::of("a"));
        assert_eq!(find("b").unwrap().provision, Some(Digest::of("x")));
        assert!(find("c").is_none());
        assert!(read.find("a", &"linux/mips".parse().unwrap()).is_none());
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "a temporary file is left");
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let parse = |text: &str| {
            LockFile::parse(text, Path::new("x.lock"))
                .unwrap_err()
                .to_string()
        };
        assert!(parse("version = 1\n[[image]]\nname = \"a\"\n").starts_with("x.lock:2: "));
        assert!(parse("version = 2\nnew = 1\n").contains("its version is 2"));
        assert!(parse("").contains("version"));
        let upper = "version = 1\n[[image]]\nname = 'a'\nplatform = 'linux/amd64'\nkind = 'oci'\nsource = 's'\ndigest = 'sha256:../x'\n";
        assert!(parse(upper).starts_with("x.lock:7: "), "{}", parse(upper));
    }
}
