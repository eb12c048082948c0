//! The main job: boot an image, install packages there, check, report.

mod artifacts;
mod checking;
mod configuration;
mod coredumps;
mod course;
mod evidence;
mod leftovers;
mod phase;
mod removed;
mod room;
mod snapshot;

use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::{try_join, try_join_all};

use crate::image::{ImageError, Images, PullOptions, ReadyImage};
use crate::install::{Caching, FetchError, Fetcher, InstallError, Package, PackageError, Ready};
use crate::machine::{
    Boot, ExitStatus, Guest, GuestError, Isolation, Machine, MachineError, Profile,
};
use crate::packages::Lease;
use crate::probe::{Check, Patience, ProbeError};
use crate::progress::{Event, SharedProgress, Step};
use crate::report::{CheckReport, ImageReport, PhaseReport, Verdict};

pub use crate::probe::Phase;
pub use phase::{Lifecycle, UpgradeFrom};

use artifacts::Artifacts;
use course::Course;

/// What is to be tested, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The image.
    pub image: crate::image::Reference,
    /// When its source is asked for it.
    pub pull: PullOptions,
    /// The packages to install.
    pub packages: Vec<Package>,
    /// What becomes of them after that.
    pub lifecycle: Lifecycle,
    /// What has to hold.
    pub checks: Vec<Check>,
    /// How long checks may take.
    pub patience: Patience,
    /// How long the boot may take.
    pub boot_timeout: Duration,
    /// How long the installation may take.
    pub install_timeout: Duration,
    /// How long all of it may take.
    pub timeout: Option<Duration>,
    /// What keeps the container apart from the host.
    pub isolation: Isolation,
    /// What of the image's system is started.
    pub profile: Profile,
    /// Whether the container stays up.
    pub keep: Keep,
    /// Where what can be had of the container is kept, in a directory for each image.
    pub artifacts: Option<PathBuf>,
}

impl Plan {
    /// The units that are checked.
    fn units(&self) -> Vec<String> {
        let units = self.checks.iter().filter_map(Check::unit);
        units.map(ToString::to_string).collect()
    }
}

/// When a container stays up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// In no case.
    #[default]
    Never,
    /// When its verdict is not that all is well.
    OnFailure,
    /// In any case.
    Always,
}

/// What a run needs from outside.
pub struct Context<'a> {
    /// The images.
    pub images: &'a Images,
    /// Gets packages from addresses.
    pub fetcher: &'a Fetcher,
    /// Hears of the steps.
    pub progress: SharedProgress,
    /// Is called with the verdict when all is found out and the container is about to end, which is
    /// mostly waiting: another run may begin then.
    pub ending: &'a (dyn Fn(Verdict) + Sync),
}

/// A run that was told to stop, and has left nothing behind; with what it had found until then.
#[derive(Debug, Clone)]
pub struct Cancelled(pub Box<ImageReport>);

/// How long a container that no longer answers may take to say that it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a run has no verdict.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("the packages were not fetched within {} s", .0.as_secs_f64())]
    FetchTimeout(Duration),
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The system was shut down or crashed, while nobody but the packages did anything there.
    #[error("the system went down while the packages were tested: {1}")]
    WentDown(Phase, #[source] MachineError),
    /// The system does not answer any more, and nobody but the packages did anything there.
    #[error("the system no longer answers since the packages are there: {1}")]
    FellSilent(Phase, #[source] GuestError),
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// The packages were not installed, or not removed.
    #[error(transparent)]
    Phase(InstallError),
    #[error(transparent)]
    Probe(ProbeError),
    /// It says nothing about the packages.
    #[error("the version to upgrade from: {0}")]
    Earlier(InstallError),
    /// The container does not reboot with the packages, and does without.
    #[error("{0}")]
    Reboot(MachineError),
    #[error("the command before the upgrade ended with {status}: {output}")]
    BeforeUpgrade { status: ExitStatus, output: String },
    #[error("the container has ended")]
    Ended,
    #[error("the artifacts cannot be written: {}: {source}", path.display())]
    Artifacts {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the run did not end within {} s", .0.as_secs_f64())]
    Timeout(Duration),
}

impl From<ProbeError> for Problem {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::Guest(error) => Self::Guest(error),
            error => Self::Probe(error),
        }
    }
}

