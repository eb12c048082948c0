//! Certificates for registries, as containers-certs.d(5) has them: in the directory of a host,
//! `*.crt` are authorities to trust, and a `*.cert` with the `*.key` of the same name is who we are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};

use super::credentials::registry_key;
use crate::http::{Tls, chain};

/// Where certificates are looked for.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    /// A directory with certificates for whatever registry is asked, in place of those of `hosts`.
    pub directory: Option<PathBuf>,
    /// Directories with a directory for each `HOST[:PORT]`; the first that has one counts.
    pub hosts: Vec<PathBuf>,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Certificates {
    /// What there is for a host.
    pub(super) fn load(&self, host: &str) -> Result<Tls, CertificatesError> {
        // docker.io's registry has a name of its own, which nobody uses.
        let names = [host, registry_key(host)];
        let mut of_host = self
            .hosts
            .iter()
            .flat_map(|hosts| names.map(|name| hosts.join(name)));
        let directory = self.directory.clone();
        let found = directory.or_else(|| of_host.find(|directory| directory.is_dir()));
        let Some(directory) = found else {
            return Ok(Tls::default());
        };
        let unreadable = |source| CertificatesError::Unreadable {
            path: directory.clone(),
            source,
        };
        let mut paths = fs::read_dir(&directory)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.path()))
                    .collect::<io::Result<Vec<PathBuf>>>()
            })
            .map_err(unreadable)?;
        paths.sort();
        let mut tls = Tls::default();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let found = Certificate::from_pem_bundle(&read(&path)?);
                    let found = found.map_err(|error| malformed(&path, &error))?;
                    if found.is_empty() {
                        return Err(CertificatesError::Malformed {
                            path,
                            reason: "it has no certificate in PEM form".to_owned(),
                        });
                    }
                    tls.authorities.extend(found);
                }
                Some("cert") => {
                    let mut pem = read(&path)?;
                    pem.push(b'\n');
                    pem.extend(read(&path.with_extension("key"))?);
                    let identity = Identity::from_pem(&pem);
                    tls.identity = Some(identity.map_err(|error| malformed(&path, &error))?);
                }
                Some("key") if !path.with_extension("cert").exists() => {
                    return Err(CertificatesError::Malformed {
                        reason: "there is no certificate (.cert) for this key".to_owned(),
                        path,
                    });
                }
                _ => {}
            }
        }
        Ok(tls)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificatesError> {
    fs::read(path).map_err(|source| CertificatesError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn malformed(path: &Path, error: &reqwest::Error) -> CertificatesError {
    CertificatesError::Malformed {
        path: path.to_owned(),
        reason: chain(error),
    }
}
