//! One run on many images: which they are, what is installed on each, and several at once.
//!
//! Each run has a thread of its own, in which its future is polled; timers and descriptors are the
//! one runtime's. So what blocks in one run, such as the waiting for a container that is dropped,
//! does not stop the clock for the others: a deadline that is overheard is a wrong verdict.

mod facts;
mod jobs;
mod packages;
mod select;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

use crate::image::Images;
use crate::install::Fetcher;
use crate::pkgprobe::{self, Context, Plan};
use crate::progress::SharedProgress;
use crate::report::{ImageReport, Invocation, RunReport, Verdict};

pub use facts::{Facts, TemplateError};
pub use jobs::default_jobs;
pub use packages::{PackageRule, RuleError, packages_for};
pub use select::{Selected, Selection, SelectionError, select};

/// How the images of a run are gone through.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many runs there are at once, at most.
    pub jobs: usize,
    /// Whether the first image on which the package is at fault ends the run: nothing that is found
    /// after it could change the verdict on all of it.
    pub fail_fast: bool,
}

/// What the runs have in common.
#[derive(Clone)]
pub struct Resources {
    /// The images.
    pub images: Images,
    /// Gets packages from addresses.
    pub fetcher: Fetcher,
}

/// Sees how the images fare.
pub trait Observer: Send + Sync {
    /// The run on an image, by its number among the plans, begins; gives who listens to it.
    fn begins(&self, image: usize) -> SharedProgress;
    /// The run on an image has ended, or is not going to begin.
    fn ended(&self, image: usize, report: &ImageReport);
}

/// Goes through the plans, unless `cancelled` comes first; whatever becomes of one, the others are
/// gone through. The report has them in the plans' order.
pub async fn run(
    plans: Vec<Plan>,
    pace: Pace,
    resources: &Resources,
    observer: &Arc<dyn Observer>,
    invocation: Invocation,
    cancelled: impl Future<Output = ()>,
) -> Result<RunReport, Cancelled> {
    let started = Instant::now();
    let (ending, mut endings) = mpsc::unbounded_channel();
    let mut matrix = Matrix {
        reports: plans.iter().map(|_| None).collect(),
        plans: plans
            .into_iter()
            .map(|plan| Arc::new(sharing(plan, pace.jobs)))
            .collect(),
        next: 0,
        running: JoinSet::new(),
        numbers: HashMap::new(),
        busy: HashSet::new(),
        ending,
        stop: watch::Sender::new(false),
        resources,
        observer,
    };
    // Why no more are begun.
    let mut end = None;
    tokio::pin!(cancelled);
    loop {
        while end.is_none() && matrix.has_room(pace.jobs) && matrix.begin_next() {}
        if matrix.running.is_empty() {
            break;
        }
        let (number, verdict) = tokio::select! {
            biased;
            () = &mut cancelled, if end != Some(End::Cancelled) => {
                end = Some(End::Cancelled);
                matrix.stop.send_replace(true);
                continue;
            }
            Some((number, verdict)) = endings.recv() => {
                matrix.busy.remove(&number);
                (number, verdict)
            }
            Some(ended) = matrix.running.join_next_with_id() => matrix.take(ended, end),
        };
        if pace.fail_fast && end.is_none() && verdict == Verdict::Failed {
            end = Some(End::Failed(number));
            matrix.stop.send_replace(true);
        }
    }
    let report = RunReport::new(invocation, matrix.finish(end), started.elapsed());
    if end == Some(End::Cancelled) {
        return Err(Cancelled(Box::new(report)));
    }
    Ok(report)
}

/// A run that was told to stop, and has left nothing behind; with what it had found until then.
#[derive(Debug, Clone)]
pub struct Cancelled(pub Box<RunReport>);

/// Several containers at once share the memory that one would have for what it writes.
fn sharing(mut plan: Plan, jobs: usize) -> Plan {
    if jobs > 1 {
        let share = jobs::writable_share(jobs);
        plan.isolation.limits.most_in_memory.get_or_insert(share);
    }
    plan
}

/// Why a run ended before all images had their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was told to.
    Cancelled,
    /// The package is at fault on this image.
    Failed(usize),
}

