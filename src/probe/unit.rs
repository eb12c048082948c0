//! Whether a unit is up, and stays up.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::kind::Autostart;
use super::{Outcome, Patience, Phase, Stage};
use crate::image::Family;
use crate::machine::{Guest, GuestError, Unit, UnitState};

/// The endings of the units that can be checked; systemd.unit(5).
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".target",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
    ".slice",
    ".scope",
];

/// For how long a state need not be asked for again, if no change of it has been told.
const FRESH: Duration = Duration::from_millis(20);

/// The full name of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct UnitName(String);

/// Why a unit's name is wrong.
#[derive(Debug, thiserror::Error)]
pub enum UnitNameError {
    /// It has a character that no unit's name has, or is too long or empty.
    #[error("unit {0:?}: not a unit name (systemd.unit(5) has the characters)")]
    Malformed(String),
    /// It is a template, which has to be given an instance.
    #[error("unit {0:?}: a template cannot be up; name an instance, as in {1}")]
    Template(String, String),
}

impl UnitName {
    /// Reads a name; without an ending that units have, it is a service's.
    pub fn parse(given: &str) -> Result<Self, UnitNameError> {
        let name = if SUFFIXES.iter().any(|suffix| given.ends_with(suffix)) {
            given.to_owned()
        } else {
            format!("{given}.service")
        };
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        let is_well_formed = !stem.is_empty()
            && !stem.starts_with('@')
            && name.len() <= 255
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c));
        if !is_well_formed {
            return Err(UnitNameError::Malformed(given.to_owned()));
        }
        if stem.ends_with('@') {
            let instance = name.replacen('@', "@1", 1);
            return Err(UnitNameError::Template(given.to_owned(), instance));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for UnitName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Who started a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartedBy {
    /// It was up before anything was installed.
    Image,
    /// The installation.
    Package,
    /// The boot after a reboot.
    Boot,
    /// postroj, because nobody else had.
    Postroj,
}

impl std::fmt::Display for StartedBy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Image => "the image",
            Self::Package => "the package",
            Self::Boot => "the boot",
            Self::Postroj => "postroj",
        })
    }
}

/// What a unit was before anything was installed.
#[derive(Debug, Clone)]
pub struct Baseline(UnitState);

impl Baseline {
    /// Whether there is a unit that could be started.
    pub fn is_loaded(&self) -> bool {
        self.0.load_state == "loaded"
    }
}

impl Default for Baseline {
    /// What a unit is before the system is booted.
    fn default() -> Self {
        Self(UnitState::default())
    }
}

/// Looks at a unit before anything is installed.
pub async fn baseline(guest: &Guest, name: &UnitName) -> Result<Baseline, GuestError> {
    Ok(Baseline(guest.unit_state(name.as_str()).await?))
}

/// A unit that is being checked.
pub struct UnitProbe<'a> {
    guest: &'a Guest,
    name: UnitName,
    unit: Unit<'a>,
    baseline: UnitState,
    patience: Patience,
    deadline: Instant,
    /// What it was a moment ago, if nothing was waited for.
    seen: Option<(Instant, UnitState)>,
    /// Whether the package has to have started it, where that is asked, on a distribution of a family.
    autostart: Option<(Autostart, Option<Family>)>,
    /// How often systemd may restart it.
    restarts: u32,
}

/// How a check has begun.
#[derive(Debug)]
pub enum Begun {
    /// The unit is up or on its way.
    Started(StartedBy),
    /// It cannot be.
    Refused(Outcome),
}

impl<'a> UnitProbe<'a> {
    /// Begins a check; its time runs from now on.
    pub async fn new(
        guest: &'a Guest,
        name: &UnitName,
        baseline: Baseline,
        patience: Patience,
    ) -> Result<Self, GuestError> {
        Ok(Self {
            guest,
            name: name.clone(),
            unit: guest.pinned_unit(name.as_str()).await?,
            baseline: baseline.0,
            patience,
            deadline: Instant::now() + patience.unit,
            seen: None,
            autostart: None,
            restarts: 0,
        })
    }

    /// The unit's state now. The package may have restarted the bus by which it is told.
    async fn state(&mut self) -> Result<UnitState, GuestError> {
        match self.unit.state().await {
            Err(error) if error.is_lost_connection() => {
                self.unit = self.guest.pinned_unit(self.name.as_str()).await?;
                self.unit.state().await
            }
            result => result,
        }
    }

    /// Holds the package to starting the unit, or to leaving it alone.
    pub(super) fn expect_autostart(&mut self, expected: Autostart, family: Option<Family>) {
        self.autostart = Some((expected, family));
    }

