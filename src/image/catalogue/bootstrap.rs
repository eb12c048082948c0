//! How an image is made on this host, from the packages of its distribution.

use std::env::consts::ARCH;
use std::fmt;

use serde::{Deserialize, Deserializer};

use super::entry::{check_url, choose};
use crate::image::digest::Digest;

/// The packages of a distribution, and the way to make an image of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub enum Bootstrap {
    /// Debian's, by mmdebstrap; see mmdebstrap(1).
    Debian(Debian),
    /// Those of an rpm-md repository, by dnf, yum or zypper.
    Rpm(Rpm),
    /// Arch Linux', by pacman.
    Pacman(Pacman),
}

/// What mmdebstrap is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    /// The release's code name.
    pub suite: String,
    /// A URI, or a whole line of sources.list; without one, mmdebstrap's own default.
    pub mirror: Option<String>,
    /// The archive's components, `main` unless said.
    pub components: Vec<String>,
    /// The file of keys to check the archive with; without one, those that the host's apt trusts.
    pub keyring: Option<String>,
    /// Packages to have beyond the minimum.
    pub include: Vec<String>,
}

/// What dnf or zypper is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpm {
    /// The packages to have; what they need comes along.
    pub packages: Vec<String>,
    /// Where they are.
    pub repositories: Vec<Repository>,
    /// What `$releasever` stands for.
    pub release: Option<String>,
    /// The keys to check packages with, each a path or an address; with none, they are not checked,
    /// and `unsigned` has said so.
    pub keys: Vec<String>,
}

/// A repository of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its address, or that of a list of its addresses.
    pub address: Address,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At this URL.
    Base(String),
    /// Where the metalink behind this URL says, with a digest of its index. Only dnf knows that.
    Metalink(String),
}

/// What pacman is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pacman {
    /// The packages or groups to have.
    pub packages: Vec<String>,
    /// Where they are; `$repo` and `$arch` in the URL are for pacman.
    pub repositories: Vec<Repository>,
    /// The keyring to check packages with, as `pacman-key --populate` knows it; with none, they are
    /// not checked, and `unsigned` has said so.
    pub keyring: Option<String>,
}

