//! The files: `auth.json` of the containers tools and `config.json` of docker.
//!
//! ```json
//! { "auths": { "HOST[:PORT][/PATH]": { "auth": "<base64 of USER:PASSWORD>" } },
//!   "credHelpers": { "HOST": "NAME" },
//!   "credsStore": "NAME" }
//! ```
//!
//! What we do not know stays as it is. See containers-auth.json(5); keys with a scheme are docker's.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Credentials, CredentialsError, registry_key};

/// What docker calls its own registry.
const DOCKER_KEY: &str = "https://index.docker.io/v1/";

/// A file with credentials.
pub(super) struct AuthFile {
    path: PathBuf,
    content: Map<String, Value>,
}

/// What a file says about a registry.
pub(super) enum Found {
    Nothing,
    Kept(Credentials),
    /// A helper for this registry has it.
    Helper {
        name: String,
        server: String,
    },
    /// A helper for all registries may have it.
    Store {
        name: String,
        server: String,
    },
}

impl AuthFile {
    pub(super) fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            content: Map::new(),
        }
    }

    /// Reads a file; none if it is not there and need not be.
    pub(super) fn load(path: &Path, required: bool) -> Result<Option<Self>, CredentialsError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(None),
            Err(source) => {
                return Err(CredentialsError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        // podman makes empty ones.
        if bytes.trim_ascii().is_empty() {
            return Ok(Some(Self::empty(path)));
        }
        let malformed = |reason: String| CredentialsError::Malformed {
            path: path.to_owned(),
            reason,
        };
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(content)) => Ok(Some(Self {
                path: path.to_owned(),
                content,
            })),
            Ok(_) => Err(malformed("it is no JSON object".to_owned())),
            // Its message would quote what it does not understand.
            Err(error) => Err(malformed(format!(
                "it is no JSON (line {}, column {})",
                error.line(),
                error.column()
            ))),
        }
    }

    /// What it says about a repository.
    pub(super) fn find(&self, registry: &str, repository: &str) -> Result<Found, CredentialsError> {
        let registry = registry_key(registry);
        if let Some((key, name)) = self.own_helper(registry) {
            let server = key.to_owned();
            return Ok(Found::Helper { name, server });
        }
        if let Some((key, entry)) = self.entry(registry, repository) {
            let only = json!({ "auths": { key: entry } });
            let found =
                docker_credential::get_credential_from_reader(only.to_string().as_bytes(), key);
            return match found {
                Ok(found) => Ok(Found::Kept(found.into())),
                Err(_) => Err(CredentialsError::Malformed {
                    path: self.path.clone(),
                    reason: format!("the entry {key} is malformed"),
                }),
            };
        }
        Ok(match self.store() {
            Some(name) => Found::Store {
                name,
                server: server(registry).to_owned(),
            },
            None => Found::Nothing,
        })
    }

    /// The most specific entry that has something in it.
    fn entry(&self, registry: &str, repository: &str) -> Option<(&str, &Value)> {
        let auths = self.content.get("auths")?.as_object()?;
        let filled = |entry: &&Value| {
            ["auth", "identitytoken", "username"]
                .iter()
                .any(|name| entry[name].as_str().is_some_and(|text| !text.is_empty()))
        };
        let whole = format!("{registry}/{repository}");
        let mut name = whole.trim_end_matches('/');
        loop {
            if let Some((key, entry)) = auths.get_key_value(name)
                && filled(&entry)
            {
                return Some((key, entry));
            }
            match name.rfind('/') {
                Some(slash) => name = &name[..slash],
                None => break,
            }
        }
        auths
            .iter()
            .filter(|(_, entry)| filled(entry))
            .find(|(key, _)| host_of(key) == Some(registry))
            .map(|(key, entry)| (key.as_str(), entry))
    }

    fn own_helper(&self, registry: &str) -> Option<(&str, String)> {
        let helpers = self.content.get("credHelpers")?.as_object()?;
        helpers
            .iter()
            .find(|(key, _)| *key == registry || host_of(key) == Some(registry))
            .and_then(|(key, name)| Some((key.as_str(), helper_name(name)?)))
    }

    fn store(&self) -> Option<String> {
        helper_name(self.content.get("credsStore")?)
    }

    /// The helper that keeps the credentials of a registry in place of the file, and what the
    /// registry is called there.
    pub(super) fn helper_for(&self, registry: &str) -> Option<(String, String)> {
        let host = registry_key(registry.split('/').next().unwrap_or(registry));
        if let Some((key, name)) = self.own_helper(host) {
            return Some((name, key.to_owned()));
        }
        Some((self.store()?, server(host).to_owned()))
    }

    /// The registries that have a helper of their own, and which.
    pub(super) fn helpers(&self) -> Vec<(String, String)> {
        let helpers = self.content.get("credHelpers").and_then(Value::as_object);
        helpers
            .into_iter()
            .flatten()
            .filter_map(|(key, name)| Some((key.clone(), helper_name(name)?)))
            .collect()
    }

    pub(super) fn set(&mut self, registry: &str, user: &str, password: &str) {
        let auths = self
            .content
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths[registry] = json!({ "auth": STANDARD.encode(format!("{user}:{password}")) });
    }

    /// Removes the entry of a registry; false if there is none.
    pub(super) fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) else {
            return false;
        };
        let before = auths.len();
        auths.retain(|key, _| {
            key != registry && (registry.contains('/') || host_of(key) != Some(registry))
        });
        auths.len() < before
    }

    pub(super) fn clear(&mut self) {
        self.content.insert("auths".to_owned(), json!({}));
    }

    /// Writes it beside its old self and puts it in its place.
    pub(super) fn save(&self) -> Result<(), CredentialsError> {
        let unwritable = |source| CredentialsError::Unwritable {
            path: self.path.clone(),
            source,
        };
        // It may be a link to where a user keeps it.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let write = || {
            if !directory.exists() {
                let mut builder = fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder.recursive(true).create(directory)?;
            }
            let mut name = target.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.new", std::process::id()));
            let temporary = directory.join(name);
            let _ = fs::remove_file(&temporary);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            let written = serde_json::to_writer_pretty(&mut file, &self.content)
                .map_err(io::Error::from)
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&temporary, &target));
            if written.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            written
        };
        write().map_err(unwritable)
    }
}

