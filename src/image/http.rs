//! Fetching over http, with every failure told apart and a cut connection resumed.

use std::io;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header};

use super::layer::Feed;
use crate::http::{self, causes, chain};
use crate::progress::Step;

const RETRIES_MAX: u32 = 4;
/// The longest that a server may ask us to wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection: no such host, no route, no answer in time, TLS that does not work.
    #[error("{url} cannot be reached ({cause})")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The chain of causes in one line.
        cause: String,
    },
    /// Nobody listens there.
    #[error("{url}: connection refused")]
    Refused {
        /// What was asked for.
        url: String,
    },
    /// The server does not have it.
    #[error("{url}: not found")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The server wants credentials, or better ones.
    #[error("{url}: access denied ({reason})")]
    Unauthorised {
        /// What was asked for.
        url: String,
        /// What was missing.
        reason: String,
    },
    /// The server answers with another error.
    #[error("{url}: the server answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status and its name.
        status: StatusCode,
    },
    /// The connection ended in the middle, more often than is worth another try.
    #[error("{url}: the transfer was cut off ({cause})")]
    Cut {
        /// What was asked for.
        url: String,
        /// The chain of causes in one line.
        cause: String,
    },
    /// The answer is longer or shorter than it has to be.
    #[error("{url}: {reason}")]
    WrongSize {
        /// What was asked for.
        url: String,
        /// What came and what should have.
        reason: String,
    },
    /// What was fetched is not wanted any more, because whoever takes it has failed.
    #[error("{url}: no longer wanted")]
    Unwanted {
        /// What was asked for.
        url: String,
    },
    /// The client cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

impl FetchError {
    /// Tells what a failed request means.
    pub(super) fn from_request(url: &str, error: &reqwest::Error) -> Self {
        let url = url.to_owned();
        let refused = causes(error).any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
        });
        if refused {
            return Self::Refused { url };
        }
        if error.is_connect() || error.is_timeout() || error.is_redirect() {
            let cause = chain(error);
            return Self::Unreachable { url, cause };
        }
        let cause = chain(error);
        Self::Cut { url, cause }
    }

    /// Tells what a status means that is not success.
    pub(super) fn from_status(url: &str, status: StatusCode) -> Self {
        let url = url.to_owned();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::NotFound { url },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Unauthorised {
                url,
                reason: status.to_string(),
            },
            status => Self::Status { url, status },
        }
    }
}

