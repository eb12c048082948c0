//! The catalogue: the images that are known by name.
//!
//! One TOML file holds one image. Those under `images/` are compiled in; the user's, in a directory
//! of their own, add to them or replace one by its name:
//!
//! ```toml
//! name = "debian-bookworm"        # a host-name label
//! aliases = ["debian-12"]         # optional
//! title = "Debian 12 (bookworm)"
//! family = "debian"               # debian, redhat, suse, arch
//! end_of_life = "2028-06-30"      # optional
//! unsupported = "…"               # optional: why it cannot work
//!
//! [[source]]                      # at least one, in the order to try
//! oci = "docker.io/library/debian:bookworm"
//!
//! [[source]]
//! tarball = "https://cdimage.example.org/rootfs-{amd64|arm64}.tar.xz"
//! # sha256 = "…"                  # optional, for a URL without a choice
//!
//! [[source]]
//! [source.bootstrap]              # for Debian's family: by mmdebstrap
//! suite = "bookworm"
//! # mirror, components (["main"]), keyring, include: optional
//!
//! # [source.bootstrap]            # for rpm's: by dnf, yum or zypper, whichever the host has
//! # packages = ["rocky-release", "dnf", "systemd", "dbus"]
//! # release = "9"                 # optional: what $releasever stands for
//! # keys = ["https://…", "/…"]    # or unsigned = true
//! # [[source.bootstrap.repository]]
//! # name = "baseos"
//! # baseurl = "https://dl.rockylinux.org/pub/rocky/9/BaseOS/{x86_64|aarch64}/os/"
//! # # or metalink = "https://…", which only dnf knows
//!
//! # [source.bootstrap]            # for Arch Linux': by pacman
//! # packages = ["base"]
//! # keyring = "archlinux"         # as pacman-key --populate knows it; or unsigned = true
//! # [[source.bootstrap.repository]]
//! # name = "core"
//! # server = "https://geo.mirror.pkgbuild.com/$repo/os/$arch"
//!
//! [provision]                     # optional, as is all of it
//! setup = '''…'''                 # /bin/sh -e, as root, before the family's recipe
//! packages = []
//! ```
//!
//! In the tarball's URL and the bootstrap's addresses, `{x|y}` stands for x on x86-64 and for y on
//! arm64. It is resolved when the file is read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::reference::OciReference;

mod bootstrap;
mod entry;
#[cfg(test)]
mod tests;

pub use bootstrap::{Address, Bootstrap, Debian, Pacman, Repository, Rpm};
pub use entry::{Entry, Family, Provision, Source, SourceKind, UnknownSourceKind};

/// Why the catalogue could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The directory or one of its files could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file says what cannot be.
    #[error("{}:{line}: {message}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The mistake, in one line.
        message: String,
    },
    /// Two files lay claim to the same name or alias.
    #[error("{}: the name `{name}` is taken by {}", file.display(), other.display())]
    Taken {
        /// The later file.
        file: PathBuf,
        /// The name that both have.
        name: String,
        /// The earlier file.
        other: PathBuf,
    },
}

macro_rules! files {
    ($($name:literal)*) => {
        &[$((concat!("images/", $name, ".toml"), include_str!(concat!("../../images/", $name, ".toml")))),*]
    };
}

/// Path and content of what is compiled in, by distribution and then from old to new.
const BUILTIN: &[(&str, &str)] = files![
    "debian-stretch" "debian-buster" "debian-bullseye" "debian-bookworm" "debian-trixie" "debian-sid"
    "ubuntu-focal" "ubuntu-jammy" "ubuntu-noble"
    "fedora-35" "fedora-36" "fedora-37" "fedora-43" "fedora-44" "fedora-45"
    "centos-7" "centos-8" "centos-9" "centos-10"
    "rhel-8" "rhel-9" "rhel-10"
    "rockylinux-8" "rockylinux-9" "rockylinux-10"
    "almalinux-8" "almalinux-9" "almalinux-10"
    "oraclelinux-8" "oraclelinux-9"
    "amazonlinux-2022" "amazonlinux-2023"
    "opensuse-leap" "opensuse-tumbleweed"
    "sles-15" "sles-bci"
    "archlinux-20220501" "archlinux-latest"
];

/// How many names [`Catalogue::nearest`] offers at most.
const NEAREST: usize = 3;

/// All images that are known by name; no two of them share a name or alias.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Each with the file that it is from.
    entries: Vec<(PathBuf, Entry)>,
}

impl Catalogue {
    /// The images that are compiled in.
    pub fn builtin() -> Result<Self, CatalogueError> {
        let mut catalogue = Self {
            entries: Vec::with_capacity(BUILTIN.len()),
        };
        for (file, text) in BUILTIN {
            let file = PathBuf::from(file);
            catalogue.add(parse(&file, text)?, file)?;
        }
        Ok(catalogue)
    }

