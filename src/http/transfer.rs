//! One body, from the first byte to the last, however often the connection is cut on the way.
//!
//! What was cut is asked for again from where it ended (RFC 9110, section 14), on the condition that
//! the server still has the same. Where it cannot begin in the middle, what came before is passed
//! over, or forgotten if whoever takes it can do that.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, IF_RANGE, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};

use super::error::FetchError;
use super::patience::{Backoff, Pace, Patience, retry_after};
use super::{Validators, chain};
use crate::progress::Step;

/// Where what is fetched goes.
pub(crate) trait Sink {
    /// Why it takes no more.
    type Error: From<FetchError>;

    /// Takes the next bytes.
    async fn take(&mut self, bytes: Bytes) -> Result<(), Self::Error>;

    /// Begins with this version of what is fetched, forgetting what it has of another; false if it
    /// cannot forget.
    fn begin(&mut self, version: &Validators) -> Result<bool, Self::Error>;
}

/// What is small enough to be in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
}

impl Sink for Memory {
    type Error = FetchError;

    async fn take(&mut self, bytes: Bytes) -> Result<(), FetchError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    fn begin(&mut self, _version: &Validators) -> Result<bool, FetchError> {
        self.bytes.clear();
        Ok(true)
    }
}

/// What a request has to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// From which byte on.
    pub(crate) offset: u64,
    version: Option<&'a str>,
}

impl Ask<'_> {
    pub(crate) fn of(&self, mut request: RequestBuilder) -> RequestBuilder {
        if self.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.offset));
            if let Some(version) = self.version {
                request = request.header(IF_RANGE, version);
            }
        }
        request
    }
}

/// What a transfer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// All of it is there.
    Whole,
    /// The request had a condition, and there is nothing new.
    Unchanged,
}

/// A body that is to be fetched.
pub(crate) struct Transfer<'a> {
    url: &'a str,
    patience: Patience,
    step: Option<&'a Step>,
    /// What it must have.
    expected: Option<u64>,
    /// The most that it may have.
    limit: Option<u64>,
    /// Asked for by its digest: whatever comes is the same, or is refused later.
    is_addressed: bool,
    /// What it has, as far as the server tells.
    total: Option<u64>,
    done: u64,
    told: u64,
    version: Validators,
}

enum Failure<E> {
    Fetch(FetchError),
    Sink(E),
}

impl<E> From<FetchError> for Failure<E> {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl<'a> Transfer<'a> {
    /// Of `url`, as it is shown.
    pub(crate) fn new(url: &'a str, patience: Patience) -> Self {
        Self {
            url,
            patience,
            step: None,
            expected: None,
            limit: None,
            is_addressed: false,
            total: None,
            done: 0,
            told: 0,
            version: Validators::default(),
        }
    }

    /// Tells the step how far it has come.
    pub(crate) fn told_to(mut self, step: &'a Step) -> Self {
        self.step = Some(step);
        self
    }

    /// It is asked for by its digest, and has to have so many bytes.
    pub(crate) fn addressed(mut self, size: u64) -> Self {
        self.is_addressed = true;
        self.expected = Some(size);
        self
    }

