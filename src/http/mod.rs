//! What everything that is fetched over http has in common.

mod error;
mod patience;
mod transfer;

use std::error::Error;
use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, RequestBuilder};
use serde::{Deserialize, Serialize};
use url::Url;

pub use error::FetchError;
pub use patience::Patience;
pub(crate) use transfer::{Ask, Fetched, Memory, Sink, Transfer};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// RFC 9110 leaves the number to the client.
pub(crate) const REDIRECTS_MAX: usize = 10;

/// A client to be, that says who it is.
pub(crate) fn builder() -> ClientBuilder {
    // Only the first call has an effect; who was first does not matter.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().user_agent(concat!("postroj/", env!("CARGO_PKG_VERSION")))
}

/// Whom a client trusts, and who it is itself.
#[derive(Default)]
pub(crate) struct Tls {
    /// Any certificate will do.
    pub(crate) insecure: bool,
    /// Authorities besides those that the system knows.
    pub(crate) authorities: Vec<Certificate>,
    pub(crate) identity: Option<Identity>,
}

/// The client for files of web servers, which may be moved from one host to another.
pub(crate) fn client(patience: Patience) -> Result<Client, FetchError> {
    let policy = Policy::custom(|attempt| {
        let last = attempt.previous().last();
        let downgraded =
            last.is_some_and(|last| last.scheme() == "https") && attempt.url().scheme() != "https";
        if downgraded {
            attempt.error("it redirects from https to http")
        } else if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("it redirects too often")
        } else {
            attempt.follow()
        }
    });
    let built = patient(patience).redirect(policy).build();
    built.map_err(|error| FetchError::setup(&error))
}

/// A client for one host, whose redirects the caller has to judge.
pub(crate) fn client_of_host(tls: Tls, patience: Patience) -> Result<Client, FetchError> {
    let mut builder = patient(patience)
        .redirect(Policy::none())
        .tls_danger_accept_invalid_certs(tls.insecure);
    if !tls.authorities.is_empty() {
        builder = builder.tls_certs_merge(tls.authorities);
    }
    if let Some(identity) = tls.identity {
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| FetchError::setup(&error))
}

fn patient(patience: Patience) -> ClientBuilder {
    builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(patience.stall)
}

/// An error and its causes, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    })
}

/// The innermost causes in one line. What the client wraps around them only names the URL again.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error).skip(1) {
        let text = cause.to_string().replace(['\n', '\r'], " ");
        // Many wrappers repeat what they wrap.
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    texts.retain(|text| text != "client error (Connect)");
    if texts.is_empty() {
        return error.to_string().replace(['\n', '\r'], " ");
    }
    texts.join(": ")
}

/// A URL as it is shown: without a password or a user's name.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail for a URL that has a host, and one that has none has no password.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

/// What identifies a version of a file to its server (RFC 9110, section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validators {
    pub(crate) etag: Option<String>,
    pub(crate) last_modified: Option<String>,
}

impl Validators {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        Self {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
        }
    }

    /// Whether they say nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// What `If-Range` takes: a strong `ETag`, else a date.
    pub(crate) fn for_range(&self) -> Option<&str> {
        self.etag
            .as_deref()
            .filter(|etag| !etag.starts_with("W/"))
            .or(self.last_modified.as_deref())
    }

    /// Asks for the file only if it is another than the one that these are of.
    pub(crate) fn unless_changed(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(etag) = &self.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(date) = &self.last_modified {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_etag_does_not_vouch_for_ranges() {
        let validators = Validators {
            etag: Some("W/\"1\"".into()),
            last_modified: Some("Mon".into()),
        };
        assert_eq!(validators.for_range(), Some("Mon"));
    }
}
