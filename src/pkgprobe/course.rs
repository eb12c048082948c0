//! Leading packages through their life: phase after phase, with the checks that come after each.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join;

use super::checking;
use super::configuration::{Configuration, Edits};
use super::snapshot::Snapshot;
use super::{Keep, Phase, Problem, Run, Supplies, UpgradeFrom, evidence, leftovers, removed, room};
use crate::image::ReadyImage;
use crate::install::{
    Caching, InstallError, Installed, Item, Removal, install, install_version, remove,
};
use crate::machine::{Command, GuestError, MachineError, Profile};
use crate::probe::{Before, Outcome, StartedBy};
use crate::progress::Step;
use crate::report::{CheckReport, PhaseReport};

/// How long what ran of packages may take to end when they have been removed.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// A life on its way.
pub(super) struct Course<'r, 'p> {
    run: &'r mut Run<'p>,
    image: &'r ReadyImage,
    caching: Caching,
    supplies: Supplies,
    /// How long package managers may still take.
    left: Duration,
    /// What the units were before anything was installed.
    before: Before,
    /// What the units were before the last upgrade.
    before_upgrade: Before,
    /// What there was before anything was installed, for a purge.
    snapshot: Option<Snapshot>,
    /// What is installed.
    items: Vec<Item>,
    /// The units that nobody but postroj has started.
    by_hand: HashSet<String>,
    /// What was changed before the upgrade.
    edits: Option<Edits>,
    has_removed: bool,
}

impl<'r, 'p> Course<'r, 'p> {
    /// A life of the packages in the container that is up.
    pub(super) fn new(
        run: &'r mut Run<'p>,
        image: &'r ReadyImage,
        caching: Caching,
        supplies: Supplies,
        left: Duration,
    ) -> Self {
        Self {
            run,
            image,
            caching,
            supplies,
            left,
            before: Before::default(),
            before_upgrade: Before::default(),
            snapshot: None,
            items: Vec::new(),
            by_hand: HashSet::new(),
            edits: None,
            has_removed: false,
        }
    }

    /// Goes through the phases. One that fails, or after which a check fails, is the last: what
    /// comes of a broken package is no news, and the container stays as the failure has left it.
    pub(super) async fn run(mut self) -> Result<(), Problem> {
        self.look().await?;
        for phase in self.run.plan.lifecycle.phases() {
            self.run.phase = *phase;
            match phase {
                Phase::Install => self.install().await?,
                Phase::Reboot => self.reboot().await?,
                Phase::Upgrade => self.upgrade().await?,
                Phase::Remove => self.remove(*phase, Removal::Remove).await?,
                Phase::Purge if self.has_removed => {
                    self.remove(*phase, Removal::PurgeRemoved).await?;
                }
                Phase::Purge => self.remove(*phase, Removal::Purge).await?,
            }
            if !self.check(*phase).await? {
                break;
            }
        }
        Ok(())
    }

    /// Looks at what is there before anything is installed.
    async fn look(&mut self) -> Result<(), Problem> {
        let plan = self.run.plan;
        let has_packages = !plan.packages.is_empty();
        let has_purge = plan.lifecycle.has(Phase::Purge);
        let look = self.run.attended(async |guest, report| {
            let is_trimmed = plan.profile == Profile::Trimmed;
            let looking = async {
                if is_trimmed && (has_packages || plan.keep == Keep::Always) {
                    guest.complete(plan.profile).await?;
                }
                Before::look(guest, &plan.checks).await
            };
            // What waits for no answer to another question is asked at the same time.
            let (version, before) = join(guest.systemd_version(), looking).await;
            report.systemd = Some(version?);
            let mut before = before?;
            if is_trimmed && !before.are_loaded() {
                // It may be another name of one that the boot has left out.
                guest.complete(plan.profile).await?;
                before = Before::look(guest, &plan.checks).await?;
            }
            let snapshot = if has_purge {
                Some(Snapshot::take(guest).await?)
            } else {
                None
            };
            Ok((before, snapshot))
        });
        (self.before, self.snapshot) = look.await?;
        Ok(())
    }

