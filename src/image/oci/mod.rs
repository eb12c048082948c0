//! Images in registries.
//!
//! A registry is an untrusted server. What it answers is bounded in size before it is read, and
//! each document and blob must have the digest by which it was asked for; only the digest that
//! the user or a document already checked has named counts, never one that a header claims.

mod auth;
pub(super) mod local;
mod manifest;
mod transport;

use super::access::Access;
use super::certificates::CertificatesError;
use super::credentials::{self, Credentials, CredentialsError};
use super::digest::{Digest, DigestError};
use super::http::FetchError;
use super::layer::{Compression, Feed};
use super::platform::Platform;
use super::reference::OciReference;
use super::registries::RegistriesError;
use crate::progress::Step;
use manifest::{Blob, Document};
use transport::Transport;

pub use manifest::ImageConfig;

/// Reads any bytes as each of the documents.
#[cfg(feature = "fuzzing")]
pub(super) fn read_documents(bytes: &[u8]) {
    let native = Platform::native();
    if let Ok(Document::Index(choices)) = manifest::parse(bytes, None) {
        let _ = manifest::choose(choices, &native);
    }
    for layers in 0..3 {
        let _ = manifest::parse_config(bytes, layers, &native);
    }
}

/// Why an image cannot be had from its registry.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The registry, its mirrors or one blob cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// No host that may serve the image does; each with its reason.
    #[error("{0}")]
    NoEndpoint(String),
    /// The configuration forbids it.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// Credentials that are kept cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// A document is not what it has to be.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// `manifest` or `config`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Something has another digest than it was asked for by.
    #[error("the registry answers something else than {expected}: it has the digest {found}")]
    WrongDigest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A layer of a kind that cannot be unpacked.
    #[error("layer {layer} is of type {media_type}, which is not supported")]
    LayerType {
        /// The layer's digest.
        layer: Digest,
        /// Its type.
        media_type: String,
    },
    /// The image is not for the platform.
    #[error("there is no image for {wanted}, only for {available}")]
    Platform {
        /// What was asked for, or this machine.
        wanted: Platform,
        /// What there is.
        available: String,
    },
}

impl From<DigestError> for OciError {
    fn from(error: DigestError) -> Self {
        Self::Malformed {
            what: "manifest",
            reason: error.to_string(),
        }
    }
}

impl OciError {
    /// Whether what was asked for, or a file that was named, is wrong.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Credentials(error) => error.is_usage(),
            Self::Certificates(_) => true,
            _ => false,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch(FetchError::Unauthorised { url, .. }) => {
                let host = url::Url::parse(url).ok()?;
                let host = credentials::registry_key(host.authority()).to_owned();
                Some(format!("log in: postroj login {host}"))
            }
            Self::Fetch(FetchError::Unreachable { cause, .. }) if cause.contains("certificate") => Some(
                "its authority (*.crt) belongs into /etc/containers/certs.d/HOST:PORT; --tls-verify=false does without"
                    .to_owned(),
            ),
            Self::Fetch(error) if error.is_for_want_of_tls() => Some(
                "plain http is taken where registries.conf says insecure = true, or with --tls-verify=false"
                    .to_owned(),
            ),
            Self::Fetch(_) | Self::NoEndpoint(_) => Some(
                "a mirror of the registry can be named in /etc/containers/registries.conf"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether another source may well do: nothing that came was wrong, there just was nothing.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Fetch(
                FetchError::Unreachable { .. }
                    | FetchError::Refused { .. }
                    | FetchError::NotFound { .. }
                    | FetchError::Unauthorised { .. }
                    | FetchError::Status { .. }
                    | FetchError::Redirect { .. }
                    | FetchError::Cut { .. }
            ) | Self::NoEndpoint(_)
                | Self::Registries(_)
                | Self::Platform { .. }
        )
    }
}

/// A layer that is to be fetched.
#[derive(Debug, Clone)]
pub(super) struct RemoteLayer {
    /// What its uncompressed archive must have as digest.
    pub(super) diff_id: Digest,
    /// What its compressed one must.
    pub(super) digest: Digest,
    /// How many bytes that one has.
    pub(super) size: u64,
    /// How it is compressed.
    pub(super) compression: Compression,
}

/// An image whose documents have been fetched and checked.
pub(super) struct RemoteImage {
    transport: Transport,
    /// The digest of the manifest that the reference led to: the index's, where there is one.
    pub(super) digest: Digest,
    pub(super) config: ImageConfig,
    /// Bottom first.
    pub(super) layers: Vec<RemoteLayer>,
}

