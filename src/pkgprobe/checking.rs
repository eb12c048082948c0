//! Making the checks of one phase.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};

use super::{Context, Phase, Plan, Problem};
use crate::machine::{Guest, GuestError};
use crate::probe::{
    Baseline, Begun, Check, NetworkTarget, Outcome, Prober, StartedBy, UnitName, UnitProbe,
    baseline,
};
use crate::progress::Step;
use crate::report::CheckReport;

/// What the units were before anything was installed.
#[derive(Debug, Default)]
pub(super) struct Baselines(HashMap<UnitName, Baseline>);

impl Baselines {
    /// Looks at the units that checks are about.
    pub(super) async fn look(guest: &Guest, checks: &[Check]) -> Result<Self, GuestError> {
        let units = checks.iter().filter_map(Check::unit);
        let looked = units.map(|unit| async move {
            Ok::<_, GuestError>((unit.clone(), baseline(guest, unit).await?))
        });
        Ok(Self(try_join_all(looked).await?.into_iter().collect()))
    }

    /// Whether all of them are there.
    pub(super) fn are_loaded(&self) -> bool {
        self.0.values().all(Baseline::is_loaded)
    }

    async fn of(&self, guest: &Guest, unit: &UnitName) -> Result<Baseline, GuestError> {
        match self.0.get(unit) {
            Some(known) => Ok(known.clone()),
            None => baseline(guest, unit).await,
        }
    }
}

/// Makes the checks of a plan after one phase; gives them in the plan's order.
///
/// What is to be up is started first, then all checks are made at once: a unit that has to settle does
/// not hold up the others, and an address is tried when what serves it has had its time to come up.
pub(super) async fn check(
    plan: &Plan,
    context: &Context<'_>,
    guest: &Guest,
    baselines: &Baselines,
    phase: Phase,
) -> Result<Vec<CheckReport>, Problem> {
    let begun = plan
        .checks
        .iter()
        .map(|check| begin(plan, context, guest, baselines, (check, phase)));
    let begun = try_join_all(begun).await?;
    let prober = Prober::new(guest.leader(), plan.patience.network);
    let made = begun.into_iter().map(|begun| begun.end(&prober));
    join_all(made).await.into_iter().collect()
}

/// A check that has begun.
enum Beginning<'a> {
    Unit(Checking, Box<UnitProbe<'a>>, Begun),
    Network(Checking, &'a NetworkTarget),
}

async fn begin<'a>(
    plan: &Plan,
    context: &Context<'_>,
    guest: &'a Guest,
    baselines: &Baselines,
    (check, phase): (&'a Check, Phase),
) -> Result<Beginning<'a>, Problem> {
    let checking = Checking::begin(context, check, phase);
    Ok(match check {
        Check::Unit(unit) => {
            let baseline = baselines.of(guest, unit).await?;
            let mut probe = UnitProbe::new(guest, unit, baseline, plan.patience).await?;
            let begun = probe.start().await?;
            Beginning::Unit(checking, Box::new(probe), begun)
        }
        Check::Network(target) => Beginning::Network(checking, target),
    })
}

impl Beginning<'_> {
    async fn end(self, prober: &Prober) -> Result<CheckReport, Problem> {
        Ok(match self {
            Self::Unit(checking, _, Begun::Refused(outcome)) => checking.end(outcome, None),
            Self::Unit(checking, mut probe, Begun::Started(by)) => {
                let outcome = probe.settle(by).await?;
                checking.end(outcome, Some(by))
            }
            Self::Network(checking, target) => {
                let outcome = prober.check(target).await?;
                checking.end(outcome, None)
            }
        })
    }
}

/// A check under way.
struct Checking {
    phase: Phase,
    kind: &'static str,
    target: String,
    began: Instant,
    step: Step,
}

impl Checking {
    fn begin(context: &Context<'_>, check: &Check, phase: Phase) -> Self {
        let (kind, target) = (check.kind(), check.target());
        let step = Step::start(&context.progress, format!("check {kind} {target}"), None);
        Self {
            phase,
            kind,
            target,
            began: Instant::now(),
            step,
        }
    }

    fn end(self, outcome: Outcome, started_by: Option<StartedBy>) -> CheckReport {
        if outcome.passed {
            self.step.finish();
        }
        CheckReport {
            phase: self.phase,
            kind: self.kind,
            target: self.target,
            outcome,
            started_by,
            seconds: self.began.elapsed(),
        }
    }
}
