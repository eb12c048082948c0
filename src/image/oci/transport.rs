//! Talking to one registry, after the [distribution specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md).
//!
//! Whatever a registry answers, its credentials and tokens go to itself only, and to a token server of
//! its own: redirects are followed here, one by one.

use std::cell::RefCell;
use std::collections::HashMap;

use reqwest::{Client, Method, Response, StatusCode, Url, header};
use tokio::sync::Mutex;

use super::auth::{self, Challenge, TokenServer};
use super::manifest::{ACCEPT, Blob, DOCUMENT_MAX};
use super::{OciError, same};
use crate::http::{self, Ask, FetchError, Memory, REDIRECTS_MAX, Transfer};
use crate::image::access::Access;
use crate::image::credentials::Credentials;
use crate::image::digest::Digest;
use crate::image::http::Unpacker;
use crate::image::layer::Feed;
use crate::image::registries::Endpoint;
use crate::progress::Step;

/// What a registry claims to be the digest of its answer.
const CONTENT_DIGEST: &str = "Docker-Content-Digest";

/// A connection to the repository of one registry.
pub(super) struct Transport {
    access: Access,
    endpoint: Endpoint,
    scheme: &'static str,
    credentials: Option<Credentials>,
    /// A client for each host: certificates are for one host, and so is it to trust any.
    clients: std::sync::Mutex<HashMap<String, Client>>,
    /// The value of the Authorization header that was good for the last request.
    authorization: Mutex<Option<String>>,
}

impl Transport {
    /// Finds out how the registry is to be talked to.
    pub(super) async fn connect(endpoint: &Endpoint, access: &Access) -> Result<Self, OciError> {
        let files = access.credentials.clone();
        let Endpoint {
            host, repository, ..
        } = endpoint.clone();
        // A helper is a program that may take its time.
        let found = tokio::task::spawn_blocking(move || files.find(&host, &repository)).await;
        let credentials = match found {
            Ok(found) => found?,
            Err(_) => None,
        };
        Self::with(endpoint, access, credentials).await
    }

    /// The same, with credentials that are not kept anywhere yet.
    pub(super) async fn with(
        endpoint: &Endpoint,
        access: &Access,
        credentials: Option<Credentials>,
    ) -> Result<Self, OciError> {
        let mut transport = Self {
            access: access.clone(),
            endpoint: endpoint.clone(),
            scheme: "https",
            credentials,
            clients: std::sync::Mutex::default(),
            authorization: Mutex::new(None),
        };
        // The first request tells whether there is a registry at all; what it speaks has to be found
        // out where it may be http.
        if endpoint.insecure
            && let Err(error) = transport.ping().await
        {
            tracing::debug!(%error, host = endpoint.host, "no https, taking http");
            transport.scheme = "http";
        } else {
            // Certificates that cannot be used are told before anything is asked for.
            transport.client(&endpoint.host)?;
        }
        Ok(transport)
    }

    /// Any answer will do: who may have what is told by the requests that follow.
    async fn ping(&self) -> Result<(), OciError> {
        let url = self.base();
        let answer = self.client(&self.endpoint.host)?.get(&url).send().await;
        answer
            .map(drop)
            .map_err(|error| FetchError::from_request(&url, &error).into())
    }

    fn base(&self) -> String {
        format!("{}://{}/v2/", self.scheme, self.endpoint.host)
    }

    fn url(&self, kind: &str, name: &str) -> String {
        format!("{}{}/{kind}/{name}", self.base(), self.endpoint.repository)
    }

    /// The client for a host.
    fn client(&self, host: &str) -> Result<Client, OciError> {
        let mut clients = self
            .clients
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(host) {
            return Ok(client.clone());
        }
        let is_own = same_name(host, &self.endpoint.host);
        let mut tls = self.access.certificates.load(host)?;
        tls.insecure = self.endpoint.insecure && is_own;
        // A directory that was named is for the registry: where it sends us need not know who we are.
        if self.access.certificates.directory.is_some() && !is_own {
            tls.identity = None;
        }
        let client = http::client_of_host(tls, self.access.patience)?;
        clients.insert(host.to_owned(), client.clone());
        Ok(client)
    }

