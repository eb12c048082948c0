//! Making the checks of one phase.

use std::collections::HashSet;
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};

use super::{Context, Phase, Plan, Problem};
use crate::install;
use crate::machine::Guest;
use crate::probe::{Before, Check, Finding, Outcome, ProbeError, Scene, Stage};
use crate::progress::Step;
use crate::report::CheckReport;

/// Makes the checks of a plan after one phase; gives them in the plan's order.
///
/// What is to be up is started first, then all checks are made at once: a unit that has to settle does
/// not hold up the others, and an address is tried when what serves it has had its time to come up.
/// Those that look for what must not have happened come last.
pub(super) async fn check(
    plan: &Plan,
    context: &Context<'_>,
    guest: &Guest,
    (before, by_hand): (&Before, &HashSet<String>),
    phase: Phase,
) -> Result<Vec<CheckReport>, Problem> {
    let family = install::family(guest);
    let scene = Scene {
        guest,
        before,
        stage: Stage { phase, by_hand },
        patience: plan.patience,
    };
    let asked: Vec<(usize, &Check)> = plan
        .checks
        .iter()
        .filter(|check| check.is_for(family) && check.is_after(phase))
        .enumerate()
        .collect();
    let (last, first): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(_, check)| check.is_last());
    let mut made = make(context, scene, phase, &first).await?;
    made.extend(make(context, scene, phase, &last).await?);
    made.sort_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, report)| report).collect())
}

/// Makes some checks at once; gives each with its place.
async fn make(
    context: &Context<'_>,
    scene: Scene<'_>,
    phase: Phase,
    checks: &[(usize, &Check)],
) -> Result<Vec<(usize, CheckReport)>, Problem> {
    let begun = checks.iter().map(|(place, check)| async move {
        let checking = Checking::begin(context, check, phase);
        (*place, checking, check.begin(scene).await)
    });
    let begun = join_all(begun).await;
    let made = begun
        .into_iter()
        .map(|(place, checking, ending)| async move {
            let found = match ending {
                Ok(ending) => ending.await,
                Err(error) => Err(error),
            };
            Ok::<_, Problem>((place, checking.end(found)?))
        });
    try_join_all(made).await
}

/// A check under way.
struct Checking<'a> {
    phase: Phase,
    check: &'a Check,
    target: String,
    began: Instant,
    step: Step,
}

impl<'a> Checking<'a> {
    fn begin(context: &Context<'_>, check: &'a Check, phase: Phase) -> Self {
        let target = check.target();
        let what = format!("check {} {target}", check.kind());
        Self {
            phase,
            check,
            target,
            began: Instant::now(),
            step: Step::start(&context.progress, what, None),
        }
    }

    fn end(self, found: Result<Finding, ProbeError>) -> Result<CheckReport, ProbeError> {
        let (finding, error) = match found {
            Ok(finding) => (finding, None),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                let untold = Outcome {
                    passed: false,
                    observation: error.to_string(),
                };
                (untold.into(), Some(error.to_string()))
            }
        };
        if finding.outcome.passed {
            self.step.finish();
        }
        Ok(CheckReport {
            phase: self.phase,
            kind: self.check.kind(),
            target: self.target,
            title: self.check.title().map(str::to_owned),
            expected: self.check.expected().map(str::to_owned),
            outcome: finding.outcome,
            error,
            started_by: finding.started_by,
            seconds: self.began.elapsed(),
        })
    }
}
