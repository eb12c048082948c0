//! Credentials and tokens: `WWW-Authenticate` as
//! [registries use it](https://distribution.github.io/distribution/spec/auth/token/).

use std::fmt;

use docker_credential::DockerCredential;
use reqwest::{Client, StatusCode, Url, header};
use serde::Deserialize;

use crate::image::http::{self, FetchError};
use crate::image::registries::Endpoint;

const TOKEN_MAX: usize = 1 << 20;

/// A user and a password for a registry, from the files of podman or docker.
pub(super) struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// What is kept for `host`, if anything is.
    pub(super) fn load(host: &str) -> Option<Self> {
        let names: &[&str] = match host {
            "registry-1.docker.io" => &["docker.io", "https://index.docker.io/v1/"],
            host => &[host],
        };
        names.iter().find_map(|name| {
            let found = docker_credential::get_podman_credential(name)
                .or_else(|_| docker_credential::get_credential(name));
            match found {
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    Some(Self { user, password })
                }
                // An identity token is for an endpoint of its own that few registries have.
                Ok(DockerCredential::IdentityToken(_)) | Err(_) => None,
            }
        })
    }
}

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first challenge that we know in an answer's headers.
    pub(super) fn from_headers(headers: &header::HeaderMap) -> Option<Self> {
        headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = rest;
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(after.find(',').unwrap_or(after.len())),
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                "scope" => scope = Some(value.to_owned()),
                _ => {}
            }
            rest = after.trim_start_matches([',', ' ']);
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
            scope,
        })
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    /// The name that OAuth 2.0 has for the same; Docker Hub gives both.
    access_token: Option<String>,
}

impl Token {
    fn text(self) -> Option<String> {
        let is_there = |text: &String| !text.is_empty();
        self.token
            .filter(is_there)
            .or(self.access_token.filter(is_there))
    }
}

/// Gets what the challenge asks for: the value of an Authorization header.
pub(super) async fn authorize(
    client: &Client,
    endpoint: &Endpoint,
    scheme: &str,
    challenge: Option<Challenge>,
    credentials: Option<&Credentials>,
) -> Result<Option<String>, FetchError> {
    let url = format!("{scheme}://{}/v2/", endpoint.host);
    let denied = |reason: &str| FetchError::Unauthorised {
        url: url.clone(),
        reason: reason.to_owned(),
    };
    let (realm, service, scope) = match challenge {
        None => return Err(denied("the registry does not say what it wants")),
        Some(Challenge::Basic) => {
            let credentials = credentials.ok_or_else(|| denied("it wants a password"))?;
            // reqwest knows how to write the header; we only need its value.
            let request = client
                .get(&url)
                .basic_auth(&credentials.user, Some(&credentials.password))
                .build()
                .map_err(|error| FetchError::from_request(&url, &error))?;
            let value = request.headers().get(header::AUTHORIZATION);
            return Ok(value
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned));
        }
        Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }) => (realm, service, scope),
    };
    let mut realm = Url::parse(&realm).map_err(|_| denied("it names no valid token server"))?;
    trusted_realm(&realm, endpoint).map_err(denied)?;
    let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", endpoint.repository));
    {
        let mut query = realm.query_pairs_mut();
        query.append_pair("scope", &scope);
        if let Some(service) = &service {
            query.append_pair("service", service);
        }
    }
    let mut shown = realm.clone();
    shown.set_query(None);
    let shown = shown.to_string();
    let send = async |credentials: Option<&Credentials>| {
        http::send_patiently(&shown, || {
            let request = client.get(realm.clone());
            match credentials {
                Some(known) => request.basic_auth(&known.user, Some(&known.password)),
                None => request,
            }
        })
        .await
    };
    let credentials = credentials.filter(|_| is_same_site(&realm, &endpoint.host));
    let response = send(credentials).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(denied("its token server does not accept us"));
        }
        status => return Err(FetchError::from_status(&shown, status)),
    }
    let body = http::small_body(response, &shown, TOKEN_MAX).await?;
    let token = serde_json::from_slice(&body).ok().and_then(Token::text);
    match token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(token) => Ok(Some(format!("Bearer {token}"))),
        None => Err(denied("its token server answers nonsense")),
    }
}