    async fn install(&mut self) -> Result<(), Problem> {
        if self.supplies.packages.is_empty() {
            return Ok(());
        }
        let earlier = self.run.plan.lifecycle.upgrade_from.as_ref();
        let packages = match earlier {
            None => names(&self.run.plan.packages),
            Some(UpgradeFrom::Packages(packages)) => names(packages),
            Some(UpgradeFrom::Version(version)) => {
                let packages = self.run.plan.packages.iter();
                packages
                    .map(|package| format!("{package} {version}"))
                    .collect()
            }
        };
        self.before.mark();
        let began = Instant::now();
        let step = self.step(Phase::Install, &packages);
        let Supplies {
            packages: ready,
            earlier: ready_earlier,
        } = &self.supplies;
        let (left, caching) = (self.left, &mut self.caching);
        let installing = self.run.attended(async |guest, _| {
            let installed = match earlier {
                None => install(guest, ready, left, caching).await,
                Some(UpgradeFrom::Packages(_)) => {
                    install(guest, ready_earlier, left, caching).await
                }
                Some(UpgradeFrom::Version(version)) => {
                    install_version(guest, ready, version, left, caching).await
                }
            };
            Ok(unbroken(installed)?)
        });
        let installed = installing.await?;
        let ended = self.ended(Phase::Install, packages, installed, began);
        match ended {
            Err(error) if earlier.is_some() => {
                let problem = Problem::Earlier(error);
                if let Some(phase) = self.run.report.phases.last_mut() {
                    phase.error = Some(problem.to_string());
                }
                Err(problem)
            }
            Err(error) => Err(self.failed(Phase::Install, error).await),
            Ok(()) => {
                self.run.has_installed = true;
                step.finish();
                Ok(())
            }
        }
    }

    async fn upgrade(&mut self) -> Result<(), Problem> {
        let plan = self.run.plan;
        if let Some(line) = &plan.lifecycle.before_upgrade {
            let command = Command::new("/bin/sh", ["-e", "-c", line.as_str()]);
            let limit = plan.install_timeout;
            let editing = self.run.attended(async |guest, _| {
                let before = Configuration::read(guest).await?;
                let output = guest.run(&command, limit).await?;
                if !output.status.success() {
                    return Err(Problem::BeforeUpgrade {
                        status: output.status,
                        output: output.text.trim().to_owned(),
                    });
                }
                Ok(before.edits(&Configuration::read(guest).await?))
            });
            self.edits = Some(editing.await?);
        }
        let packages = names(&plan.packages);
        let began = Instant::now();
        let step = self.step(Phase::Upgrade, &packages);
        let ready = &self.supplies.packages;
        let (left, caching) = (self.left, &mut self.caching);
        let installing = self.run.attended(async |guest, _| {
            let mut before = Before::look(guest, &plan.checks).await?;
            before.mark();
            let installed = unbroken(install(guest, ready, left, caching).await)?;
            if installed.is_ok() {
                // A package manager need not tell systemd that files have gone.
                guest.reload().await?;
            }
            Ok((before, installed))
        });
        let (before, installed) = installing.await?;
        self.before_upgrade = before;
        let installed = installed.and_then(|installed| {
            if installed.has_begun {
                return Ok(installed);
            }
            Err(InstallError::NothingNewer {
                manager: installed.manager,
                output: installed.output,
            })
        });
        if let Err(error) = self.ended(Phase::Upgrade, packages, installed, began) {
            return Err(self.failed(Phase::Upgrade, error).await);
        }
        step.finish();
        Ok(())
    }

    async fn remove(&mut self, phase: Phase, removal: Removal) -> Result<(), Problem> {
        let packages = names(&self.run.plan.packages);
        let began = Instant::now();
        let step = self.step(phase, &packages);
        let (items, limit) = (self.items.clone(), self.run.plan.install_timeout);
        let removing = self
            .run
            .attended(async |guest, _| Ok(unbroken(remove(guest, &items, removal, limit).await)?));
        let removed = removing.await?;
        self.has_removed = true;
        if let Err(error) = self.ended(phase, packages, removed, began) {
            return Err(self.failed(phase, error).await);
        }
        step.finish();
        Ok(())
    }

