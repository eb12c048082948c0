//! A unit is up and stays up.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Invalid;
use crate::image::Family;
use crate::install;
use crate::machine::UnitState;
use crate::probe::check::{Ending, Finding, Probe, ProbeError, Scene, patience};
use crate::probe::retry::{Beside, Look, until};
use crate::probe::value::{Scalar, Span};
use crate::probe::{Begun, Outcome, Patience, StartedBy, UnitName, UnitProbe};

keys! {
    /// A unit is up and stays up; it is enabled and started if nobody has done so.
    pub struct UnitCheck {
        /// The unit; without an ending it is a service.
        pub name: UnitName,
        /// Whether it has to be up; true if nothing is said. One that must not be is not started.
        pub active: Option<bool>,
        /// Whether it is enabled and started if nobody has done so, true if nothing is said; with false
        /// it is looked at only, and whether it is up does not matter unless `active` is said.
        pub start: Option<bool>,
        /// Whether there has to be such a unit; true if nothing is said.
        pub exists: Option<bool>,
        /// Whether it has to be enabled.
        pub enabled: Option<bool>,
        /// Whether the package itself has to have started it: true, false, or "preset" for what the
        /// distribution's presets say.
        pub autostart: Option<Autostart>,
        /// How long it has to stay up after it was started in this run.
        pub settle: Option<Span>,
        /// How often it may have been restarted.
        pub restarts: Option<u32>,
        /// Its result in systemd's words, such as "success".
        pub result: Option<String>,
        /// Its state in the words of its type, such as "running" or "listening".
        pub sub_state: Option<String>,
        /// Properties by their D-Bus names, as `systemctl show` has them.
        #[serde(default)]
        pub property: BTreeMap<String, Scalar>,
    }
}

/// Whether the package has to have started a unit by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autostart {
    /// It has.
    Yes,
    /// It must not have.
    No,
    /// As the distribution's presets say.
    Preset,
}

impl Autostart {
    /// Reads `yes`, `no` or `preset`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "yes" | "true" => Ok(Self::Yes),
            "no" | "false" => Ok(Self::No),
            "preset" => Ok(Self::Preset),
            _ => Err(format!("{text:?} is none of yes, no and preset").into()),
        }
    }

    /// What is wrong with who has started a unit, as its state was when the package was installed.
    pub(in crate::probe) fn refuses(
        self,
        state: &UnitState,
        started_by: StartedBy,
        family: Option<Family>,
    ) -> Option<String> {
        let is_started = started_by != StartedBy::Postroj;
        let preset = state.unit_file_preset.as_str();
        let (expected, found, because) = match self {
            Self::Yes => (true, is_started, String::new()),
            Self::No => (false, is_started, String::new()),
            // What cannot be enabled, presets do not speak of.
            Self::Preset if state.unit_file_state == "static" || preset.is_empty() => return None,
            Self::Preset => {
                // Only Debian's packages start what they enable.
                let is_enabled = state.is_enabled() && family != Some(Family::Debian);
                let because = format!(", and the distribution's preset is {preset}");
                (preset == "enabled", is_started || is_enabled, because)
            }
        };
        let what = match (expected, found) {
            (true, false) => "the package has not started it",
            (false, true) => "the package has started it by itself",
            _ => return None,
        };
        Some(format!("{state}: {what}{because}"))
    }
}

impl<'de> Deserialize<'de> for Autostart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Autostart;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false or \"preset\"")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Autostart, E> {
                Ok(if value { Autostart::Yes } else { Autostart::No })
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Autostart, E> {
                Autostart::parse(text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer
            .deserialize_any(Reader)
            .map_err(D::Error::custom)
    }
}

impl Serialize for Autostart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Yes => serializer.serialize_bool(true),
            Self::No => serializer.serialize_bool(false),
            Self::Preset => serializer.serialize_str("preset"),
        }
    }
}

impl JsonSchema for Autostart {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Autostart".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [true, false, "preset"] })
    }
}

impl UnitCheck {
    /// The check that a unit is up and stays up.
    pub fn of(name: UnitName) -> Self {
        Self {
            name,
            active: None,
            start: None,
            exists: None,
            enabled: None,
            autostart: None,
            settle: None,
            restarts: None,
            result: None,
            sub_state: None,
            property: BTreeMap::new(),
            title: None,
            timeout: None,
            family: crate::probe::Many::default(),
            after: crate::probe::Many::default(),
        }
    }

    /// Whether it has to be up, and so is started.
    fn is_to_be_up(&self) -> bool {
        self.exists != Some(false) && self.active != Some(false) && self.start != Some(false)
    }

    fn patience(&self, scene: Scene<'_>) -> Patience {
        Patience {
            unit: patience(self.timeout, scene.patience.unit),
            settle: patience(self.settle, scene.patience.settle),
            ..scene.patience
        }
    }

    /// Whether nothing but its being up is asked.
    fn is_plain(&self) -> bool {
        self.enabled.is_none()
            && self.restarts.is_none()
            && self.result.is_none()
            && self.sub_state.is_none()
            && self.property.is_empty()
    }