    /// Adds the images of the `*.toml` files in `directory`, which need not exist. One that has the
    /// name of an image from elsewhere takes its place, aliases included.
    pub fn with_directory(mut self, directory: &Path) -> Result<Self, CatalogueError> {
        let read = |path: &Path, source| CatalogueError::Read {
            path: path.to_owned(),
            source,
        };
        let mut files = match fs::read_dir(directory) {
            Ok(listing) => listing
                .map(|item| item.map(|item| item.path()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| read(directory, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self),
            Err(error) => return Err(read(directory, error)),
        };
        files.retain(|file| is_entry_file(file));
        files.sort();

        let mut added = Vec::with_capacity(files.len());
        for file in files {
            let text = fs::read_to_string(&file).map_err(|error| read(&file, error))?;
            let entry = parse(&file, &text)?;
            check_references(&file, &text, &entry)?;
            added.push((entry, file));
        }
        // All that is replaced leaves first: its aliases are free for any of the new ones.
        self.entries
            .retain(|(_, old)| added.iter().all(|(new, _)| new.name != old.name));
        for (entry, file) in added {
            self.add(entry, file)?;
        }
        Ok(self)
    }

    fn add(&mut self, entry: Entry, file: PathBuf) -> Result<(), CatalogueError> {
        let mut seen = Vec::new();
        for name in entry.names() {
            let other = match self.entries.iter().find(|(_, old)| has_name(old, name)) {
                Some((other, _)) => other,
                None if seen.contains(&name) => &file,
                None => {
                    seen.push(name);
                    continue;
                }
            };
            return Err(CatalogueError::Taken {
                name: name.to_owned(),
                other: other.clone(),
                file,
            });
        }
        self.entries.push((file, entry));
        Ok(())
    }

    /// The image that has this name or alias.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.iter().find(|entry| has_name(entry, name))
    }

    /// Up to three names or aliases that may be meant by `name`, the likeliest first, each of
    /// another image: those that begin with it or contain it, from new to old, or, when there are
    /// none, those that are spelt like it.
    pub fn nearest(&self, name: &str) -> Vec<&str> {
        let wanted = name.to_lowercase();
        let mut found: Vec<_> = self
            .iter()
            .rev()
            .filter_map(|entry| {
                entry
                    .names()
                    .filter_map(|known| Some((distance(&wanted, known)?, known)))
                    .min_by_key(|(distance, _)| *distance)
            })
            .collect();
        found.sort_by_key(|(distance, _)| *distance);
        if found.first().is_some_and(|(best, _)| *best < MISSPELT) {
            found.retain(|(distance, _)| *distance < MISSPELT);
        }
        found
            .into_iter()
            .map(|(_, known)| known)
            .take(NEAREST)
            .collect()
    }

    /// All images, by distribution and then from old to new; the user's come last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().map(|(_, entry)| entry)
    }
}

fn has_name(entry: &Entry, name: &str) -> bool {
    entry.names().any(|known| known == name)
}

/// Hidden files are left out for the sake of editors, which keep their locks and backups so.
fn is_entry_file(path: &Path) -> bool {
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    path.extension()
        .is_some_and(|extension| extension == "toml")
        && !path.file_name().is_some_and(hidden)
}

/// The least [`distance`] of a name that is only spelt alike.
const MISSPELT: (u8, usize) = (2, 0);

/// How far `known` is from `wanted`; none when nobody can have meant it.
fn distance(wanted: &str, known: &str) -> Option<(u8, usize)> {
    /// Two letters occur in nearly every name and say nothing.
    const TELLING: usize = 3;

    if wanted.len() >= TELLING && known.starts_with(wanted) {
        return Some((0, 0));
    }
    if wanted.len() >= TELLING && known.contains(wanted) {
        return Some((1, 0));
    }
    let edits = strsim::osa_distance(wanted, known);
    (edits <= (wanted.len() / 3).clamp(1, 4)).then_some((MISSPELT.0, edits))
}

/// Reads one file's text; `file` is for the error only.
/// The built-in entries have been checked by a test: the expression for references takes longer to
/// compile than all of them to read.
fn check_references(file: &Path, text: &str, entry: &Entry) -> Result<(), CatalogueError> {
    for source in &entry.sources {
        let Source::Oci(reference) = source else {
            continue;
        };
        if let Err(error) = OciReference::parse(reference) {
            let at = text.find(reference.as_str()).unwrap_or_default();
            return Err(CatalogueError::Invalid {
                file: file.to_owned(),
                line: text[..at].matches('\n').count() + 1,
                message: error.to_string(),
            });
        }
    }
    Ok(())
}

fn parse(file: &Path, text: &str) -> Result<Entry, CatalogueError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.as_bytes().get(..start).unwrap_or_default();
        CatalogueError::Invalid {
            file: file.to_owned(),
            line: 1 + before
                .split(|byte| *byte == b'\n')
                .count()
                .saturating_sub(1),
            message: error.message().replace('\n', ", "),
        }
    })
}