/// Tests the packages of a plan, unless `cancelled` comes first. Nothing is left behind but what
/// the plan wants kept.
pub async fn run(
    plan: &Plan,
    context: &Context<'_>,
    cancelled: impl Future<Output = ()>,
) -> Result<ImageReport, Cancelled> {
    let started = Instant::now();
    let mut run = Run {
        plan,
        context,
        report: ImageReport::begin(plan),
        machine: None,
        phase: Phase::Install,
        has_installed: false,
        artifacts: None,
    };
    let overall = async {
        match plan.timeout {
            Some(limit) => {
                tokio::time::sleep(limit).await;
                limit
            }
            None => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        biased;
        () = cancelled => None,
        limit = overall => Some(Err(Problem::Timeout(limit))),
        outcome = run.drive() => Some(outcome),
    };
    let Run {
        mut report,
        machine,
        artifacts,
        ..
    } = run;
    let is_cancelled = outcome.is_none();
    let silent = match &outcome {
        Some(Err(Problem::FellSilent(phase, _))) => Some(*phase),
        _ => None,
    };
    match outcome {
        Some(Err(problem)) => describe(&mut report, &problem),
        Some(Ok(())) => judge(&mut report),
        None => report.error = Some("interrupted".to_owned()),
    }
    if !is_cancelled {
        let guest = machine.as_ref().map(Machine::guest);
        let storage = context.images.storage();
        room::excuse(&mut report, &plan.isolation.limits, storage, guest);
    }
    match (&artifacts, &machine) {
        (Some(artifacts), Some(machine)) if !is_cancelled => {
            artifacts.gather(machine.guest(), &plan.units()).await;
        }
        (Some(artifacts), Some(_)) => artifacts.nothing("the run was interrupted"),
        (Some(artifacts), None) => artifacts.nothing("there was no container to ask"),
        (None, _) => {}
    }
    if let Some(mut machine) = machine {
        let ending = Instant::now();
        (context.ending)(report.verdict);
        let is_wanted = match plan.keep {
            Keep::Never => false,
            Keep::OnFailure => report.verdict != Verdict::Passed,
            Keep::Always => true,
        };
        let ended = if is_wanted && !is_cancelled {
            if plan.keep == Keep::OnFailure && plan.profile == Profile::Trimmed {
                // Whoever looks around needs what the boot has left out. A guest that does not
                // answer any more is kept as it is.
                let complete = machine.guest().complete(plan.profile);
                let _ = tokio::time::timeout(LAST_WORDS, complete).await;
            }
            let kept = machine.keep().await.map(drop);
            report.kept = kept.is_ok();
            kept
        } else {
            let ended = machine.end().await;
            report.timings.teardown_steps = ended.as_ref().ok().map(|(steps, _)| *steps);
            if let (Some(phase), Ok((_, console))) = (silent, &ended) {
                // What else could be asked does not answer.
                let console = evidence::of_console(console);
                let console = console.map(|console| console.about_phase(phase));
                report.evidence.extend(console);
            }
            ended.map(drop)
        };
        report.timings.teardown = ending.elapsed();
        // The first cause stands.
        if let (Err(error), None) = (ended, &report.error)
            && report.verdict != Verdict::Failed
        {
            describe(&mut report, &Problem::Machine(error));
        }
    }
    if let Some(artifacts) = &artifacts {
        artifacts.finish(&report);
    }
    report.timings.total = started.elapsed();
    if is_cancelled {
        return Err(Cancelled(Box::new(report)));
    }
    Ok(report)
}

/// Writes into the report what its checks say. What could not be told is no verdict, unless another
/// check has failed.
fn judge(report: &mut ImageReport) {
    let untold = report.checks.iter().find_map(|check| {
        let error = check.error.as_ref()?;
        Some(format!("check {} {}: {error}", check.kind, check.target))
    });
    let failed = |check: &CheckReport| check.verdict() == Verdict::Failed;
    report.verdict = match untold {
        _ if report.checks.iter().any(failed) => Verdict::Failed,
        Some(_) => Verdict::Error,
        None => Verdict::Passed,
    };
    if report.verdict == Verdict::Error {
        report.error = untold;
    }
}

/// Writes into the report why there is no verdict, or that the package did not install.
fn describe(report: &mut ImageReport, problem: &Problem) {
    let is_packages_fault = match problem {
        Problem::Phase(error) => error.is_packages_fault(),
        Problem::Reboot(_) => true,
        _ => false,
    };
    if is_packages_fault {
        // What happened is in the phase's report.
        report.verdict = Verdict::Failed;
        return;
    }
    if let Problem::WentDown(phase, _) | Problem::FellSilent(phase, _) = problem {
        blame(report, *phase, problem.to_string());
        if let Problem::WentDown(_, error) = problem {
            let console = evidence::of_machine(error);
            let console = console.map(|console| console.about_phase(*phase));
            report.evidence.extend(console);
        }
        return;
    }
    report.verdict = Verdict::Error;
    report.error = Some(problem.to_string());
    report.is_usage = match problem {
        Problem::Image(error) => error.is_usage(),
        // It was there when the command line was read.
        Problem::Package(_) => true,
        Problem::Phase(error) | Problem::Earlier(error) => error.is_usage(),
        _ => false,
    };
    report.hint = match problem {
        Problem::Image(error) => error.hint(),
        Problem::Fetch(FetchError::Offline { .. })
        | Problem::Phase(InstallError::Offline { .. })
        | Problem::Earlier(InstallError::Offline { .. }) => {
            Some("a run without --offline puts it there".to_owned())
        }
        Problem::Machine(error) => error.hint().map(str::to_owned),
        _ => None,
    };
    if let Problem::Machine(error) = problem
        && report.evidence.is_empty()
    {
        report.evidence.extend(evidence::of_machine(error));
    }
}

/// Puts it down to the packages that the system came to harm in a phase, or in the checks after it.
fn blame(report: &mut ImageReport, phase: Phase, error: String) {
    report.verdict = Verdict::Failed;
    let known = report.phases.iter_mut().find(|known| known.phase == phase);
    if let Some(known) = known {
        known.passed = false;
        known.error = Some(error);
        return;
    }
    report.phases.push(PhaseReport {
        phase,
        passed: false,
        packages: report.packages.clone(),
        manager: None,
        error: Some(error),
        output: String::new(),
        seconds: report.timings.install,
    });
}

/// Why there is no container any more.
fn died_of(plan: &Plan, phase: Phase, error: MachineError) -> Problem {
    // An earlier version's doing says nothing about the packages.
    let is_tested = !plan.packages.is_empty() && !plan.lifecycle.is_before_upgrade(phase);
    if error.is_own_end() && is_tested {
        Problem::WentDown(phase, error)
    } else {
        error.into()
    }
}

/// A machine that is up, and how long its boot took.
type Booted = (Machine, Duration);

/// Packages that are ready.
#[derive(Debug, Default)]
struct Supplies {
    /// The packages.
    packages: Vec<Ready>,
    /// Those that they are to upgrade.
    earlier: Vec<Ready>,
}

/// Packages that are ready, and how long fetching them took.
type Fetched = Result<(Supplies, Duration), Problem>;

/// A run on its way: what it has found so far outlives its being cut short.
struct Run<'a> {
    plan: &'a Plan,
    context: &'a Context<'a>,
    report: ImageReport,
    machine: Option<Machine>,
    /// What it is at.
    phase: Phase,
    /// Whether the packages that are tested, or an earlier version of them, have been installed.
    has_installed: bool,
    artifacts: Option<Artifacts>,
}