    /// Whether what is asked needs a unit to be there.
    fn needs_unit(&self) -> bool {
        let is_of_any = self.active.is_none() && self.enabled.is_none();
        self.exists == Some(true)
            || self.restarts.is_some()
            || self.result.is_some()
            || self.sub_state.is_some()
            || !self.property.is_empty()
            || (self.exists.is_none() && is_of_any)
    }

    /// One look at all that is asked but its being up.
    async fn look(&self, scene: Scene<'_>) -> Result<Look, ProbeError> {
        let name = self.name.as_str();
        let state = scene.guest.unit_state(name).await?;
        let is_there = state.load_state != "not-found";
        let mut wrong = Vec::new();
        if self.exists == Some(false) && is_there {
            wrong.push(format!("there is such a unit, {}", state.load_state));
        }
        if self.active == Some(false) && (state.is_active() || state.has_job) {
            wrong.push(format!("it is {}", state.active_state));
        }
        if self.active == Some(true) && !state.is_active() {
            wrong.push("it is not up".to_owned());
        }
        if self.enabled == Some(true) && !is_there {
            wrong.push("it is not enabled".to_owned());
        }
        let is_unwanted = self.exists == Some(false);
        if is_there && !is_unwanted {
            self.compare(&state, &mut wrong);
            if !self.property.is_empty() {
                let properties = scene.guest.properties(name).await?;
                for (key, expected) in &self.property {
                    match properties.get(key) {
                        Some(found) if is_same(found, &expected.0) => {}
                        Some(found) => wrong.push(format!("{key} is {found:?}, not {expected}")),
                        None => wrong.push(format!("it has no property {key}")),
                    }
                }
            }
        } else if !is_there && !is_unwanted && self.needs_unit() {
            return Ok(Look::NotYet("there is no such unit".to_owned()));
        }
        let seen = if is_there {
            state.to_string()
        } else {
            "there is no such unit".to_owned()
        };
        if wrong.is_empty() {
            return Ok(Look::Holds(seen));
        }
        wrong.insert(0, seen);
        Ok(Look::NotYet(wrong.join(", ")))
    }

    fn compare(&self, state: &UnitState, wrong: &mut Vec<String>) {
        if let Some(enabled) = self.enabled
            && state.is_enabled() != enabled
        {
            let file = &state.unit_file_state;
            let shown = if file.is_empty() { "not enabled" } else { file };
            wrong.push(format!("it is {shown}"));
        }
        if let Some(most) = self.restarts
            && state.restarts > most
        {
            wrong.push(format!("more than {most} restarts"));
        }
        let texts = [
            ("result", &self.result, &state.result),
            ("sub-state", &self.sub_state, &state.sub_state),
        ];
        for (key, expected, found) in texts {
            if let Some(expected) = expected
                && expected != found
            {
                wrong.push(format!("its {key} is {found:?}, not {expected:?}"));
            }
        }
    }
}

/// Whether a property is as it is wanted; systemd's yes and no are TOML's true and false.
fn is_same(found: &str, expected: &str) -> bool {
    found == expected || matches!((found, expected), ("yes", "true") | ("no", "false"))
}

#[async_trait]
impl Probe for UnitCheck {
    fn target(&self) -> String {
        self.name.to_string()
    }

    fn validate(&self) -> Result<(), String> {
        let asks = self.active == Some(true) || self.enabled == Some(true) || self.needs_unit();
        if self.exists == Some(false) && asks {
            return Err("of a unit that must not exist nothing else can be asked".to_owned());
        }
        if self.autostart == Some(Autostart::Yes) && !self.is_to_be_up() {
            return Err("a unit that must not be up cannot be started by the package".to_owned());
        }
        Ok(())
    }

    fn unit(&self) -> Option<&UnitName> {
        self.is_to_be_up().then_some(&self.name)
    }

    async fn check(&self, scene: Scene<'_>) -> Result<Outcome, ProbeError> {
        let patience = self.patience(scene).unit;
        until(patience, Beside::Never, || self.look(scene)).await
    }

    async fn begin<'a>(&'a self, scene: Scene<'a>) -> Result<Ending<'a>, ProbeError> {
        if !self.is_to_be_up() {
            return Ok(Box::pin(async move { Ok(self.check(scene).await?.into()) }));
        }
        let baseline = scene.unit_before(&self.name).await?;
        let patience = self.patience(scene);
        let mut probe = UnitProbe::new(scene.guest, &self.name, baseline, patience).await?;
        if let Some(expected) = self.autostart {
            probe.expect_autostart(expected, install::family(scene.guest));
        }
        probe.allow_restarts(self.restarts.unwrap_or_default());
        let begun = probe.start(scene.stage).await?;
        Ok(Box::pin(async move {
            let by = match begun {
                Begun::Refused(outcome) => return Ok(outcome.into()),
                Begun::Started(by) => by,
            };
            let mut outcome = probe.settle(by).await?;
            if outcome.passed && !self.is_plain() {
                let left = probe.left();
                outcome = until(left, Beside::Never, || self.look(scene)).await?;
            }
            Ok(Finding {
                outcome,
                started_by: Some(scene.stage.started_by(by, &self.name)),
            })
        }))
    }
}
