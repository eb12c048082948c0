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

use bytes::Bytes;
use reqwest::Client;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::package::safe_file_name;
use crate::http::{self, Ask, Fetched, Patience, Sink, Transfer, Validators};
use crate::progress::{SharedProgress, Step};

/// Why a package could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be fetched.
    #[error("cannot fetch {0}")]
    Transfer(#[from] http::FetchError),
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
#[derive(Clone)]
pub struct Fetcher {
    /// Whether the network is to be left alone.
    offline: bool,
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
    pub fn new(cache: &Path, progress: SharedProgress) -> Self {
        Self {
            offline: false,
            directory: cache.join("downloads"),
            progress,
        }
    }

    /// One that has what is below `cache`, and asks nobody.
    pub fn offline(cache: &Path, progress: SharedProgress) -> Self {
        Self {
            offline: true,
            directory: cache.join("downloads"),
            progress,
        }
    }

    /// The same for another who listens.
    #[must_use]
    pub fn telling(mut self, progress: SharedProgress) -> Self {
        self.progress = progress;
        self
    }

    /// Fetches a file, unless the cache has it as it is; gives its name, and the file itself, open:
    /// another run may replace it.
    pub async fn fetch(&self, url: &Url) -> Result<(String, File), FetchError> {
        let place = Place::new(&self.directory, url);
        fs::create_dir_all(&place.directory).map_err(place.failed(&place.directory))?;
        let _lock = place.lock().await.map_err(place.failed(&place.directory))?;
        if self.offline {
            return place.open().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => FetchError::Offline { url: url.clone() },
                _ => place.failed(&place.file)(error),
            });
        }
        // A client reads all the certificates of the host: a run that fetches nothing has none.
        let client = http::client(Patience::default())?;
        let step = Step::start(&self.progress, format!("fetch {}", http::shown(url)), None);
        self.transfer(&client, &place, &step).await?;
        let opened = place.open().map_err(place.failed(&place.file))?;
        step.finish();
        Ok(opened)
    }

    async fn transfer(
        &self,
        client: &Client,
        place: &Place,
        step: &Step,
    ) -> Result<(), FetchError> {
        let shown = http::shown(&place.url);
        let had = place.partial_size();
        let version = load(&place.partial_validators);
        let (had, version) = match version.for_range() {
            Some(_) if had > 0 => (had, version),
            _ => (0, Validators::default()),
        };
        let had_file = place.file.exists().then(|| load(&place.file_validators));
        let open = async |ask: &Ask<'_>| {
            let mut request = ask.of(client.get(place.url.clone()));
            if let (0, Some(known)) = (ask.offset, &had_file) {
                request = known.unless_changed(request);
            }
            let response = request.send().await;
            response.map_err(|error| http::FetchError::from_request(&shown, &error))
        };
        let mut partial = Partial { place, file: None };
        let transfer = Transfer::new(&shown, Patience::default()).told_to(step);
        let fetched = transfer.from(had, version).run(open, &mut partial).await?;
        if fetched == Fetched::Unchanged {
            return Ok(());
        }
        // In this order a crash in between leaves a file that is fetched again.
        let _ = fs::remove_file(&place.file_validators);
        fs::rename(&place.partial, &place.file)
            .and_then(|()| fs::rename(&place.partial_validators, &place.file_validators))
            .map_err(place.failed(&place.file))
    }
}

/// What has come of a download, on disk.
struct Partial<'a> {
    place: &'a Place,
    file: Option<File>,
}

impl Sink for Partial<'_> {
    type Error = FetchError;

    async fn take(&mut self, bytes: Bytes) -> Result<(), FetchError> {
        let place = self.place;
        let mut file = match self.file.take() {
            Some(file) => file,
            None => File::options()
                .append(true)
                .open(&place.partial)
                .map_err(place.failed(&place.partial))?,
        };
        file.write_all(&bytes)
            .map_err(place.failed(&place.partial))?;
        self.file = Some(file);
        Ok(())
    }

    fn begin(&mut self, version: &Validators) -> Result<bool, FetchError> {
        let place = self.place;
        let begin = || {
            let _ = fs::remove_file(&place.partial);
            fs::write(&place.partial_validators, serde_json::to_vec(version)?)?;
            File::create(&place.partial)
        };
        self.file = Some(begin().map_err(place.failed(&place.partial))?);
        Ok(true)
    }
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
