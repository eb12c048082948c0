//! Which hosts serve an image: `registries.conf` of the containers tools, version 2.
//!
//! See containers-registries.conf(5). Short names are what `[aliases]` says, else they are searched for
//! in `unqualified-search-registries`; without either they are `docker.io`'s, as with docker. A search
//! through several hosts lets each of them answer for another's name: `short-name-mode = "enforcing"`
//! refuses it, as nobody is asked here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reference::{OciReference, ReferenceError, ShortName};

/// A host that may serve a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host, with its port where it has one.
    pub host: String,
    /// The repository there, without a tag.
    pub repository: String,
    /// Whether plain http and certificates that nobody vouches for are good enough.
    pub insecure: bool,
}

/// Registries, their mirrors and which of them need no TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Registries {
    /// The hosts that are searched for a short name, in order.
    pub unqualified_search_registries: Vec<String>,
    /// What short names stand for, without tags; an empty text for nothing.
    pub aliases: BTreeMap<String, String>,
    /// What is done with a short name that could be of several registries.
    pub short_name_mode: Option<ShortNameMode>,
    /// What is known about registries.
    #[serde(rename = "registry")]
    pub registries: Vec<Registry>,
}

/// What is done with a short name that could be of several registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShortNameMode {
    /// It is refused, as nobody is there to choose.
    Enforcing,
    /// The registries are asked in order.
    Permissive,
    /// The same, and there are no aliases.
    Disabled,
}

/// What is known about a registry, or about one part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Registry {
    /// The names that this is about, `host[:port][/path]` or `*.host`; without one, `location`.
    pub prefix: Option<String>,
    /// Where those names really are.
    pub location: Option<String>,
    /// Whether plain http and unknown certificates are good enough there.
    pub insecure: bool,
    /// Whether pulling from there is forbidden.
    pub blocked: bool,
    /// Whether the mirrors serve only references that have a digest.
    pub mirror_by_digest_only: bool,
    /// The mirrors, in the order in which they are tried.
    #[serde(rename = "mirror")]
    pub mirrors: Vec<Mirror>,
}

/// A mirror of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Mirror {
    /// What stands there for the prefix of the registry.
    pub location: String,
    /// Whether plain http and unknown certificates are good enough there.
    pub insecure: bool,
    /// Which references it serves: `all`, `digest-only` or `tag-only`.
    pub pull_from_mirror: Option<String>,
}

/// Why the registries are not known.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what registries.conf should be.
    #[error("{}: {}", path.display(), one_line(source))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        source: Box<toml::de::Error>,
    },
    /// An entry makes no sense.
    #[error("{}: {reason}", path.display())]
    Meaningless {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A short name could be of several registries.
    #[error("{name} may be of {}: registries.conf has short-name-mode = \"enforcing\"", registries.join(" or "))]
    Ambiguous {
        /// The name.
        name: String,
        /// Those registries.
        registries: Vec<String>,
    },
    /// What a short name stands for makes no sense.
    #[error("registries.conf: {name} stands for nothing that makes sense: {source}")]
    Nonsense {
        /// The name.
        name: String,
        /// What is wrong.
        source: Box<ReferenceError>,
    },
    /// The configuration forbids the registry.
    #[error("registry {prefix} is blocked in registries.conf")]
    Blocked {
        /// The prefix that is.
        prefix: String,
    },
}

fn one_line(error: &toml::de::Error) -> String {
    let mut text = error.message().replace('\n', " ");
    if let Some(span) = error.span() {
        use std::fmt::Write as _;
        let _ = write!(text, " (at byte {})", span.start);
    }
    text
}

