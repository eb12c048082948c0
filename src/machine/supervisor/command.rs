//! The one command of a container that boots no system.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use crate::machine::cgroup::{Hierarchies, has_run_out_of_memory};
use crate::machine::init::{Answer, Job, Link};
use crate::machine::process::{Ending, Process, ProcessEnd};
use crate::machine::root::Assembled;
use crate::machine::users;

/// How long what an init has said may take to arrive after its end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The command, from before its container is there until it has ended.
pub(super) struct Command {
    link: Link,
    /// What systemd-nspawn gets as its standard input.
    init_stdin: Option<OwnedFd>,
    job: Option<Job>,
    descriptors: Vec<OwnedFd>,
    /// Where the kernel counts whom it killed for want of memory.
    memory_events: Option<PathBuf>,
    end: Option<ProcessEnd>,
}

impl Command {
    /// Finds out all that it takes; the descriptors become the command's own.
    pub(super) fn prepare(
        process: &Process,
        root: &Assembled,
        hostname: &str,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let inside = root.look()?;
        let job = process.job(&inside, hostname).map_err(io::Error::other)?;
        // Whoever opens /dev/stdout opens the pipe anew, by its owner and mode.
        let base = inside.base().unwrap_or_default();
        for descriptor in &descriptors {
            users::give_stream(descriptor, base.saturating_add(job.identity.user))?;
        }
        let (link, init_stdin) = Link::new()?;
        Ok(Self {
            link,
            init_stdin: Some(init_stdin),
            job: Some(job),
            descriptors,
            memory_events: None,
            end: None,
        })
    }

    /// The standard input of the container's init; once.
    pub(super) fn init_stdin(&mut self) -> Option<OwnedFd> {
        self.init_stdin.take()
    }

    /// Has it run in the container whose init is `leader`.
    pub(super) fn start(&mut self, hierarchies: &Hierarchies, leader: i32) -> io::Result<()> {
        let Some(job) = self.job.take() else {
            return Ok(());
        };
        self.memory_events = hierarchies.memory_events(leader);
        self.link.run(job, &std::mem::take(&mut self.descriptors))
    }

    /// Sends it a signal.
    pub(super) fn signal(&mut self, number: i32) {
        self.link.signal(number);
    }

    /// Waits until it has started, which is what `true` says, or has ended. Once its init has nothing
    /// more to say, this waits for ever.
    pub(super) async fn change(&mut self) -> bool {
        match self.link.answer().await {
            Some(answer) => self.heard(answer),
            None => std::future::pending().await,
        }
    }

    /// Hears what its init has said and nobody has listened to: that has ended.
    pub(super) async fn finish(&mut self) {
        let rest = async {
            while let Some(answer) = self.link.answer().await {
                self.heard(answer);
            }
        };
        // Somebody else may hold the socket open.
        let _ = timeout(LAST_WORDS, rest).await;
    }

    fn heard(&mut self, answer: Answer) -> bool {
        let Some(ending) = Ending::told_by(answer) else {
            return true;
        };
        self.end = Some(ProcessEnd {
            ending,
            out_of_memory: self.has_run_out_of_memory(),
        });
        false
    }

    /// How it ended, as far as its init could tell. One that ended with its container, unasked, for its
    /// memory did not suffice even for that, was killed.
    pub(super) fn end(&self, is_asked: bool) -> Option<ProcessEnd> {
        self.end.clone().or_else(|| {
            let is_starved = !is_asked && self.has_run_out_of_memory();
            is_starved.then_some(ProcessEnd {
                ending: Ending::Killed(libc::SIGKILL),
                out_of_memory: true,
            })
        })
    }

    fn has_run_out_of_memory(&self) -> bool {
        self.memory_events
            .as_deref()
            .is_some_and(has_run_out_of_memory)
    }
}