    /// It may have so many bytes.
    pub(crate) fn at_most(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// So much of a version is there already.
    pub(crate) fn from(mut self, done: u64, version: Validators) -> Self {
        self.done = done;
        self.version = version;
        self
    }

    /// Fetches it. `open` sends the request, and gives whatever the server answers.
    pub(crate) async fn run<S: Sink>(
        mut self,
        open: impl AsyncFn(&Ask<'_>) -> Result<Response, FetchError>,
        sink: &mut S,
    ) -> Result<Fetched, S::Error> {
        let mut backoff = Backoff::default();
        loop {
            let before = self.done;
            let resumes = self.is_addressed || self.version.for_range().is_some();
            let ask = Ask {
                offset: if resumes { before } else { 0 },
                version: self.version.for_range(),
            };
            let outcome = match open(&ask).await {
                Ok(response) => self.take(response, sink).await,
                Err(error) => Err(Failure::Fetch(error)),
            };
            let error = match outcome {
                Ok(fetched) => return Ok(fetched),
                Err(Failure::Sink(error)) => return Err(error),
                Err(Failure::Fetch(error)) => error,
            };
            if !self.is_passing(&error) {
                return Err(error.into());
            }
            if self.done >= before + self.patience.progress() {
                backoff.reset();
            }
            tracing::debug!(%error, done = self.done, "trying again");
            if !backoff.wait(asked(&error)).await {
                return Err(error.into());
            }
        }
    }

    /// Asks for what there is, and fetches nothing: the answer to a HEAD has no body. `open` keeps
    /// the headers that it wants.
    pub(crate) async fn head(
        self,
        open: impl AsyncFn(&Ask<'_>) -> Result<Response, FetchError>,
    ) -> Result<Fetched, FetchError> {
        let mut backoff = Backoff::default();
        let ask = Ask {
            offset: 0,
            version: None,
        };
        loop {
            let outcome = match open(&ask).await {
                Ok(response) if response.status().is_success() => return Ok(Fetched::Whole),
                Ok(response) if response.status() == StatusCode::NOT_MODIFIED => {
                    return Ok(Fetched::Unchanged);
                }
                Ok(response) => self.failed(&response),
                Err(error) => error,
            };
            if !self.is_passing(&outcome) || !backoff.wait(asked(&outcome)).await {
                return Err(outcome);
            }
        }
    }

    /// Whether another try may go better.
    fn is_passing(&self, error: &FetchError) -> bool {
        match error {
            FetchError::Cut { .. } => true,
            FetchError::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            // What could not be reached at all is for the caller to get elsewhere; but a blob is only
            // asked for where its manifest came from.
            FetchError::Refused { .. } | FetchError::Unreachable { .. } => {
                self.done > 0 || self.is_addressed
            }
            _ => false,
        }
    }

    async fn take<S: Sink>(
        &mut self,
        mut response: Response,
        sink: &mut S,
    ) -> Result<Fetched, Failure<S::Error>> {
        let mut passed = match response.status() {
            StatusCode::NOT_MODIFIED if self.done == 0 => return Ok(Fetched::Unchanged),
            StatusCode::PARTIAL_CONTENT => {
                self.check_range(&response)?;
                0
            }
            StatusCode::RANGE_NOT_SATISFIABLE if self.done > 0 => {
                // What is there is no beginning of what the server has.
                self.version = Validators::default();
                if !sink.begin(&self.version).map_err(Failure::Sink)? {
                    return Err(self.changed().into());
                }
                self.done = 0;
                return Err(self.cut("the server has something shorter").into());
            }
            status if status.is_success() => self.begin(&response, sink)?,
            _ => return Err(self.failed(&response).into()),
        };
        if let (Some(step), Some(total)) = (self.step, self.total) {
            step.set_total(total);
        }
        self.tell();
        let mut pace = Pace::new(self.patience);
        loop {
            let asked = Instant::now();
            let chunk = response.chunk().await;
            let waited = asked.elapsed();
            let Some(mut chunk) = chunk.map_err(|error| self.cut(&cause(&error)))? else {
                break;
            };
            if !pace.keeps(waited, chunk.len() as u64) {
                return Err(self.cut(&too_slow(self.patience.stall)).into());
            }
            // No more than the chunk's own length, which is a usize.
            let skip = usize::try_from(passed).map_or(chunk.len(), |skip| skip.min(chunk.len()));
            passed -= skip as u64;
            let chunk = chunk.split_off(skip);
            if chunk.is_empty() {
                continue;
            }
            let length = chunk.len() as u64;
            let most = self.total.or(self.expected);
            if most.is_some_and(|most| self.done + length > most) {
                return Err(self.wrong_size("it goes on after that").into());
            }
            if let Some(limit) = self.limit.filter(|limit| self.done + length > *limit) {
                return Err(self.too_long(limit).into());
            }
            sink.take(chunk).await.map_err(Failure::Sink)?;
            self.done += length;
            self.tell();
        }
        match self.total.or(self.expected) {
            Some(size) if self.done < size => {
                let had = format!("{} of {size} bytes", self.done);
                Err(self.cut(&had).into())
            }
            _ => Ok(Fetched::Whole),
        }
    }

    /// The whole of it comes; returns how many bytes of that are there already.
    fn begin<S: Sink>(
        &mut self,
        response: &Response,
        sink: &mut S,
    ) -> Result<u64, Failure<S::Error>> {
        let offered = response.content_length();
        if let (Some(size), Some(length)) = (self.expected, offered)
            && size != length
        {
            return Err(self
                .wrong_size(&format!("{length} bytes are offered"))
                .into());
        }
        if let (Some(limit), Some(length)) = (self.limit, offered)
            && length > limit
        {
            return Err(self.too_long(limit).into());
        }
        let version = Validators::of(response.headers());
        if sink.begin(&version).map_err(Failure::Sink)? {
            self.done = 0;
            self.version = version;
            self.total = self.expected.or(offered);
            return Ok(0);
        }
        if self.is_addressed || (version == self.version && offered == self.total) {
            Ok(self.done)
        } else {
            Err(self.changed().into())
        }
    }

    /// Makes sure that what comes is what is missing, and of the same version.
    fn check_range(&mut self, response: &Response) -> Result<(), FetchError> {
        let range = response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok());
        let Some((start, total)) = range.and_then(content_range) else {
            return Err(self.cut("the server does not say what part it sends"));
        };
        if start != self.done {
            return Err(self.cut("the server resumes at another place"));
        }
        let known = self.total.or(self.expected);
        let version = Validators::of(response.headers());
        let is_other = |mine: &Option<String>, theirs: &Option<String>| {
            mine.is_some() && theirs.is_some() && mine != theirs
        };
        if !self.is_addressed
            && (known.is_some_and(|known| total.is_some_and(|total| total != known))
                || is_other(&self.version.etag, &version.etag))
        {
            return Err(self.changed());
        }
        self.total = known.or(total);
        Ok(())
    }

    /// What an answer means that is no success.
    fn failed(&self, response: &Response) -> FetchError {
        match FetchError::from_status(self.url, response.status()) {
            FetchError::Status { url, status, .. } => FetchError::Status {
                url,
                status,
                retry_after: retry_after(response.headers()),
            },
            error => error,
        }
    }

    fn tell(&mut self) {
        if let Some(step) = self.step
            && self.done > self.told
        {
            step.advance(self.done - self.told);
            self.told = self.done;
        }
    }

    fn cut(&self, cause: &str) -> FetchError {
        FetchError::Cut {
            url: self.url.to_owned(),
            cause: cause.to_owned(),
        }
    }

    fn changed(&self) -> FetchError {
        FetchError::Changed {
            url: self.url.to_owned(),
        }
    }

    fn too_long(&self, limit: u64) -> FetchError {
        FetchError::WrongSize {
            url: self.url.to_owned(),
            reason: format!("the answer has more than {limit} bytes"),
        }
    }

    fn wrong_size(&self, found: &str) -> FetchError {
        let size = self.expected.or(self.total).unwrap_or_default();
        FetchError::WrongSize {
            url: self.url.to_owned(),
            reason: format!("it should have {size} bytes, and {found}"),
        }
    }
}

/// How long the server wants to be left alone.
fn asked(error: &FetchError) -> Option<Duration> {
    match error {
        FetchError::Status { retry_after, .. } => *retry_after,
        _ => None,
    }
}

fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "the server has stalled".to_owned()
    } else {
        chain(error)
    }
}

fn too_slow(stall: Duration) -> String {
    format!(
        "the server has stalled: next to nothing came in {} s",
        stall.as_secs()
    )
}

/// The first byte and, where it is known, the size of the whole: `bytes 5-9/10`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    Some((start, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for nonsense in ["", "bytes", "bytes */10", "items 5-9/10", "bytes 5-9"] {
            assert_eq!(content_range(nonsense), None, "{nonsense}");
        }
    }
}