impl Bootstrap {
    /// Changes with anything that makes another image: what is said here, and the way to make it.
    pub(in crate::image) fn fingerprint(&self) -> String {
        /// To be counted up when what postroj adds of itself changes.
        const WAY: u32 = 1;
        Digest::of(format!("{WAY} {ARCH} {self:?}")).to_string()
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |repositories: &[Repository]| match repositories.first() {
            Some(Repository {
                address: Address::Base(url) | Address::Metalink(url),
                ..
            }) => url.clone(),
            None => String::new(),
        };
        match self {
            Self::Debian(debian) => match &debian.mirror {
                Some(mirror) => write!(f, "mmdebstrap {} {mirror}", debian.suite),
                None => write!(f, "mmdebstrap {}", debian.suite),
            },
            Self::Rpm(rpm) => write!(f, "packages of {}", first(&rpm.repositories)),
            Self::Pacman(pacman) => write!(f, "packages of {}", first(&pacman.repositories)),
        }
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    suite: Option<String>,
    #[serde(default, deserialize_with = "optional_choice")]
    mirror: Option<String>,
    components: Option<Vec<String>>,
    keyring: Option<String>,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    packages: Vec<String>,
    release: Option<String>,
    #[serde(default, deserialize_with = "choices")]
    keys: Vec<String>,
    #[serde(default)]
    unsigned: bool,
    #[serde(default, rename = "repository")]
    repositories: Vec<RawRepository>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRepository {
    name: String,
    #[serde(default, deserialize_with = "optional_choice")]
    baseurl: Option<String>,
    #[serde(default, deserialize_with = "optional_choice")]
    metalink: Option<String>,
    #[serde(default, deserialize_with = "optional_choice")]
    server: Option<String>,
}

impl TryFrom<Raw> for Bootstrap {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let by_packages = !raw.packages.is_empty() || !raw.repositories.is_empty();
        let Some(suite) = raw.suite else {
            if !by_packages {
                return Err("a bootstrap has a suite, or packages and repositories".to_owned());
            }
            if raw.mirror.is_some() || raw.components.is_some() || !raw.include.is_empty() {
                return Err("mirror, components and include belong to a suite".to_owned());
            }
            return Self::of_packages(raw);
        };
        if by_packages || !raw.keys.is_empty() || raw.unsigned || raw.release.is_some() {
            return Err(
                "a bootstrap with a suite has no packages, repository, keys, unsigned or release"
                    .to_owned(),
            );
        }
        Ok(Self::Debian(Debian {
            suite,
            mirror: raw.mirror,
            components: raw.components.unwrap_or_else(|| vec!["main".to_owned()]),
            keyring: raw.keyring,
            include: raw.include,
        }))
    }
}

impl Bootstrap {
    fn of_packages(raw: Raw) -> Result<Self, String> {
        if raw.packages.is_empty() || raw.repositories.is_empty() {
            return Err("a bootstrap of packages names packages and repositories".to_owned());
        }
        let is_plain = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+@:=".contains(c);
            text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '@')
                && text.chars().all(plain)
        };
        let texts = raw.repositories.iter().map(|repository| &repository.name);
        for text in texts
            .chain(&raw.packages)
            .chain(&raw.release)
            .chain(&raw.keyring)
        {
            if !is_plain(text) {
                return Err(format!("`{text}` has characters that a name cannot have"));
            }
        }
        let is_pacman = raw.repositories.iter().any(|raw| raw.server.is_some());
        let has_keys = if is_pacman {
            raw.keyring.is_some()
        } else {
            !raw.keys.is_empty()
        };
        if has_keys == raw.unsigned {
            let what = if is_pacman { "a keyring" } else { "keys" };
            return Err(format!(
                "a bootstrap of packages has {what} to check them with, or says `unsigned = true`"
            ));
        }
        let mut repositories = Vec::new();
        for RawRepository {
            name,
            baseurl,
            metalink,
            server,
        } in raw.repositories
        {
            let address = match (baseurl, metalink, server) {
                (Some(url), None, None) if !is_pacman => Address::Base(url),
                (None, Some(url), None) if !is_pacman => Address::Metalink(url),
                (None, None, Some(url)) => Address::Base(url),
                _ => {
                    return Err(format!(
                        "the repository `{name}` has one of baseurl, metalink (rpm) and server (pacman)"
                    ));
                }
            };
            let (Address::Base(url) | Address::Metalink(url)) = &address;
            check_address(url)?;
            repositories.push(Repository { name, address });
        }
        if is_pacman {
            if !raw.keys.is_empty() || raw.release.is_some() {
                return Err("keys and release are for rpm".to_owned());
            }
            return Ok(Self::Pacman(Pacman {
                packages: raw.packages,
                repositories,
                keyring: raw.keyring,
            }));
        }
        if raw.keyring.is_some() {
            return Err("a keyring is for pacman and mmdebstrap; rpm has keys".to_owned());
        }
        for key in &raw.keys {
            if !key.starts_with('/') {
                check_address(key)?;
            }
        }
        Ok(Self::Rpm(Rpm {
            packages: raw.packages,
            repositories,
            release: raw.release,
            keys: raw.keys,
        }))
    }
}

/// A web address, or a directory of this host. It stands in a line of a configuration file.
fn check_address(url: &str) -> Result<(), String> {
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{}` is no address", url.escape_debug()));
    }
    if url.starts_with("file:///") {
        return Ok(());
    }
    check_url(url)
}

fn optional_choice<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    choose(&String::deserialize(from)?, ARCH)
        .map(Some)
        .map_err(serde::de::Error::custom)
}

fn choices<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?.into_iter();
    texts
        .map(|text| choose(&text, ARCH).map_err(serde::de::Error::custom))
        .collect()
}
