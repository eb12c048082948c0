//! What one file of the catalogue says, and the checks that are made while it is read.

use std::{env::consts::ARCH, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use url::Url;

use super::bootstrap::Bootstrap;

/// The longest host name that Linux allows (`HOST_NAME_MAX`, hostname(7)).
const HOST_NAME_MAX: usize = 64;
/// The longest label of a host name (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// The distributions that are provisioned and installed to in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Debian, Ubuntu: apt and dpkg.
    Debian,
    /// Fedora, RHEL and all that is built from them: dnf, microdnf or yum, and rpm.
    Redhat,
    /// openSUSE and SUSE Linux Enterprise: zypper and rpm.
    Suse,
    /// Arch Linux: pacman.
    Arch,
}

impl Family {
    /// The family that an `os-release` names by `ID`, else by `ID_LIKE`; os-release(5).
    pub fn of_os_release(os_release: &str) -> Option<Self> {
        let value = |key: &str| {
            os_release.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name == key).then(|| value.trim_matches(['"', '\'']))
            })
        };
        let names = [value("ID"), value("ID_LIKE")];
        names
            .into_iter()
            .flatten()
            .flat_map(str::split_whitespace)
            .find_map(|name| match name {
                "debian" | "ubuntu" => Some(Self::Debian),
                "fedora" | "rhel" | "centos" | "amzn" | "ol" | "rocky" | "almalinux" => {
                    Some(Self::Redhat)
                }
                "suse" | "opensuse" | "sles" => Some(Self::Suse),
                "arch" | "archlinux" | "archarm" => Some(Self::Arch),
                name if name.starts_with("opensuse-") => Some(Self::Suse),
                _ => None,
            })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Debian => "debian",
            Self::Redhat => "redhat",
            Self::Suse => "suse",
            Self::Arch => "arch",
        })
    }
}

/// The ways to get an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// From a container registry.
    Oci,
    /// A root file system, packed as one file.
    Tarball,
    /// Made on this host, from the packages of the distribution.
    Bootstrap,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Oci => "oci",
            Self::Tarball => "tarball",
            Self::Bootstrap => "bootstrap",
        })
    }
}

/// A word that is no [`SourceKind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of source: it is one of oci, tarball, bootstrap")]
pub struct UnknownSourceKind(String);

impl FromStr for SourceKind {
    type Err = UnknownSourceKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Oci, Self::Tarball, Self::Bootstrap]
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| UnknownSourceKind(text.to_owned()))
    }
}

/// One place to get an image from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawSource")]
pub enum Source {
    /// An image reference, such as `docker.io/library/debian:bookworm`.
    Oci(String),
    /// A packed root file system.
    Tarball {
        /// Its http or https address.
        url: String,
        /// The checksum of the file as it is served, in lower-case hexadecimal.
        sha256: Option<String>,
    },
    /// The packages of the distribution.
    Bootstrap(Bootstrap),
}

impl Source {
    /// The way that this source is gone.
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Oci(_) => SourceKind::Oci,
            Self::Tarball { .. } => SourceKind::Tarball,
            Self::Bootstrap(_) => SourceKind::Bootstrap,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Oci(reference) => formatter.write_str(reference),
            Self::Tarball { url, .. } => formatter.write_str(&crate::image::tarball::shown(url)),
            Self::Bootstrap(bootstrap) => bootstrap.fmt(formatter),
        }
    }
}

/// A source as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    oci: Option<String>,
    tarball: Option<String>,
    sha256: Option<String>,
    bootstrap: Option<Bootstrap>,
}

impl TryFrom<RawSource> for Source {
    type Error = String;

    fn try_from(raw: RawSource) -> Result<Self, String> {
        if raw.sha256.is_some() && raw.tarball.is_none() {
            return Err("sha256 belongs to a tarball".to_owned());
        }
        match (raw.oci, raw.tarball, raw.bootstrap) {
            // Not checked here: the expression takes longer to compile than a container to stop.
            (Some(reference), None, None) => Ok(Self::Oci(reference)),
            (None, Some(written), None) => {
                let url = choose(&written, ARCH)?;
                check_url(&url)?;
                if let Some(sum) = &raw.sha256 {
                    check_sha256(sum)?;
                    if url != written {
                        return Err("a tarball with a choice cannot have one sha256".to_owned());
                    }
                }
                Ok(Self::Tarball {
                    url,
                    sha256: raw.sha256,
                })
            }
            (None, None, Some(bootstrap)) => Ok(Self::Bootstrap(bootstrap)),
            _ => Err("a source is one of oci, tarball and bootstrap".to_owned()),
        }
    }
}

