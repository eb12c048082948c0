//! What is fetched for an unpacking thread.

use bytes::Bytes;

use super::layer::Feed;
use crate::http::{Sink, Validators};

pub use crate::http::{FetchError, Patience};

/// An unpacking thread, to which nothing that it was given can be taken back.
pub(super) struct Unpacker<'a> {
    url: &'a str,
    feed: &'a Feed,
    version: Option<Validators>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(url: &'a str, feed: &'a Feed) -> Self {
        let version = None;
        Self { url, feed, version }
    }

    /// Tells it that this was all; gives the version that it was of.
    pub(super) async fn end(self) -> Result<Validators, FetchError> {
        self.feed.end().await.map_err(|_| self.unwanted())?;
        Ok(self.version.unwrap_or_default())
    }

    fn unwanted(&self) -> FetchError {
        FetchError::Unwanted {
            url: self.url.to_owned(),
        }
    }
}

impl Sink for Unpacker<'_> {
    type Error = FetchError;

    async fn take(&mut self, bytes: Bytes) -> Result<(), FetchError> {
        self.feed.push(bytes).await.map_err(|_| self.unwanted())
    }

    fn begin(&mut self, version: &Validators) -> Result<bool, FetchError> {
        let is_first = self.version.is_none();
        self.version.get_or_insert_with(|| version.clone());
        Ok(is_first)
    }
}