/// What comes of a run on an image.
type Outcome = Result<ImageReport, pkgprobe::Cancelled>;

/// The runs on their way.
struct Matrix<'a> {
    plans: Vec<Arc<Plan>>,
    reports: Vec<Option<ImageReport>>,
    /// The first one that has not been begun.
    next: usize,
    running: JoinSet<Outcome>,
    numbers: HashMap<Id, usize>,
    /// Those of them that have not yet found out all.
    busy: HashSet<usize>,
    /// Where a run says that it has.
    ending: mpsc::UnboundedSender<(usize, Verdict)>,
    /// Whether all are to end.
    stop: watch::Sender<bool>,
    resources: &'a Resources,
    observer: &'a Arc<dyn Observer>,
}

impl Matrix<'_> {
    /// Whether one more may begin. A container that ends gives way to the next; that there is at most
    /// one for each run bounds the memory that they hold.
    fn has_room(&self, jobs: usize) -> bool {
        let jobs = jobs.max(1);
        self.busy.len() < jobs && self.running.len() < 2 * jobs
    }

    /// Begins the next run, if there is one.
    fn begin_next(&mut self) -> bool {
        let number = self.next;
        let Some(plan) = self.plans.get(number).cloned() else {
            return false;
        };
        self.next += 1;
        let progress = self.observer.begins(number);
        let images = self.resources.images.clone().telling(progress.clone());
        let fetcher = self.resources.fetcher.clone().telling(progress.clone());
        let mut stop = self.stop.subscribe();
        let runtime = Handle::current();
        let ending = self.ending.clone();
        self.busy.insert(number);
        let handle = self.running.spawn_blocking(move || {
            let context = Context {
                images: &images,
                fetcher: &fetcher,
                progress,
                // Whoever does not listen any more begins no other run.
                ending: &|verdict| {
                    let _ = ending.send((number, verdict));
                },
            };
            let stopped = async {
                // The sender lives for as long as there are runs.
                let _ = stop.wait_for(|stop| *stop).await;
            };
            runtime.block_on(pkgprobe::run(&plan, &context, stopped))
        });
        self.numbers.insert(handle.id(), number);
        true
    }

    /// Takes what has come of a run; gives its number, and the verdict.
    fn take(
        &mut self,
        ended: Result<(Id, Outcome), tokio::task::JoinError>,
        end: Option<End>,
    ) -> (usize, Verdict) {
        let (id, report) = match ended {
            Ok((id, outcome)) => (id, Ok(outcome)),
            Err(error) => (error.id(), Err(error)),
        };
        let number = self.numbers.remove(&id).unwrap_or_default();
        self.busy.remove(&number);
        let report = match report {
            Ok(Ok(report)) => report,
            Ok(Err(pkgprobe::Cancelled(mut report))) => {
                report.error = Some(self.why("cut short", end));
                *report
            }
            // Its message has been printed, and its container ended when it was dropped.
            Err(error) => {
                let mut report = ImageReport::begin(&self.plans[number]);
                report.error = Some(format!("postroj itself is at fault: {error}"));
                report
            }
        };
        let verdict = report.verdict;
        self.observer.ended(number, &report);
        self.reports[number] = Some(report);
        (number, verdict)
    }

    /// What there is to say of an image that `what` became of.
    fn why(&self, what: &str, end: Option<End>) -> String {
        match end {
            Some(End::Failed(other)) => {
                format!(
                    "{what}: --fail-fast, and {} failed",
                    self.plans[other].image
                )
            }
            Some(End::Cancelled) | None => format!("{what}: the run was interrupted"),
        }
    }

    /// The reports, with one for each image that had no turn.
    fn finish(self, end: Option<End>) -> Vec<ImageReport> {
        let mut reports = Vec::with_capacity(self.plans.len());
        for (number, report) in self.reports.iter().enumerate() {
            reports.push(report.clone().unwrap_or_else(|| {
                let mut report = ImageReport::begin(&self.plans[number]);
                report.error = Some(self.why("not run", end));
                self.observer.ended(number, &report);
                report
            }));
        }
        reports
    }
}