/// What it takes to make an image bootable, beyond its family's recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provision {
    /// A script that root runs in the image, with `/bin/sh -e`, before the recipe. Running it again
    /// changes nothing.
    #[serde(default)]
    pub setup: Option<String>,
    /// Packages that the recipe shall install beside its own.
    #[serde(default)]
    pub packages: Vec<String>,
}

/// One image of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// A single host-name label, for the machine is named after it.
    #[serde(deserialize_with = "label")]
    pub name: String,
    /// Further names, which may have dots.
    #[serde(default, deserialize_with = "host_names")]
    pub aliases: Vec<String>,
    /// The distribution's own name and release.
    pub title: String,
    /// How it is provisioned and installed to.
    pub family: Family,
    /// The last day of support, as `YYYY-MM-DD`, when it is known.
    #[serde(default, deserialize_with = "date")]
    pub end_of_life: Option<String>,
    /// Why it cannot work, for one that cannot.
    #[serde(default)]
    pub unsupported: Option<String>,
    /// Where to get it, in the order to try; at least one.
    #[serde(rename = "source", deserialize_with = "not_empty")]
    pub sources: Vec<Source>,
    /// What it takes to make it bootable.
    #[serde(default)]
    pub provision: Provision,
}

impl Entry {
    /// The name and then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name)
            .chain(&self.aliases)
            .map(String::as_str)
    }
}

/// Replaces each `{x|y}` in `text` by x, or by y when `arch` is `aarch64`.
pub(super) fn choose(text: &str, arch: &str) -> Result<String, String> {
    let mut chosen = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('{') {
        let (x86_64, aarch64, after) = from
            .split_once('}')
            .and_then(|(choice, after)| choice.split_once('|').map(|(x, y)| (x, y, after)))
            .ok_or_else(|| format!("`{text}` has a brace without `{{x86-64|arm64}}`"))?;
        chosen.push_str(before);
        chosen.push_str(if arch == "aarch64" { aarch64 } else { x86_64 });
        rest = after;
    }
    chosen.push_str(rest);
    Ok(chosen)
}

pub(super) fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(())
    } else {
        Err(format!("`{text}` is no http or https URL"))
    }
}

fn check_sha256(text: &str) -> Result<(), String> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 64 && text.bytes().all(digit) {
        Ok(())
    } else {
        Err(format!(
            "`{text}` is no SHA-256 sum: that is 64 lower-case hexadecimal digits"
        ))
    }
}

pub(super) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LABEL_MAX).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) fn is_host_name(text: &str) -> bool {
    text.len() <= HOST_NAME_MAX && text.split('.').all(is_label)
}

fn is_date(text: &str) -> bool {
    let number = |range| text.get(range).and_then(|part: &str| part.parse().ok());
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && number(5..7).is_some_and(|month: u8| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day: u8| (1..=31).contains(&day))
}

fn label<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if is_label(&name) {
        Ok(name)
    } else {
        Err(D::Error::custom(format!(
            "`{name}` cannot be an image's name: it takes lower-case letters, digits and inner hyphens"
        )))
    }
}

fn host_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    match names.iter().find(|name| !is_host_name(name)) {
        None => Ok(names),
        Some(name) => Err(D::Error::custom(format!(
            "`{name}` cannot be an alias: it takes lower-case letters, digits, inner hyphens and dots"
        ))),
    }
}

fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let date = String::deserialize(from)?;
    if is_date(&date) {
        Ok(Some(date))
    } else {
        Err(D::Error::custom(format!("`{date}` is no YYYY-MM-DD date")))
    }
}

fn not_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Source>, D::Error> {
    let sources = Vec::deserialize(from)?;
    if sources.is_empty() {
        return Err(D::Error::custom("an image needs at least one source"));
    }
    Ok(sources)
}