    /// Reboots the container. One that does not come back is put down to the packages only if it
    /// does without them.
    async fn reboot(&mut self) -> Result<(), Problem> {
        let began = Instant::now();
        let step = self.step(Phase::Reboot, &[]);
        let machine = self.run.machine.take().ok_or(Problem::Ended)?;
        let rebooted = machine.reboot(self.run.plan.boot_timeout).await;
        let error = rebooted.as_ref().err().map(ToString::to_string);
        self.run.report.phases.push(PhaseReport {
            phase: Phase::Reboot,
            passed: error.is_none(),
            packages: Vec::new(),
            manager: None,
            error,
            output: String::new(),
            seconds: began.elapsed(),
        });
        let error = match rebooted {
            Ok(machine) => {
                self.run.machine = Some(machine);
                step.finish();
                return Ok(());
            }
            Err(error) => error,
        };
        let evidence = evidence::of_machine(&error);
        let evidence = evidence.map(|evidence| evidence.about_phase(Phase::Reboot));
        self.run.report.evidence.extend(evidence);
        let is_guests = matches!(
            error,
            MachineError::Died { .. }
                | MachineError::RebootTimeout { .. }
                | MachineError::NoGuest { .. }
        );
        // An earlier version says nothing about the packages.
        let is_tested = !self.run.plan.lifecycle.is_before_upgrade(Phase::Reboot);
        let has_packages = !self.run.plan.packages.is_empty();
        if is_guests && is_tested && has_packages && self.reboots_without().await {
            return Err(Problem::Reboot(error));
        }
        Err(error.into())
    }

    /// Whether the image reboots without the packages.
    async fn reboots_without(&self) -> bool {
        let step = Step::start(
            &self.run.context.progress,
            "reboot without the packages".to_owned(),
            None,
        );
        let Ok((machine, _)) = self.run.boot(self.image, &self.caching).await else {
            return false;
        };
        let rebooted = machine.reboot(self.run.plan.boot_timeout).await;
        let does = rebooted.is_ok();
        if let Ok(mut machine) = rebooted {
            let _ = machine.end().await;
            step.finish();
        }
        does
    }

    /// Makes the checks of a phase; whether all of them hold.
    async fn check(&mut self, phase: Phase) -> Result<bool, Problem> {
        let began = Instant::now();
        let checked = if phase.leaves_packages() {
            self.check_present(phase).await
        } else {
            self.check_absent(phase).await
        };
        self.run.report.timings.checks += began.elapsed();
        let checked = checked?;
        let first = self.run.report.checks.len();
        self.run.report.checks.extend(checked);
        let before = &self.before;
        let gathering = self.run.attended(async |guest, report| {
            let numbered = report.checks.iter().enumerate().skip(first);
            let failed: Vec<(usize, &CheckReport)> = numbered
                .filter(|(_, check)| !check.outcome.passed)
                .collect();
            let mut evidence = evidence::of_checks(guest, before, &failed).await;
            let all_hold = failed.is_empty();
            if !all_hold && let Some(room) = room::evidence(guest) {
                let failed = failed.iter().map(|(number, _)| *number);
                evidence.insert(0, room.about_checks(failed.collect()));
            }
            report.evidence.extend(evidence);
            Ok(all_hold)
        });
        gathering.await
    }

    /// The checks that were asked for after the phase, and whether an upgrade has kept what was
    /// changed.
    async fn check_present(&mut self, phase: Phase) -> Result<Vec<CheckReport>, Problem> {
        let (plan, context) = (self.run.plan, self.run.context);
        let before = match phase {
            Phase::Upgrade => &self.before_upgrade,
            _ => &self.before,
        };
        let standing = (before, &self.by_hand);
        let edits = self.edits.take();
        let checking = self.run.attended(async |guest, _| {
            let mut checked = checking::check(plan, context, guest, standing, phase).await?;
            if let Some(edits) = edits {
                checked.extend(edits.check(guest, phase));
            }
            Ok(checked)
        });
        let checked = checking.await?;
        let started = checked
            .iter()
            .filter(|check| check.started_by == Some(StartedBy::Postroj))
            .map(|check| check.target.clone());
        self.by_hand.extend(started);
        Ok(checked)
    }

