//! What an IMAGE argument means.
//!
//! | typed | means |
//! |---|---|
//! | `debian-bookworm` | a name or alias of the catalogue: a bare word is never anything else |
//! | `quay.io/centos/centos:stream9`, `docker://debian`, `…@sha256:…` | an image in a registry, `docker://` without one being docker.io's |
//! | `debian:bookworm`, `foo/bar` | an image whose registry registries.conf tells; without it docker.io's |
//! | `https://…`, `http://…` | a tarball of a root file system |
//! | `/…`, `./…`, `../…`, `file:///…` | a tarball or a directory, whichever is there |

mod oci;

use std::fmt;
use std::path::{Path, PathBuf};

pub use oci::{OciReference, ShortName};

use super::digest::Digest;

/// Where an image is to be had from, as the user named it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name or alias of the catalogue.
    Catalogue(String),
    /// An image in a registry.
    Oci(OciReference),
    /// An image in a registry that was left out.
    Short(ShortName),
    /// A tarball behind an http or https URL.
    TarballUrl(String),
    /// A local tarball, by its absolute path.
    TarballFile(PathBuf),
    /// A local directory, by its absolute path.
    Directory(PathBuf),
}

/// Why an IMAGE argument means nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given.
    #[error("the name of the image is empty")]
    Empty,
    /// It looks like a registry's image and is none.
    #[error("{text:?} is not an image reference: {reason}")]
    Malformed {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The local path cannot be looked at.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The path, absolute.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The local path is neither a file nor a directory.
    #[error("{}: neither a tarball nor a directory", path.display())]
    NeitherFileNorDirectory {
        /// The path, absolute.
        path: PathBuf,
    },
}

/// What was typed, before anything is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed<'a> {
    Path(&'a str),
    Meant(Reference),
}

impl Reference {
    /// Tells what `text` means; a local path is looked up to tell a tarball from a directory.
    pub fn load(text: &str) -> Result<Self, ReferenceError> {
        match parse(text)? {
            // What a shell completes is a file's name without a ./ before it.
            Typed::Meant(_) if without_suffix(text) != text && Path::new(text).is_file() => {
                Err(ReferenceError::Malformed {
                    text: text.to_owned(),
                    reason: format!("the file of that name is ./{text}"),
                })
            }
            Typed::Meant(reference) => Ok(reference),
            Typed::Path(path) => {
                let path = Path::new(path);
                let unreadable = |source| ReferenceError::Unreadable {
                    path: path.to_owned(),
                    source,
                };
                let absolute = path.canonicalize().map_err(unreadable)?;
                let metadata = absolute.metadata().map_err(unreadable)?;
                if metadata.is_dir() {
                    Ok(Self::Directory(absolute))
                } else if metadata.is_file() {
                    Ok(Self::TarballFile(absolute))
                } else {
                    Err(ReferenceError::NeitherFileNorDirectory { path: absolute })
                }
            }
        }
    }

