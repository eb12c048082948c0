//! The events of a long job, and who listens to them.
//!
//! A job is made of [`Step`]s. A step that is dropped without [`Step::finish`] has failed, so that
//! an early return with `?` needs no bookkeeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Identifies a step for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(u64);

/// What a job reports while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step has begun.
    Started {
        /// The step.
        step: StepId,
        /// What it does, as a reader sees it: `pull layer 4f2c…`.
        title: String,
        /// How many bytes it has to do, where that is known.
        total: Option<u64>,
        /// The step that it is a part of.
        whole: Option<StepId>,
    },
    /// A step has learnt how many bytes it has to do.
    Sized {
        /// The step.
        step: StepId,
        /// The number of bytes.
        total: u64,
    },
    /// A step has done more of its bytes.
    Advanced {
        /// The step.
        step: StepId,
        /// How many more.
        bytes: u64,
    },
    /// A step has ended.
    Finished {
        /// The step.
        step: StepId,
        /// Whether it did what it was to do.
        success: bool,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something that the user should know and that fails nothing, such as a source passed over.
    Note(String),
}

/// Listens to the events of a job.
pub trait Progress: Send + Sync {
    /// Takes one event; it has no way to fail, because no job fails for want of a listener.
    fn report(&self, event: &Event);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _event: &Event) {}
}

/// A listener that several parts of a job share.
pub type SharedProgress = Arc<dyn Progress>;

/// One step of a job, from its beginning to its end.
#[must_use = "a step that is dropped at once counts as failed"]
pub struct Step {
    id: StepId,
    listener: SharedProgress,
    started: Instant,
    success: bool,
    whole: Option<StepId>,
}

impl Step {
    /// Begins a step; `total` is its size in bytes, where that is known.
    pub fn start(listener: &SharedProgress, title: impl Into<String>, total: Option<u64>) -> Self {
        Self::begin(listener, title.into(), total, None)
    }

    /// Begins a step whose bytes are some of this one's.
    pub fn part(&self, title: impl Into<String>, total: Option<u64>) -> Self {
        Self::begin(&self.listener, title.into(), total, Some(self.id))
    }

    fn begin(
        listener: &SharedProgress,
        title: String,
        total: Option<u64>,
        whole: Option<StepId>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = StepId(NEXT.fetch_add(1, Ordering::Relaxed));
        listener.report(&Event::Started {
            step: id,
            title,
            total,
            whole,
        });
        Self {
            id,
            listener: Arc::clone(listener),
            started: Instant::now(),
            success: false,
            whole,
        }
    }

    /// Tells how many bytes the step has in all.
    pub fn set_total(&self, total: u64) {
        self.listener.report(&Event::Sized {
            step: self.id,
            total,
        });
    }

    /// Tells that `bytes` more are done.
    pub fn advance(&self, bytes: u64) {
        for step in [self.id].into_iter().chain(self.whole) {
            self.listener.report(&Event::Advanced { step, bytes });
        }
    }

    /// Ends the step well.
    pub fn finish(mut self) {
        self.success = true;
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.listener.report(&Event::Finished {
            step: self.id,
            success: self.success,
            elapsed: self.started.elapsed(),
        });
    }
}
