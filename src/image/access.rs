//! How registries are reached, and with what.

use super::certificates::Certificates;
use super::credentials::AuthFiles;
use super::http::Patience;
use super::reference::OciReference;
use super::registries::{Endpoint, Registries, RegistriesError};

/// What is needed besides a reference to get an image from a registry.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Which hosts serve what.
    pub registries: Registries,
    /// Who we are to them.
    pub credentials: AuthFiles,
    /// Whom we trust, and what we show.
    pub certificates: Certificates,
    /// Whether plain http and certificates that nobody vouches for are refused; what the
    /// registries' configuration says, if none.
    pub tls_verify: Option<bool>,
    /// How long a server is waited for.
    pub patience: Patience,
}

impl Access {
    /// The hosts that may serve an image, in the order in which they are to be tried.
    pub(super) fn endpoints(
        &self,
        reference: &OciReference,
    ) -> Result<Vec<Endpoint>, RegistriesError> {
        let mut endpoints = self.registries.resolve(reference)?;
        for endpoint in &mut endpoints {
            self.verify(endpoint);
        }
        Ok(endpoints)
    }

    /// A registry by its name, without any mirror, for whoever logs in there.
    pub(super) fn registry(&self, name: &str) -> Result<Endpoint, RegistriesError> {
        let mut endpoint = self.registries.registry(name)?;
        self.verify(&mut endpoint);
        Ok(endpoint)
    }

    fn verify(&self, endpoint: &mut Endpoint) {
        if let Some(verify) = self.tls_verify {
            endpoint.insecure = !verify;
        }
    }
}