    /// A valid host name made from the reference: `[a-z0-9-]`, at most 50 bytes.
    pub fn machine_name(&self) -> String {
        match self {
            Self::Catalogue(name) => slug(name),
            Self::Oci(reference) => slug(&reference.to_string()),
            Self::Short(name) => {
                let text = name.at("docker.io").map(|whole| whole.to_string());
                slug(&text.unwrap_or_else(|_| name.to_string()))
            }
            Self::TarballUrl(url) => {
                let path = url.split(['?', '#']).next().unwrap_or(url);
                let name = path.trim_end_matches('/').rsplit('/').next();
                slug(without_suffix(name.unwrap_or(path)))
            }
            Self::TarballFile(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                slug(without_suffix(&name))
            }
            Self::Directory(path) => slug(&path.file_name().unwrap_or_default().to_string_lossy()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogue(name) => f.write_str(name),
            Self::Oci(reference) => reference.fmt(f),
            Self::Short(name) => name.fmt(f),
            Self::TarballUrl(url) => f.write_str(&super::tarball::shown(url)),
            Self::TarballFile(path) | Self::Directory(path) => path.display().fmt(f),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Typed<'_>, ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if text.contains('\0') {
        return Err(ReferenceError::Malformed {
            text: text.to_owned(),
            reason: "it contains a NUL byte".to_owned(),
        });
    }
    if let Some(path) = text.strip_prefix("file://") {
        return Ok(Typed::Path(path));
    }
    if ["/", "./", "../"]
        .iter()
        .any(|start| text.starts_with(start))
        || text == "."
        || text == ".."
    {
        return Ok(Typed::Path(text));
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        let parsed = url::Url::parse(text).map_err(|error| ReferenceError::Malformed {
            text: text.to_owned(),
            reason: error.to_string(),
        })?;
        return Ok(Typed::Meant(Reference::TarballUrl(parsed.to_string())));
    }
    if text.contains(['/', ':', '@']) {
        return Ok(Typed::Meant(match ShortName::parse(text)? {
            Some(short) => Reference::Short(short),
            None => Reference::Oci(OciReference::parse(text)?),
        }));
    }
    Ok(Typed::Meant(Reference::Catalogue(text.to_owned())))
}

fn without_suffix(name: &str) -> &str {
    let name = [".gz", ".xz", ".zst", ".tgz", ".txz"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    name.strip_suffix(".tar").unwrap_or(name)
}

/// A valid host name of at most 50 bytes made from `text`; a cut one ends in part of its digest.
fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    while slug.ends_with('-') {
        slug.pop();
    }
    if slug.is_empty() {
        slug.push_str("image");
    }
    if slug.len() > 50 {
        slug.truncate(43);
        let slug = slug.trim_end_matches('-');
        return format!("{slug}-{}", &Digest::of(text).short()[..6]);
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> Reference {
        match parse(text).unwrap() {
            Typed::Meant(reference) => reference,
            Typed::Path(path) => panic!("{path} is a path"),
        }
    }

    #[test]
    fn a_bare_word_is_a_catalogue_name() {
        assert_eq!(meant("debian"), Reference::Catalogue("debian".to_owned()));
    }

    #[test]
    fn references_are_completed_as_docker_does() {
        for (typed, whole) in [
            ("debian:bookworm", "debian:bookworm"),
            ("docker://debian", "docker.io/library/debian:latest"),
            ("docker://foo/bar", "docker.io/foo/bar:latest"),
            ("foo/bar", "foo/bar:latest"),
            (
                "quay.io/centos/centos:stream9",
                "quay.io/centos/centos:stream9",
            ),
            ("localhost:5000/x", "localhost:5000/x:latest"),
        ] {
            assert_eq!(meant(typed).to_string(), whole, "{typed}");
        }
        let digest = Digest::of("x");
        let pinned = format!("docker.io/library/debian:bookworm@{digest}");
        assert_eq!(
            meant(&format!("docker://debian:bookworm@{digest}")).to_string(),
            pinned
        );
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            "docker://",
            "debian:",
            "debian@sha256:../../x",
            "debian@md5:d41d8cd98f00b204e9800998ecf8427e",
            "DEBIAN:bookworm",
            "DEBIAN/case:bookworm",
            "a b:c",
            "http://",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_are_told_by_their_start() {
        for text in ["/x", "./x", "../x", "."] {
            assert_eq!(parse(text).unwrap(), Typed::Path(text));
        }
        assert_eq!(parse("file:///x y").unwrap(), Typed::Path("/x y"));
    }

    #[test]
    fn machine_names_are_host_names() {
        for (text, name) in [
            ("debian-bookworm", "debian-bookworm"),
            (
                "debian:bookworm-slim",
                "docker-io-library-debian-bookworm-slim",
            ),
            ("https://host/a/root%20fs.tar.xz?x=y", "root-20fs"),
            ("___", "image"),
        ] {
            assert_eq!(meant(text).machine_name(), name, "{text}");
        }
        let long = meant(&format!("docker://x/{}", "a".repeat(200))).machine_name();
        assert!(long.len() <= 50, "{long}");
    }
}
