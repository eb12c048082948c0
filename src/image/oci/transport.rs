//! Talking to one registry, after the [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md).

use reqwest::{Client, Response, StatusCode, header};
use tokio::sync::Mutex;

use super::auth::{self, Challenge, Credentials};
use super::manifest::{ACCEPT, Blob, DOCUMENT_MAX};
use crate::image::digest::Digest;
use crate::image::http::{self, FetchError};
use crate::image::layer::Feed;
use crate::image::registries::Endpoint;
use crate::progress::Step;

/// A connection to the repository of one registry.
pub(super) struct Transport {
    client: Client,
    endpoint: Endpoint,
    scheme: &'static str,
    credentials: Option<Credentials>,
    /// The value of the Authorization header that was good for the last request.
    authorization: Mutex<Option<String>>,
}

impl Transport {
    /// Finds out whether and how the registry answers.
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, FetchError> {
        let credentials = Credentials::load(&endpoint.host);
        let mut transport = Self {
            client: http::client(endpoint.insecure)?,
            endpoint: endpoint.clone(),
            scheme: "https",
            credentials,
            authorization: Mutex::new(None),
        };
        match transport.ping().await {
            Err(
                FetchError::Unreachable { .. }
                | FetchError::Refused { .. }
                | FetchError::Cut { .. },
            ) if endpoint.insecure => {
                transport.scheme = "http";
                transport.ping().await?;
            }
            outcome => outcome?,
        }
        Ok(transport)
    }

    /// Any answer will do: who may have what is told by the requests that follow.
    async fn ping(&self) -> Result<(), FetchError> {
        let url = format!("{}://{}/v2/", self.scheme, self.endpoint.host);
        let answer = self.client.get(&url).send().await;
        let answer = answer.map_err(|error| FetchError::from_request(&url, &error))?;
        if self.scheme == "https" && answer.url().scheme() != "https" {
            return Err(FetchError::Unreachable {
                url,
                cause: "it redirects from https to http".to_owned(),
            });
        }
        Ok(())
    }

    fn url(&self, kind: &str, name: &str) -> String {
        let Endpoint {
            host, repository, ..
        } = &self.endpoint;
        format!("{}://{host}/v2/{repository}/{kind}/{name}", self.scheme)
    }

    /// Asks for `url` from `offset` on, with a token fetched when the registry wants one.
    async fn get(&self, url: &str, accept: &str, offset: u64) -> Result<Response, FetchError> {
        let send = async |authorization: Option<&str>| {
            http::send_patiently(url, || {
                let mut request = self.client.get(url).header(header::ACCEPT, accept);
                if offset > 0 {
                    request = request.header(header::RANGE, format!("bytes={offset}-"));
                }
                if let Some(authorization) = authorization {
                    request = request.header(header::AUTHORIZATION, authorization);
                }
                request
            })
            .await
        };
        let known = self.authorization.lock().await.clone();
        let mut response = send(known.as_deref()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.is_own(response.url()) {
            let challenge = Challenge::from_headers(response.headers());
            let mut current = self.authorization.lock().await;
            // Another request may have renewed it in the meantime.
            if *current == known {
                *current = auth::authorize(
                    &self.client,
                    &self.endpoint,
                    self.scheme,
                    challenge,
                    self.credentials.as_ref(),
                )
                .await?;
            }
            let renewed = current.clone();
            drop(current);
            response = send(renewed.as_deref()).await?;
        }
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(FetchError::from_status(url, response.status()))
        }
    }

    /// Whether a URL is the registry's: a redirect's target has no say in its credentials.
    fn is_own(&self, url: &reqwest::Url) -> bool {
        let own = format!("{}://{}", self.scheme, self.endpoint.host);
        reqwest::Url::parse(&own).is_ok_and(|own| own.origin() == url.origin())
    }

    /// The manifest of a tag or digest, with the type that it is served as.
    pub(super) async fn manifest(
        &self,
        name: &str,
    ) -> Result<(Vec<u8>, Option<String>), FetchError> {
        let url = self.url("manifests", name);
        let response = self.get(&url, ACCEPT, 0).await?;
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let limit = usize::try_from(DOCUMENT_MAX).unwrap_or(usize::MAX);
        let body = http::small_body(response, &url, limit).await?;
        Ok((body, content_type))
    }

    /// A small blob in memory; its size is checked here, its digest by the caller.
    pub(super) async fn document(&self, blob: &Blob) -> Result<Vec<u8>, FetchError> {
        let url = self.url("blobs", &blob.digest.to_string());
        let response = self.get(&url, "*/*", 0).await?;
        let limit = usize::try_from(blob.size).unwrap_or(usize::MAX);
        let body = http::small_body(response, &url, limit).await?;
        if body.len() < limit {
            return Err(FetchError::WrongSize {
                url,
                reason: format!("it should have {limit} bytes and has {}", body.len()),
            });
        }
        Ok(body)
    }

    /// Feeds a blob to an unpacking thread.
    pub(super) async fn blob(
        &self,
        digest: &Digest,
        size: u64,
        feed: &Feed,
        step: &Step,
    ) -> Result<(), FetchError> {
        let url = self.url("blobs", &digest.to_string());
        let open = async |offset| self.get(&url, "*/*", offset).await;
        http::feed_body(&url, Some(size), open, feed, step).await?;
        Ok(())
    }
}
