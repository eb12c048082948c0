//! A web server answers as it should.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::http;
use crate::machine::Guest;
use crate::probe::check::{Probe, ProbeError, Scene, patience};
use crate::probe::network::{Talk, words};
use crate::probe::value::{Many, Pattern, Scalar, Span};
use crate::probe::{NetworkTarget, Outcome, Prober, Protocol};

/// How much of a body is looked at.
const BODY: usize = 4 << 20;

/// Where distributions keep the certificates of all authorities that they trust.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
];

keys! {
    /// A web server answers as it should.
    pub struct HttpCheck with texts {
        /// The address: http(s)://HOST:PORT/PATH; localhost is the container.
        pub url: NetworkTarget,
        /// The status, a class such as "2xx" or a range such as "200-204"; any of a list. Below 400 if
        /// nothing is said.
        #[serde(default)]
        pub status: Many<StatusClass>,
        /// The method; GET if nothing is said.
        pub method: Option<Method>,
        /// Header fields of the answer: the name, and an expression that its value has to match.
        #[serde(default)]
        pub header: BTreeMap<String, Pattern>,
        /// Header fields to send.
        #[serde(default)]
        pub request_header: BTreeMap<String, String>,
        /// The body to send.
        pub send: Option<String>,
        /// Whether redirections are followed, 10 at most; false if nothing is said.
        pub follow: Option<bool>,
        /// Whether the certificate has to be one that the container's system trusts; false if
        /// nothing is said.
        pub verify_certificate: Option<bool>,
        /// How long one attempt may take.
        pub attempt_timeout: Option<Span>,
    }
}

/// A status, or several: 200, `2xx`, `200-204`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusClass {
    first: u16,
    last: u16,
}

impl StatusClass {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no status; write 200, 2xx for a class, or 200-204");
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let (first, last) = if let Some(class) = text.strip_suffix("xx") {
            let first = number(class)?.saturating_mul(100);
            (first, first.saturating_add(99))
        } else if let Some((first, last)) = text.split_once('-') {
            (number(first)?, number(last)?)
        } else {
            (number(text)?, number(text)?)
        };
        if (100..=999).contains(&first) && (first..=999).contains(&last) {
            Ok(Self { first, last })
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for StatusClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else if self.first.is_multiple_of(100) && self.last == self.first + 99 {
            write!(formatter, "{}xx", self.first / 100)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

impl<'de> Deserialize<'de> for StatusClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Scalar::deserialize(deserializer)?.0;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

impl Serialize for StatusClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for StatusClass {
    fn schema_name() -> Cow<'static, str> {
        "StatusClass".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 999 },
            { "type": "string", "pattern": "^([1-9][0-9][0-9](-[1-9][0-9][0-9])?|[1-9]xx)$" }
        ] })
    }
}

/// A method of HTTP, RFC 9110 section 9.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Method(String);

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match reqwest::Method::from_bytes(text.as_bytes()) {
            Ok(_) => Ok(Self(text.to_uppercase())),
            Err(_) => Err(D::Error::custom(format!("{text:?} is no method"))),
        }
    }
}

#[async_trait]
impl Probe for HttpCheck {
    fn target(&self) -> String {
        self.url.to_string()
    }

    fn validate(&self) -> Result<(), String> {
        if self.url.protocol() != Protocol::Http {
            return Err("the address begins with http:// or https://".to_owned());
        }
        self.request_headers()?;
        for name in self.header.keys() {
            HeaderName::try_from(name.as_str())
                .map_err(|_| format!("header: {name:?} is no header field's name"))?;
        }
        Ok(())
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let talk = HttpTalk {
            authorities: if self.verify_certificate == Some(true) {
                Some(authorities(scene.guest))
            } else {
                None
            },
            headers: self.request_headers().map_err(std::io::Error::other)?,
            wanted: Some(self.clone()),
        };
        let patience = patience(self.timeout, scene.patience.network);
        let prober = Prober::new(scene.guest.leader(), patience);
        prober.check(&self.url, Arc::new(talk)).await
    }
}

