//! What has to hold when packages have been removed: their units are gone and down, and nothing of
//! theirs runs or listens.

use std::time::{Duration, Instant};

use super::Phase;
use crate::install::unowned;
use crate::machine::{COMMAND_UNITS, Guest, GuestError, UnitState};
use crate::probe::{
    Before, Check, Outcome, Process, UnitName, listeners, processes, wait_for_ends,
};
use crate::report::CheckReport;

/// Where systemd has the units that generators have made of something else; systemd.generator(7).
const GENERATED: &str = "/run/systemd/generator";

/// Programs that package managers leave running, for a while, for themselves.
const HELPERS: [&str; 4] = ["dirmngr", "gpg-agent", "keyboxd", "scdaemon"];

/// Looks whether all that ran of the packages has gone with them, and gives it `patience` to.
pub(super) async fn check(
    guest: &Guest,
    checks: &[Check],
    before: &Before,
    phase: Phase,
    patience: Duration,
) -> Result<Vec<CheckReport>, GuestError> {
    // A package manager need not tell systemd that files have gone.
    guest.reload().await?;
    let deadline = tokio::time::Instant::now() + patience;
    let report = |kind, target: &str, outcome, began| {
        CheckReport::unasked(phase, kind, target, outcome, began)
    };
    let mut reports = Vec::new();
    let mut looked_at = Vec::new();
    // What is asked of a unit after the removal itself holds.
    let others = checks
        .iter()
        .filter(|check| !check.phases().contains(&phase));
    for unit in others.filter_map(Check::unit) {
        // A unit of the image's is none of the packages'.
        if before.had(unit) || looked_at.contains(&unit.as_str()) {
            continue;
        }
        looked_at.push(unit.as_str());
        let began = Instant::now();
        let outcome = look_at_unit(guest, unit, deadline).await?;
        reports.push(report("unit", unit.as_str(), outcome, began));
    }
    let began = Instant::now();
    let others = guest.units_without_file().await?;
    let others = others
        .iter()
        .filter(|(name, state)| state != "failed" && !looked_at.contains(&name.as_str()))
        .map(|(name, state)| format!("{name} is {state}"));
    let outcome = none_of(&others.collect::<Vec<_>>(), "none is up without its file");
    reports.push(report("units", "of the packages", outcome, began));

    let began = Instant::now();
    let mut strays = strays(guest).await?;
    if !strays.is_empty() {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let waiting = strays.clone();
        let _ = tokio::task::spawn_blocking(move || wait_for_ends(&waiting, left)).await;
        strays = self::strays(guest).await?;
    }
    let shown = strays.iter().map(|process| {
        let unit = process.unit.as_deref().unwrap_or("no unit");
        let unit = if unit.starts_with(COMMAND_UNITS) {
            "a maintainer script"
        } else {
            unit
        };
        format!("{} of {unit} still runs", process.name)
    });
    let outcome = none_of(&shown.collect::<Vec<_>>(), "none is left");
    reports.push(report("process", "of the packages", outcome, began));

    let began = Instant::now();
    let open = listeners(guest.leader()).into_iter();
    let open = open.filter(|listener| {
        strays
            .iter()
            .any(|stray| stray.name == listener.process && stray.unit == listener.unit)
    });
    let shown = open.map(|listener| format!("{listener} still listens"));
    let outcome = none_of(&shown.collect::<Vec<_>>(), "none is left");
    reports.push(report("listener", "of the packages", outcome, began));
    Ok(reports)
}

fn none_of(found: &[String], none: &str) -> Outcome {
    if found.is_empty() {
        Outcome::passed(none)
    } else {
        Outcome::failed(found.join(", "))
    }
}

/// Waits until a unit is down, and judges whether it is gone.
async fn look_at_unit(
    guest: &Guest,
    name: &UnitName,
    deadline: tokio::time::Instant,
) -> Result<Outcome, GuestError> {
    let unit = guest.unit(name.as_str()).await?;
    let state = loop {
        let state = unit.state().await?;
        let is_down = matches!(state.active_state.as_str(), "inactive" | "failed");
        let changed = tokio::time::timeout_at(deadline, unit.changed());
        if (is_down && !state.has_job) || changed.await.is_err() {
            break state;
        }
    };
    let file = state.fragment_path.clone();
    let is_owned = !file.is_empty() && unowned(guest, &[file]).await?.is_empty();
    Ok(judge(&state, is_owned))
}

/// Judges a unit of packages that have been removed; `is_owned` if its file belongs to one that has
/// not.
fn judge(state: &UnitState, is_owned: bool) -> Outcome {
    let is_down = matches!(state.active_state.as_str(), "inactive" | "failed");
    let is_loaded = state.load_state == "loaded";
    let file = &state.fragment_path;
    if is_loaded && is_owned {
        return Outcome::passed(format!("{file} belongs to a package that stays"));
    }
    if !is_down {
        let (active, sub) = (&state.active_state, &state.sub_state);
        return Outcome::failed(format!("it is still {active} ({sub})"));
    }
    if !is_loaded {
        return Outcome::passed("it is gone");
    }
    if file.starts_with(GENERATED) {
        // Of an init script, say, which is configuration, and stays until a purge.
        return Outcome::passed("it is down; what it is generated from is still there");
    }
    Outcome::failed(format!("it is down, but its file is still there: {file}"))
}

/// The processes of units that are gone, and those that maintainer scripts have left.
async fn strays(guest: &Guest) -> Result<Vec<Process>, GuestError> {
    let mut strays = Vec::new();
    for process in processes(guest.leader()) {
        if HELPERS.contains(&process.name.as_str()) {
            continue;
        }
        let is_stray = match &process.unit {
            Some(unit) if unit.starts_with(COMMAND_UNITS) => true,
            Some(unit) => guest.unit(unit).await?.state().await?.load_state != "loaded",
            // What has just been started is not in its unit's cgroup yet.
            None => false,
        };
        if is_stray {
            strays.push(process);
        }
    }
    Ok(strays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(load: &str, active: &str, file: &str) -> UnitState {
        UnitState {
            load_state: load.into(),
            active_state: active.into(),
            fragment_path: file.into(),
            ..UnitState::default()
        }
    }

    #[test]
    fn a_unit_is_gone_when_it_is_down_and_has_no_file() {
        let file = "/usr/lib/systemd/system/x.service";
        assert!(judge(&state("not-found", "inactive", ""), false).passed);
        assert!(judge(&state("not-found", "failed", ""), false).passed);
        assert!(judge(&state("masked", "inactive", ""), false).passed);
        assert!(!judge(&state("not-found", "active", file), false).passed);
        assert!(!judge(&state("loaded", "inactive", file), false).passed);
        // A dependency's.
        assert!(judge(&state("loaded", "active", file), true).passed);
        // An init script's.
        let generated = "/run/systemd/generator.late/x.service";
        assert!(judge(&state("loaded", "inactive", generated), false).passed);
        assert!(!judge(&state("loaded", "active", generated), false).passed);
    }
}