impl RemoteImage {
    /// Asks the hosts that may serve the image, in order; the first that can be reached and has it
    /// counts.
    pub(super) async fn find(
        reference: &OciReference,
        access: &Access,
        platform: &Platform,
    ) -> Result<Self, OciError> {
        first(reference, access, async |transport| {
            Self::open(transport, reference, platform).await
        })
        .await
    }

    async fn open(
        transport: Transport,
        reference: &OciReference,
        platform: &Platform,
    ) -> Result<Self, OciError> {
        let (body, content_type) = transport.manifest(&asked(reference)).await?;
        let digest = Digest::of(&body);
        if let Some(expected) = reference.digest {
            same(expected, digest)?;
        }
        let (config, layers) = match manifest::parse(&body, content_type.as_deref())? {
            Document::Image { config, layers } => (config, layers),
            Document::Index(choices) => {
                let chosen = manifest::choose(choices, platform)?;
                Self::image(&transport, &chosen).await?
            }
        };
        let body = transport.document(&config).await?;
        same(config.digest, Digest::of(&body))?;
        let (config, diff_ids) = manifest::parse_config(&body, layers.len(), platform)?;
        let layers = layers
            .into_iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| RemoteLayer {
                diff_id,
                digest: layer.blob.digest,
                size: layer.blob.size,
                compression: layer.compression,
            })
            .collect();
        Ok(Self {
            transport,
            digest,
            config,
            layers,
        })
    }

    async fn image(
        transport: &Transport,
        chosen: &Blob,
    ) -> Result<(Blob, Vec<manifest::LayerBlob>), OciError> {
        let (body, content_type) = transport.manifest(&chosen.digest.to_string()).await?;
        same(chosen.digest, Digest::of(&body))?;
        match manifest::parse(&body, content_type.as_deref())? {
            Document::Image { config, layers } => Ok((config, layers)),
            Document::Index(_) => Err(OciError::Malformed {
                what: "manifest",
                reason: "an index of indexes".to_owned(),
            }),
        }
    }

    /// Feeds a layer to an unpacking thread, whose digests have to be compared afterwards.
    pub(super) async fn fetch(
        &self,
        layer: &RemoteLayer,
        feed: &Feed,
        step: &Step,
    ) -> Result<(), FetchError> {
        self.transport
            .blob(&layer.digest, layer.size, feed, step)
            .await
    }
}

/// The digest that the reference's registry has for it now. Nothing is fetched where the registry
/// tells it; what it claims is compared and shown, and decides nothing about what is fetched.
pub(super) async fn current_digest(
    reference: &OciReference,
    access: &Access,
) -> Result<Digest, OciError> {
    first(reference, access, async |transport| {
        let asked = asked(reference);
        match transport.claimed(&asked).await {
            Ok(Some(digest)) => Ok(digest),
            // Some registries leave the header out, and some do not know the method.
            Ok(None) | Err(FetchError::Status { .. }) => {
                let (body, _) = transport.manifest(&asked).await?;
                Ok(Digest::of(&body))
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Makes sure that a registry, or a part of one, accepts a user and a password.
pub async fn log_in(
    registry: &str,
    user: &str,
    password: &str,
    access: &Access,
) -> Result<(), OciError> {
    let credentials = Credentials::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    let mut endpoint = access.registry(registry)?;
    // To log in is to ask for nothing in particular.
    endpoint.repository.clear();
    let transport = Transport::with(&endpoint, access, Some(credentials)).await?;
    transport.log_in().await
}

/// Asks the hosts that may serve the image, in order; the first that can be reached and has it
/// counts.
async fn first<T>(
    reference: &OciReference,
    access: &Access,
    ask: impl AsyncFn(Transport) -> Result<T, OciError>,
) -> Result<T, OciError> {
    let mut causes = Vec::new();
    for endpoint in access.endpoints(reference)? {
        let found = match Transport::connect(&endpoint, access).await {
            Ok(transport) => ask(transport).await,
            Err(error) => Err(error),
        };
        match found {
            Err(error) if error.is_unavailable() => causes.push(error),
            outcome => return outcome,
        }
    }
    match causes.pop() {
        Some(only) if causes.is_empty() => Err(only),
        Some(last) => {
            causes.push(last);
            let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
            Err(OciError::NoEndpoint(causes.join("; ")))
        }
        None => Err(OciError::NoEndpoint("no host serves it".to_owned())),
    }
}

fn asked(reference: &OciReference) -> String {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => "latest".to_owned(),
    }
}

fn same(expected: Digest, found: Digest) -> Result<(), OciError> {
    if expected == found {
        Ok(())
    } else {
        Err(OciError::WrongDigest { expected, found })
    }
}