impl HttpCheck {
    fn request_headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.request_header {
            let wrong = || format!("request-header: {name:?} is no header field");
            headers.append(
                HeaderName::try_from(name.as_str()).map_err(|_| wrong())?,
                HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?,
            );
        }
        Ok(headers)
    }

    /// What is wrong with an answer.
    async fn judge(&self, mut response: Response) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        let status = response.status().as_u16();
        let is_wanted = if self.status.is_empty() {
            status < 400
        } else {
            let mut classes = self.status.iter();
            classes.any(|class| (class.first..=class.last).contains(&status))
        };
        if !is_wanted {
            wrong.push(format!("status {status}"));
        }
        for (name, pattern) in &self.header {
            let found: Vec<String> = response
                .headers()
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect();
            if found.is_empty() {
                wrong.push(format!("no header {name}"));
            } else if !found.iter().any(|value| pattern.matches(value)) {
                let found = found.join(", ");
                wrong.push(format!("header {name} is {found:?}, which lacks {pattern}"));
            }
        }
        if self.texts().is_empty() {
            return Ok(wrong);
        }
        let mut body = Vec::new();
        let mut is_whole = true;
        while let Some(chunk) = response.chunk().await.map_err(|error| root_cause(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY {
                body.truncate(BODY);
                is_whole = false;
                break;
            }
        }
        let body = String::from_utf8_lossy(&body);
        let differences = if is_whole {
            Some(self.texts().differences("the body", &body))
        } else {
            self.texts().differences_of_part("the body", &body)
        };
        wrong.extend(differences.unwrap_or_else(|| {
            vec!["the body has more than 4 MiB, and only so much is searched".to_owned()]
        }));
        Ok(wrong)
    }
}

/// The authorities that a container's system trusts; one without any trusts nobody. What is no
/// certificate among them is passed over, as other programs do it.
fn authorities(guest: &Guest) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let bundle = AUTHORITIES
        .iter()
        .find_map(|path| guest.read_file(path).ok())
        .unwrap_or_default();
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).flatten());
    store
}

/// A request and what is made of its answer; by itself, any status below 400 will do.
#[derive(Debug, Default)]
pub(super) struct HttpTalk {
    /// Those that are trusted; none where it does not matter whose the certificate is.
    authorities: Option<RootCertStore>,
    headers: HeaderMap,
    wanted: Option<HttpCheck>,
}

#[async_trait]
impl Talk for HttpTalk {
    async fn talk(&self, target: &NetworkTarget, address: SocketAddr) -> Result<String, String> {
        // The host's name, as a browser would send it, at this one address.
        let host = target.url().host_str().unwrap_or_default();
        let wanted = self.wanted.as_ref();
        let follows = wanted.is_some_and(|wanted| wanted.follow == Some(true));
        let mut builder = http::builder()
            .redirect(if follows {
                redirect::Policy::limited(http::REDIRECTS_MAX)
            } else {
                redirect::Policy::none()
            })
            .no_proxy()
            .resolve(host, address);
        builder = match &self.authorities {
            Some(authorities) => builder.tls_backend_preconfigured(
                ClientConfig::builder()
                    .with_root_certificates(authorities.clone())
                    .with_no_client_auth(),
            ),
            // It is a test installation's.
            None => builder.tls_danger_accept_invalid_certs(true),
        };
        if let Some(limit) = wanted.and_then(|wanted| wanted.attempt_timeout) {
            builder = builder.timeout(limit.0.max(Duration::from_millis(1)));
        }
        let client = builder.build().map_err(|error| error.to_string())?;
        let method = wanted
            .and_then(|wanted| wanted.method.as_ref())
            .map_or(Ok(reqwest::Method::GET), |method| {
                reqwest::Method::from_bytes(method.0.as_bytes())
            })
            .map_err(|error| error.to_string())?;
        let mut request = client
            .request(method, target.url().clone())
            .headers(self.headers.clone());
        if let Some(body) = wanted.and_then(|wanted| wanted.send.clone()) {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| root_cause(&error))?;
        let status = response.status().as_u16();
        let wrong = match wanted {
            Some(wanted) => wanted.judge(response).await?,
            None if status < 400 => Vec::new(),
            None => vec![format!("status {status}")],
        };
        if wrong.is_empty() {
            return Ok(format!("{address} answers with status {status}"));
        }
        let has_status = wrong.iter().any(|word| word.starts_with("status "));
        let wrong = wrong.join(", ");
        if has_status {
            Err(wrong)
        } else {
            Err(format!("status {status}, {wrong}"))
        }
    }
}

/// The first cause, which is what says something: `connection refused`.
fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
        .downcast_ref::<std::io::Error>()
        .map_or_else(|| cause.to_string(), words)
}
