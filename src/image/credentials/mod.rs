//! Who we are to a registry: users, passwords and identity tokens, as podman and docker keep them.
//!
//! The files are those of containers-auth.json(5) and of docker's `config.json`. Which of them are
//! read, and which is written, is for the caller to say; the first that knows the registry counts.

mod file;
mod helper;

use std::fmt;
use std::path::PathBuf;

use docker_credential::DockerCredential;

use file::{AuthFile, Found};

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password, or what stands in for one.
        password: String,
    },
    /// A token that the registry's token server takes in exchange for others.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl From<DockerCredential> for Credentials {
    fn from(found: DockerCredential) -> Self {
        match found {
            DockerCredential::UsernamePassword(user, password) => Self::Password { user, password },
            DockerCredential::IdentityToken(token) => Self::IdentityToken(token),
        }
    }
}

/// Why credentials cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what it should be. What it holds is not quoted.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A helper does not do what it is for.
    #[error("credential helper {helper}: {reason}")]
    Helper {
        /// Its name.
        helper: String,
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is nothing to remove.
    #[error("there are no credentials for {registry} in {}", path.display())]
    NotLoggedIn {
        /// The registry.
        registry: String,
        /// Where there are none.
        path: PathBuf,
    },
}

impl CredentialsError {
    /// Whether a file that was named is wrong, rather than that something failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. } | Self::Malformed { .. } | Self::NotLoggedIn { .. }
        )
    }
}

/// The files that credentials are looked up in, in order.
#[derive(Debug, Clone, Default)]
pub struct AuthFiles {
    /// The files; one that is not there is passed over.
    pub paths: Vec<PathBuf>,
    /// Whether the user has named them: then they have to be there.
    pub required: bool,
}

impl AuthFiles {
    /// What is kept for a repository at a registry; the most specific entry of the first file that
    /// has one. Helpers are run for it, so that it may take a while.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credentials>, CredentialsError> {
        for path in &self.paths {
            let Some(file) = AuthFile::load(path, self.required)? else {
                continue;
            };
            let found = match file.find(registry, repository)? {
                Found::Nothing => None,
                Found::Kept(found) => Some(found),
                Found::Helper { name, server } => helper::get(&name, &server)?,
                Found::Store { name, server } => match helper::get(&name, &server) {
                    Ok(found) => found,
                    // It is asked about every registry, most of which need no password.
                    Err(error) => {
                        tracing::info!(%error, "passed over");
                        None
                    }
                },
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Keeps credentials for a registry, or for one part of it, in a file or where the file says that
/// they are kept.
///
/// The file is replaced as a whole, and only its owner can read it.
pub fn keep(
    path: &std::path::Path,
    registry: &str,
    user: &str,
    password: &str,
) -> Result<(), CredentialsError> {
    let mut file = AuthFile::load(path, false)?.unwrap_or_else(|| AuthFile::empty(path));
    if let Some((name, server)) = file.helper_for(registry) {
        return helper::store(&name, &server, user, password);
    }
    file.set(registry, user, password);
    file.save()
}

/// Forgets the credentials for a registry.
pub fn forget(path: &std::path::Path, registry: &str) -> Result<(), CredentialsError> {
    let missing = || CredentialsError::NotLoggedIn {
        registry: registry.to_owned(),
        path: path.to_owned(),
    };
    let mut file = AuthFile::load(path, false)?.ok_or_else(missing)?;
    let helper = file.helper_for(registry);
    if let Some((name, server)) = &helper {
        helper::erase(name, server)?;
    }
    if file.remove(registry) {
        file.save()
    } else if helper.is_some() {
        Ok(())
    } else {
        Err(missing())
    }
}

/// Forgets all credentials in a file.
pub fn forget_all(path: &std::path::Path) -> Result<(), CredentialsError> {
    let Some(mut file) = AuthFile::load(path, false)? else {
        return Ok(());
    };
    for (registry, name) in file.helpers() {
        helper::erase(&name, &registry)?;
    }
    file.clear();
    file.save()
}

/// The name under which credentials for a registry are kept: docker.io has several.
pub fn registry_key(registry: &str) -> &str {
    match registry {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}
