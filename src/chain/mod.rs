//! Stages in sequence, each a command in a container of its own, with one directory in common.
//!
//! A [`Chain`] is read from a file ([`Chain::load`]) or made by hand; [`Chain::run`] gets all images, then
//! runs the stages until one fails, and gives a [`ChainResult`] with an entry for each. All of them see
//! the same directory as `/job`. Nothing of a stage is left behind: what the future of `run` has started
//! ends when it is dropped.
//!
//! ```no_run
#![doc = include_str!("../../examples/chain.rs")]
//! ```

mod error;
mod file;
mod job;
mod logs;
mod node;
mod result;
mod schema;
mod stage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

pub use error::StageError;
pub use file::{ChainFileError, Mistake};
pub use logs::{LogLine, Logs};
pub use node::Format;
pub use result::{ChainResult, StageResult, State, Status};

use crate::image::{Images, PullOptions, ReadyImage, Reference};
use crate::machine::{Mount, Users};
use crate::run::Stream;

/// Where every stage sees the directory that they have in common.
pub const JOB: &str = "/job";

/// How long a stage may take where nothing is said.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Stages to run one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chain {
    /// What every stage has in its environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// The stages.
    pub stages: Vec<Stage>,
}

/// One command in a container.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The image.
    pub image: Reference,
    /// The command, or the arguments of the entry point; the image's own if it is empty.
    pub command: Vec<String>,
    /// What runs the command in place of the image's entry point; nothing does if it is empty.
    pub entrypoint: Option<Vec<String>>,
    /// The container's host name.
    pub hostname: String,
    /// Its memory, in bytes, none of which is moved to swap; no limit if nothing is said.
    pub memory: Option<u64>,
    /// The processors that it may use, as `0-2,5`; cpuset(7), "List format".
    pub cpuset_cpus: Option<String>,
    /// Its processor time, in microseconds a second: a million is all of one processor.
    pub cpus: Option<u64>,
    /// Whether it has a network that leads out.
    pub networking: bool,
    /// Whether it may do what root on the host may.
    pub privileged: bool,
    /// When it is killed.
    pub timeout: Duration,
    /// What is added to its environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Whether what it writes is kept.
    pub logs: bool,
    /// Files and directories of the host that it sees.
    pub volumes: Vec<Mount>,
}

impl Stage {
    /// An image, run as it says itself.
    pub fn of(image: Reference) -> Self {
        Self {
            image,
            command: Vec::new(),
            entrypoint: None,
            hostname: "container".to_owned(),
            memory: None,
            cpuset_cpus: None,
            cpus: None,
            networking: true,
            privileged: false,
            timeout: TIMEOUT,
            env: Vec::new(),
            logs: true,
            volumes: Vec::new(),
        }
    }
}

/// How a chain is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What every stage has in its environment, over what the chain says.
    pub env: Vec<String>,
    /// The directory in which the common one is made; that for temporary files if nothing is said.
    pub workdir: Option<PathBuf>,
    /// Whether the common directory stays.
    pub keep_job: bool,
    /// The users and groups of the stages, but for those that are privileged.
    pub users: Users,
    /// When the sources of the images are asked.
    pub pull: PullOptions,
}

/// Who watches a chain. Stages are numbered from 0.
pub trait Watcher {
    /// A stage begins.
    fn began(&self, _number: usize, _stage: &Stage) {}

    /// A stage has written a line.
    fn wrote(&self, _number: usize, _stream: Stream, _line: &LogLine) {}

    /// Something that the user should know of how its container was put together.
    fn noted(&self, _number: usize, _note: &str) {}

    /// A stage has ended.
    fn ended(&self, _number: usize, _result: &StageResult) {}
}

/// Nobody watches.
impl Watcher for () {}