    /// Puts up with so many restarts by systemd.
    pub(super) fn allow_restarts(&mut self, most: u32) {
        self.restarts = most;
    }

    /// How much of its time is left.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Starts the unit if nobody has, where the stage allows that, and waits until it is up or has
    /// failed to be.
    pub async fn start(&mut self, at: Stage<'_>) -> Result<Begun, GuestError> {
        let asked = Instant::now();
        let state = self.state().await?;
        if state.load_state != "loaded" {
            return Ok(Begun::Refused(Outcome::failed(not_loaded(&state))));
        }
        let started_by = self.started_by(&state);
        if let (Some((expected, family)), Phase::Install) = (self.autostart, at.phase)
            && let Some(refused) = expected.refuses(&state, started_by, family)
        {
            return Ok(Begun::Refused(Outcome::failed(refused)));
        }
        let was_there = self.baseline.load_state == "loaded";
        if started_by == StartedBy::Postroj && !at.may_start(&state, &self.name, was_there) {
            if has_ended_well(&state) {
                return Ok(Begun::Started(StartedBy::Image));
            }
            let file_state = &state.unit_file_state;
            return Ok(Begun::Refused(Outcome::failed(format!(
                "{state}, {file_state}: nothing has started it"
            ))));
        }
        if started_by == StartedBy::Postroj
            && let Some(refused) = self.start_by_hand(&state).await?
        {
            return Ok(Begun::Refused(Outcome::failed(refused)));
        }
        if started_by == StartedBy::Postroj || is_on_its_way(&state) {
            let _ = timeout_at(self.deadline, self.arrives()).await;
        } else {
            self.seen = Some((asked, state));
        }
        Ok(Begun::Started(started_by))
    }

    /// Waits until the unit is up or has failed to be.
    async fn arrives(&mut self) {
        while let Ok(state) = self.state().await {
            if !is_on_its_way(&state) {
                break;
            }
            self.unit.changed().await;
        }
    }

    fn started_by(&self, now: &UnitState) -> StartedBy {
        let before = &self.baseline;
        let is_as_before = before.invocation_id == now.invocation_id
            && before.active_enter == now.active_enter
            && before.exec_main_start == now.exec_main_start;
        if is_as_before && now.is_active() {
            return StartedBy::Image;
        }
        let has_run_since = now.has_run() && !is_as_before;
        let failed_since = now.active_state == "failed" && before.active_state != "failed";
        if has_run_since || failed_since || is_on_its_way(now) || now.is_active() {
            StartedBy::Package
        } else {
            StartedBy::Postroj
        }
    }

    /// Enables and starts the unit; gives what systemd said if it would not.
    async fn start_by_hand(&mut self, state: &UnitState) -> Result<Option<String>, GuestError> {
        match self.ask_to_start(state).await {
            // The bus has been restarted meanwhile. What was asked for may be asked for twice.
            Err(error) if error.is_lost_connection() => self.ask_to_start(state).await,
            result => result,
        }
    }

    async fn ask_to_start(&mut self, state: &UnitState) -> Result<Option<String>, GuestError> {
        let name = self.unit.name().to_owned();
        // What has no [Install] section, or is made by a generator, cannot be enabled; whether it
        // runs is what counts.
        spoken(self.guest.enable_unit(&name).await)?;
        if state.active_state == "failed" {
            // It failed before the package came: it may try anew, however often it did.
            spoken(self.guest.reset_failed(&name).await)?;
        }
        let limit = self.deadline.saturating_duration_since(Instant::now());
        spoken(self.guest.start_unit(&name, limit).await.map(drop))
    }

