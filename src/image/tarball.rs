//! Tarballs of root file systems, from a URL or a file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::http::{FetchError, Patience, Unpacker};
use super::layer::{Feed, LayerError};
use crate::http::{self, Ask, Fetched, Transfer};
use crate::progress::Step;

pub(super) use crate::http::Validators;

/// Why a local tarball cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TarballError {
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no archive, or not one that can be an image.
    #[error("{}: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: LayerError,
    },
    /// It is not the one that the catalogue means.
    #[error("{url} has the digest {found} and should have {expected}")]
    WrongDigest {
        /// Where it came from.
        url: String,
        /// What the catalogue says.
        expected: String,
        /// What it has.
        found: Digest,
    },
}

impl Validators {
    /// As a record keeps them.
    pub(super) fn to_text(&self) -> Option<String> {
        (!self.is_empty()).then(|| serde_json::to_string(self).unwrap_or_default())
    }

    /// What [`Self::to_text`] has made.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Whether the server still has the file that the validators are of. Without any, it cannot tell.
pub(super) async fn is_current(
    url: &str,
    known: Option<Validators>,
    patience: Patience,
) -> Result<bool, FetchError> {
    let Some(known) = known.filter(|known| !known.is_empty()) else {
        return Ok(false);
    };
    let client = http::client(patience)?;
    let shown = shown(url);
    let found = RefCell::new(Validators::default());
    let open = async |_: &Ask<'_>| {
        let response = known.unless_changed(client.head(url)).send().await;
        let response = response.map_err(|error| FetchError::from_request(&shown, &error))?;
        *found.borrow_mut() = Validators::of(response.headers());
        Ok(response)
    };
    // The answer to a HEAD has the length of what a GET would get, and nothing of it.
    let transfer = Transfer::new(&shown, patience);
    match transfer.head(open).await? {
        Fetched::Unchanged => Ok(true),
        // Some servers leave conditions of a HEAD alone.
        Fetched::Whole => Ok(found.into_inner() == known),
    }
}

/// Feeds the tarball behind `url` to an unpacking thread; gives what identifies this version of it.
pub(super) async fn fetch(
    url: &str,
    feed: &Feed,
    step: &Step,
    patience: Patience,
) -> Result<Validators, FetchError> {
    let client = http::client(patience)?;
    let shown = shown(url);
    let open = async |ask: &Ask<'_>| {
        let response = ask.of(client.get(url)).send().await;
        response.map_err(|error| FetchError::from_request(&shown, &error))
    };
    let mut unpacker = Unpacker::new(&shown, feed);
    let transfer = Transfer::new(&shown, patience).told_to(step);
    transfer.run(open, &mut unpacker).await?;
    unpacker.end().await
}

/// A URL as it is shown and kept: without a password.
pub(super) fn shown(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| http::shown(&url))
}

/// Opens a local tarball; returns it with its size and a fingerprint that changes when it does.
pub(super) fn open(path: &Path) -> Result<(File, u64, String), TarballError> {
    let unreadable = |source| TarballError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let fingerprint = format!(
        "{} {}.{:09}",
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    Ok((file, metadata.len(), fingerprint))
}

/// Tells a step how far a reader has come.
pub(super) struct Watched<R> {
    pub(super) inner: R,
    pub(super) step: std::sync::Arc<Step>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.step.advance(length as u64);
        Ok(length)
    }
}
