//! Fetching packages from http and https addresses into a cache.
//!
//! ```text
//! <cache>/downloads/<sha256 of the URL, 16 digits>/
//! ├── <file name>      the whole file, as the server last had it
//! ├── file.json        its ETag and Last-Modified
//! ├── partial          what has come of a download that was cut
//! └── partial.json     its ETag and Last-Modified
//! ```
//!
//! What is there is asked for conditionally; what was cut is gone on with, if the server still has
//! the same file (RFC 9110, sections 13 and 14).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::package::safe_file_name;
use crate::http::{self, Validators, chain};
use crate::progress::{SharedProgress, Step};

/// How often a download that was cut is gone on with.
const ATTEMPTS: u32 = 5;

/// Why a package could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server could not be reached, or the connection broke.
    #[error("cannot fetch {}: {}", http::shown(url), chain(source))]
    Transport {
        /// The address.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// The server answered something else.
    #[error("cannot fetch {}: the server answered {status}", http::shown(url))]
    Status {
        /// The address.
        url: Url,
        /// The answer.
        status: StatusCode,
    },
    /// The file is not as long as the server said.
    #[error(
        "cannot fetch {}: {got} bytes came where the server had announced {announced}",
        http::shown(url)
    )]
    Size {
        /// The address.
        url: Url,
        /// How long it is.
        got: u64,
        /// How long it was to be.
        announced: u64,
    },
    /// The network is to be left alone, and the cache does not have it.
    #[error(
        "{} is not in the cache, and --offline leaves the network alone",
        http::shown(url)
    )]
    Offline {
        /// The address.
        url: Url,
    },
    /// The cache could not be written.
    #[error("cannot keep {} in {}: {source}", http::shown(url), path.display())]
    Cache {
        /// The address.
        url: Url,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Fetches files into a cache.
pub struct Fetcher {
    /// None where the network is to be left alone.
    client: Option<Client>,
    directory: PathBuf,
    progress: SharedProgress,
}

/// What is noted beside a file.
fn load(path: &Path) -> Validators {
    fs::read(path)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default()
}

impl Fetcher {
    /// A fetcher that keeps what it fetches below `cache`.
    pub fn new(cache: &Path, progress: SharedProgress) -> reqwest::Result<Self> {
        Ok(Self {
            client: Some(http::client(false)?),
            directory: cache.join("downloads"),
            progress,
        })
    }

    /// One that has what is below `cache`, and asks nobody.
    pub fn offline(cache: &Path, progress: SharedProgress) -> Self {
        Self {
            client: None,
            directory: cache.join("downloads"),
            progress,
        }
    }

    /// Fetches a file, unless the cache has it as it is; gives its name, and the file itself, open:
    /// another run may replace it.
    pub async fn fetch(&self, url: &Url) -> Result<(String, File), FetchError> {
        let place = Place::new(&self.directory, url);
        fs::create_dir_all(&place.directory).map_err(place.failed(&place.directory))?;
        let _lock = place.lock().await.map_err(place.failed(&place.directory))?;
        let Some(client) = &self.client else {
            return place.open().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => FetchError::Offline { url: url.clone() },
                _ => place.failed(&place.file)(error),
            });
        };
        let step = Step::start(&self.progress, format!("fetch {}", http::shown(url)), None);
        let mut tried = 1;
        loop {
            match attempt(client, &place, &step).await {
                Ok(()) => break,
                Err(error) if tried < ATTEMPTS && is_passing(&error) => {
                    // 0.25 s, 0.5 s, 1 s, 2 s.
                    tokio::time::sleep(Duration::from_millis(125 << tried)).await;
                    tried += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let opened = place.open().map_err(place.failed(&place.file))?;
        step.finish();
        Ok(opened)
    }
}

async fn attempt(client: &Client, place: &Place, step: &Step) -> Result<(), FetchError> {
    let transport = |source: reqwest::Error| FetchError::Transport {
        url: place.url.clone(),
        source: source.without_url(),
    };
    let had = place.partial_size();
    let mut request = client.get(place.url.clone());
    let partial = load(&place.partial_validators);
    if had > 0
        && let Some(validator) = partial.for_range()
    {
        request = request
            .header(RANGE, format!("bytes={had}-"))
            .header(IF_RANGE, validator);
    } else if place.file.exists() {
        request = load(&place.file_validators).unless_changed(request);
    }
    let response = request.send().await.map_err(transport)?;
    let start = match response.status() {
        StatusCode::NOT_MODIFIED if place.file.exists() => return Ok(()),
        StatusCode::PARTIAL_CONTENT if starts_at(&response, had) => had,
        StatusCode::OK => 0,
        status => {
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                // What we have is no beginning of what there is: the next attempt is anew.
                let _ = fs::remove_file(&place.partial);
            }
            return Err(FetchError::Status {
                url: place.url.clone(),
                status,
            });
        }
    };
    let announced = response.content_length().map(|length| start + length);
    if let Some(total) = announced {
        step.set_total(total);
    }
    place.keep(response, start, step).await?;
    let got = place.partial_size();
    if let Some(announced) = announced.filter(|announced| *announced != got) {
        return Err(FetchError::Size {
            url: place.url.clone(),
            got,
            announced,
        });
    }
    // In this order a crash in between leaves a file that is fetched again.
    let _ = fs::remove_file(&place.file_validators);
    fs::rename(&place.partial, &place.file)
        .and_then(|()| fs::rename(&place.partial_validators, &place.file_validators))
        .map_err(place.failed(&place.file))
}

/// Whether another attempt may go better.
fn is_passing(error: &FetchError) -> bool {
    match error {
        FetchError::Transport { source, .. } => {
            !source.is_builder() && !source.is_redirect() && !is_refusal(source)
        }
        FetchError::Status { status, .. } => {
            status.is_server_error()
                || *status == StatusCode::TOO_MANY_REQUESTS
                || *status == StatusCode::RANGE_NOT_SATISFIABLE
        }
        FetchError::Size { .. } => true,
        FetchError::Cache { .. } | FetchError::Offline { .. } => false,
    }
}

/// Whether there was no connection to begin with: nothing that a second's wait would mend.
fn is_refusal(error: &reqwest::Error) -> bool {
    error.is_connect() && !error.is_timeout()
}

fn starts_at(response: &Response, offset: u64) -> bool {
    response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// Where a file is in the cache.
struct Place {
    url: Url,
    directory: PathBuf,
    file: PathBuf,
    file_validators: PathBuf,
    partial: PathBuf,
    partial_validators: PathBuf,
}

impl Place {
    /// The file's name, and the file itself.
    fn open(&self) -> io::Result<(String, File)> {
        let name = self.file.file_name().unwrap_or_default();
        Ok((name.to_string_lossy().into_owned(), File::open(&self.file)?))
    }

    fn new(downloads: &Path, url: &Url) -> Self {
        let digest = Sha256::digest(url.as_str());
        let key = digest[..8].iter().fold(String::new(), |mut key, byte| {
            use std::fmt::Write as _;
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
            key
        });
        let directory = downloads.join(key);
        let mut name = safe_file_name(Path::new(url.path()));
        if ["partial", "partial.json", "file.json"].contains(&name.as_str()) {
            name.push_str(".file");
        }
        Self {
            url: url.clone(),
            file: directory.join(name),
            file_validators: directory.join("file.json"),
            partial: directory.join("partial"),
            partial_validators: directory.join("partial.json"),
            directory,
        }
    }

    fn failed(&self, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
        let (url, path) = (self.url.clone(), path.to_owned());
        move |source| FetchError::Cache { url, path, source }
    }

    /// Waits until nobody else fetches the same file.
    async fn lock(&self) -> io::Result<File> {
        let directory = File::open(&self.directory)?;
        tokio::task::spawn_blocking(move || {
            rustix::fs::flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        })
        .await
        .map_err(io::Error::other)?
    }

    fn partial_size(&self) -> u64 {
        fs::metadata(&self.partial).map_or(0, |metadata| metadata.len())
    }

    /// Writes what comes to the partial file, from `start` on.
    async fn keep(
        &self,
        mut response: Response,
        start: u64,
        step: &Step,
    ) -> Result<(), FetchError> {
        let open = || {
            if start == 0 {
                let _ = fs::remove_file(&self.partial);
                let json = serde_json::to_vec(&Validators::of(response.headers()))?;
                fs::write(&self.partial_validators, json)?;
                File::create(&self.partial)
            } else {
                File::options().append(true).open(&self.partial)
            }
        };
        let mut file = open().map_err(self.failed(&self.partial))?;
        step.advance(start);
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    step.advance(chunk.len() as u64);
                    file.write_all(&chunk).map_err(self.failed(&self.partial))?;
                }
                Ok(None) => return Ok(()),
                Err(source) => {
                    return Err(FetchError::Transport {
                        url: self.url.clone(),
                        source: source.without_url(),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_place_of_its_own() {
        let place = |url: &str| Place::new(Path::new("/c"), &Url::parse(url).unwrap());
        let one = place("http://a.example/x%20y.deb?v=1");
        let two = place("http://a.example/x%20y.deb?v=2");
        assert_ne!(one.directory, two.directory);
        assert_eq!(one.file.file_name().unwrap(), "x_20y.deb");
        assert_eq!(
            place("http://a.example/").file.file_name().unwrap(),
            "package"
        );
        assert_ne!(place("http://a.example/partial").file, one.partial);
    }
}