/// The registry that a key with a scheme, or one of docker's names, is about.
fn host_of(key: &str) -> Option<&str> {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let host = match bare {
        Some(bare) => bare.split('/').next().unwrap_or(bare),
        None if key.contains('/') => return None,
        None => key,
    };
    Some(registry_key(host))
}

/// How a helper of docker's is asked about a registry.
fn server(registry: &str) -> &str {
    if registry == "docker.io" {
        DOCKER_KEY
    } else {
        registry
    }
}

/// A helper is found by `PATH`: its name is no path.
fn helper_name(name: &Value) -> Option<String> {
    let name = name.as_str()?;
    (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: Value) -> AuthFile {
        let Value::Object(content) = content else {
            panic!("no object");
        };
        AuthFile {
            path: "auth.json".into(),
            content,
        }
    }

    fn entry(user: &str) -> Value {
        json!({ "auth": STANDARD.encode(format!("{user}:secret")) })
    }

    fn user(file: &AuthFile, registry: &str, repository: &str) -> Option<String> {
        match file.find(registry, repository).unwrap() {
            Found::Kept(Credentials::Password { user, .. }) => Some(user),
            Found::Kept(Credentials::IdentityToken(token)) => Some(token),
            Found::Helper { name, server } | Found::Store { name, server } => {
                Some(format!("{name} {server}"))
            }
            Found::Nothing => None,
        }
    }

    #[test]
    fn the_most_specific_entry_counts() {
        let file = file(json!({ "auths": {
            "example.com": entry("all"),
            "example.com/team": entry("team"),
            "example.com/team/app": entry("app"),
            "example.com:5000": entry("port"),
        }}));
        for (registry, repository, who) in [
            ("example.com", "other", Some("all")),
            ("example.com", "team/x/y", Some("team")),
            ("example.com", "teams", Some("all")),
            ("example.com", "team/app", Some("app")),
            ("example.com:5000", "team/app", Some("port")),
            ("example.org", "team", None),
        ] {
            assert_eq!(
                user(&file, registry, repository).as_deref(),
                who,
                "{registry}/{repository}"
            );
        }
    }

    #[test]
    fn keys_of_docker_are_understood() {
        let file = file(json!({
            "auths": {
                "https://index.docker.io/v1/": entry("hub"),
                "https://example.com/v2/": entry("scheme"),
                "empty.example.com": {},
                "token.example.com": { "auth": "Og==", "identitytoken": "identity" },
            },
            "credHelpers": { "helped.example.com": "own" },
            "credsStore": "all",
        }));
        for (registry, who) in [
            ("registry-1.docker.io", "hub"),
            ("docker.io", "hub"),
            ("example.com", "scheme"),
            ("token.example.com", "identity"),
            ("helped.example.com", "own helped.example.com"),
            ("empty.example.com", "all empty.example.com"),
            ("other.example.com", "all other.example.com"),
        ] {
            assert_eq!(user(&file, registry, "x").as_deref(), Some(who));
        }
    }

    #[test]
    fn errors_quote_nothing_that_is_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.json");
        fs::write(&path, "{\"auths\": {\"x\": {\"auth\": secret}}}").unwrap();
        let error = AuthFile::load(&path, true).err().unwrap().to_string();
        assert!(
            error.ends_with("it is no JSON (line 1, column 26)"),
            "{error}"
        );
        let bad = file(json!({ "auths": { "x": { "auth": "%secret%" } } }));
        let error = bad.find("x", "y").err().unwrap().to_string();
        assert_eq!(error, "auth.json: the entry x is malformed");
    }

    #[test]
    fn what_is_written_keeps_the_rest_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/auth.json");
        let mut first = AuthFile::empty(&path);
        first.content.insert("more".to_owned(), json!([1]));
        first.set("a.example.com", "a", "b:c");
        first.set("b.example.com", "b", "");
        first.save().unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut second = AuthFile::load(&path, true).unwrap().unwrap();
        assert_eq!(user(&second, "a.example.com", "x").as_deref(), Some("a"));
        assert!(second.remove("a.example.com") && !second.remove("a.example.com"));
        second.save().unwrap();
        let third = AuthFile::load(&path, true).unwrap().unwrap();
        assert_eq!(third.content["more"], json!([1]));
        assert_eq!(user(&third, "a.example.com", "x"), None);
        assert_eq!(user(&third, "b.example.com", "x").as_deref(), Some("b"));
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1);
    }
}
