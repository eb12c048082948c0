//! Why something could not be fetched.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use super::{causes, chain};

/// Why something could not be fetched. The address is shown without what may be secret in it.
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
    /// The server sends us where we do not go.
    #[error("{url}: {reason}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where it sends us, or how often.
        reason: String,
    },
    /// The server does not have it.
    #[error("{url}: the server answers {status}")]
    NotFound {
        /// What was asked for.
        url: String,
        /// 404 or 410, and its name.
        status: StatusCode,
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
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The connection ended in the middle, more often than is worth another try.
    #[error("{url}: the transfer was cut off ({cause})")]
    Cut {
        /// What was asked for.
        url: String,
        /// The chain of causes in one line.
        cause: String,
    },
    /// The server has something else now than when the transfer began.
    #[error("{url}: it has changed while it was being fetched")]
    Changed {
        /// What was asked for.
        url: String,
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

/// What a server answers that takes our TLS for a strange request.
const NO_TLS: &str = "it does not speak TLS";

impl FetchError {
    /// Whether it is plain http that the server speaks.
    pub(crate) fn is_for_want_of_tls(&self) -> bool {
        matches!(self, Self::Unreachable { cause, .. } if cause == NO_TLS)
    }

    /// Tells what a failed request means.
    pub(crate) fn from_request(url: &str, error: &reqwest::Error) -> Self {
        let url = url.to_owned();
        let refused = causes(error).any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
        });
        if refused {
            return Self::Refused { url };
        }
        let mut cause = chain(error);
        if cause.contains("InvalidContentType") {
            NO_TLS.clone_into(&mut cause);
        }
        if error.is_redirect() {
            return Self::Redirect { url, reason: cause };
        }
        if error.is_connect() || error.is_builder() {
            return Self::Unreachable { url, cause };
        }
        Self::Cut { url, cause }
    }

    /// Tells what a status means that is not success.
    pub(crate) fn from_status(url: &str, status: StatusCode) -> Self {
        let url = url.to_owned();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::NotFound { url, status },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Unauthorised {
                url,
                reason: status.to_string(),
            },
            status => Self::Status {
                url,
                status,
                retry_after: None,
            },
        }
    }

    pub(crate) fn setup(error: &(dyn Error + 'static)) -> Self {
        Self::Setup(chain(error))
    }
}