/// The client for everything that is fetched; `insecure` takes any certificate.
pub(super) fn client(insecure: bool) -> Result<Client, FetchError> {
    http::client(insecure).map_err(|error| FetchError::Setup(http::chain(&error)))
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn small_body(
    mut response: Response,
    url: &str,
    limit: usize,
) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| FetchError::from_request(url, &error))?
    {
        if body.len() + chunk.len() > limit {
            return Err(FetchError::WrongSize {
                url: url.to_owned(),
                reason: format!("the answer has more than {limit} bytes"),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Feeds a body to an unpacking thread; a cut connection is taken up where it ended.
///
/// `open` asks for the bytes from an offset on and returns a successful answer. `size` is what the
/// body must have, where that is known beforehand. Returns how many bytes it was.
pub(super) async fn feed_body(
    url: &str,
    size: Option<u64>,
    open: impl AsyncFn(u64) -> Result<Response, FetchError>,
    feed: &Feed,
    step: &Step,
) -> Result<u64, FetchError> {
    let mut transfer = Transfer {
        url,
        size,
        done: 0,
        feed,
        step,
    };
    let mut retries = 0;
    loop {
        let before = transfer.done;
        let outcome = match open(before).await {
            Ok(response) => transfer.take(response).await,
            // What could not be had at all is for the caller to get elsewhere.
            Err(error) if before == 0 && !is_busy(&error) => return Err(error),
            Err(error) => Err(error),
        };
        let error = match outcome {
            Ok(()) => break,
            Err(error) => error,
        };
        let fatal = matches!(
            error,
            FetchError::Unwanted { .. }
                | FetchError::WrongSize { .. }
                | FetchError::NotFound { .. }
                | FetchError::Unauthorised { .. }
                | FetchError::Setup(_)
        );
        if transfer.done > before {
            retries = 0;
        }
        if fatal || retries == RETRIES_MAX {
            return Err(error);
        }
        tracing::debug!(%error, done = transfer.done, "trying again");
        tokio::time::sleep(Duration::from_millis(200 << retries)).await;
        retries += 1;
    }
    feed.end().await.map_err(|_| transfer.unwanted())?;
    Ok(transfer.done)
}

/// Asks again while the server is busy and says so, within bounds.
pub(super) async fn send_patiently(
    url: &str,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> Result<Response, FetchError> {
    let mut tries = 0;
    loop {
        let response = request()
            .send()
            .await
            .map_err(|error| FetchError::from_request(url, &error))?;
        let status = response.status();
        let busy = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if !busy || tries == RETRIES_MAX {
            return Ok(response);
        }
        let asked = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let wait = asked.unwrap_or(Duration::from_millis(200 << tries));
        if wait > RETRY_AFTER_MAX {
            return Ok(response);
        }
        tokio::time::sleep(wait).await;
        tries += 1;
    }
}

fn is_busy(error: &FetchError) -> bool {
    matches!(error, FetchError::Status { status, .. } if status.is_server_error())
}

struct Transfer<'a> {
    url: &'a str,
    size: Option<u64>,
    done: u64,
    feed: &'a Feed,
    step: &'a Step,
}

impl Transfer<'_> {
    async fn take(&mut self, mut response: Response) -> Result<(), FetchError> {
        let mut skip = self.offset(&response)?;
        if skip == 0 && self.done == 0 {
            match (self.size, response.content_length()) {
                (None, Some(length)) => {
                    self.size = Some(length);
                    self.step.set_total(length);
                }
                (Some(size), Some(length)) if size != length => {
                    return Err(self.wrong_size(&format!("{length} bytes are offered")));
                }
                _ => {}
            }
        }
        while let Some(mut chunk) = response
            .chunk()
            .await
            .map_err(|error| self.cut(chain(&error)))?
        {
            let passed = skip.min(chunk.len() as u64);
            skip -= passed;
            // No more than the chunk's own length, which is a usize.
            let chunk = chunk.split_off(usize::try_from(passed).unwrap_or(chunk.len()));
            if chunk.is_empty() {
                continue;
            }
            let length = chunk.len() as u64;
            if self.size.is_some_and(|size| self.done + length > size) {
                return Err(self.wrong_size("it goes on after that"));
            }
            self.feed.push(chunk).await.map_err(|_| self.unwanted())?;
            self.done += length;
            self.step.advance(length);
        }
        match self.size {
            Some(size) if self.done < size => {
                Err(self.cut(format!("{} of {size} bytes", self.done)))
            }
            _ => Ok(()),
        }
    }

    /// How many of the bytes that come are there already.
    fn offset(&self, response: &Response) -> Result<u64, FetchError> {
        if self.done == 0 || response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(self.done);
        }
        let start: Option<u64> = response
            .headers()
            .get(header::CONTENT_RANGE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                value
                    .strip_prefix("bytes ")?
                    .split('-')
                    .next()?
                    .parse()
                    .ok()
            });
        match start {
            Some(start) if self.done == start => Ok(0),
            _ => Err(self.cut("the server resumes at another place".to_owned())),
        }
    }

    fn cut(&self, cause: String) -> FetchError {
        FetchError::Cut {
            url: self.url.to_owned(),
            cause,
        }
    }

    fn wrong_size(&self, found: &str) -> FetchError {
        let size = self.size.unwrap_or_default();
        FetchError::WrongSize {
            url: self.url.to_owned(),
            reason: format!("it should have {size} bytes, and {found}"),
        }
    }

    fn unwanted(&self) -> FetchError {
        FetchError::Unwanted {
            url: self.url.to_owned(),
        }
    }
}
