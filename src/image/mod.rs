//! Images: name → source → layers → store → an image that is ready to boot.
//!
//! [`Reference`] says what the user named, [`catalogue`] where the named distributions come from,
//! [`Images`] gets them: from a registry (`oci`), a `tarball`, the distribution's package
//! mirror (`bootstrap`) or a local `directory`. Whatever the source, an image becomes layers
//! in the [`store`], each of them a lower directory for overlayfs; what it lacks to boot is
//! installed once, in one more layer (`provision`).
//!
//! What the store has is listed and removed (`manage`), compared with what was verified and repaired
//! (`check`), and goes to and comes from other tools (`export`, `import`).
//!
//! An image is hostile until it is in the store: see [`layer`] for how one is unpacked.

mod access;
mod acquire;
mod archive;
mod bootstrap;
pub mod catalogue;
mod certificates;
mod check;
mod compose;
pub mod credentials;
mod digest;
mod directory;
mod error;
mod export;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod images;
mod import;
pub mod layer;
mod lockfile;
mod manage;
mod oci;
mod platform;
mod policy;
mod provision;
mod reference;
mod registries;
mod root;
mod rootfs;
mod standing;
pub mod store;
mod tarball;
mod target;

pub use access::Access;
pub use bootstrap::BootstrapError;
pub use catalogue::{Catalogue, Family, SourceKind};
pub use certificates::{Certificates, CertificatesError};
pub use check::{Checked, Problem, Repaired, Unrepaired};
pub use digest::{Digest, DigestError};
pub use directory::DirectoryError;
pub use error::{ImageError, Missing, SourceError};
pub use export::ExportError;
pub use http::{FetchError, Patience};
pub use images::{Images, ReadyImage, check};
pub use lockfile::{LockFile, LockFileError, LockedImage};
pub use manage::{LayerDetails, Overview, Total};
pub use oci::local::{ImportName, LocalError, NameError};
pub use oci::{ImageConfig, OciError, log_in};
pub use platform::{Platform, PlatformError};
pub use policy::{PullOptions, PullPolicy, Pulled};
pub use reference::{OciReference, Reference, ReferenceError, ShortName};
pub use registries::{Endpoint, Mirror, Registries, RegistriesError, Registry};
pub use store::{ImageRecord, LayerId};
pub use tarball::TarballError;