    /// Sends a request, and follows where it is sent on.
    async fn send(
        &self,
        method: &Method,
        url: &str,
        accept: &str,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Response, FetchError> {
        let refused = |reason: String| FetchError::Redirect {
            url: url.to_owned(),
            reason,
        };
        let mut target =
            Url::parse(url).map_err(|_| refused("it makes no valid address".to_owned()))?;
        for _ in 0..=REDIRECTS_MAX {
            let client = self.client(&auth::authority(&target));
            let client = client.map_err(|error| FetchError::Setup(error.to_string()))?;
            let request = client.request(method.clone(), target.clone());
            let mut request = ask.of(request.header(header::ACCEPT, accept));
            if let Some(authorization) = authorization.filter(|_| self.is_own(&target)) {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let response = request.send().await;
            let response = response.map_err(|error| FetchError::from_request(url, &error))?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let location = response
                .headers()
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|location| target.join(location).ok());
            let Some(next) = location.filter(Url::has_host) else {
                return Err(refused("it redirects to nowhere".to_owned()));
            };
            match (target.scheme(), next.scheme()) {
                (_, "https") | ("http", "http") => {}
                (from, to) => return Err(refused(format!("it redirects from {from} to {to}"))),
            }
            target = next;
        }
        Err(refused("it redirects too often".to_owned()))
    }

    /// Asks for `url`, with a token fetched when the registry wants one. Gives whatever is answered.
    async fn ask(
        &self,
        method: &Method,
        url: &str,
        accept: &str,
        ask: &Ask<'_>,
    ) -> Result<Response, FetchError> {
        let known = self.authorization.lock().await.clone();
        let response = self
            .send(method, url, accept, ask, known.as_deref())
            .await?;
        // A redirect's target has no say in the registry's credentials.
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_own(response.url()) {
            return Ok(response);
        }
        let challenge = Challenge::from_headers(response.headers());
        drop(response);
        let mut current = self.authorization.lock().await;
        // Another request may have renewed it in the meantime.
        if *current == known {
            *current = Some(self.authorize(url, challenge).await?);
        }
        let renewed = current.clone();
        drop(current);
        let response = self
            .send(method, url, accept, ask, renewed.as_deref())
            .await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.is_own(response.url()) {
            // What is not accepted is not tried again: the next request begins without it.
            *self.authorization.lock().await = None;
            return Err(denied(url, self.unaccepted()));
        }
        Ok(response)
    }

    /// Gets what a challenge asks for.
    async fn authorize(
        &self,
        url: &str,
        challenge: Option<Challenge>,
    ) -> Result<String, FetchError> {
        let client = |host: &str| {
            let client = self.client(host);
            client.map_err(|error| FetchError::Setup(error.to_string()))
        };
        match challenge {
            None => Err(denied(url, "the registry does not say what it wants")),
            Some(Challenge::Basic) => match &self.credentials {
                Some(Credentials::Password { user, password }) => {
                    let client = client(&self.endpoint.host)?;
                    auth::basic(&client, user, password)
                        .ok_or_else(|| denied(url, "the credentials make no header"))
                }
                Some(Credentials::IdentityToken(_)) => Err(denied(
                    url,
                    "the registry wants a password, and there is a token",
                )),
                None => Err(denied(url, "the registry wants credentials")),
            },
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let server = TokenServer::new(&realm, service, scope, &self.endpoint)
                    .map_err(|reason| denied(url, reason))?;
                let client = client(&server.host())?;
                server
                    .token(
                        &client,
                        self.credentials.as_ref(),
                        self.access.patience,
                        url,
                    )
                    .await
            }
        }
    }

