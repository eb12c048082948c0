//! Tarballs of root file systems, from a URL or a file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reqwest::header;

use super::digest::Digest;
use super::http::{self, FetchError};
use super::layer::{Feed, LayerError};
use crate::progress::Step;

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

/// Feeds the tarball behind `url` to an unpacking thread.
pub(super) async fn fetch(url: &str, feed: &Feed, step: &Step) -> Result<(), FetchError> {
    let client = http::client(false)?;
    let open = async |offset: u64| {
        let response = http::send_patiently(url, || {
            let request = client.get(url);
            if offset > 0 {
                request.header(header::RANGE, format!("bytes={offset}-"))
            } else {
                request
            }
        })
        .await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(FetchError::from_status(url, response.status()))
        }
    };
    http::feed_body(url, None, open, feed, step).await?;
    Ok(())
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