/// Tells whether the chain is to end.
struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until it is.
    async fn asked(&self) {
        let mut asked = self.0.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Chain {
    /// The JSON schema of files.
    pub fn schema() -> serde_json::Value {
        schema::schema()
    }

    /// Gets the images, all at once, then runs the stages.
    pub async fn run(
        &self,
        images: &Images,
        options: &Options,
        watcher: &dyn Watcher,
    ) -> ChainResult {
        let forever = std::future::pending();
        self.run_until(images, options, watcher, forever).await
    }

    /// The same, until `stop` is over: then the stage that runs is killed, and the result says that it was
    /// interrupted.
    pub async fn run_until(
        &self,
        images: &Images,
        options: &Options,
        watcher: &dyn Watcher,
        stop: impl Future<Output = ()>,
    ) -> ChainResult {
        let asked = watch::Sender::new(false);
        let running = self.run_asked(images, options, watcher, Stop(asked.subscribe()));
        tokio::pin!(running, stop);
        tokio::select! {
            result = &mut running => return result,
            () = &mut stop => {}
        }
        asked.send_replace(true);
        running.await
    }

    async fn run_asked(
        &self,
        images: &Images,
        options: &Options,
        watcher: &dyn Watcher,
        stop: Stop,
    ) -> ChainResult {
        let skipped = |stage: &Stage| StageResult::skipped(&stage.image);
        let mut result = ChainResult {
            success: false,
            job: None,
            stages: self.stages.iter().map(skipped).collect(),
        };
        let ready = tokio::select! {
            ready = self.pull(images, &options.pull) => ready,
            () = stop.asked() => {
                if let Some(first) = result.stages.first_mut() {
                    first.fail(StageError::Interrupted);
                }
                return result;
            }
        };
        let mut all_ready = Vec::new();
        for (number, ready) in ready.into_iter().enumerate() {
            match ready {
                Ok(image) => all_ready.push(image),
                Err(error) => result.stages[number].fail(error),
            }
        }
        if all_ready.len() < self.stages.len() {
            return result;
        }
        let parent = options.workdir.clone();
        let parent = parent.unwrap_or_else(std::env::temp_dir);
        let made = job::Directory::make(&parent, options.keep_job);
        let directory = match made {
            Ok(directory) => directory,
            Err(source) => {
                if let Some(first) = result.stages.first_mut() {
                    let source = Arc::new(source);
                    first.fail(StageError::NoJob { parent, source });
                }
                return result;
            }
        };
        result.job = options
            .keep_job
            .then(|| directory.path().display().to_string());
        result.success = true;
        for (number, (stage, image)) in self.stages.iter().zip(&all_ready).enumerate() {
            watcher.began(number, stage);
            let env: Vec<String> = [&self.env, &stage.env, &options.env]
                .into_iter()
                .flatten()
                .cloned()
                .collect();
            let place = stage::Place {
                number,
                images,
                image,
                job: directory.path(),
                env,
                users: options.users,
            };
            let ended = stage.run(&place, watcher, &stop).await;
            watcher.ended(number, &ended);
            result.success = ended.success;
            result.stages[number] = ended;
            if !result.success {
                break;
            }
        }
        if let Err(error) = directory.remove() {
            result.success = false;
            let mut last = result.stages.iter_mut().rev();
            if let Some(last) = last.find(|stage| stage.has_run()) {
                last.fail(StageError::JobStays(Arc::new(error)));
            }
        }
        result
    }

    /// Gets every image once; gives them in the order of the stages.
    async fn pull(
        &self,
        images: &Images,
        options: &PullOptions,
    ) -> Vec<Result<ReadyImage, StageError>> {
        let options = PullOptions {
            as_is: true,
            ..options.clone()
        };
        let mut different: Vec<&Reference> = Vec::new();
        for stage in &self.stages {
            if !different.contains(&&stage.image) {
                different.push(&stage.image);
            }
        }
        let pulls = different.iter().map(|image| images.pull(image, &options));
        let pulled = join_all(pulls).await.into_iter();
        let pulled = pulled.map(|pulled| pulled.map_err(StageError::from));
        let pulled: Vec<_> = different.into_iter().zip(pulled).collect();
        let of = |stage: &Stage| {
            let mut pulled = pulled.iter();
            let (_, image) = pulled.find(|(image, _)| **image == stage.image)?;
            Some(image.clone())
        };
        self.stages.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests;