/// A registry must not make us ask just anybody.
fn trusted_realm(realm: &Url, endpoint: &Endpoint) -> Result<(), &'static str> {
    if realm.scheme() != "https" && !(endpoint.insecure && realm.scheme() == "http") {
        return Err("its token server is not https");
    }
    let own = Url::parse(&format!("https://{}", endpoint.host)).ok();
    let own = own.as_ref().and_then(Url::host);
    let is_name = |host: &url::Host<&str>| matches!(host, url::Host::Domain(name) if *name != "localhost" && name.contains('.'));
    match realm.host() {
        Some(host) if Some(&host) == own.as_ref() || is_name(&host) => Ok(()),
        _ => Err("its token server is an address of its own"),
    }
}

/// Whether the token server belongs to who runs the registry: the same host, or the same domain
/// above it, as auth.docker.io and registry-1.docker.io have.
fn is_same_site(realm: &Url, host: &str) -> bool {
    let host = host.split(':').next().unwrap_or(host);
    let Some(other) = realm.host_str() else {
        return false;
    };
    let site = |name: &str| {
        let labels: Vec<&str> = name.rsplit('.').take(2).collect();
        (labels.len() == 2 && name.parse::<std::net::IpAddr>().is_err())
            .then(|| format!("{}.{}", labels[1], labels[0]))
    };
    other == host || site(other).is_some_and(|other| Some(other) == site(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_come_by_either_name_or_both() {
        let text = |json: &str| serde_json::from_str(json).ok().and_then(Token::text);
        assert_eq!(text(r#"{"token":"a"}"#).as_deref(), Some("a"));
        assert_eq!(text(r#"{"access_token":"b"}"#).as_deref(), Some("b"));
        let both = r#"{"token":"a","access_token":"a","expires_in":300}"#;
        assert_eq!(text(both).as_deref(), Some("a"));
        assert_eq!(
            text(r#"{"token":"","access_token":"b"}"#).as_deref(),
            Some("b")
        );
        assert_eq!(text("{}"), None);
    }

    #[test]
    fn challenges_are_read() {
        assert_eq!(
            Challenge::parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push""#
            ),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".to_owned(),
                service: Some("registry.docker.io".to_owned()),
                scope: Some("repository:library/debian:pull,push".to_owned()),
            })
        );
        assert_eq!(Challenge::parse("Basic realm=x"), Some(Challenge::Basic));
        for bad in [
            "",
            "Bearer",
            "Bearer service=x",
            "Bearer realm=\"x",
            "Digest realm=x",
        ] {
            assert_eq!(Challenge::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn token_servers_are_held_to_rules() {
        let endpoint = |host: &str, insecure| Endpoint {
            host: host.to_owned(),
            repository: "x".to_owned(),
            insecure,
        };
        let check = |realm: &str, host, insecure| {
            trusted_realm(&Url::parse(realm).unwrap(), &endpoint(host, insecure)).is_ok()
        };
        assert!(check(
            "https://auth.docker.io/token",
            "registry-1.docker.io",
            false
        ));
        assert!(!check(
            "http://auth.docker.io/token",
            "registry-1.docker.io",
            false
        ));
        assert!(!check(
            "https://127.0.0.1/token",
            "registry-1.docker.io",
            false
        ));
        assert!(!check(
            "https://localhost/token",
            "registry-1.docker.io",
            false
        ));
        assert!(check("http://127.0.0.1:5001/token", "127.0.0.1:5000", true));
        assert!(!check(
            "http://127.0.0.1:5001/token",
            "127.0.0.1:5000",
            false
        ));
    }

    #[test]
    fn credentials_stay_with_their_site() {
        let same = |realm: &str, host| is_same_site(&Url::parse(realm).unwrap(), host);
        assert!(same("https://auth.docker.io/token", "registry-1.docker.io"));
        assert!(same("https://example.com:444/", "example.com:443"));
        assert!(!same("https://example.org/", "example.com"));
        assert!(!same("https://10.0.0.1/", "10.1.0.1"));
    }
}