impl Registries {
    /// Reads `path` and the drop-ins beside it (`path` with `.d` appended); each may be missing,
    /// except that a `path` the user named (`required`) must exist.
    pub fn load(path: &Path, required: bool) -> Result<Self, RegistriesError> {
        let mut all = Self::default();
        match std::fs::read_to_string(path) {
            Ok(text) => all = Self::parse(&text, path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {}
            Err(source) => {
                return Err(RegistriesError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        }
        let mut directory = path.as_os_str().to_owned();
        directory.push(".d");
        for drop_in in drop_ins(Path::new(&directory))? {
            let text = std::fs::read_to_string(&drop_in).map_err(|source| {
                RegistriesError::Unreadable {
                    path: drop_in.clone(),
                    source,
                }
            })?;
            let later = Self::parse(&text, &drop_in)?;
            all = all.overridden_by(later);
        }
        Ok(all)
    }

    /// Reads the text of a `registries.conf`; `path` is for errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RegistriesError> {
        let parsed: Self = toml::from_str(text).map_err(|source| RegistriesError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        for registry in &parsed.registries {
            let meaningless = |reason: String| RegistriesError::Meaningless {
                path: path.to_owned(),
                reason,
            };
            let prefix = registry.key();
            if prefix.is_empty() {
                return Err(meaningless(
                    "a [[registry]] has neither prefix nor location".to_owned(),
                ));
            }
            if prefix.starts_with("*.") && prefix.contains('/') {
                return Err(meaningless(format!(
                    "prefix {prefix}: a wildcard has no path"
                )));
            }
            for mirror in &registry.mirrors {
                let when = mirror.pull_from_mirror.as_deref();
                if !matches!(when, None | Some("all" | "digest-only" | "tag-only")) {
                    return Err(meaningless(format!(
                        "registry {prefix}: pull-from-mirror is all, digest-only or tag-only"
                    )));
                }
                if when.is_some() && registry.mirror_by_digest_only {
                    return Err(meaningless(format!(
                        "registry {prefix}: pull-from-mirror and mirror-by-digest-only contradict each other"
                    )));
                }
            }
            let locations = registry.mirrors.iter().map(|mirror| &mirror.location);
            for location in locations.chain(registry.location.as_ref()) {
                if location.is_empty() || location.contains("://") {
                    return Err(meaningless(format!(
                        "registry {prefix}: location {location:?} is not of the form HOST[:PORT][/PATH]"
                    )));
                }
            }
        }
        Ok(parsed)
    }

    /// These registries, where `other` has nothing to say about the same prefix.
    #[must_use]
    pub fn overridden_by(mut self, other: Self) -> Self {
        self.registries.retain(|mine| {
            other
                .registries
                .iter()
                .all(|theirs| theirs.key() != mine.key())
        });
        self.registries.extend(other.registries);
        self.aliases.extend(other.aliases);
        self.short_name_mode = other.short_name_mode.or(self.short_name_mode);
        if !other.unqualified_search_registries.is_empty() {
            self.unqualified_search_registries = other.unqualified_search_registries;
        }
        self
    }

    /// What a short name may stand for, in the order in which it is to be tried.
    pub(super) fn resolve_short(
        &self,
        name: &ShortName,
    ) -> Result<Vec<OciReference>, RegistriesError> {
        let nonsense = |source| RegistriesError::Nonsense {
            name: name.to_string(),
            source: Box::new(source),
        };
        let alias = self.aliases.get(&name.path).filter(|alias| {
            !alias.is_empty() && self.short_name_mode != Some(ShortNameMode::Disabled)
        });
        if let Some(alias) = alias {
            return Ok(vec![name.named(alias).map_err(nonsense)?]);
        }
        let searched = &self.unqualified_search_registries;
        if searched.len() > 1 && self.short_name_mode == Some(ShortNameMode::Enforcing) {
            return Err(RegistriesError::Ambiguous {
                name: name.to_string(),
                registries: searched.clone(),
            });
        }
        if searched.is_empty() {
            return Ok(vec![name.at("docker.io").map_err(nonsense)?]);
        }
        let found = searched.iter().map(|registry| name.at(registry));
        found.collect::<Result<_, _>>().map_err(nonsense)
    }

    /// A registry by its name, or a part of it, without its mirrors.
    pub(super) fn registry(&self, name: &str) -> Result<Endpoint, RegistriesError> {
        let own = self.own(name)?;
        let (name, insecure) = own.map_or((name.to_owned(), false), |(found, rest)| {
            (found.own(name, rest), found.insecure)
        });
        Ok(endpoint(&name, insecure))
    }

    /// What is said about a name, and the rest of the name behind that prefix.
    fn own<'a>(&self, name: &'a str) -> Result<Option<(&Registry, &'a str)>, RegistriesError> {
        let found = self
            .registries
            .iter()
            .filter_map(|registry| Some((matched(registry.key(), name)?, registry)))
            // The longest prefix, as it is written; an exact one before a wildcard.
            .max_by_key(|(_, registry)| {
                let key = registry.key();
                (key.len(), !key.starts_with('*'))
            });
        match found {
            Some((_, registry)) if registry.blocked => Err(RegistriesError::Blocked {
                prefix: registry.key().to_owned(),
            }),
            found => Ok(found.map(|(length, registry)| (registry, &name[length..]))),
        }
    }

    /// The hosts that may serve `reference`, in the order in which they are to be tried.
    pub fn resolve(&self, reference: &OciReference) -> Result<Vec<Endpoint>, RegistriesError> {
        let name = reference.name();
        let Some((registry, rest)) = self.own(&name)? else {
            return Ok(vec![endpoint(&name, false)]);
        };
        let by_digest = reference.digest.is_some();
        let mut endpoints: Vec<Endpoint> = registry
            .mirrors
            .iter()
            .filter(|mirror| match mirror.pull_from_mirror.as_deref() {
                Some("digest-only") => by_digest,
                Some("tag-only") => !by_digest,
                _ => by_digest || !registry.mirror_by_digest_only,
            })
            .map(|mirror| endpoint(&format!("{}{rest}", mirror.location), mirror.insecure))
            .collect();
        endpoints.push(endpoint(&registry.own(&name, rest), registry.insecure));
        Ok(endpoints)
    }
}

impl Registry {
    /// What a name is called where it really is.
    fn own(&self, name: &str, rest: &str) -> String {
        match &self.location {
            Some(location) => format!("{location}{rest}"),
            None => name.to_owned(),
        }
    }

    fn key(&self) -> &str {
        self.prefix
            .as_deref()
            .or(self.location.as_deref())
            .unwrap_or_default()
            .trim_end_matches('/')
    }
}

/// How many bytes of `name` the prefix stands for, if it is one of it.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*') {
        let host = name.split('/').next().unwrap_or(name);
        let bare = host.split(':').next().unwrap_or(host);
        let end = if domain.contains(':') { host } else { bare };
        return (end.len() > domain.len() && end.ends_with(domain)).then_some(end.len());
    }
    let rest = name.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

fn endpoint(name: &str, insecure: bool) -> Endpoint {
    let (host, repository) = name.split_once('/').unwrap_or((name, ""));
    Endpoint {
        // Docker's registry does not answer under the name that its images have.
        host: match host {
            "docker.io" | "index.docker.io" => "registry-1.docker.io".to_owned(),
            host => host.to_owned(),
        },
        repository: repository.to_owned(),
        insecure,
    }
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, RegistriesError> {
    let unreadable = |source| RegistriesError::Unreadable {
        path: directory.to_owned(),
        source,
    };
    let listing = match std::fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(unreadable(source)),
    };
    let mut files = Vec::new();
    for entry in listing {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
