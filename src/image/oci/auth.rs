//! Challenges and tokens: `WWW-Authenticate` as
//! [registries use it](https://distribution.github.io/distribution/spec/auth/token/).

use reqwest::{Client, Url, header};
use serde::Deserialize;

use crate::http::{FetchError, Memory, Patience, Transfer};
use crate::image::credentials::Credentials;
use crate::image::registries::Endpoint;

const TOKEN_MAX: u64 = 1 << 20;

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

/// The value of an Authorization header with a user and a password.
pub(super) fn basic(client: &Client, user: &str, password: &str) -> Option<String> {
    // reqwest knows how to write the header; we only need its value.
    let request = client.get("http://localhost/");
    let request = request.basic_auth(user, Some(password)).build().ok()?;
    let value = request.headers().get(header::AUTHORIZATION)?;
    value.to_str().ok().map(str::to_owned)
}

/// A token server that may be asked, and what for.
pub(super) struct TokenServer {
    realm: Url,
    service: Option<String>,
    scope: Option<String>,
    /// Whether it may see credentials: it is the registry's own.
    is_own: bool,
}

impl TokenServer {
    /// Checks where a registry sends us for a token.
    pub(super) fn new(
        realm: &str,
        service: Option<String>,
        scope: Option<String>,
        endpoint: &Endpoint,
    ) -> Result<Self, &'static str> {
        let mut realm = Url::parse(realm).map_err(|_| "it names no valid token server")?;
        trusted_realm(&realm, endpoint)?;
        realm.set_fragment(None);
        // Neither fails for a URL that has a host, which a trusted one has.
        let _ = realm.set_username("");
        let _ = realm.set_password(None);
        let scope = scope.or_else(|| {
            let repository = &endpoint.repository;
            (!repository.is_empty()).then(|| format!("repository:{repository}:pull"))
        });
        Ok(Self {
            is_own: is_same_site(&realm, &endpoint.host),
            realm,
            service,
            scope,
        })
    }

    /// Its host, with the port where it has one.
    pub(super) fn host(&self) -> String {
        authority(&self.realm)
    }

    /// Gets a token for a request of `url`: the value of an Authorization header.
    pub(super) async fn token(
        &self,
        client: &Client,
        credentials: Option<&Credentials>,
        patience: Patience,
        url: &str,
    ) -> Result<String, FetchError> {
        let mut shown = self.realm.clone();
        shown.set_query(None);
        let shown = shown.to_string();
        let shared = credentials.filter(|_| self.is_own);
        let open = async |_: &crate::http::Ask<'_>| {
            let request = match shared {
                Some(Credentials::IdentityToken(token)) => self.exchange(client, token),
                Some(Credentials::Password { user, password }) => {
                    client.get(self.query()).basic_auth(user, Some(password))
                }
                None => client.get(self.query()),
            };
            let answer = request.send().await;
            answer.map_err(|error| FetchError::from_request(&shown, &error))
        };
        let mut body = Memory::default();
        let transfer = Transfer::new(&shown, patience).at_most(TOKEN_MAX);
        let denied = |reason: &str| FetchError::Unauthorised {
            url: url.to_owned(),
            reason: format!("the token server {} {reason}", self.host()),
        };
        match transfer.run(open, &mut body).await {
            Err(FetchError::Unauthorised { .. }) => Err(denied(match (credentials, shared) {
                (_, Some(_)) => "does not accept the credentials",
                (Some(_), None) => {
                    "is none of the registry's own, and is not given its credentials"
                }
                (None, None) => "wants credentials",
            })),
            Err(error) => Err(error),
            Ok(_) => {
                let token = serde_json::from_slice(&body.bytes)
                    .ok()
                    .and_then(Token::text);
                token
                    .filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
                    .map(|token| format!("Bearer {token}"))
                    .ok_or_else(|| denied("answers nonsense"))
            }
        }
    }

    fn query(&self) -> Url {
        let mut url = self.realm.clone();
        let service = self.service.iter().map(|service| ("service", service));
        let scope = self.scope.iter().map(|scope| ("scope", scope));
        url.query_pairs_mut().extend_pairs(service.chain(scope));
        url
    }

    /// Asks for a token in exchange for another (OAuth 2.0, RFC 6749, section 6).
    fn exchange(&self, client: &Client, token: &str) -> reqwest::RequestBuilder {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "postroj")
            .append_pair("refresh_token", token);
        if let Some(service) = &self.service {
            form.append_pair("service", service);
        }
        if let Some(scope) = &self.scope {
            form.append_pair("scope", scope);
        }
        client
            .post(self.realm.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.finish())
    }
}

/// The host of a URL, with its port where it names one.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
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

/// Whether the token server belongs to who runs the registry: the same host, one above or below
/// it, or one beside it, as auth.docker.io is to registry-1.docker.io.
fn is_same_site(realm: &Url, host: &str) -> bool {
    let Ok(own) = Url::parse(&format!("https://{host}")) else {
        return false;
    };
    match (realm.host(), own.host()) {
        (Some(url::Host::Domain(one)), Some(url::Host::Domain(other))) => {
            one == other
                || is_below(one, other)
                || is_below(other, one)
                || matches!(
                    (one.split_once('.'), other.split_once('.')),
                    (Some((_, one)), Some((_, other))) if one == other && is_site(one)
                )
        }
        (one, other) => one.is_some() && one == other,
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    domain.contains('.')
        && name
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// Whether all below a domain is likely to be of one owner: not `com`, and not `co.uk` either, which
/// is told by its short words. A real domain that is as short is taken for shared.
fn is_site(domain: &str) -> bool {
    let labels: Vec<&str> = domain.split('.').collect();
    match labels.as_slice() {
        [] | [_] => false,
        [second, top] => top.len() > 2 || second.len() > 3,
        _ => true,
    }
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
        assert!(same("https://example.com/jwt", "registry.example.com"));
        assert!(same("https://auth.example.com/", "example.com:5000"));
        assert!(same("https://auth.example.com/", "registry.example.com"));
        assert!(same("https://[::1]:5001/", "[::1]:5000"));
        assert!(!same("https://example.org/", "example.com"));
        assert!(!same("https://notexample.com/", "example.com"));
        assert!(!same("https://evil.co.uk/", "registry.co.uk"));
        assert!(!same("https://evil.example.com.evil.net/", "example.com"));
        assert!(!same("https://10.0.0.1/", "10.1.0.1"));
    }
}