    /// What has to hold of packages that are gone, and the checks that were asked for after that.
    async fn check_absent(&mut self, phase: Phase) -> Result<Vec<CheckReport>, Problem> {
        let (plan, context) = (self.run.plan, self.run.context);
        let standing = (&self.before, &self.by_hand);
        let (before, snapshot) = (&self.before, self.snapshot.as_ref());
        // The links by which postroj has enabled units are no package's.
        let links = self.by_hand.iter();
        let links = links.map(|unit| format!("/etc/systemd/system/*/{unit}"));
        let ignored: Vec<String> = links.chain(plan.lifecycle.purge_ignore.clone()).collect();
        let checking = self.run.attended(async |guest, report| {
            let patience = REMOVAL_PATIENCE;
            let mut checked = removed::check(guest, &plan.checks, before, phase, patience).await?;
            if let (Phase::Purge, Some(snapshot)) = (phase, snapshot) {
                let began = Instant::now();
                let left = leftovers::find(guest, snapshot, &ignored).await?;
                let outcome = Outcome {
                    passed: left.is_empty() || !plan.lifecycle.strict_purge,
                    observation: left.to_string(),
                };
                let whose = "of the packages";
                let leftovers = CheckReport::unasked(phase, "leftovers", whose, outcome, began);
                checked.push(leftovers);
                report.leftovers = Some(left);
            }
            checked.extend(checking::check(plan, context, guest, standing, phase).await?);
            Ok(checked)
        });
        checking.await
    }

    /// What a phase has failed of; if the packages are at fault, the report gets what that has done to the
    /// system.
    async fn failed(&mut self, phase: Phase, error: InstallError) -> Problem {
        if error.is_packages_fault() {
            let before = &self.before;
            let seen = self.run.attended(async |guest, report| {
                let seen = evidence::of_phase(guest, before, phase).await;
                report.evidence.extend(seen);
                Ok(())
            });
            // That the container has ended meanwhile changes nothing about it.
            let _ = seen.await;
        }
        Problem::Phase(error)
    }

    fn step(&self, phase: Phase, packages: &[String]) -> Step {
        let text = format!("{phase} {}", packages.join(" "));
        Step::start(&self.run.context.progress, text.trim().to_owned(), None)
    }

    /// Writes into the report how a package manager's phase has ended.
    fn ended(
        &mut self,
        phase: Phase,
        packages: Vec<String>,
        result: Result<Installed, InstallError>,
        began: Instant,
    ) -> Result<(), InstallError> {
        let report = &mut self.run.report;
        let elapsed = began.elapsed();
        self.left = self.left.saturating_sub(elapsed);
        if phase.leaves_packages() {
            report.timings.install += elapsed;
        }
        let mut ended = PhaseReport {
            phase,
            passed: result.is_ok(),
            packages,
            manager: None,
            error: None,
            output: String::new(),
            seconds: match phase {
                // With the time that fetching the packages took.
                Phase::Install => report.timings.install,
                _ => elapsed,
            },
        };
        let outcome = match result {
            Ok(installed) => {
                ended.manager = Some(installed.manager.to_owned());
                ended.output = installed.output;
                self.items = installed.items;
                Ok(())
            }
            Err(error) => {
                ended.error = Some(error.to_string());
                error
                    .output()
                    .unwrap_or_default()
                    .clone_into(&mut ended.output);
                report.evidence.extend(evidence::of_install(&error, phase));
                Err(error)
            }
        };
        report.phases.push(ended);
        outcome
    }
}

/// That the container could not be talked to has nothing to do with packages.
fn unbroken(
    result: Result<Installed, InstallError>,
) -> Result<Result<Installed, InstallError>, GuestError> {
    match result {
        Err(InstallError::Guest(error)) => Err(error),
        other => Ok(other),
    }
}

fn names(packages: &[crate::install::Package]) -> Vec<String> {
    packages.iter().map(ToString::to_string).collect()
}