    /// Waits for the unit that has been begun to be up, and to stay up.
    pub async fn settle(&mut self, started_by: StartedBy) -> Result<Outcome, GuestError> {
        let mut first_run: Option<UnitState> = None;
        loop {
            let state = match self.seen.take() {
                // Another check may have had to be waited for meanwhile.
                Some((asked, seen)) if asked.elapsed() < FRESH && !self.unit.take_change() => seen,
                _ => self.state().await?,
            };
            if has_ended_well(&state) {
                return Ok(Outcome::passed(state.to_string()));
            }
            if started_by == StartedBy::Image && state.is_active() {
                return Ok(Outcome::passed(state.to_string()));
            }
            let restarts = state.restarts.saturating_sub(self.baseline.restarts);
            // systemd 254 and newer has a "failed-before-auto-restart" as well.
            let is_restarting = state.sub_state.contains("auto-restart");
            // While it is being restarted, systemd has counted that already, or has not: where some are put up
            // with, the next one counts when it has happened.
            let has_restarted = restarts > self.restarts || (is_restarting && self.restarts == 0);
            let is_down = matches!(state.active_state.as_str(), "failed" | "inactive")
                && !state.has_job
                && !is_restarting;
            if let Some(first) = &first_run
                && !is_same_run(first, &state)
            {
                if self.restarts > 0 && !has_restarted && !is_down {
                    first_run = None;
                    continue;
                }
                return Ok(Outcome::failed(format!(
                    "{state}: it did not stay up for {} s",
                    self.patience.settle.as_secs_f64()
                )));
            }
            if has_restarted || is_down {
                return Ok(Outcome::failed(state.to_string()));
            }
            if state.is_active() {
                let settled = settled_at(&state, self.patience.settle);
                if settled <= Instant::now() {
                    return Ok(Outcome::passed(state.to_string()));
                }
                first_run.get_or_insert(state);
                tokio::select! {
                    () = self.unit.changed() => {}
                    () = sleep_until(settled) => {}
                }
            } else if timeout_at(self.deadline, self.unit.changed())
                .await
                .is_err()
            {
                return Ok(Outcome::failed(format!(
                    "{state} after {} s",
                    self.patience.unit.as_secs_f64()
                )));
            }
        }
    }
}

/// What systemd said against a request. That it could not be asked is an error.
fn spoken(result: Result<(), GuestError>) -> Result<Option<String>, GuestError> {
    const NO_ANSWER: [&str; 3] = [
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.Disconnected",
        "org.freedesktop.DBus.Error.Timeout",
    ];
    match result {
        Ok(()) => Ok(None),
        Err(GuestError::Bus {
            source: zbus::Error::MethodError(name, message, _),
            ..
        }) if !NO_ANSWER.contains(&name.as_str()) => {
            Ok(Some(message.unwrap_or_else(|| name.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Whether a unit is neither up nor down yet.
fn is_on_its_way(state: &UnitState) -> bool {
    state.has_job
        || (state.active_state == "activating" && !state.sub_state.starts_with("auto-restart"))
        || state.active_state == "deactivating"
}

/// When a unit that is active will have been so for `settle`.
fn settled_at(state: &UnitState, settle: Duration) -> Instant {
    // systemd's timestamps are of the clock that containers share with the host.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    let since = now.saturating_sub(Duration::from_micros(state.active_enter));
    Instant::now() + settle.saturating_sub(since)
}

fn is_same_run(first: &UnitState, now: &UnitState) -> bool {
    now.is_active()
        && first.invocation_id == now.invocation_id
        && first.exec_main_start == now.exec_main_start
        && first.restarts == now.restarts
}

/// A oneshot that does not remain is down again when it has done its work.
fn has_ended_well(state: &UnitState) -> bool {
    state.service_type == "oneshot"
        && state.active_state == "inactive"
        && !state.has_job
        && state.result == "success"
        && state.exec_main_start > 0
}

fn not_loaded(state: &UnitState) -> String {
    match (state.load_state.as_str(), state.load_error.as_str()) {
        ("not-found", _) => "there is no such unit".to_owned(),
        ("masked", _) => "the unit is masked".to_owned(),
        (load_state, "") => load_state.to_owned(),
        (load_state, error) => format!("{load_state}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_services() {
        assert_eq!(UnitName::parse("webfs").unwrap().as_str(), "webfs.service");
        assert_eq!(UnitName::parse("a.socket").unwrap().as_str(), "a.socket");
        assert_eq!(UnitName::parse("a@b.timer").unwrap().as_str(), "a@b.timer");
        assert_eq!(
            UnitName::parse("php8.2-fpm").unwrap().as_str(),
            "php8.2-fpm.service"
        );
    }

    #[test]
    fn what_is_no_unit_name_is_refused() {
        for given in [
            "",
            "a b",
            "a/b",
            ".service",
            "@.service",
            "@x",
            "ü",
            &"x".repeat(300),
        ] {
            assert!(UnitName::parse(given).is_err(), "{given:?}");
        }
        let error = UnitName::parse("a@").unwrap_err().to_string();
        assert!(error.ends_with("as in a@1.service"), "{error}");
    }

    #[test]
    fn a_oneshot_that_ended_well_is_told_from_one_that_never_ran() {
        let mut state = UnitState {
            service_type: "oneshot".into(),
            active_state: "inactive".into(),
            result: "success".into(),
            ..UnitState::default()
        };
        assert!(!has_ended_well(&state));
        state.exec_main_start = 1;
        assert!(has_ended_well(&state));
        state.result = "exit-code".into();
        assert!(!has_ended_well(&state));
    }
}