impl Run<'_> {
    async fn drive(&mut self) -> Result<(), Problem> {
        if let Some(directory) = &self.plan.artifacts {
            let name = self.plan.image.machine_name();
            let artifacts = Artifacts::begin(directory, &name).map_err(|source| {
                let path = directory.join(&name);
                Problem::Artifacts { path, source }
            })?;
            self.artifacts = Some(artifacts);
        }
        let began = Instant::now();
        let image = self
            .context
            .images
            .pull(&self.plan.image, &self.plan.pull)
            .await?;
        self.report.timings.pull = began.elapsed();
        let caching = self.caching(&image);
        let ((machine, elapsed), fetched) = self.boot_and_fetch(&image, &caching).await?;
        self.report.machine = Some(machine.name().to_owned());
        self.report.timings.boot = elapsed;
        self.report.timings.compose = machine.steps().compose;
        self.report.timings.boot_steps = Some(machine.steps());
        self.machine = Some(machine);
        let (supplies, elapsed) = fetched?;
        self.report.timings.install = elapsed;
        let left = self.plan.install_timeout.saturating_sub(elapsed);
        if let (Some(artifacts), Some(machine)) = (&mut self.artifacts, &self.machine) {
            artifacts.before(machine.guest()).await;
        }
        Course::new(self, &image, caching, supplies, left)
            .run()
            .await
    }

    /// Does something in the container. That the container ends meanwhile is why it failed.
    async fn attended<T>(
        &mut self,
        work: impl AsyncFnOnce(&Guest, &mut ImageReport) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let machine = self.machine.as_mut().ok_or(Problem::Ended)?;
        let (guest, died) = machine.watch();
        tokio::pin!(died);
        let result = tokio::select! {
            result = work(guest, &mut self.report) => result,
            error = &mut died => return Err(died_of(self.plan, self.phase, error)),
        };
        if !matches!(result, Err(Problem::Guest(_) | Problem::Probe(_))) {
            return result;
        }
        if let Ok(error) = tokio::time::timeout(LAST_WORDS, &mut died).await {
            // The connection broke, or its network was gone, because the container went away: now we know why.
            return Err(died_of(self.plan, self.phase, error));
        }
        let Err(Problem::Guest(error)) = result else {
            return result;
        };
        // An earlier version's doing says nothing about the packages.
        let is_tested = self.has_installed && !self.plan.lifecycle.is_before_upgrade(self.phase);
        if !is_tested || !error.is_silence() {
            return Err(error.into());
        }
        let answers = tokio::select! {
            answers = guest.answers() => answers,
            error = died => return Err(died_of(self.plan, self.phase, error)),
        };
        if answers {
            return Err(error.into());
        }
        let seen = evidence::of_silence(guest).about_phase(self.phase);
        self.report.evidence.push(seen);
        Err(Problem::FellSilent(self.phase, error))
    }

    /// What the installation may use beside the network; without packages, there is none.
    fn caching(&self, image: &ReadyImage) -> Caching {
        let lease = match &image.packages {
            Some(cache) if !self.plan.packages.is_empty() => cache
                .lease()
                .inspect_err(|error| tracing::warn!(%error, "packages are not kept"))
                .ok(),
            _ => None,
        };
        Caching {
            lease,
            offline: self.plan.pull.offline,
        }
    }

    /// Boots and fetches at once. A machine comes with whatever became of the packages.
    async fn boot_and_fetch(
        &self,
        image: &ReadyImage,
        caching: &Caching,
    ) -> Result<(Booted, Fetched), Problem> {
        // The network and the processors have different work to do.
        let booting = self.boot(image, caching);
        let limit = self.plan.install_timeout;
        let fetching = async {
            let fetched = tokio::time::timeout(limit, self.fetch()).await;
            fetched.unwrap_or(Err(Problem::FetchTimeout(limit)))
        };
        tokio::pin!(booting, fetching);
        tokio::select! {
            // Nothing is fetched for a machine that there is not.
            booted = &mut booting => Ok((booted?, fetching.await)),
            // A machine that is on its way is waited for, so that it is ended in order.
            fetched = &mut fetching => Ok((booting.await?, fetched)),
        }
    }

    async fn boot(&self, image: &ReadyImage, caching: &Caching) -> Result<Booted, Problem> {
        let began = Instant::now();
        let step = Step::start(&self.context.progress, format!("boot {}", image.name), None);
        let name = self.plan.image.machine_name();
        let machine = Machine::boot(Boot {
            overlaid: caching.lease.iter().flat_map(Lease::overlaid).collect(),
            isolation: self.plan.isolation.clone(),
            profile: self.plan.profile,
            wanted: self.plan.units(),
            timeout: self.plan.boot_timeout,
            ..Boot::of(&name, image.lowers.clone(), self.context.images.storage())
        })
        .await?;
        step.finish();
        for note in machine.notes() {
            self.context.progress.report(&Event::Note(note.clone()));
        }
        Ok((machine, began.elapsed()))
    }

    async fn fetch(&self) -> Fetched {
        let began = Instant::now();
        let earlier: &[Package] = match &self.plan.lifecycle.upgrade_from {
            Some(UpgradeFrom::Packages(packages)) => packages,
            _ => &[],
        };
        let (packages, earlier) =
            try_join(self.fetch_all(&self.plan.packages), self.fetch_all(earlier)).await?;
        Ok((Supplies { packages, earlier }, began.elapsed()))
    }

    async fn fetch_all(&self, packages: &[Package]) -> Result<Vec<Ready>, Problem> {
        let ready = packages.iter().map(|package| async move {
            Ok::<_, Problem>(match package {
                Package::Url(url) => {
                    let (name, file) = self.context.fetcher.fetch(url).await?;
                    Ready::File { name, file }
                }
                Package::File(path) => {
                    let file = File::open(path).map_err(|source| PackageError::File {
                        path: path.clone(),
                        source,
                    })?;
                    let name = path.file_name().unwrap_or_default();
                    let name = name.to_string_lossy().into_owned();
                    Ready::File { name, file }
                }
                Package::Name(name) => Ready::Name(name.clone()),
            })
        });
        try_join_all(ready).await
    }
}

impl ImageReport {
    /// A report on what has not been tried yet.
    pub(crate) fn begin(plan: &Plan) -> Self {
        Self {
            image: plan.image.to_string(),
            verdict: Verdict::Error,
            machine: None,
            systemd: None,
            kept: false,
            packages: plan.packages.iter().map(ToString::to_string).collect(),
            phases: Vec::new(),
            checks: Vec::new(),
            leftovers: None,
            error: None,
            is_usage: false,
            hint: None,
            evidence: Vec::new(),
            timings: crate::report::Timings::default(),
        }
    }
}