    fn unaccepted(&self) -> &'static str {
        match self.credentials {
            Some(_) => "the registry does not accept the credentials",
            None => "the registry wants credentials",
        }
    }

    /// Whether a URL is the registry's.
    fn is_own(&self, url: &Url) -> bool {
        Url::parse(&self.base()).is_ok_and(|own| own.origin() == url.origin())
    }

    /// Makes sure that the registry accepts the credentials.
    pub(super) async fn log_in(&self) -> Result<(), OciError> {
        let url = self.base();
        let open = async |ask: &Ask<'_>| self.ask(&Method::GET, &url, "*/*", ask).await;
        let transfer = Transfer::new(&url, self.access.patience).at_most(DOCUMENT_MAX);
        transfer.run(open, &mut Memory::default()).await?;
        Ok(())
    }

    /// The digest of what a tag leads to, as the registry claims it, if it does.
    pub(super) async fn claimed(&self, name: &str) -> Result<Option<Digest>, FetchError> {
        let url = self.url("manifests", name);
        let claim = RefCell::new(None);
        let open = async |ask: &Ask<'_>| {
            let response = self.ask(&Method::HEAD, &url, ACCEPT, ask).await?;
            *claim.borrow_mut() = response
                .headers()
                .get(CONTENT_DIGEST)
                .and_then(|value| value.to_str().ok())
                .and_then(|text| Digest::parse(text).ok());
            Ok(response)
        };
        Transfer::new(&url, self.access.patience).head(open).await?;
        Ok(claim.into_inner())
    }

    /// The manifest of a tag or digest, with the type that it is served as.
    pub(super) async fn manifest(&self, name: &str) -> Result<(Vec<u8>, Option<String>), OciError> {
        let url = self.url("manifests", name);
        let headers = RefCell::new(header::HeaderMap::new());
        let open = async |ask: &Ask<'_>| {
            let response = self.ask(&Method::GET, &url, ACCEPT, ask).await?;
            headers.borrow_mut().clone_from(response.headers());
            Ok(response)
        };
        let mut body = Memory::default();
        let transfer = Transfer::new(&url, self.access.patience).at_most(DOCUMENT_MAX);
        transfer.run(open, &mut body).await?;
        let headers = headers.into_inner();
        let text = |name: &str| {
            let value = headers.get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        // What it claims cannot make a document right, but one of them is wrong if they differ.
        if let Some(claim) = text(CONTENT_DIGEST).filter(|claim| claim.starts_with("sha256:")) {
            same(Digest::parse(&claim)?, Digest::of(&body.bytes))?;
        }
        Ok((body.bytes, text("Content-Type")))
    }

    /// A small blob in memory; its size is checked here, its digest by the caller.
    pub(super) async fn document(&self, blob: &Blob) -> Result<Vec<u8>, FetchError> {
        let url = self.url("blobs", &blob.digest.to_string());
        let open = async |ask: &Ask<'_>| self.ask(&Method::GET, &url, "*/*", ask).await;
        let mut body = Memory::default();
        let transfer = Transfer::new(&url, self.access.patience).addressed(blob.size);
        transfer.run(open, &mut body).await?;
        Ok(body.bytes)
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
        let open = async |ask: &Ask<'_>| self.ask(&Method::GET, &url, "*/*", ask).await;
        let mut unpacker = Unpacker::new(&url, feed);
        let transfer = Transfer::new(&url, self.access.patience).addressed(size);
        transfer.told_to(step).run(open, &mut unpacker).await?;
        unpacker.end().await?;
        Ok(())
    }
}

fn denied(url: &str, reason: &str) -> FetchError {
    FetchError::Unauthorised {
        url: url.to_owned(),
        reason: reason.to_owned(),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether two hosts differ in their ports at most.
fn same_name(one: &str, other: &str) -> bool {
    let name = |host: &str| {
        let url = Url::parse(&format!("https://{host}")).ok()?;
        url.host_str().map(str::to_owned)
    };
    name(one).is_some_and(|one| name(other) == Some(one))
}
